"""Whether a place looks the same when the camera comes back to it."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from worldmodel.evaluators.fidelity import WINDOW, psnr_db, ssim_map
from worldmodel.truth import Camera

SAME_DEG, SAME_M = 0.5, 0.005  # two poses closer than this are one
AWAY = 10  # times as far: the camera has been elsewhere


def returns(cameras: Sequence[Camera]) -> list[tuple[int, int]]:
    """Pairs (i, j) of frames: at j the camera is back at the pose of frame i, having been away in between.

    Each return is paired with the first frame of its pose.
    """
    distances = _distances(cameras)
    pairs = []
    for j in range(len(cameras)):
        i = int(np.flatnonzero(distances[:, j] <= 1)[0])
        if i < j and distances[i, i:j].max() > AWAY:
            pairs.append((i, j))
    return pairs


def revisit_scores(video: np.ndarray, pairs: Sequence[tuple[int, int]], scenery: np.ndarray) -> tuple[float, float]:
    """Mean PSNR in dB and SSIM of the pairs of frames where both show scenery (T, H, W) bool; nan without a pair."""
    psnrs, ssims = [], []
    border = WINDOW // 2
    for i, j in pairs:
        both = scenery[i] & scenery[j]
        inside = both[border:-border, border:-border]
        if not inside.any():
            continue
        psnrs.append(psnr_db(video[i], video[j], both))
        first, second = (cv2.cvtColor(video[t], cv2.COLOR_RGB2GRAY) for t in (i, j))
        ssims.append(float(ssim_map(first, second)[inside].mean()))
    return (float(np.mean(psnrs)), float(np.mean(ssims))) if psnrs else (float("nan"), float("nan"))


def _distances(cameras: Sequence[Camera]) -> np.ndarray:
    """Between all pairs of poses (T, T), in units of what still counts as the same pose."""
    poses = np.stack([camera.world_to_camera for camera in cameras])
    rotation, translation = poses[:, :3, :3], poses[:, :3, 3]
    trace = np.einsum("aij,bij->ab", rotation, rotation)
    angle = np.degrees(np.arccos(np.clip((trace - 1) / 2, -1.0, 1.0)))
    centre = -np.einsum("aji,aj->ai", rotation, translation)
    apart = np.linalg.norm(centre[:, None] - centre[None], axis=-1)
    return np.maximum(angle / SAME_DEG, apart / SAME_M)
