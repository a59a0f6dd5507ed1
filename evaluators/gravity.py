"""Gravity as a clip shows it, with its standard error, and how precise one fall can be.

One fall gives g / alpha^2 only, alpha being how slowly the clip is played (> 1 is slow motion);
see :mod:`~worldmodel.evaluators.robot_clock` for alpha.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from worldmodel.evaluators.falling import TrackedFall, TrueFall, runs

FREE = 12.0 * np.sqrt(5.0)  # in the standard error of g with height and speed at the start unknown
KNOWN = 2.0 * np.sqrt(5.0)  # and known
# A single clip's g is told only if it is as precise as that of a drop of 1 m at 24 fps (11 frames in
# 0.4515 s) tracked to 1 cm a frame: 0.40 m/s^2.
PRECISE = FREE * 0.01 / (np.sqrt(11) * 2.0 / 9.81)
CAPPED = 1.0  # relative error that no fall at all has, and the largest


@dataclass(frozen=True)
class GravityFit:
    """z = z0 + v0 t - g t^2 / 2 through n heights."""

    gravity: float  # m/s^2, g / alpha^2; nan if n < 3
    standard_error: float  # m/s^2; from sigma or from the residuals, whichever is larger
    rmse: float  # m, of the residuals
    n: int


def rule_of_thumb(sigma: float, n: int, duration: float, *, known_start: bool = False) -> float:
    """Standard error of g in m/s^2 from n heights of standard error ``sigma`` m spread over ``duration`` s of a fall.

    12 sqrt(5) sigma / (sqrt(n) T^2) with start height and speed free, 2 sqrt(5) sigma / (sqrt(n) T^2)
    with both known; the limits of many frames.
    """
    return float((KNOWN if known_start else FREE) * sigma / (np.sqrt(n) * duration**2))


def fit_gravity(time: np.ndarray, height: np.ndarray, sigma: float) -> GravityFit:
    """Least squares with start height and speed free.

    Args:
        time: (n,) s.
        height: (n,) m.
        sigma: m, standard error of a height.
    """
    n = len(time)
    if n < 3:
        return GravityFit(np.nan, np.nan, np.nan, n)
    t = time - time.mean()
    design = np.stack([np.ones(n), t, -0.5 * t**2], axis=1)
    weights = np.linalg.lstsq(design, height)[0]
    squares = float(((design @ weights - height) ** 2).sum())
    spread = max(sigma, np.sqrt(squares / (n - 3)) if n > 3 else 0.0)
    unit = float(np.sqrt(np.linalg.inv(design.T @ design)[2, 2]))
    return GravityFit(float(weights[2]), unit * spread, float(np.sqrt(squares / n)), n)


def first_run(tracked: TrackedFall, start: float) -> slice:
    """The first stretch of at least 3 frames from ``start`` (s) on in which nothing touches the object."""
    for run in runs(tracked):
        first = max(run.start, int(np.ceil(start * (len(tracked.time) - 1) / tracked.time[-1] - 1e-6)))
        if run.stop - first >= 3:
            return slice(first, run.stop)
    return slice(0, 0)


def can_be_precise(flown: TrackedFall, fall: TrueFall) -> bool:
    """Whether the true fall, as an exact tracker would see it, allows a g of ``PRECISE``; from the sums of its fit."""
    if np.isnan(fall.start):
        return False
    run = first_run(flown, fall.start)
    fit = fit_gravity(flown.time[run], flown.height[run], flown.sigma)
    return bool(fit.n > 3 and fit.standard_error <= PRECISE)


def free_fall_deviation(tracked: TrackedFall, flown: TrackedFall, fall: TrueFall, lost: float) -> float:
    """Root mean square distance in metres from the best path under the true gravity, over the true fall's frames.

    Start place and velocity are free, so neither a shift nor a push counts; a frame in which the
    object is not found counts as ``lost`` metres. nan if the true fall, ``flown``, is in full view
    for fewer than 3 frames.
    """
    end = np.inf if np.isnan(fall.impact) else fall.impact
    falling = (flown.time >= fall.start - 1e-9) & (flown.time < end) & (flown.height >= fall.clear_height - 1e-6)
    if falling.sum() < 3:
        return float("nan")
    t = tracked.time[falling]
    path = tracked.position[falling] + (0.0, 0.0, 1.0) * (0.5 * fall.gravity * t**2)[:, None]
    seen = np.isfinite(path).all(axis=1)
    squares = np.full(len(t), lost**2)
    if seen.sum() >= 2:
        design = np.stack([np.ones(seen.sum()), t[seen]], axis=1)
        residual = path[seen] - design @ np.linalg.lstsq(design, path[seen])[0]
        squares[seen] = (residual**2).sum(axis=1)
    elif seen.any():
        squares[seen] = 0.0
    return float(np.sqrt(squares.mean()))
