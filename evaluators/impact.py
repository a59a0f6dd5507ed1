"""When a falling object lands and how fast it leaves, read off its tracked path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

AFTER = 2.3  # frames after landing that are explained; a second bounce comes soon
TOLERANCE = 0.02  # of the picture's height: a frame this far from the fitted path is not explained
SMALL_FALL = 0.2  # of the whole descent: the same for falls that are small in the picture
MIN_FALL = 0.02  # of the picture's height: what has not fallen this far has not fallen
MIN_JUMP = 0.4  # of the landing speed: what keeps more than the rest of it has not landed
MIN_GAIN = 1.0  # squared tolerances by which landing must explain the path better than going on
STEP = 0.02  # frames between candidate times
REACH = 0.75  # frames by which a refit may move the landing
REFITS = 3  # the frames to explain depend on the landing that they give


@dataclass(frozen=True)
class Landing:
    """The first landing of an object that started to fall from rest."""

    time: float  # s, in the clip
    start: float  # s, when the fall began
    restitution: float  # speed after over speed before, at least 0; a ratio of one path, so free of its units


def impact_time(path_px: np.ndarray, fps: float, picture_height_px: int) -> float:
    """Time in seconds at which an object dropped from rest at t = 0 first lands; nan if it never does."""
    found = find_landing(path_px, fps, picture_height_px)
    return float("nan") if found is None else found.time


def find_landing(
    path_px: np.ndarray, fps: float, picture_height_px: int, starts: Sequence[float] = (0.0,)
) -> Landing | None:
    """The first landing on a path, None if there is none.

    For each candidate time s, the path up to ``AFTER`` frames later is fitted as a fall from
    rest, v0 + a min(t, s)^2 / 2, that ends in rest or in a bounce, v0 + a t^2 / 2 + J max(t - s, 0).
    The candidate that explains most frames, sum of 1 - (residual / tolerance)^2, is the landing;
    its time is then the least-squares one for the frames up to it. It counts only if a path that
    never slows down explains the same frames clearly worse. The restitution is that of the
    bounce, -(a s + J) / (a s).

    Args:
        path_px: (T,) px, downward image coordinate of the centroid; nan where it is lost.
        fps: frames per second.
        picture_height_px: sets the tolerances.
        starts: s, times at which the fall may have begun; frames before it count as not explained.
    """
    path = np.asarray(path_px, dtype=np.float64)
    tolerance, min_fall = TOLERANCE * picture_height_px, MIN_FALL * picture_height_px
    best: tuple[float, _Path, float] | None = None
    for start in starts:
        fall = _Path(path, start * fps)
        if fall.times.size < 4 or fall.values.max() < min_fall:
            continue
        when = np.arange(1.0, len(path) - 2.0 - fall.start, STEP)
        score = fall.misfit(when, min_fall) / min(tolerance, SMALL_FALL * fall.values.max()) ** 2
        score = fall.count(when + AFTER) - score
        if np.isfinite(score.max(initial=-np.inf)) and (best is None or score.max() > best[0]):
            best = float(score.max()), fall, float(when[score.argmax()])
    if best is None:
        return None
    _, fall, landing = best
    when = np.arange(1.0, len(path) - 2.0 - fall.start, STEP)
    for _ in range(REFITS):
        before, last = landing, fall.count(np.array([landing + AFTER]))
        near = when[np.abs(when - landing) <= REACH]
        misfit = fall.misfit(near, min_fall, np.full(len(near), last[0]))
        landing = float(near[misfit.argmin()])
        if landing == before:
            break
    if fall.going_on(last[0]) - misfit.min() < MIN_GAIN * tolerance**2:
        return None
    (weights,), _ = fall.bounce(np.array([landing]), last)
    after, before = -(weights[1] * landing + weights[2]), weights[1] * landing
    return Landing((fall.start + landing) / fps, fall.start / fps, float(max(0.0, after / before)))


class _Path:
    """The part of a path after the start of a fall, with the sums that every least-squares fit of it is made of."""

    def __init__(self, path: np.ndarray, start: float) -> None:
        frames = np.arange(len(path), dtype=np.float64)
        seen = np.isfinite(path) & (frames >= start)
        self.start, self.times = start, frames[seen] - start  # frames
        self.values = path[seen] - path[seen][:1]
        self._t = [_cumulative(self.times**power) for power in range(5)]
        self._y = [_cumulative(self.values * self.times**power) for power in range(3)]
        self._yy = _cumulative(self.values**2)

    def count(self, when: np.ndarray) -> np.ndarray:
        """Number (K,) of seen frames up to and with each time."""
        return np.searchsorted(self.times, when, side="right")

    def misfit(self, when: np.ndarray, min_fall: float, last: np.ndarray | None = None) -> np.ndarray:
        """Smaller of the squared residuals (K,) of a bounce and of rest at each candidate; inf if it is no landing."""
        last = self.count(when + AFTER) if last is None else last
        first = self.count(when)
        enough = (last - first >= 2) & (first >= 2)
        best = np.full(len(when), np.inf)
        for fit in (self.bounce, self.rest):
            weights, misfit = fit(when, last)
            acceleration = weights[:, 1]
            landed = enough & (0.5 * acceleration * when**2 >= min_fall)
            if weights.shape[1] == 3:
                landed &= -weights[:, 2] >= MIN_JUMP * acceleration * when
            best = np.minimum(best, np.where(landed, misfit, np.inf))
        return best

    def bounce(self, when: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weights (K, 3) of 1, t^2 / 2 and max(t - s, 0), and squared residuals (K,), of the first ``last`` frames."""
        t, y, first, s = self._t, self._y, self.count(when), when
        n, t1, t2, t3 = (each[last] - each[first] for each in t[:4])
        y0, y1 = (each[last] - each[first] for each in y[:2])
        normal = np.empty((len(s), 3, 3))
        normal[:, 0, 0], normal[:, 0, 1], normal[:, 0, 2] = t[0][last], t[2][last] / 2, t1 - s * n
        normal[:, 1, 1], normal[:, 1, 2] = t[4][last] / 4, (t3 - s * t2) / 2
        normal[:, 2, 2] = t2 - 2 * s * t1 + s**2 * n
        right = np.stack([y[0][last], y[2][last] / 2, y1 - s * y0], axis=1)
        return _solve(normal, right, self._yy[last])

    def rest(self, when: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weights (K, 2) of 1 and min(t, s)^2 / 2, and squared residuals (K,), of the first ``last`` frames."""
        t, y, first, s = self._t, self._y, self.count(when), when
        n = t[0][last] - t[0][first]
        normal = np.empty((len(s), 2, 2))
        normal[:, 0, 0], normal[:, 0, 1] = t[0][last], (t[2][first] + s**2 * n) / 2
        normal[:, 1, 1] = (t[4][first] + s**4 * n) / 4
        right = np.stack([y[0][last], (y[2][first] + s**2 * (y[0][last] - y[0][first])) / 2], axis=1)
        return _solve(normal, right, self._yy[last])

    def going_on(self, last: int) -> float:
        """Squared residual of the best path with constant acceleration that never slows its descent."""
        t = self.times[:last]
        design = np.stack([np.ones_like(t), t, 0.5 * t**2], axis=1)
        for columns in (3, 2):
            weights = np.linalg.lstsq(design[:, :columns], self.values[:last])[0]
            if columns == 2 or weights[2] >= 0:
                break
        return float(((design[:, :columns] @ weights - self.values[:last]) ** 2).sum())


def _cumulative(terms: np.ndarray) -> np.ndarray:
    """Sums (n + 1,) of the first 0 to n terms."""
    return np.concatenate([[0.0], np.cumsum(terms)])


def _solve(normal: np.ndarray, right: np.ndarray, squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights (K, P) of the normal equations, of which the upper triangle is given, and squared residuals (K,)."""
    for row in range(1, normal.shape[1]):
        normal[:, row, :row] = normal[:, :row, row]
    weights = np.linalg.solve(normal + 1e-9 * np.eye(normal.shape[1]), right[..., None])[..., 0]
    misfit = squares - (2 * right * weights).sum(axis=1) + np.einsum("kp,kpq,kq->k", weights, normal, weights)
    return weights, np.maximum(misfit, 0.0)
