"""Walls as straight segments in the plane: how near a point is to them, and whether a move crosses one."""

from __future__ import annotations

import numpy as np


def nearest_on_segments(points: np.ndarray, segments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances (..., S) in metres of points (..., 2) from segments (..., S, 2, 2), and where on them that is.

    The latter (..., S) goes from 0 at a segment's first end to 1 at its second.
    """
    start, along = segments[..., 0, :], segments[..., 1, :] - segments[..., 0, :]
    offset = points[..., None, :] - start
    squared = np.maximum((along**2).sum(axis=-1), 1e-18)
    share = np.clip((offset * along).sum(axis=-1) / squared, 0.0, 1.0)
    return np.linalg.norm(offset - share[..., None] * along, axis=-1), share


def distance_to_segments(points: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """Distances (..., S) in metres of points (..., 2) from segments (..., S, 2, 2), each given by its two ends."""
    return nearest_on_segments(points, segments)[0]


def crosses(start: np.ndarray, end: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """Whether moves from ``start`` (..., 2) straight to ``end`` (..., 2) cross any of the segments (..., S, 2, 2)."""
    one, other = segments[..., 0, :], segments[..., 1, :]
    start, end = start[..., None, :], end[..., None, :]
    changes_side = _side(one, other, start) * _side(one, other, end) < 0.0
    within = _side(start, end, one) * _side(start, end, other) <= 0.0
    return (changes_side & within).any(axis=-1)


def _side(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Twice the signed area of the triangle a, b, c."""
    ab, ac = b - a, c - a
    return ab[..., 0] * ac[..., 1] - ab[..., 1] * ac[..., 0]
