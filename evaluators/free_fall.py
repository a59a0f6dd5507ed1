"""How far an imagined fall is from MuJoCo's: where the object is, and when it lands."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from worldmodel.evaluators.checks import check_mask, check_video
from worldmodel.evaluators.impact import impact_time
from worldmodel.evaluators.pisa import pisa_scores
from worldmodel.evaluators.tracking import Tracks, track
from worldmodel.truth import Truth

MIN_VISIBLE = 0.35  # of the first frame's visible area: below, the true object is leaving the picture


@dataclass(frozen=True)
class FreeFallScore:
    """One imagined clip against MuJoCo. The given first frame is not scored, except by the pisa numbers.

    A frame is scored when the true object is in view (at least ``MIN_VISIBLE`` of its first
    area); where the tracker finds nothing in a scored frame, the error is the picture's diagonal.
    """

    centroid_error_px: float  # mean Euclidean distance over the scored frames
    centroid_error_diagonal: float  # the same as a share of the picture's diagonal
    centroid_error_cm: float  # the same at the true depth of each frame
    detection_rate: float  # share of scored frames in which the object is found
    scored_frames: int
    impact_time_ms: float  # read off the tracked path; nan if it never lands
    impact_error_ms: float  # estimated minus MuJoCo's exact time; nan if one of them does not exist
    impact_absolute_error_ms: float  # a missed or invented landing is charged the length of the clip
    impact_missed: bool  # the object lands in one of the two videos only
    impact_within_2_frames: bool  # a missed landing is not
    pisa_l2: float  # mean absolute coordinate error / (sqrt2 H), undetected frames dropped
    pisa_cd: float  # chamfer distance / (sqrt2 H), undetected frames dropped
    pisa_iou: float
    frame_error_px: np.ndarray  # (T,), nan in frames that are not scored
    tracks: Tracks  # of the imagined clip

    def to_dict(self) -> dict[str, Any]:
        """Everything but the tracks, as plain numbers and lists."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "tracks"}
        return values | {"frame_error_px": self.frame_error_px.tolist()}


def score_free_fall(video: np.ndarray, truth: Truth) -> FreeFallScore:
    """Score ``video`` (T, H, W, 3) uint8, imagined from the first frame of ``truth``."""
    _check(video, truth)
    tracks = track(video, truth.mask[0], truth.video[0])
    scored = in_view(truth)
    diagonal = truth.camera.diagonal_px
    distance = np.linalg.norm(tracks.centroid - true_centroid(truth), axis=1)
    error_px = np.where(scored, np.where(tracks.detected, distance, diagonal), np.nan)
    pisa: dict[str, Any] = pisa_scores(truth.mask, tracks.mask, true_fps=truth.fps, fps=truth.fps)
    cm_per_px = 100.0 * truth.camera.depth(truth.position[:, 0]) / truth.camera.focal_px
    return FreeFallScore(
        centroid_error_px=float(error_px[scored].mean()),
        centroid_error_diagonal=float(error_px[scored].mean() / diagonal),
        centroid_error_cm=float((error_px * cm_per_px)[scored].mean()),
        detection_rate=float(tracks.detected[scored].mean()),
        scored_frames=int(scored.sum()),
        **_score_impact(tracks, truth),
        **pisa,
        frame_error_px=error_px,
        tracks=tracks,
    )


def in_view(truth: Truth) -> np.ndarray:
    """Frames (T,) bool that are scored: all but the given first in which the true object can be seen."""
    area = truth.mask.sum(axis=(1, 2))
    return (area >= MIN_VISIBLE * area[0]) & (np.arange(len(truth)) > 0)


def true_centroid(truth: Truth) -> np.ndarray:
    """Centroid (T, 2) px, (u, v), of the object's visible pixels; nan where it is out of the picture."""
    v, u = np.indices(truth.mask.shape[1:]) + 0.5
    area = truth.mask.sum(axis=(1, 2))
    sums = np.stack([(truth.mask * u).sum(axis=(1, 2)), (truth.mask * v).sum(axis=(1, 2))], axis=1)
    return np.where(area[:, None] > 0, sums / np.maximum(area, 1)[:, None], np.nan)


def true_impact_time(truth: Truth) -> float:
    """When the object first touched the floor, in seconds; nan if the clip ends before."""
    impact = truth.outcome.get("impact_time")
    return float("nan") if impact is None else float(impact)


def _score_impact(tracks: Tracks, truth: Truth) -> dict[str, Any]:
    estimate = impact_time(tracks.centroid[:, 1], truth.fps, truth.camera.height)
    true = true_impact_time(truth)
    error = estimate - true
    missed = bool(np.isnan(estimate) != np.isnan(true))
    charged = (len(truth) - 1) / truth.fps if missed else np.nan_to_num(abs(error), nan=0.0)
    return {
        "impact_time_ms": 1000.0 * estimate,
        "impact_error_ms": float(1000.0 * error),
        "impact_absolute_error_ms": float(1000.0 * charged),
        "impact_missed": missed,
        "impact_within_2_frames": bool(not missed and charged <= 2.0 / truth.fps),
    }


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
    if not in_view(truth).any():
        raise ValueError("truth.mask: got no frame with the object in view after the first; choose another scene")
