"""One-line refusals of bad arrays, shared by the evaluators."""

from __future__ import annotations

import numpy as np


def check_video(name: str, video: np.ndarray) -> None:
    """Refuse anything but a (T, H, W, 3) uint8 video of at least two frames."""
    video = np.asarray(video)
    if video.ndim != 4 or video.shape[-1] != 3 or len(video) < 2:
        raise ValueError(f"{name}: got shape {video.shape}, expected (T >= 2, H, W, 3); pass one RGB video")
    if video.dtype != np.uint8:
        raise ValueError(f"{name}: got dtype {video.dtype}, expected uint8 in 0..255; scale, round and cast it")


def check_mask(name: str, mask: np.ndarray, shape: tuple[int, ...]) -> None:
    """Refuse anything but a bool mask of the given shape."""
    mask = np.asarray(mask)
    if mask.dtype != np.bool_:
        raise ValueError(f"{name}: got dtype {mask.dtype}, expected bool; threshold it first")
    if mask.shape != tuple(shape):
        raise ValueError(f"{name}: got shape {mask.shape}, expected {tuple(shape)}; render it at the video's size")


def check_values(name: str, values: np.ndarray) -> np.ndarray:
    """Refuse anything but a non-empty finite (n,) array; return it as float64."""
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or len(values) == 0:
        raise ValueError(f"{name}: got shape {values.shape}, expected (n >= 1,); pass one number for each scene")
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).sum())
        raise ValueError(f"{name}: got {bad} NaN or infinite values, expected none; charge or drop those scenes first")
    return values
