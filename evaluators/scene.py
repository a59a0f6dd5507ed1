"""The picture around the task: fidelity, background, tone, and whether what should move does.

Stillness alone is worth nothing: a frozen video has no drift, no flicker and a background as good as
the true one. So every number is an error against the true video of the same frame, in which to lack
the scene's own change is a fault, and beside the still regions stand the moving ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import cv2
import numpy as np

from worldmodel.evaluators.checks import check_mask, check_video
from worldmodel.evaluators.drift import background_drift
from worldmodel.evaluators.fidelity import mean_absolute_error, psnr_db, ssim_map
from worldmodel.evaluators.metrics import Evaluator, Metric
from worldmodel.evaluators.motion import motion_scores
from worldmodel.evaluators.once import once_a_truth
from worldmodel.evaluators.regions import background, changed, still
from worldmodel.evaluators.reprojection import reprojection
from worldmodel.evaluators.revisit import returns, revisit_scores
from worldmodel.evaluators.tone import flicker, tone_error
from worldmodel.evaluators.vbench import dynamic_degree_dis, temporal_flickering
from worldmodel.truth import Camera, Truth


@dataclass(frozen=True)
class SceneScore:
    """One video v against the true one x, both (T, H, W, 3) uint8; grey levels are 0..255.

    The given first frame is not scored, except as the start of changes. *Background* is what lies
    outside every object's mask, widened (``regions.background``); *still* is the background that
    never changes in x, or, where the camera moves, the background. Tone is compared where nothing
    has strayed in v (``tone.tone_error``). Numbers that do not exist for a clip are nan. What each
    number must rank is declared in ``METRICS``.
    """

    psnr_db: float  # dB, mean over frames of 10 log10(255^2 / max(MSE, 1/12)); 58.9 for equal frames
    ssim: float  # mean over frames of the luma's structural similarity, scikit-image's definition; 1 is equal
    background_mae: float  # grey levels, mean of |v - x| over background pixels, frames and RGB
    moving_mae: float  # grey levels, the same over pixels where x differs from its first frame by over 10 levels
    background_drift: float  # share of H, mean distance of v's still pixels from their place in x, by a similarity fit
    flicker: float  # grey levels, mean of |(v[t+1] - v[t]) - (x[t+1] - x[t])| over still pixels
    saturation_drift: float  # grey levels, signed: last minus first frame of v minus x, mean max RGB - min RGB, still
    luminance_drift: float  # grey levels, signed, the same of mean luma
    contrast_drift: float  # grey levels, signed, the same of luma's standard deviation over the still pixels
    motion_px: float  # px per frame, mean length of DIS flow over the picture, 0 where it does not change
    motion_excess: float  # motion_px of v / of x - 1: -1 is frozen, 0 as lively as x; nan if nothing moves in x
    flow_error: float  # mean distance of v's DIS flow from x's / motion_px of x: 1 is frozen; nan if nothing moves
    reprojection_error_px: float  # px, DIS flow left when the exact motion is undone, at least x's; nan without depth
    reprojection_mae: float  # grey levels, |v[t] at the exact place - v[0]|, at least x's; nan without depth
    revisit_psnr_db: float  # dB, between frames of one camera pose, at most x's own; nan without a return
    revisit_ssim: float  # the same of the structural similarity
    vbench_temporal_flickering: float  # as released: (255 - mean |v[t+1] - v[t]|) / 255, 1 for a frozen video
    vbench_dynamic_degree_dis: bool  # VBench's rule with DIS for RAFT
    frame_tone_error: np.ndarray  # (T, 3) grey levels: saturation, luminance, contrast of v minus x, still pixels

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers and lists."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return values | {"frame_tone_error": self.frame_tone_error.tolist()}


def _metric(name: str, label: str, unit: str, better: Any, meaning: str, *below: str, **printed: Any) -> Metric:
    """A metric by which the true video must be better than the controls ``below``."""
    return Metric(
        name, label, unit, "mean", better, meaning, tuple(("replay", control) for control in below), **printed
    )


_OTHERS = ("frozen", "half_speed", "reversed", "shuffled", "other_seed")
METRICS = (
    _metric("psnr_db", "PSNR", "dB", "higher", "peak signal-to-noise ratio of the frames", *_OTHERS),
    _metric("ssim", "SSIM", "", "higher", "structural similarity of luma, windows of 7 px", *_OTHERS, digits=3),
    _metric("background_mae", "Background MAE", "levels", "lower", "error outside of widened object masks", *_OTHERS),
    _metric("moving_mae", "Moving MAE", "levels", "lower", "error where the true picture has changed", *_OTHERS),
    _metric("flow_error", "Flow error", "of true motion", "lower", "DIS flow against the true video's", *_OTHERS),
    _metric(
        "motion_excess", "Motion excess", "of true motion", "zero", "mean length of DIS flow less the true", "frozen"
    ),
    _metric(
        "background_drift",
        "Background drift",
        "% of H",
        "lower",
        "similarity fit to still pixels",
        "sliding",
        factor=100.0,
    ),
    _metric("flicker", "Flicker", "levels", "lower", "change of still pixels from frame to frame", "flickering"),
    _metric(
        "saturation_drift", "Saturation drift", "levels", "zero", "mean max RGB - min RGB of still pixels", "overdriven"
    ),
    _metric("luminance_drift", "Luminance drift", "levels", "zero", "mean luma of still pixels", "brightening"),
    _metric(
        "contrast_drift",
        "Contrast drift",
        "levels",
        "zero",
        "standard deviation of luma over still pixels",
        "overdriven",
    ),
    _metric("reprojection_error_px", "Reprojection", "px", "lower", "flow that camera and depth do not explain"),
    _metric("reprojection_mae", "Reprojection MAE", "levels", "lower", "colour that camera and depth do not explain"),
    _metric("revisit_psnr_db", "Revisit PSNR", "dB", "higher", "frames of one camera pose, up to the truth's"),
    _metric("revisit_ssim", "Revisit SSIM", "", "higher", "frames of one camera pose, up to the truth's", digits=3),
    _metric("motion_px", "Motion", "px per frame", "none", "mean length of DIS flow over the picture", digits=3),
    _metric("vbench_temporal_flickering", "VBench flickering", "as released", "none", "frozen has 1", digits=4),
    Metric("vbench_dynamic_degree_dis", "VBench dynamic, DIS", "of clips", "share", "none", "DIS in the place of RAFT"),
)

# What needs a camera's way and depth, so that only clips with both can bear it out. A video that stands still, or
# shows a flat world, agrees with itself wherever the camera comes back to.
_EXPLAINED = (*_OTHERS, "sliding", "flat", "forgotten")
_REVISITED = ("half_speed", "shuffled", "other_seed", "overdriven", "sliding", "forgotten")
OF_CAMERAS = {
    "reprojection_error_px": _EXPLAINED,
    "reprojection_mae": _EXPLAINED,
    "revisit_psnr_db": _REVISITED,
    "revisit_ssim": _REVISITED,
}


def cameras_of(truth: Truth) -> list[Camera] | None:
    """The camera of each frame, where the truth has a signal ``world_to_camera`` (T, 4, 4); None where it stands."""
    poses = truth.signals.get("world_to_camera")
    if poses is None:
        return None
    if poses.shape != (len(truth), 4, 4) or not np.isfinite(poses).all():
        raise ValueError(
            f"truth.signals['world_to_camera']: got shape {poses.shape}, expected ({len(truth)}, 4, 4) and finite; "
            "record a pose a frame"
        )
    return [replace(truth.camera, world_to_camera=pose) for pose in poses]


def camera_truth(truth: Truth) -> tuple[np.ndarray, list[Camera]]:
    """The first frame's depth (H, W) in m and the camera of each frame.

    Raises:
        ValueError: the clip was recorded without its depth.
    """
    if truth.depth is None:
        raise ValueError("truth.depth: got none, expected (T, H, W) in metres; record it (worldmodel collect --depth)")
    return truth.depth[0], cameras_of(truth) or [truth.camera] * len(truth)


def score_scene(video: np.ndarray, truth: Truth, cameras: Sequence[Camera] | None = None) -> SceneScore:
    """Score ``video`` (T, H, W, 3) uint8, imagined from the first frame of ``truth``.

    Args:
        video: as many frames of the same size as ``truth`` has.
        truth: its depth, if it was recorded, gives the reprojection error.
        cameras: T cameras where the camera moves; by default those of ``cameras_of``.
    """
    cameras = cameras_of(truth) if cameras is None else cameras
    _check(video, truth, cameras)
    true = _true_picture(truth)
    scenery, changes = true.scenery, true.changes
    quiet = np.broadcast_to(true.still, scenery.shape) if cameras is None else scenery
    grey, true_grey = _grey(video), true.grey
    reference = 1 if cameras is None else len(truth)
    drift_px = background_drift(grey, true_grey[:reference], quiet[:reference])
    tones = tone_error(video, truth.video, quiet)
    saturation, luminance, contrast = (float(value) for value in tones[-1] - tones[0])
    return SceneScore(
        psnr_db=float(np.mean([psnr_db(a, b) for a, b in zip(video[1:], truth.video[1:], strict=True)])),
        ssim=float(np.mean([ssim_map(a, b).mean() for a, b in zip(grey[1:], true_grey[1:], strict=True)])),
        background_mae=mean_absolute_error(video[1:], truth.video[1:], scenery[1:]),
        moving_mae=mean_absolute_error(video[1:], truth.video[1:], changes[1:]),
        background_drift=_mean(drift_px[1:]) / truth.video.shape[1],
        flicker=flicker(video, truth.video, quiet),
        saturation_drift=saturation,
        luminance_drift=luminance,
        contrast_drift=contrast,
        **motion_scores(grey, true_grey),
        **_score_reprojection(video, truth, cameras, quiet),
        **_score_revisits(video, truth, cameras, scenery),
        vbench_temporal_flickering=temporal_flickering(video),
        vbench_dynamic_degree_dis=dynamic_degree_dis(video, truth.fps),
        frame_tone_error=tones,
    )


EVALUATOR = Evaluator(
    "worldmodel/Room-v0",
    score_scene,
    tuple(
        replace(metric, ranks=tuple(("replay", below) for below in OF_CAMERAS.get(metric.name, ())) or metric.ranks)
        for metric in METRICS
    ),
    "reprojection_error_px",
)


@dataclass(frozen=True)
class _TruePicture:
    """What is known of the true video's T frames."""

    scenery: np.ndarray  # (T, H, W) bool, background
    changes: np.ndarray  # (T, H, W) bool, differs from the first frame
    still: np.ndarray  # (H, W) bool, background that never changes
    grey: np.ndarray  # (T, H, W) uint8


@once_a_truth
def _true_picture(truth: Truth) -> _TruePicture:
    scenery, changes, grey = background(truth), changed(truth.video), _grey(truth.video)
    return _TruePicture(scenery, changes, still(scenery, changes), grey)


def _mean(values: np.ndarray) -> float:
    """Of the numbers that exist; nan where none does."""
    found = values[np.isfinite(values)]
    return float(found.mean()) if len(found) else float("nan")


def _grey(video: np.ndarray) -> np.ndarray:
    return np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in video])


def _score_reprojection(
    video: np.ndarray, truth: Truth, cameras: Sequence[Camera] | None, quiet: np.ndarray
) -> dict[str, float]:
    if truth.depth is None:
        return {"reprojection_error_px": float("nan"), "reprojection_mae": float("nan")}
    path = [truth.camera] * len(truth) if cameras is None else cameras
    own, true = (reprojection(frames, truth.depth[0], path, quiet) for frames in (video, truth.video))
    # The true video shows how well flow can be measured here, and what light changes.
    return {
        "reprojection_error_px": float(np.maximum(own.error_px, true.error_px)),
        "reprojection_mae": float(np.maximum(own.mae, true.mae)),
    }


def _score_revisits(
    video: np.ndarray, truth: Truth, cameras: Sequence[Camera] | None, scenery: np.ndarray
) -> dict[str, float]:
    pairs = [] if cameras is None else returns(cameras)
    own, true = (revisit_scores(frames, pairs, scenery) for frames in (video, truth.video))
    psnr, ssim = np.minimum(own, true)
    return {"revisit_psnr_db": float(psnr), "revisit_ssim": float(ssim)}


def _check(video: np.ndarray, truth: Truth, cameras: Sequence[Camera] | None) -> None:
    check_video("video", video)
    if video.shape != truth.video.shape:
        raise ValueError(
            f"video: got shape {video.shape}, expected {truth.video.shape} as in truth; "
            "roll out as many frames of the same size as were recorded"
        )
    check_mask("truth.mask", truth.mask, video.shape[:3])
    if cameras is not None and len(cameras) != len(video):
        raise ValueError(f"cameras: got {len(cameras)}, expected {len(video)}, one a frame; leave out one that stands")
