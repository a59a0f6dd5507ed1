"""What an object's colour says about each pixel: the share of it that shows the object.

Colours are compared without their grey part, against an estimate of the scene without its
objects, so that shadows, shading and a coloured background do not count.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

SEED = 0.45  # membership that starts a region
GROW = 0.2  # membership that continues it
MIN_CHROMA = 12.0  # grey levels by which the object's colour must differ from the background's
HUE_PENALTY = 0.5  # cost of chroma across the object's own, so that other colours do not count
NEIGHBOURS = np.ones((3, 3), np.uint8)


@dataclass(frozen=True)
class Appearance:
    """An object's colour against the background, learned from the first frame."""

    direction: np.ndarray  # (3,) float32, unit chroma of the object
    along: np.ndarray  # (3,) float32, the same, over the object's typical chroma in grey levels
    across: np.ndarray  # (3,) float32, perpendicular to it, HUE_PENALTY over the same
    background: np.ndarray  # (H, W) float32, the empty scene in ``along``
    background_across: np.ndarray  # (H, W) float32, the empty scene in ``across``


def empty_scene(image: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """Estimate (H, W, 3) uint8 of what ``image`` would show without the objects at ``covered`` (H, W) bool."""
    # Pixels on the rim mix both colours and belong to neither.
    rim = cv2.dilate(covered.astype(np.uint8), np.ones((5, 5), np.uint8))
    return np.asarray(cv2.GaussianBlur(cv2.inpaint(image, rim, 3.0, cv2.INPAINT_TELEA), (5, 5), 0))


def learn(image: np.ndarray, mask: np.ndarray, empty: np.ndarray, name: str) -> Appearance:
    """Colour of the object at ``mask`` (H, W) bool in ``image`` (H, W, 3) uint8.

    ``empty`` is the :func:`empty_scene`; ``name`` begins a refusal.
    """
    core = cv2.erode(mask.astype(np.uint8), NEIGHBOURS).astype(bool)
    core = core if core.sum() >= 5 else mask
    # Medians of the channels need not sum to zero.
    colour = _chroma(np.median(_chroma(image[core]) - _chroma(empty[core]), axis=0))
    strength = float(np.linalg.norm(colour))
    if strength < MIN_CHROMA:
        raise ValueError(
            f"{name}: got an object {strength:.1f} grey levels of chroma from its background, expected at least "
            f"{MIN_CHROMA:.0f}; use a coloured object, a mask that belongs to the first frame, or another tracker"
        )
    direction = colour / strength
    across = np.cross(direction, np.ones(3) / np.sqrt(3.0)).astype(np.float32)
    along, across = direction / np.float32(strength), across * np.float32(HUE_PENALTY / strength)
    background = empty.astype(np.float32)
    return Appearance(direction, along, across, _in(background, along), _in(background, across))


def membership(frame: np.ndarray, *looks: Appearance) -> list[np.ndarray]:
    """Share (H, W) float32 of each pixel of a frame that shows an object, before shading is removed; one for each.

    m = max(a - HUE_PENALTY |b|, 0) / strength, about 0 to 1, a and b being the chroma along and
    across the object's own that is not the background's.
    """
    pixels = frame.astype(np.float32)
    return [_membership(pixels, each) for each in looks]


def _membership(pixels: np.ndarray, looks: Appearance) -> np.ndarray:
    member, across = _in(pixels, looks.along), _in(pixels, looks.across)
    cv2.absdiff(across, looks.background_across, dst=across)
    member -= looks.background
    member -= across
    return np.maximum(member, 0.0, out=member)


def unshade(members: np.ndarray, region: np.ndarray) -> np.ndarray:
    """How much of each pixel (H, W) of a region is object, in 0..1.

    A lit face has more chroma than one in shade; dividing by the strongest membership of the
    neighbourhood leaves the share of the pixel, which is what a centroid weighs.
    """
    inside = members * cv2.dilate(region.astype(np.uint8), NEIGHBOURS)
    return np.minimum(inside / np.maximum(cv2.dilate(inside, NEIGHBOURS), SEED), 1.0)


def _chroma(image: np.ndarray) -> np.ndarray:
    """Colour (..., 3) float32 with its grey part removed."""
    image = image.astype(np.float32)
    return image - image.mean(axis=-1, keepdims=True)


def _in(pixels: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Chroma (H, W) float32 of (H, W, 3) float32 in a direction without grey part, so that grey falls out."""
    return cv2.transform(pixels, direction[None])  # several times as fast as NumPy's product
