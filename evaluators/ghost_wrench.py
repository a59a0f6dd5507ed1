"""Force on an object that nothing in the picture can exert, over its weight.

Inverse dynamics of one free body, m a = m g + f, has a closed form: what remains of the measured
acceleration when gravity is taken off, |a - g|, is the force a ghost must exert on each
kilogram. A MuJoCo model (``mj_inverse``) would add the contact forces that could explain it,
but needs the orientation in every frame, which imagined pictures do not give; so only stretches
are judged in which no contact is possible at all, and there the two agree.
"""

from __future__ import annotations

import numpy as np

from worldmodel.evaluators.falling import CLEAR, TrackedFall, TrueFall, runs

WINDOW = 5  # frames of a local quadratic, with which the error of a is 0.53 sigma fps^2
DOWN = np.array([0.0, 0.0, -1.0])
SHORTEST = 4  # where a flight has no more; 1.0 sigma fps^2


def ghost_wrench(tracked: TrackedFall, true_path: TrackedFall, fall: TrueFall, fps: float) -> float:
    """Unexplained force over weight, mean over all windows: max(0, |a - g| / g - ``CLEAR`` standard errors).

    A window is ``WINDOW`` frames (``SHORTEST`` where a stretch is no longer) in which nothing can
    touch the object; a is the least-squares one, in the plane across the line of sight. A window
    in which the true object flies and this one is lost counts 1: nothing carries its weight.

    Args:
        tracked: of the judged clip.
        true_path: the same of the true object, with no noise, which tells where it flies.
        fall: facts of the scene.
        fps: frames per second.

    Returns:
        nan where there is no window. 1 is an object that hangs in the air.
    """
    if fall.gravity <= 0:
        return float("nan")
    found = [
        _unexplained(tracked.position[window], tracked.sigma, fall.gravity, fps)
        for run in runs(tracked)
        for window in _windows(run)
        if tracked.time[window.start] >= fall.start - 1e-9
    ]
    lost = [
        1.0
        for run in runs(true_path)
        for window in _windows(run)
        if true_path.time[window.start] >= fall.start - 1e-9 and np.isnan(tracked.height[window]).any()
    ]
    return float(np.mean(found + lost)) if found or lost else float("nan")


def acceleration_sigma(sigma: float, n: int, fps: float) -> float:
    """Standard error of the acceleration of n points' quadratic, sigma fps^2 sqrt(720 / (n (n^2 - 1) (n^2 - 4)))."""
    return float(sigma * fps**2 * np.sqrt(720.0 / (n * (n**2 - 1) * (n**2 - 4))))


def _windows(run: slice) -> list[slice]:
    length = min(WINDOW, run.stop - run.start)
    if length < SHORTEST:
        return []
    return [slice(start, start + length) for start in range(run.start, run.stop - length + 1)]


def _unexplained(path: np.ndarray, sigma: float, gravity: float, fps: float) -> float:
    n = len(path)
    t = (np.arange(n) - (n - 1) / 2) / fps
    square = t**2 - np.mean(t**2)  # orthogonal to constant and linear motion
    acceleration = 2 * square @ path / (square @ square)
    ghost = np.linalg.norm(acceleration - gravity * DOWN)
    return max(0.0, float(ghost - CLEAR * acceleration_sigma(sigma, n, fps)) / gravity)
