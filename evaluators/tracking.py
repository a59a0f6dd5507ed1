"""One tracker for true and imagined video: a uniformly coloured object before a static camera."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from worldmodel.evaluators.checks import check_mask, check_video

SEED = 0.45  # membership that starts a region
GROW = 0.2  # membership that continues it
MIN_AREA = 0.25  # of the first frame's soft area: below, the object is lost
MAX_AREA = 4.0  # of the first frame's soft area: above, colour has flooded the picture
MIN_CHROMA = 12.0  # grey levels by which the object's colour must differ from the background's
HUE_PENALTY = 0.5  # cost of chroma across the object's own, so that other colours do not count


@dataclass(frozen=True)
class Tracks:
    """One object over T frames; pixel (row i, column j) is centred at (u, v) = (j + 0.5, i + 0.5)."""

    centroid: np.ndarray  # (T, 2) px, (u, v) of the visible part; nan where lost
    detected: np.ndarray  # (T,) bool
    area: np.ndarray  # (T,) px, sum of memberships; 0 where lost
    box: np.ndarray  # (T, 4) px, (u0, v0, u1, v1) outer edges; nan where lost
    mask: np.ndarray  # (T, H, W) bool, membership of at least one half; empty where lost

    def __len__(self) -> int:
        return len(self.detected)


@dataclass(frozen=True)
class _Appearance:
    """The object's colour against the background, learned from the first frame."""

    direction: np.ndarray  # (3,) unit chroma of the object
    background: np.ndarray  # (H, W, 3) chroma of the scene without the object
    strength: float  # grey levels, typical chroma of the object along its direction


def track(video: np.ndarray, first_mask: np.ndarray, first_frame: np.ndarray | None = None) -> Tracks:
    """Follow an object through a video, by the colour it has in a first frame.

    Args:
        video: (T, H, W, 3) uint8, true or imagined.
        first_mask: (H, W) bool, the object in the first frame.
        first_frame: (H, W, 3) uint8, the picture the mask belongs to; frame 0 of the video when
            left out. Imagined videos should give the true one, their own may have lost the object.
    """
    check_video("video", video)
    check_mask("first_mask", first_mask, video.shape[1:3])
    first = video[0] if first_frame is None else np.asarray(first_frame)
    if first.shape != video.shape[1:] or first.dtype != np.uint8:
        raise ValueError(
            f"first_frame: got {first.dtype} {first.shape}, expected uint8 {video.shape[1:]}; pass the given frame"
        )
    if not first_mask.any():
        raise ValueError("first_mask: got no pixel, expected the object in frame 0; pass MuJoCo's mask of that frame")
    looks = _learn(first, first_mask)
    reference = float(_membership(first, looks)[first_mask].sum())
    return _collect([_region(_membership(frame, looks), reference) for frame in video], first_mask.shape)


def _chroma(image: np.ndarray) -> np.ndarray:
    """Colour (..., 3) with its grey part removed: shadows and shading only scale it."""
    image = image.astype(np.float32)
    return image - image.mean(axis=-1, keepdims=True)


def _learn(image: np.ndarray, mask: np.ndarray) -> _Appearance:
    # Pixels on the rim mix both colours and belong to neither.
    rim = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8))
    core = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    core = core if core.sum() >= 5 else mask
    filled = cv2.inpaint(image, rim, 3.0, cv2.INPAINT_TELEA)
    background = _chroma(cv2.GaussianBlur(filled, (5, 5), 0))
    colour = np.median((_chroma(image) - background)[core], axis=0)
    strength = float(np.linalg.norm(colour))
    if strength < MIN_CHROMA:
        raise ValueError(
            f"first_mask: got an object {strength:.1f} grey levels of chroma from its background, expected at least "
            f"{MIN_CHROMA:.0f}; use a coloured object, and a mask that belongs to the first frame"
        )
    return _Appearance(colour / strength, background, strength)


def _membership(image: np.ndarray, looks: _Appearance) -> np.ndarray:
    """Share (H, W) of each pixel that shows the object, 0 to about 1, before shading is removed."""
    difference = _chroma(image) - looks.background
    along = difference @ looks.direction
    across = np.linalg.norm(difference - along[..., None] * looks.direction, axis=-1)
    return np.maximum(along - HUE_PENALTY * across, 0.0) / looks.strength


def _region(membership: np.ndarray, reference: float) -> np.ndarray | None:
    """Soft object (H, W) in [0, 1] of one frame, or None when the object is lost; ``reference`` is its first area."""
    count, labels = cv2.connectedComponents((membership >= GROW).astype(np.uint8), connectivity=8)
    seeds = np.bincount(labels[membership >= SEED], minlength=count)
    weights = np.bincount(labels.ravel(), weights=membership.ravel(), minlength=count)
    weights[(seeds == 0) | (np.arange(count) == 0)] = 0.0
    if not MIN_AREA * reference <= weights.max() <= MAX_AREA * reference:
        return None
    region = (labels == weights.argmax()).astype(np.uint8)
    region = cv2.dilate(region, np.ones((3, 3), np.uint8))
    # A lit face has more chroma than one in shade; dividing by the neighbourhood's strongest
    # value leaves how much of the pixel is object, which is what a centroid weighs.
    shading = np.maximum(cv2.dilate(membership * region, np.ones((3, 3), np.uint8)), SEED)
    return np.clip(membership * region / shading, 0.0, 1.0)


def _collect(found: list[np.ndarray | None], shape: tuple[int, int]) -> Tracks:
    frames = len(found)
    centroid, box = np.full((frames, 2), np.nan), np.full((frames, 4), np.nan)
    area, mask = np.zeros(frames), np.zeros((frames, *shape), dtype=bool)
    v, u = np.indices(shape) + 0.5
    for t, soft in enumerate(found):
        if soft is None:
            continue
        area[t] = soft.sum()
        centroid[t] = (soft * u).sum() / area[t], (soft * v).sum() / area[t]
        mask[t] = soft >= 0.5
        rows, columns = np.flatnonzero(mask[t].any(axis=1)), np.flatnonzero(mask[t].any(axis=0))
        box[t] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return Tracks(centroid, area > 0, area, box, mask)
