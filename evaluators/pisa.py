"""PisaBench's three numbers as released (arXiv 2503.09595), kept beside honest ones for comparison.

They are what ``eval.py`` and ``utils/metrics.py`` of github.com/vision-x-nyu/pisa-experiments
compute, faults included: "L2" is a mean absolute coordinate error, and frames in which either
mask is empty are dropped from L2 and CD instead of charged.
"""

from __future__ import annotations

import cv2
import numpy as np

from worldmodel.evaluators.checks import check_mask
from worldmodel.evaluators.counts import count_pixels, mean_place


def pisa_scores(true_masks: np.ndarray, masks: np.ndarray, *, true_fps: float, fps: float) -> dict[str, float]:
    """``pisa_l2``, ``pisa_cd`` and ``pisa_iou`` of masks (T, H, W) bool; all frames count, the given first too."""
    for name, value in (("true_masks", true_masks), ("masks", masks)):
        if np.ndim(value) != 3:
            raise ValueError(f"{name}: got shape {np.shape(value)}, expected (T, H, W); pass one object's masks")
    check_mask("masks", masks, (len(masks), *true_masks.shape[1:]))
    check_mask("true_masks", true_masks, true_masks.shape)
    pairs = pair_frames(len(true_masks), len(masks), true_fps, fps)
    scale = np.sqrt(2.0) * true_masks.shape[1]
    a, b = true_masks[pairs], masks[: len(pairs)]
    both = [_crop(*pair) for pair in zip(a, b, strict=True)]
    return {
        "pisa_l2": _nanmean(np.abs(mean_place(*count_pixels(a)) - mean_place(*count_pixels(b)))) / scale,
        "pisa_cd": _nanmean([_chamfer(a, b) for a, b in both]) / scale,
        "pisa_iou": float(np.mean([_iou(a, b) for a, b in both])),
    }


def pair_frames(true_frames: int, frames: int, true_fps: float, fps: float) -> np.ndarray:
    """Index of the true frame for each generated frame: int(i * true_fps / fps), cut to the shorter video."""
    pairs = (np.arange(frames) * (true_fps / fps)).astype(int)
    return pairs[pairs < true_frames]


def _crop(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both masks within the box that holds both, which changes none of the numbers."""
    left, top, width, height = cv2.boundingRect((a | b).view(np.uint8))
    box = slice(top, top + height), slice(left, left + width)
    return (a[box], b[box]) if width else (a, b)


def _chamfer(a: np.ndarray, b: np.ndarray) -> float:
    """Mean distance of b's pixels to a plus mean distance of a's pixels to b, in px; nan if one is empty."""
    return _mean_distance(a, b) + _mean_distance(b, a) if a.any() and b.any() else float("nan")


def _mean_distance(start: np.ndarray, target: np.ndarray) -> float:
    distance = cv2.distanceTransform((~target).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return float(distance[start].mean(dtype=np.float64))


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 1.0


def _nanmean(values: np.ndarray | list[float]) -> float:
    array = np.asarray(values, dtype=np.float64)
    kept = array[np.isfinite(array)]
    return float(kept.mean()) if kept.size else float("nan")
