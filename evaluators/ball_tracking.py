"""Where a ball of known colour and size is in each frame of a flat scene seen from above, to a fraction of a pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from worldmodel.evaluators.matting import Matte, clean_plate, colour_of
from worldmodel.evaluators.tracking import Tracker
from worldmodel.truth import Truth

FOUND = 0.25  # of the ball's colour within a disc of its size: a ball
NEAR = 0.15  # enough where the ball can have come to from where it was last
SECOND = 0.4  # of it: a second ball
MAX_AREA = 4.0  # of the true ball's area: what is larger is no ball
FAINT = 0.1  # share of a pixel that is left out of centroids, as what a codec leaves behind
FASTER = 1.5  # times as far as the motor allows, and two pixels: where the ball can have come to
RING = np.ones((3, 3), np.uint8)


@dataclass(frozen=True)
class BallTrack:
    """One ball over T frames; pixel (row i, column j) is centred at (u, v) = (j + 0.5, i + 0.5)."""

    centroid: np.ndarray  # (T, 2) px, (u, v); nan where lost
    detected: np.ndarray  # (T,) bool
    area: np.ndarray  # (T,) px, sum of shares; 0 where lost
    doubled: np.ndarray  # (T,) bool, there is a second ball
    mask: np.ndarray  # (T, H, W) bool, pixels of the ball and of any second one, and those around them


def track_ball(video: np.ndarray, truth: Truth, reach: float) -> BallTrack:
    """Follow the ball of ``truth`` through ``video`` (T, H, W, 3) uint8, registered to the true first frame.

    A matched filter, the mean of the shares within a disc of the ball's size, finds it; of several
    balls the one nearest to where it was last is followed. ``reach`` is how many px it can move in a frame.
    """
    matte = Matte(clean_plate(truth), colour_of(truth.video, truth.mask))
    size = float(np.median(truth.mask.sum(axis=(1, 2))))
    kernel = _disc(np.sqrt(size / np.pi)) / size
    last, since = np.argwhere(truth.mask[0]).mean(axis=0) + 0.5, 0
    frames = len(video)
    centroid, area = np.full((frames, 2), np.nan), np.zeros(frames)
    doubled, mask = np.zeros(frames, bool), np.zeros(video.shape[:3], bool)
    for t, frame in enumerate(video):
        since += 1
        blobs = [each for each in _blobs(matte.shares(frame), kernel) if each.area <= MAX_AREA * size]
        away = [float(np.hypot(*(each.centre - last))) for each in blobs]
        possible = FASTER * reach * since + 2.0
        balls = [i for i, each in enumerate(blobs) if each.response >= FOUND or away[i] <= possible]
        if not balls:
            continue
        ball = min(balls, key=lambda i: away[i])
        others = [each for i, each in enumerate(blobs) if i != ball and each.response >= SECOND]
        last, since = blobs[ball].centre, 0
        centroid[t], area[t], doubled[t] = last[::-1], blobs[ball].area, bool(others)
        mask[t] = np.any([each.near for each in (blobs[ball], *others)], axis=0)
    return BallTrack(centroid, area > 0.0, area, doubled, mask)


def follow_ball(video: np.ndarray, truth: Truth, tracker: Tracker) -> BallTrack:
    """The same by another tracker, which follows one ball and so never sees a second."""
    (tracks,) = tracker(video, truth.segmentation[0], truth.video[0], [1])
    near = np.stack([cv2.dilate(mask.view(np.uint8), RING) > 0 for mask in tracks.mask])
    return BallTrack(tracks.centroid, tracks.detected, tracks.area, np.zeros(len(tracks), bool), near)


class _Blob(NamedTuple):
    response: float  # of the matched filter
    area: float  # px, sum of shares
    centre: np.ndarray  # (2,) px, (row, column)
    near: np.ndarray  # (H, W) bool, its pixels and those around them


def _blobs(shares: np.ndarray, kernel: np.ndarray) -> list[_Blob]:
    """Connected places of a frame (H, W) at which the matched filter answers with ``NEAR`` or more."""
    response = cv2.filter2D(shares, -1, kernel, borderType=cv2.BORDER_CONSTANT)
    count, labels = cv2.connectedComponents((response >= NEAR).view(np.uint8), connectivity=8)
    found = []
    for label in range(1, count):
        region = labels == label
        near = cv2.dilate(region.view(np.uint8), RING).view(bool)
        rows, columns = np.nonzero(near & (shares > FAINT))
        weights = shares[rows, columns].astype(np.float64) - FAINT
        if len(rows):
            centre = np.array([weights @ rows, weights @ columns]) / weights.sum() + 0.5
            found.append(_Blob(float(response[region].max()), float(shares[near].sum()), centre, near))
    return found


def _disc(radius: float) -> np.ndarray:
    """A disc of ``radius`` px as shares of pixels."""
    reach = np.arange(-np.ceil(radius), np.ceil(radius) + 1)
    return np.clip(radius + 0.5 - np.hypot(reach[:, None], reach), 0.0, 1.0).astype(np.float32)
