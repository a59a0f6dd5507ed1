"""Which pixels of a clip belong to the background, which of those stand still, and which truly change."""

from __future__ import annotations

import cv2
import numpy as np

from worldmodel.truth import Truth

CHANGE = 10.0  # grey levels of any channel by which a pixel must differ to have changed, as in Physics-IQ's motion mask

TEXTURE = 2.0  # grey levels per pixel: flatter pixels do not tell where they are


def background(truth: Truth) -> np.ndarray:
    """Pixels (T, H, W) bool outside every object's mask, which is widened by 1/64 of the height but at least 2 px."""
    return np.stack([~_widen(labels > 0) for labels in truth.segmentation])


def changed(video: np.ndarray) -> np.ndarray:
    """Pixels (T, H, W) bool that differ from the first frame of ``video`` (T, H, W, 3) uint8."""
    return np.stack([_strongest(cv2.absdiff(frame, video[0])) > CHANGE for frame in video])


def still(scenery: np.ndarray, changes: np.ndarray) -> np.ndarray:
    """Pixels (H, W) bool that are ``background`` in every frame and not near anything that has ``changed``.

    Arms and moving shadows are no objects of the segmentation, but they change the picture. Where
    the camera moves hardly a pixel is still.
    """
    return scenery.all(axis=0) & ~_widen(np.asarray(changes.any(axis=0)))


def slope(picture: np.ndarray) -> np.ndarray:
    """Length (H, W) of the brightness gradient of a grey picture (H, W), in grey levels per pixel."""
    return np.hypot(*(cv2.Sobel(picture, cv2.CV_32F, *order, scale=1 / 8) for order in ((1, 0), (0, 1))))


def _widen(mask: np.ndarray) -> np.ndarray:
    """A mask (H, W) bool grown by ``background``'s margin."""
    radius = max(2, round(len(mask) / 64))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return cv2.dilate(mask.view(np.uint8), kernel).view(bool)


def _strongest(image: np.ndarray) -> np.ndarray:
    """The largest channel (H, W) of an image (H, W, 3)."""
    red, green, blue = cv2.split(image)
    return cv2.max(cv2.max(red, green), blue)
