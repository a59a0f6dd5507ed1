"""Videos of known worth for scenes that a camera moves through: a world without depth, and one that is forgotten."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from worldmodel.evaluators.checks import check_video
from worldmodel.truth import Camera


def flat(video: np.ndarray, depth: np.ndarray, cameras: Sequence[Camera]) -> np.ndarray:
    """The first frame of ``video`` (T, H, W, 3) uint8, moved by its cameras as if it were a picture on a wall.

    Args:
        video: of which only the first frame is used.
        depth: (H, W) m of that frame; the wall stands, upright to the first view, at its median.
        cameras: T cameras, one a frame.
    """
    check_video("video", video)
    size = video.shape[2], video.shape[1]
    maps = [plane_homography(float(np.median(depth)), cameras[0], camera) for camera in cameras]
    frames = [
        cv2.warpPerspective(video[0], matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for matrix in maps
    ]
    return np.stack(frames)


def plane_homography(depth: float, camera: Camera, later: Camera) -> np.ndarray:
    """Homography (3, 3) of pixel indices from one camera to a later one, of the plane at a depth in m of the first."""
    relative = later.world_to_camera @ np.linalg.inv(camera.world_to_camera)
    rotation, translation = relative[:3, :3], relative[:3, 3]
    plane = rotation + np.outer(translation, (0.0, 0.0, 1.0 / depth))
    centres = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])  # of pixels, from their indices
    onto = later.intrinsics @ plane @ np.linalg.inv(camera.intrinsics)
    return np.asarray(np.linalg.inv(centres) @ onto @ centres)


def forgotten(video: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The first half of ``video`` (T, H, W, 3) uint8, then another scene's: what was left behind has changed."""
    check_video("video", video)
    check_video("other", other)
    if other.shape != video.shape:
        raise ValueError(f"other: got shape {other.shape}, expected {video.shape}; take a clip of the same store")
    half = len(video) // 2
    return np.concatenate([video[:half], other[half:]])
