"""Whether a static camera stayed static: each frame registered to the first true one by a similarity.

Corners are followed by Lucas-Kanade flow, a similarity is fitted with RANSAC, and the frame is
mapped back where it has moved, so that a small drift is not taken for a move of the object.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

MAX_RESIDUAL = 2.0  # px
MAX_GROWTH = 0.02  # change of scale
FEWEST, MOST = 4, 80  # corners
STILL = 0.25  # px: a smaller move of the corners is within the error of their flow
WINDOW = (9, 9)  # px, of the flow


@dataclass(frozen=True)
class Registration:
    """T frames mapped to the reference."""

    video: np.ndarray  # (T, H, W, 3) uint8, mapped back where they had moved
    residual_px: np.ndarray  # (T,) median distance of the corners from where the similarity puts them; inf: lost
    moved_px: np.ndarray  # (T,) mean distance by which the similarity moves the corners; inf where it is lost
    growth: np.ndarray  # (T,) scale - 1; inf where it is lost

    @property
    def held(self) -> np.ndarray:
        """Frames (T,) bool whose residual is up to ``MAX_RESIDUAL`` and whose scale changed by up to ``MAX_GROWTH``."""
        return (self.residual_px <= MAX_RESIDUAL) & (np.abs(self.growth) <= MAX_GROWTH)

    @property
    def most_moved_px(self) -> float:
        """The most that a similarity moves a frame after the first; nan where none fits."""
        moved = self.moved_px[1:][np.isfinite(self.moved_px[1:])]
        return float(moved.max()) if len(moved) else float("nan")


def register(video: np.ndarray, reference: np.ndarray, region: np.ndarray) -> Registration:
    """Map the frames of ``video`` (T, H, W, 3) uint8 to ``reference`` (H, W, 3) uint8.

    ``region`` (H, W) bool holds the pixels of the reference that stand still. A reference with
    fewer than ``FEWEST`` corners there says nothing: every frame counts as unmoved.
    """
    still = cv2.cvtColor(reference, cv2.COLOR_RGB2GRAY)
    corners = cv2.goodFeaturesToTrack(still, MOST, 0.05, 3.0, mask=region.astype(np.uint8))
    frames = len(video)
    if corners is None or len(corners) < FEWEST:
        return Registration(video, np.zeros(frames), np.zeros(frames), np.zeros(frames))
    mapped = video.copy()
    residual, moved, growth = (np.full(frames, np.inf) for _ in range(3))
    guess = corners.copy()
    for t, frame in enumerate(video):
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        found, status, _ = cv2.calcOpticalFlowPyrLK(
            still, grey, corners, guess.copy(), winSize=WINDOW, maxLevel=2, flags=cv2.OPTFLOW_USE_INITIAL_FLOW
        )
        warp = _similarity(corners[:, 0], found[:, 0], status[:, 0] == 1)
        if warp is None:
            guess = corners.copy()
            continue
        placed = corners[:, 0] @ warp[:, :2].T + warp[:, 2]
        distance = np.where(status[:, 0] == 1, np.linalg.norm(found[:, 0] - placed, axis=1), np.inf)
        residual[t] = np.median(distance)
        moved[t] = np.linalg.norm(placed - corners[:, 0], axis=1).mean()
        growth[t] = np.hypot(warp[0, 0], warp[1, 0]) - 1.0
        guess = placed[:, None].astype(np.float32)
        if moved[t] > STILL and residual[t] <= MAX_RESIDUAL:
            size = (frame.shape[1], frame.shape[0])
            mapped[t] = cv2.warpAffine(frame, warp, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return Registration(mapped, residual, moved, growth)


def _similarity(before: np.ndarray, after: np.ndarray, found: np.ndarray) -> np.ndarray | None:
    """Similarity (2, 3) from points (n, 2) to where they were ``found`` (n,); None unless half of all agree with it."""
    if found.sum() < FEWEST:
        return None
    warp, agree = cv2.estimateAffinePartial2D(before[found], after[found], ransacReprojThreshold=MAX_RESIDUAL)
    return warp if warp is not None and agree.sum() >= max(FEWEST, len(before) / 2) else None
