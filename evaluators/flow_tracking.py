"""Trackers for objects without a colour of their own, from how the picture moves; no weights either.

Both return what :func:`~worldmodel.evaluators.tracking.track_objects` returns and take the same
arguments. Neither finds an object again once it is lost, so colour is the better choice where
there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np

from worldmodel.evaluators.tracking import Soft, Tracks, check_first, check_labels, collect

MAX_POINTS = 40  # followed on one object
MIN_POINTS = 3  # below, a similarity is not determined
MIN_SHARE = 0.3  # of the points: below, the object is lost
RETURN = 1.0  # px, by which a point followed there and back may miss its start
CHANGE = 30.0  # grey levels by which the object may look different from the first frame
MIN_AREA, MAX_AREA = 0.25, 4.0  # of the first frame's area
_LK: dict[str, Any] = {"winSize": (11, 11), "maxLevel": 3}


def track_by_points(
    video: np.ndarray,
    segmentation: np.ndarray,
    first_frame: np.ndarray | None = None,
    labels: Sequence[int] | None = None,
) -> tuple[Tracks, ...]:
    """Follow rigid parts, such as a robot's hand, by the corners that lie on them (pyramidal Lucas-Kanade).

    Points are followed from frame to frame, there and back. The similarity that explains most of
    them (RANSAC) moves the first mask; a part whose points do not come back, or which looks
    different from the first frame, is lost.
    """
    return _each_object(video, segmentation, first_frame, labels, _by_points)


def track_by_flow(
    video: np.ndarray,
    segmentation: np.ndarray,
    first_frame: np.ndarray | None = None,
    labels: Sequence[int] | None = None,
) -> tuple[Tracks, ...]:
    """Follow anything that moves by less than about its own size a frame, by dense flow (DIS; Kroeger et al. 2016).

    The mask of each frame is the one before, drawn along the flow; an object whose pixels look
    different from the first frame's is lost.
    """
    return _each_object(video, segmentation, first_frame, labels, _by_flow)


def _each_object(
    video: np.ndarray,
    segmentation: np.ndarray,
    first_frame: np.ndarray | None,
    labels: Sequence[int] | None,
    follow: Callable[[list[np.ndarray], list[np.ndarray], np.ndarray, np.ndarray], list[np.ndarray | None]],
) -> tuple[Tracks, ...]:
    wanted = check_labels(segmentation, labels)
    first = check_first("segmentation", video, np.asarray(segmentation) > 0, first_frame)
    frames = [first, *video]
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    found = []
    for label in wanted:
        mask = np.asarray(segmentation == label)
        shares = follow(grey, frames, mask, (np.asarray(segmentation) > 0) & ~mask)
        kept = [_plausible(share, float(mask.sum())) for share in shares]
        found.append(collect([None if share is None else Soft(0, 0, share) for share in kept], mask.shape))
    return tuple(found)


def _plausible(share: np.ndarray | None, area: float) -> np.ndarray | None:
    return share if share is not None and MIN_AREA * area <= share.sum() <= MAX_AREA * area else None


def _by_points(
    grey: list[np.ndarray], frames: list[np.ndarray], mask: np.ndarray, others: np.ndarray
) -> list[np.ndarray | None]:
    """Shares (H, W) of the object at ``mask`` in all frames but the first."""
    start = _corners(grey[0], mask, others)
    now, alive = start.copy(), np.ones(len(start), dtype=bool)
    found: list[np.ndarray | None] = []
    for before, after, frame in zip(grey, grey[1:], frames[1:], strict=False):
        moved, there, _ = cv2.calcOpticalFlowPyrLK(before, after, now, now.copy(), **_LK)
        back, again, _ = cv2.calcOpticalFlowPyrLK(after, before, moved, moved.copy(), **_LK)
        alive &= np.logical_and(there, again).ravel() & (np.linalg.norm(back - now, axis=2).ravel() <= RETURN)
        now = moved
        move = _similarity(start[alive], now[alive]) if alive.sum() >= max(MIN_POINTS, MIN_SHARE * len(start)) else None
        if move is None or _looks_different(frames[0], frame, mask, move):
            return found + [None] * (len(grey) - 1 - len(found))
        found.append(_warp(mask.astype(np.float32), move))
    return found


def _corners(grey: np.ndarray, mask: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Points (n, 1, 2) float32 px on an object's corners and outline, in OpenCV's coordinates."""
    # Where two objects meet, a corner belongs to neither.
    near = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    near &= ~cv2.dilate(others.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
    points = cv2.goodFeaturesToTrack(grey, MAX_POINTS, 0.01, 2, mask=near.astype(np.uint8), blockSize=3)
    if points is None or len(points) < MIN_POINTS:
        rows, columns = np.nonzero(mask)
        every = max(1, len(rows) // MAX_POINTS)
        points = np.stack([columns, rows], axis=1)[::every, None]
    return np.ascontiguousarray(points, dtype=np.float32)


def _similarity(start: np.ndarray, now: np.ndarray) -> np.ndarray | None:
    """The (2, 3) rotation, scale and shift that explains most points, or None."""
    cv2.setRNGSeed(0)
    move, _ = cv2.estimateAffinePartial2D(start, now, ransacReprojThreshold=0.5)
    return move


def _looks_different(first: np.ndarray, frame: np.ndarray, mask: np.ndarray, move: np.ndarray) -> bool:
    height, width = mask.shape
    seen = cv2.warpAffine(frame, move, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return _change(first[mask], seen[mask]) > CHANGE


def _by_flow(
    grey: list[np.ndarray], frames: list[np.ndarray], mask: np.ndarray, others: np.ndarray
) -> list[np.ndarray | None]:
    """As :func:`_by_points`; flow needs no corners, so the other objects do not matter."""
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow.setFinestScale(0)
    v, u = np.indices(mask.shape, dtype=np.float32)
    share, origin = mask.astype(np.float32), np.stack([u, v], axis=2)
    found: list[np.ndarray | None] = []
    for before, after, frame in zip(grey, grey[1:], frames[1:], strict=False):
        back = flow.calc(
            after, before, np.zeros((*after.shape, 2), np.float32)
        )  # from each pixel of this frame to where it was
        share = _draw(share, u + back[..., 0], v + back[..., 1])
        origin = _draw(origin, u + back[..., 0], v + back[..., 1])
        solid = share >= 0.5
        was = _draw(frames[0], origin[..., 0], origin[..., 1])
        if not solid.any() or _change(was[solid], frame[solid]) > CHANGE:
            return found + [None] * (len(grey) - 1 - len(found))
        found.append(share)
    return found


def _change(was: np.ndarray, now: np.ndarray) -> float:
    """Median over the pixels (n, 3) of their largest difference in a channel, in grey levels."""
    return float(np.median(np.abs(was.astype(np.float32) - now.astype(np.float32)).max(axis=1)))


def _warp(image: np.ndarray, move: np.ndarray) -> np.ndarray:
    return cv2.warpAffine(image, move, (image.shape[1], image.shape[0]), flags=cv2.INTER_LINEAR)


def _draw(image: np.ndarray, u: np.ndarray, v: np.ndarray) -> Any:
    """Bilinear values of an image at pixel coordinates; nothing comes in from outside."""
    return cv2.remap(image, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
