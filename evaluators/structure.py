"""Whether the floor that a clip is played on stays the floor, and the walls walls."""

from __future__ import annotations

import cv2
import numpy as np

from worldmodel.truth import Truth

MIN_STRUCTURE = 0.95
CHANGE = 0.5  # share of a pixel: smaller changes of a rim are no change of the floor


def floor_mask(truth: Truth) -> np.ndarray:
    """Pixels (H, W) bool of discs and channels, or of a maze's corridors, from the truth's maps.

    Raises:
        ValueError: the truth has the maps of neither.
    """
    maps = truth.maps
    if "node" in maps and "edge" in maps:
        return np.asarray((maps["node"] > 0) | (maps["edge"] > 0))
    if "wall" in maps:
        return np.asarray(maps["wall"] == 0)
    raise ValueError(
        f"truth.maps: got {', '.join(maps) or 'none'}, expected node and edge, or wall; record the clip again"
    )


def floor_shares(video: np.ndarray, truth: Truth) -> np.ndarray:
    """How much of each pixel (T, H, W), in 0..1, is as light as the true floor, and not as dark as its surroundings."""
    floor, luma = floor_mask(truth), _luma(truth.video[0])
    light, dark = np.median(luma[floor]), np.median(luma[~floor])
    return np.stack([np.clip((_luma(frame) - dark) / (light - dark), 0.0, 1.0) for frame in video])


def structure(seen: np.ndarray, true: np.ndarray, ignored: np.ndarray) -> np.ndarray:
    """Intersection over union (T,) of two floors, given by their shares (T or 1, H, W) of each pixel.

    A pixel is lost or gained where its share changes by more than ``CHANGE``; ``ignored``
    (T, H, W) bool ones are neither.
    """
    floor = (true >= 0.5) & ~ignored
    lost = floor & (true - seen > CHANGE)
    gained = ~floor & ~ignored & (seen - true > CHANGE)
    size = floor.sum(axis=(1, 2))
    return (size - lost.sum(axis=(1, 2))) / np.maximum(size + gained.sum(axis=(1, 2)), 1)


def _luma(frame: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32)
