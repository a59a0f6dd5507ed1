"""Null videos that a world model has to beat: nothing moves, or everything goes straight on."""

from __future__ import annotations

import cv2
import numpy as np

from worldmodel.evaluators.checks import check_mask, check_video
from worldmodel.evaluators.tracking import track

MARGIN = np.ones((5, 5), np.uint8)  # px around the mask that still show some of the object


def frozen(video: np.ndarray) -> np.ndarray:
    """The first frame of ``video`` (T, H, W, 3) uint8, T times."""
    check_video("video", video)
    return np.repeat(video[:1], len(video), axis=0)


def linear_extrapolation(video: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """The object of frame 0 moved on at the velocity it has between the true frames 0 and 1.

    Args:
        video: (T, H, W, 3) uint8, true video.
        masks: (T, H, W) bool, the object's visible pixels, from which the empty scene is uncovered.

    Returns:
        (T, H, W, 3) uint8; an object that was not visible in frame 1 stays where it was.
    """
    empty = background(video, masks).astype(np.float32)
    tracks = track(video[:2], masks[0])
    velocity = tracks.centroid[1] - tracks.centroid[0] if tracks.detected.all() else np.zeros(2)
    near = cv2.GaussianBlur(cv2.dilate(masks[0].astype(np.uint8), MARGIN).astype(np.float32), (3, 3), 0)
    difference = (video[0].astype(np.float32) - empty) * near[..., None]
    frames = [empty + _shift(difference, t * velocity) for t in range(len(video))]
    return np.clip(np.rint(frames), 0, 255).astype(np.uint8)


def background(video: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """The scene (H, W, 3) uint8 without its object: median of the frames that do not show it there."""
    check_video("video", video)
    check_mask("masks", masks, video.shape[:3])
    covered = np.stack([cv2.dilate(mask.astype(np.uint8), MARGIN).astype(bool) for mask in masks])
    uncovered = np.where(covered[..., None], np.nan, video.astype(np.float32))
    never = np.asarray(covered.all(axis=0))
    uncovered[:, never] = 0.0
    empty = np.rint(np.nanmedian(uncovered, axis=0)).astype(np.uint8)
    return cv2.inpaint(empty, never.astype(np.uint8), 3.0, cv2.INPAINT_TELEA)


def _shift(image: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Image (H, W, 3) moved by (u, v) px, bilinear, black where nothing comes in."""
    matrix = np.array([[1.0, 0.0, offset[0]], [0.0, 1.0, offset[1]]], dtype=np.float32)
    return cv2.warpAffine(image, matrix, (image.shape[1], image.shape[0]), flags=cv2.INTER_LINEAR)
