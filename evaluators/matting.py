"""How much of each pixel shows an object of known colour over a scene that stands still.

The scene without the object (the plate) is known, so the share of a pixel is a least-squares
fit of the two colours, and what neither explains counts against it.
"""

from __future__ import annotations

import cv2
import numpy as np

from worldmodel.truth import Truth

NEAR = np.ones((5, 5), np.uint8)  # px around an object that still show some of it
LEAST_CONTRAST = 60.0  # grey levels over all channels by which the object must differ from the plate

STRANGE = 0.5  # cost of what neither colour explains


def clean_plate(truth: Truth) -> np.ndarray:
    """The first true frame (H, W, 3) float32 without the object, which is taken from later frames or painted over."""
    plate = truth.video[0].copy()
    left = cv2.dilate(truth.mask[0].astype(np.uint8), NEAR).astype(bool)
    for frame, mask in zip(truth.video[1:], truth.mask[1:], strict=True):
        if not left.any():
            break
        seen = left & ~cv2.dilate(mask.astype(np.uint8), NEAR).astype(bool)
        plate[seen] = frame[seen]
        left &= ~seen
    if left.any():
        plate = cv2.inpaint(plate, left.astype(np.uint8), 3.0, cv2.INPAINT_TELEA)
    return plate.astype(np.float32)


def colour_of(video: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Colour (3,) float32 of an object: the median over the frames of the pixel nearest to the middle of its mask.

    The rim of a small object mixes with what lies behind; its middle does not.
    """
    middles = []
    for frame, mask in zip(video, masks, strict=True):
        rows, columns = np.nonzero(mask)
        if len(rows):
            nearest = np.hypot(rows - rows.mean(), columns - columns.mean()).argmin()
            middles.append(frame[rows[nearest], columns[nearest]])
    return np.median(middles, axis=0).astype(np.float32)


class Matte:
    """Shares of an object of one colour over one plate.

    For a pixel p over a plate b, with f the object's colour and d = f - b, the share is
    m = clip(<p - b, d> / |d|^2, 0, 1), less half of the unexplained |p - b - m d| / |d|, and at least 0.
    |d| is at least ``LEAST_CONTRAST``: where the plate looks like the object, nothing is found.
    """

    def __init__(self, plate: np.ndarray, colour: np.ndarray) -> None:
        self.plate = plate.astype(np.float32)  # (H, W, 3)
        self.step = colour.astype(np.float32) - self.plate
        self.length = np.maximum(np.sqrt(_dot(self.step, self.step)), LEAST_CONTRAST)

    def shares(self, frame: np.ndarray) -> np.ndarray:
        """Share (H, W) float32 in 0..1 of each pixel of ``frame`` (H, W, 3) uint8."""
        change = frame - self.plate
        share = np.clip(_dot(change, self.step) / self.length**2, 0.0, 1.0)
        rest = change - share[..., None] * self.step
        return np.maximum(share - STRANGE * np.sqrt(_dot(rest, rest)) / self.length, 0.0)


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("hwc,hwc->hw", a, b)
