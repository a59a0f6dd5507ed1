"""How slowly a clip is played, from an arm in it whose true motion is known.

A fall alone gives g / alpha^2; the arm's motion gives alpha, so that wrong gravity and slow
motion are told apart. alpha is seconds of the clip for a second of the command: 2 is half speed.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.fft import irfft2, next_fast_len, rfft2

from worldmodel.evaluators.checks import check_mask, check_video
from worldmodel.evaluators.falling import GRIPPER, centroid_sigma_px
from worldmodel.evaluators.once import once_a_truth
from worldmodel.truth import Truth

SEARCH = 1 / 8  # of the picture's height, by which a part may move in a frame
CHANGE = 55.0  # grey levels, root mean square, by which a part may look different from the first frame
SLOWEST = 4.0  # alpha is sought from 1 / SLOWEST to SLOWEST
GRID = 401
MIN_MOTION_PX = 3.0  # of the true arm; below, it tells no time
PARALLAX = 0.02  # by which the surface that is seen may move more or less than the point that is commanded
MIN_SHARE = 0.5  # of the frames in which the true arm is found, in which that of a clip must be


@dataclass(frozen=True)
class Clock:
    """Playback factor of a clip."""

    alpha: float  # nan if the arm does not move as commanded at any speed
    log_error: float  # standard error of ln alpha


@dataclass(frozen=True)
class _TrueArm:
    """The gripper of a true clip, as far as it can be seen before what it holds."""

    mask: np.ndarray  # (H, W) bool, in the first frame
    path: np.ndarray  # (T, 2) px since the first frame, by the known camera
    share: float  # of the frames of the true video in which it is found
    own: Clock  # as it is read off the true video: how far the reading of this scene is off


def read_clock(video: np.ndarray, truth: Truth) -> Clock | None:
    """alpha of ``video`` (T, H, W, 3) from the gripper; None if that of the true clip does not move or tells none.

    It is taken relative to what the true video gives, as the surface that is followed is not the point that is
    commanded, and moves a little more or less.
    """
    arm = _true_arm(truth)
    if arm is None:
        return None
    if video is truth.video:  # as every evaluation begins
        return Clock(1.0, arm.own.log_error)
    seen = follow_part(video, arm.mask, truth.video[0])
    read = playback_factor(seen, arm.path, centroid_sigma_px(truth.camera.height), MIN_SHARE * arm.share)
    return Clock(read.alpha / arm.own.alpha, read.log_error)


@once_a_truth
def _true_arm(truth: Truth) -> _TrueArm | None:
    if GRIPPER not in truth.objects:
        return None
    arm = truth.objects.index(GRIPPER)
    mask = truth.segmentation[0] == arm + 1
    path = truth.camera.project(truth.position[:, arm])
    if not mask.any() or np.ptp(path, axis=0).max() < MIN_MOTION_PX:
        return None
    others = (truth.segmentation[0] > 0) & ~mask
    part = mask & ~_grow(others, 2)
    if not part.any():
        return None
    seen = follow_part(truth.video, part)
    share = float(np.isfinite(seen).all(axis=1).mean())
    own = playback_factor(seen, path - path[0], centroid_sigma_px(truth.camera.height), MIN_SHARE * share)
    return None if np.isnan(own.alpha) else _TrueArm(part, path - path[0], share, own)


def playback_factor(seen: np.ndarray, commanded: np.ndarray, sigma: float, min_share: float = MIN_SHARE) -> Clock:
    """The alpha with which k commanded(t / alpha) is nearest to what is seen, in least squares.

    k is 1 within ``PARALLAX``.

    Args:
        seen: (T, 2) shift since the first frame, nan where lost.
        commanded: (T, 2) the true one, at the same frame rate; it holds still after its end.
        sigma: standard error of ``seen``, in its unit.
        min_share: of the frames that must be seen for a clock at all.
    """
    frames = np.arange(len(seen), dtype=np.float64)
    known = np.isfinite(seen).all(axis=1)
    if known.mean() < min_share:
        return Clock(np.nan, np.nan)
    logs = np.linspace(-np.log(SLOWEST), np.log(SLOWEST), GRID)
    when = frames[known] / np.exp(logs)[:, None]
    expected = np.stack([np.interp(when, frames, axis) for axis in commanded.T], axis=2)
    prior = (sigma / PARALLAX) ** 2
    k = ((expected * seen[known]).sum(axis=(1, 2)) + prior) / ((expected**2).sum(axis=(1, 2)) + prior)
    squares = ((k[:, None, None] * expected - seen[known]) ** 2).sum(axis=(1, 2)) + prior * (k - 1) ** 2
    best = int(squares.argmin())
    if best in (0, GRID - 1):
        return Clock(np.nan, np.nan)
    step = logs[1] - logs[0]
    slope, curvature = (
        (squares[best + 1] - squares[best - 1]) / (2 * step),
        (squares[best + 1] - 2 * squares[best] + squares[best - 1]) / step**2,
    )
    if curvature <= 0:
        return Clock(np.nan, np.nan)
    variance = max(sigma**2, squares[best] / max(1, 2 * known.sum() - 1))
    return Clock(float(np.exp(logs[best] - slope / curvature)), float(np.sqrt(2 * variance / curvature)))


def follow_part(video: np.ndarray, mask: np.ndarray, first_frame: np.ndarray | None = None) -> np.ndarray:
    """Shift (T, 2) px, (u, v), of a part that moves without turning; nan where it is not found.

    The pixels of ``mask`` (H, W) bool and those around it are looked for near where they were
    last, by the sum of squared differences, to a fraction of a pixel.
    """
    check_video("video", video)
    check_mask("mask", mask, video.shape[1:3])
    first = video[0] if first_frame is None else np.asarray(first_frame)
    reach = max(4, int(np.ceil(SEARCH * len(mask))))
    part = _Part(first, _grow(mask, 1), reach)
    shifts, last = np.full((len(video), 2), np.nan), np.zeros(2, dtype=int)  # last is (row, column)
    for t, frame in enumerate(video):
        squares = part.difference(frame, last)
        row, column = divmod(int(squares.argmin()), squares.shape[1])
        if squares[row, column] > part.limit or not (0 < row < 2 * reach and 0 < column < 2 * reach):
            continue
        fine = _vertex(squares[:, column], row), _vertex(squares[row], column)
        shifts[t] = np.add(last[::-1], np.subtract(fine[::-1], reach))
        last = last + np.array([row - reach, column - reach])
    return shifts


class _Part:
    """Some pixels of a picture (H, W, 3) uint8, to be looked for in others within ``reach`` px.

    The sum over its pixels of (frame - part)^2 is that of frame^2, less twice the product of both,
    plus a constant; both sums are taken for all offsets at once by Fourier transforms.
    """

    def __init__(self, first: np.ndarray, inside: np.ndarray, reach: int) -> None:
        rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        self.reach = reach
        self.place = np.array([rows[0], columns[0]])
        self.box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        weight = inside[self.box].astype(np.float32)
        self.middle = np.float32(first[self.box][inside[self.box]].mean())  # smaller numbers are kept more exactly
        part = (first[self.box] - self.middle) * weight[..., None]
        self.limit = CHANGE**2 * 3 * weight.sum()
        self.constant = float((part**2).sum())
        self.window = tuple(length + 2 * reach for length in weight.shape)
        self.size = tuple(next_fast_len(length, real=True) for length in self.window)
        kernels = np.stack([*(-2 * np.moveaxis(part, -1, 0)), weight])
        self.spectrum = rfft2(kernels, self.size).conj()

    def difference(self, frame: np.ndarray, last: np.ndarray) -> np.ndarray:
        """Sums of squares (2 reach + 1, 2 reach + 1) at each offset from where the part was ``last``, (2,) px."""
        height, width = frame.shape[:2]
        # Beyond the edge a part is taken to go on, as an arm does that comes from outside.
        first = self.place - self.reach + last
        rows, columns = (
            np.clip(np.arange(start, start + length), 0, limit - 1)
            for start, length, limit in zip(first, self.window, (height, width), strict=True)
        )
        around = frame.take(rows, axis=0).take(columns, axis=1)
        layers = np.empty((4, *self.window), np.float32)
        for layer, channel in zip(layers, cv2.split(around), strict=False):
            np.subtract(channel, self.middle, out=layer)
        red, green, blue = layers[:3]
        layers[3] = red * red + green * green + blue * blue
        sums = irfft2((rfft2(layers, self.size) * self.spectrum).sum(axis=0), self.size)
        return sums[: 2 * self.reach + 1, : 2 * self.reach + 1] + self.constant


def _vertex(values: np.ndarray, lowest: int) -> float:
    """Where the parabola through the lowest value and its neighbours has its vertex."""
    left, middle, right = (float(values[lowest + side]) for side in (-1, 0, 1))
    bend = left - 2 * middle + right
    return lowest + (0.5 * (left - right) / bend if bend > 0 else 0.0)


def _grow(mask: np.ndarray, radius: int) -> np.ndarray:
    side = 2 * radius + 1
    return cv2.dilate(mask.astype(np.uint8), np.ones((side, side), np.uint8)).astype(bool)
