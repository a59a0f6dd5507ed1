"""How far an imagined fall is from MuJoCo's: where things are, when they land, and under which physics.

What each number means, in which direction it is better and what it must rank is declared in
:mod:`~worldmodel.evaluators.free_fall_metrics`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from worldmodel.evaluators.bounce import energy_gain, penetration, true_restitution
from worldmodel.evaluators.checks import check_mask, check_video
from worldmodel.evaluators.counts import count_pixels, mean_place
from worldmodel.evaluators.fall_laws import height_ratio_error
from worldmodel.evaluators.falling import (
    GRIPPER,
    TrackedFall,
    TrueFall,
    agreeing,
    flown_fall,
    lands_in_view,
    tracked_falls,
    true_fall,
)
from worldmodel.evaluators.free_fall_metrics import ARM_METRICS, METRICS, OBJECT_METRICS
from worldmodel.evaluators.ghost_wrench import ghost_wrench
from worldmodel.evaluators.gravity import (
    CAPPED,
    PRECISE,
    GravityFit,
    can_be_precise,
    first_run,
    fit_gravity,
    free_fall_deviation,
)
from worldmodel.evaluators.impact import Landing, find_landings
from worldmodel.evaluators.metres import metres_per_pixel
from worldmodel.evaluators.metrics import Evaluator
from worldmodel.evaluators.once import once_a_truth
from worldmodel.evaluators.pisa import pisa_scores
from worldmodel.evaluators.robot_clock import SLOWEST, Clock, read_clock
from worldmodel.evaluators.tracking import Tracker, Tracks, check_followed, track_objects, true_detections
from worldmodel.truth import Truth

__all__ = [
    "ARM_METRICS",
    "EVALUATOR",
    "GRIPPER_EVALUATOR",
    "METRICS",
    "OBJECT_METRICS",
    "SEVERAL_EVALUATOR",
    "FreeFallScore",
    "score_free_fall",
    "true_landing",
]

MIN_VISIBLE = 0.35  # of the first frame's visible area: below, the true object is leaving the picture
_OF_LANDING = ("impact_error_ms", "impact_absolute_error_ms", "impact_missed", "impact_within_2_frames")
_OF_NOISE = (
    "gravity_m_s2",
    "gravity_standard_error_m_s2",
    "gravity_error",
    "arm_gravity_m_s2",
    "arm_gravity_standard_error_m_s2",
    "arm_gravity_error",
    "energy_gain",
    "penetration_mm",
    "ghost_wrench",
)  # what is held against the standard error of falling.centroid_sigma_px
LATE = (0.0, 0.5, 1.0, 2.0)  # frames by which a clip may let go later than its arm's clock says


@dataclass(frozen=True)
class FreeFallScore:
    """One imagined clip against MuJoCo. The given first frame is not scored, except by the pisa numbers.

    A frame is scored when the true object is in view (at least ``MIN_VISIBLE`` of its first
    area); where the tracker finds nothing in a scored frame, the error is the picture's diagonal.
    nan stands for what the true clip does not allow to measure. What only the judged clip lacks is charged in the
    errors; an object that is not found gains no energy, sinks nowhere, and is charged by those. What weighs the noise
    of the default tracker (gravity, energy, penetration, ghost wrench) is nan with another.
    """

    centroid_error_px: float  # mean Euclidean distance over the scored frames
    centroid_error_diagonal: float  # the same as a share of the picture's diagonal
    centroid_error_cm: float  # the same at the true depth of each frame
    detection_rate: float  # share of scored frames in which the object is found
    scored_frames: int
    true_landing_ms: float  # read off MuJoCo's own path; nan if it never lands
    impact_time_ms: float  # read off the tracked path; nan if it never lands
    impact_error_ms: float  # minus that of MuJoCo's exact path, see true_landing; nan if one of them does not exist
    impact_absolute_error_ms: float  # a missed or invented landing is charged the length of the clip
    impact_missed: bool | float  # the object lands in one of the two videos only
    impact_within_2_frames: bool | float  # a missed landing is not; nan, as the three above, if MuJoCo's is hidden
    pisa_l2: float  # mean absolute coordinate error / (sqrt2 H), undetected frames dropped
    pisa_cd: float  # chamfer distance / (sqrt2 H), undetected frames dropped
    pisa_iou: float
    gravity_m_s2: float  # g / alpha^2 of the first fall; nan unless it is as precise as gravity.PRECISE
    gravity_standard_error_m_s2: float
    gravity_error: float  # relative to the true g, at most 1; 1 if nothing falls
    parabola_rmse_px: float  # of the first fall around the best parabola, whatever its g
    free_fall_rmse_cm: float  # around the best parabola of the true g, in the frames of the true fall
    restitution: float  # of the first landing, 0 if it rests then; nan if there is none
    restitution_error: float  # absolute, at most 1; 1 if there is no landing
    energy_gain: float  # energy from nowhere over m g h
    penetration_mm: float  # below the floor at least, more than in MuJoCo; nan where something stands on the floor
    ghost_wrench: float  # force that nothing explains over weight
    alpha: float  # seconds of the clip for a second of the arm's command; nan without an arm
    alpha_standard_error: float  # of ln alpha
    alpha_error: float  # |ln alpha| beyond two standard errors; ln 4 if the arm does not move as commanded
    arm_gravity_m_s2: float  # g, by the arm's clock
    arm_gravity_standard_error_m_s2: float
    arm_gravity_error: float  # relative, beyond two standard errors, at most 1
    objects_error_diagonal: float  # centroid error of all falling objects, share of the diagonal
    objects_ratio_error: float  # of landing times between objects, see fall_laws; 1 for each that does not land
    frame_error_px: np.ndarray  # (T,), nan in frames that are not scored
    tracks: Tracks  # of *the* object in the imagined clip

    def to_dict(self) -> dict[str, Any]:
        """Everything but the tracks, as plain numbers and lists."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "tracks"}
        return values | {"frame_error_px": self.frame_error_px.tolist()}


def score_free_fall(video: np.ndarray, truth: Truth, tracker: Tracker = track_objects) -> FreeFallScore:
    """Score ``video`` (T, H, W, 3) uint8, imagined from the first frame of ``truth``.

    Raises:
        ValueError: shapes that differ, a truth without its object, or one that is not a fall's; a ``tracker``
            that cannot follow the true object.
    """
    _check(video, truth)
    known = _known(truth)
    tracks = tracker(video, truth.segmentation[0], truth.video[0], known.labels)
    if tracker is not track_objects:
        check_followed(true_detections(truth, tracker), known.views[0])
    errors = [_frame_errors(*each, truth) for each in zip(tracks, known.centroids, known.views, strict=True)]
    error_px, diagonal = errors[0], truth.camera.diagonal_px
    scored = np.isfinite(error_px)
    pisa: dict[str, Any] = pisa_scores(truth.mask, tracks[0].mask, true_fps=truth.fps, fps=truth.fps)
    clock = read_clock(video, truth)
    landings = _landings(tracks, truth, known.fall, clock)
    return FreeFallScore(
        centroid_error_px=float(error_px[scored].mean()),
        centroid_error_diagonal=float(error_px[scored].mean() / diagonal),
        centroid_error_cm=float((error_px * known.cm_per_px)[scored].mean()),
        detection_rate=float(tracks[0].detected[scored].mean()),
        scored_frames=int(scored.sum()),
        **_score_impact(landings[0], truth, known.landings[0]),
        **pisa,
        **_score_physics(tracks[0], truth, known, landings[0], clock)
        | ({} if tracker is track_objects else dict.fromkeys(_OF_NOISE, float("nan"))),
        objects_error_diagonal=float(np.mean([e[np.isfinite(e)].mean() for e in errors if np.isfinite(e).any()]))
        / diagonal,
        objects_ratio_error=_ratio_error(landings, truth, known),
        frame_error_px=error_px,
        tracks=tracks[0],
    )


def pisa_at_own_rate(video: np.ndarray, fps: float, truth: Truth, tracker: Tracker = track_objects) -> dict[str, float]:
    """PisaBench's numbers of a video (T', H, W, 3) uint8 of another rate or length, paired as it pairs frames."""
    tracks = tracker(video, truth.segmentation[0], truth.video[0], _known(truth).labels)[0]
    return pisa_scores(truth.mask, tracks.mask, true_fps=truth.fps, fps=fps)


EVALUATOR = Evaluator(
    "worldmodel/FreeFall-v0", score_free_fall, METRICS, "centroid_error_px", score_own_rate=pisa_at_own_rate
)

# Clips with a gripper are judged by its clock too, clips with several objects by all of them.
GRIPPER_EVALUATOR = replace(EVALUATOR, family="worldmodel/FreeFall-v0:gripper", metrics=METRICS + ARM_METRICS)
SEVERAL_EVALUATOR = replace(EVALUATOR, family="worldmodel/FreeFall-v0:several", metrics=METRICS + OBJECT_METRICS)


def in_view(truth: Truth, label: int = 1) -> np.ndarray:
    """Frames (T,) bool that are scored: all but the given first in which the true object can be seen."""
    return _in_view(count_pixels(truth.segmentation == label)[0].sum(axis=1))


def true_centroid(truth: Truth, label: int = 1) -> np.ndarray:
    """Centroid (T, 2) px, (u, v), of an object's visible pixels; nan where it is out of the picture."""
    return mean_place(*count_pixels(truth.segmentation == label)) + 0.5


def _in_view(area: np.ndarray) -> np.ndarray:
    return (area >= MIN_VISIBLE * area[0]) & (np.arange(len(area)) > 0)


def _seen_first(truth: Truth) -> list[int]:
    """Labels of the falling objects that the first frame shows, *the* object first."""
    falling = range(1, 1 + len(truth.outcome.get("impact_times", [None])))
    return [label for label in falling if label == 1 or (truth.segmentation[0] == label).any()]


@dataclass(frozen=True)
class _Known:
    """What is read off the true clip, of the N falling objects that its first frame shows."""

    fall: TrueFall
    labels: list[int]  # N
    centroids: list[np.ndarray]  # N of (T, 2) px
    views: list[np.ndarray]  # N of (T,) bool, see in_view
    cm_per_px: np.ndarray  # (T,)
    landings: np.ndarray  # (N,) s, as their paths show them; nan where they do not, or where it does not matter
    flown: TrackedFall
    precise: bool  # whether its gravity can be told
    bounce: float  # restitution; nan if it cannot be told


@once_a_truth
def _known(truth: Truth) -> _Known:
    fall, labels = true_fall(truth), _seen_first(truth)
    counts = [count_pixels(truth.segmentation == label) for label in labels]
    flown = flown_fall(truth, fall)
    landings = np.full(len(labels), np.nan)
    paths = labels[:1] if GRIPPER in truth.objects else labels
    landings[: len(paths)] = _true_landings(truth, fall, [label - 1 for label in paths])
    return _Known(
        fall=fall,
        labels=labels,
        centroids=[mean_place(*each) + 0.5 for each in counts],
        views=[_in_view(in_rows.sum(axis=1)) for in_rows, _ in counts],
        cm_per_px=100.0 * metres_per_pixel(truth.camera, truth.position[:, 0]),
        landings=landings,
        flown=flown,
        precise=can_be_precise(flown, fall),
        bounce=true_restitution(truth, fall) if lands_in_view(truth) else float("nan"),
    )


def _frame_errors(tracks: Tracks, centroid: np.ndarray, view: np.ndarray, truth: Truth) -> np.ndarray:
    """Error (T,) px of an object: its distance, the diagonal where it is lost, nan where it is not scored."""
    distance = np.linalg.norm(tracks.centroid - centroid, axis=1)
    return np.where(view, np.where(tracks.detected, distance, truth.camera.diagonal_px), np.nan)


def _landings(tracks: Sequence[Tracks], truth: Truth, fall: TrueFall, clock: Clock | None) -> list[Landing | None]:
    """The first landing of each, of falls that begin at once or when the arm's clock says that it lets go."""
    starts: Sequence[float] = (0.0,)
    if fall.start > 0:
        alpha = 1.0 if clock is None or np.isnan(clock.alpha) else clock.alpha
        starts = [alpha * fall.start + late / truth.fps for late in LATE]
    paths = np.stack([each.centroid[:, 1] for each in tracks])
    return find_landings(paths, truth.fps, truth.camera.height, starts)


def true_landing(truth: Truth, fall: TrueFall) -> float:
    """When MuJoCo's own path lands first, in seconds, read off it as off a tracked one; nan if it never does.

    A path shows no contact, only where what was before meets what comes after. Contacts give way,
    and an object may land on a corner, so that is 4 to 20 ms after the first touch. The touch is
    taken where the clip ends too soon after it for a path to show the landing.
    """
    return float(_true_landings(truth, fall, [0])[0])


def _true_landings(truth: Truth, fall: TrueFall, indices: Sequence[int]) -> np.ndarray:
    """The same (N,) of *the* object and of others, whose landing is nan where their paths show none."""
    start = 0.0 if np.isnan(fall.start) else fall.start
    paths = np.stack([truth.camera.project(truth.position[:, index])[:, 1] for index in indices])
    found = find_landings(paths, truth.fps, truth.camera.height, (start,))
    shown = np.array([np.nan if each is None else each.time for each in found])
    if np.isnan(shown[0]) or np.isnan(fall.impact):
        shown[0] = fall.impact
    return shown


def _score_impact(landing: Landing | None, truth: Truth, true: float) -> dict[str, Any]:
    estimate = float("nan") if landing is None else landing.time
    error = estimate - true
    times = {"true_landing_ms": 1000.0 * true, "impact_time_ms": 1000.0 * estimate}
    if not lands_in_view(truth):
        return {**times, **dict.fromkeys(_OF_LANDING, float("nan"))}
    missed = bool(np.isnan(estimate) != np.isnan(true))
    charged = (len(truth) - 1) / truth.fps if missed else np.nan_to_num(abs(error), nan=0.0)
    return {
        **times,
        "impact_error_ms": float(1000.0 * error),
        "impact_absolute_error_ms": float(1000.0 * charged),
        "impact_missed": missed,
        "impact_within_2_frames": bool(not missed and charged <= 2.0 / truth.fps),
    }


def _score_physics(
    tracks: Tracks, truth: Truth, known: _Known, landing: Landing | None, clock: Clock | None
) -> dict[str, float]:
    fall, flown, bounce = known.fall, known.flown, known.bounce
    tracked, bounced = tracked_falls(tracks, truth, fall)
    start = fall.start if landing is None else landing.start
    run = first_run(tracked, 0.0 if np.isnan(start) else start)
    fit = fit_gravity(tracked.time[run], tracked.height[run], tracked.sigma)
    lost = truth.camera.diagonal_px * float(metres_per_pixel(truth.camera, truth.position[0, 0]))
    restitution = float("nan") if landing is None else landing.restitution
    return {
        **_score_gravity(fit, known.precise, fall, clock),
        "parabola_rmse_px": _parabola_rmse_px(tracks, run),
        "free_fall_rmse_cm": 100.0 * free_fall_deviation(tracked, flown, fall, lost),
        "restitution": restitution,
        "restitution_error": float(np.nan if np.isnan(bounce) else _capped(restitution - bounce)),
        # Of the two depths that the object may have after a bounce, the kinder counts.
        "energy_gain": min(energy_gain(each, fall, truth.fps) for each in (tracked, bounced)),
        "penetration_mm": 1000.0 * min(penetration(each, truth) for each in (tracked, bounced)),
        "ghost_wrench": min(ghost_wrench(each, flown, fall, truth.fps) for each in agreeing(tracked, bounced)),
    }


def _score_gravity(fit: GravityFit, told: bool, fall: TrueFall, clock: Clock | None) -> dict[str, float]:
    told &= fall.gravity > 0
    seen = fit.n > 3
    precise = told and seen and fit.standard_error <= PRECISE
    alpha = np.nan if clock is None else clock.alpha
    by_arm, spread = fit.gravity * alpha**2, np.nan
    if clock is not None and seen:
        spread = np.hypot(fit.standard_error * alpha**2, 2 * by_arm * clock.log_error)
    beyond = max(0.0, abs(by_arm - fall.gravity) - 2 * spread) if np.isfinite(spread) else np.nan
    return {
        "gravity_m_s2": fit.gravity if precise else np.nan,
        "gravity_standard_error_m_s2": fit.standard_error if precise else np.nan,
        "gravity_error": _capped((fit.gravity if seen else np.nan) / fall.gravity - 1) if told else np.nan,
        "alpha": alpha,
        "alpha_standard_error": np.nan if clock is None else clock.log_error,
        "alpha_error": np.nan if clock is None else _clock_error(clock),
        "arm_gravity_m_s2": float(by_arm) if precise else np.nan,
        "arm_gravity_standard_error_m_s2": float(spread) if precise else np.nan,
        "arm_gravity_error": _capped(beyond / fall.gravity) if told and clock is not None else np.nan,
    }


def _clock_error(clock: Clock) -> float:
    """|ln alpha| beyond two standard errors, that of ``SLOWEST`` where the arm does not move as commanded."""
    if np.isnan(clock.alpha):
        return float(np.log(SLOWEST))
    return max(0.0, float(abs(np.log(clock.alpha)) - 2 * clock.log_error))


def _capped(error: float) -> float:
    """Size of an error, at most ``CAPPED``, which is also charged where there is nothing to measure."""
    return float(min(CAPPED, np.nan_to_num(abs(error), nan=CAPPED)))


def _parabola_rmse_px(tracks: Tracks, run: slice) -> float:
    """Residual of the first fall: horizontally a line, vertically a parabola; nan below 4 frames."""
    path = tracks.centroid[run]
    if len(path) < 4:
        return float("nan")
    t = np.arange(len(path)) - (len(path) - 1) / 2
    design = np.stack([np.ones_like(t), t, t**2], axis=1)
    residuals = [
        design[:, :columns] @ np.linalg.lstsq(design[:, :columns], path[:, axis])[0] - path[:, axis]
        for axis, columns in ((0, 2), (1, 3))
    ]
    return float(np.sqrt(np.mean(np.square(residuals).sum(axis=0))))


def _ratio_error(landings: list[Landing | None], truth: Truth, known: _Known) -> float:
    """See ``fall_laws.height_ratio_error``, over the objects that fall freely to their true landing."""
    true = np.array([np.nan if each is None else each for each in truth.outcome.get("impact_times", [None])], float)
    collided = np.asarray(truth.signals.get("collisions", np.zeros((len(truth), len(true)), bool)))
    shown = np.array(known.labels) - 1
    true, collided = true[shown], collided[:, shown]
    first_frame = np.searchsorted(truth.time, np.nan_to_num(true, nan=0.0))
    free = np.isfinite(true) & ~np.array([c[: f + 1].any() for c, f in zip(collided.T, first_frame, strict=True)])
    if free.sum() < 2 or GRIPPER in truth.objects:
        return float("nan")
    times = np.array([np.nan if each is None else each.time for each in landings])[free]
    if np.isnan(times).any():
        return CAPPED
    falls = np.where(np.isnan(known.landings), true, known.landings)[free]
    return _capped(height_ratio_error(falls**2, times))


def _check(video: np.ndarray, truth: Truth) -> None:
    check_video("video", video)
    if video.shape != truth.video.shape:
        raise ValueError(
            f"video: got shape {video.shape}, expected {truth.video.shape} as in truth; "
            "roll out as many frames of the same size as were recorded"
        )
    check_mask("truth.mask", truth.mask, video.shape[:3])
    if not np.isfinite(truth.position[:, 0]).all():
        raise ValueError("truth.position: got NaN or infinite values, expected metres; record the clip again")
    if not truth.mask[0].any():
        raise ValueError("truth.mask: got no pixel in the first frame, expected the object in it; choose another scene")
    if not in_view(truth).any():
        raise ValueError("truth.mask: got no frame with the object in view after the first; choose another scene")
