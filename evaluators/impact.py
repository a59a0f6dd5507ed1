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
ALIKE = 0.002  # of the picture's height, twice what the tracker is off: fits that differ by less are as good
STEP = 0.02  # frames between candidate times
FIRST_STEP = 0.1  # the same at first, when the landing is only placed
REACH = 0.75  # frames by which a refit may move the landing
REFITS = 3  # the frames to explain depend on the landing that they give


@dataclass(frozen=True)
class Landing:
    """The first landing of an object that started to fall from rest."""

    time: float  # s, in the clip
    start: float  # s, when the fall began
    restitution: float  # speed after over speed before, 0 at rest; a ratio of one path, so free of its units


def impact_time(path_px: np.ndarray, fps: float, picture_height_px: int) -> float:
    """Time in seconds at which an object dropped from rest at t = 0 first lands; nan if it never does."""
    found = find_landing(path_px, fps, picture_height_px)
    return float("nan") if found is None else found.time


def find_landing(
    path_px: np.ndarray, fps: float, picture_height_px: int, starts: Sequence[float] = (0.0,)
) -> Landing | None:
    """The first landing on one path (T,) px; see :func:`find_landings`."""
    return find_landings(np.asarray(path_px)[None], fps, picture_height_px, starts)[0]


def find_landings(
    paths_px: np.ndarray, fps: float, picture_height_px: int, starts: Sequence[float] = (0.0,)
) -> list[Landing | None]:
    """The first landing on each path, None where there is none.

    For each candidate time s, the path up to ``AFTER`` frames later is fitted as a fall from
    rest, v0 + a min(t, s)^2 / 2, that ends in rest or in a bounce, v0 + a t^2 / 2 + J max(t - s, 0).
    The candidate that explains most frames, sum of 1 - (residual / tolerance)^2, is the landing;
    its time is then the least-squares one for the frames up to it. It counts only if a path that
    never slows down explains the same frames clearly worse. The restitution is that of the
    bounce, -(a s + J) / (a s), and 0 where rest explains the frames as well.

    Args:
        paths_px: (N, T) px, downward image coordinates of N centroids; nan where they are lost.
        fps: frames per second.
        picture_height_px: sets the tolerances.
        starts: s, times at which the falls may have begun; frames before them count as not explained.
    """
    paths = np.asarray(paths_px, dtype=np.float64)
    tolerance, min_fall = TOLERANCE * picture_height_px, MIN_FALL * picture_height_px
    placed = _place([[_Path(path, start * fps) for start in starts] for path in paths], tolerance, min_fall)
    landings: list[Landing | None] = [None] * len(paths)
    for (index, fall, _), fit in zip(placed, _refit(placed, min_fall, (ALIKE * picture_height_px) ** 2), strict=True):
        if fall.going_on(fit.last) - fit.misfit >= MIN_GAIN * tolerance**2:
            restitution = 0.0 if fit.rests else max(0.0, fall.restitution(fit.landing, fit.last))
            landings[index] = Landing((fall.start + fit.landing) / fps, fall.start / fps, restitution)
    return landings


def _place(paths: list[list[_Path]], tolerance: float, min_fall: float) -> list[tuple[int, _Path, float]]:
    """Index, best start and rough landing, in frames after it, of each path that may land."""
    tried = [
        (index, fall)
        for index, path in enumerate(paths)
        for fall in path
        if fall.times.size >= 4 and fall.values.max() >= min_fall
    ]
    falls = [fall for _, fall in tried]
    when = [fall.candidates(FIRST_STEP) for fall in falls]
    explained = [fall.count(times + AFTER) for fall, times in zip(falls, when, strict=True)]
    best: dict[int, tuple[float, _Path, float]] = {}
    misfits = _misfits(falls, when, explained, min_fall)
    for (index, fall), times, count, misfit in zip(tried, when, explained, misfits, strict=True):
        score = count - misfit.min(axis=0) / min(tolerance, SMALL_FALL * fall.values.max()) ** 2
        most = float(score.max(initial=-np.inf))
        if np.isfinite(most) and (index not in best or most > best[index][0]):
            best[index] = most, fall, float(times[score.argmax()])
    return [(index, fall, landing) for index, (_, fall, landing) in best.items()]


@dataclass(frozen=True)
class _Fit:
    """The least-squares landing of one path."""

    landing: float  # frames after the start
    last: int  # number of frames that are explained
    misfit: float  # squared residual
    rests: bool  # whether rest explains them as well as a bounce


def _refit(placed: list[tuple[int, _Path, float]], min_fall: float, alike: float) -> list[_Fit]:
    """Least-squares landings; fits whose squared residuals differ by ``alike`` at most explain a path as well."""
    falls, landings = [fall for _, fall, _ in placed], [landing for _, _, landing in placed]
    grids = [fall.candidates(STEP) for fall in falls]
    near, last, misfits = grids, list[np.ndarray](), list[np.ndarray]()
    for _ in range(REFITS):
        near = [grid[np.abs(grid - landing) <= REACH] for grid, landing in zip(grids, landings, strict=True)]
        last = [fall.count(np.array([landing + AFTER])) for fall, landing in zip(falls, landings, strict=True)]
        explained = [count.repeat(len(times)) for count, times in zip(last, near, strict=True)]
        misfits = _misfits(falls, near, explained, min_fall)
        before = landings
        landings = [float(times[misfit.min(axis=0).argmin()]) for times, misfit in zip(near, misfits, strict=True)]
        if landings == before:
            break
    fits = []
    for times, count, misfit in zip(near, last, misfits, strict=True):
        resting = misfit[1].min()  # infinite where it cannot have landed
        rests = bool(np.isfinite(resting) and resting - misfit.min() <= alike)
        best = misfit[1] if rests else misfit.min(axis=0)
        fits.append(_Fit(float(times[best.argmin()]), int(count[0]), float(best.min()), rests))
    return fits


def _misfits(
    falls: list[_Path], when: list[np.ndarray], explained: list[np.ndarray], min_fall: float
) -> list[np.ndarray]:
    """Squared residuals, N of (2, K), of a bounce and of rest at each candidate; inf if it is no landing.

    Args:
        falls: N paths; all are fitted at once.
        when: N of (K,) candidates.
        explained: N of (K,) numbers of frames to explain.
        min_fall: px, that it must have fallen.
    """
    if not falls:
        return []
    counts = [fall.count(times) for fall, times in zip(falls, when, strict=True)]
    before, after = (
        np.concatenate([fall.sums.take(each, axis=1) for fall, each in zip(falls, upto, strict=True)], axis=1)
        for upto in (counts, explained)
    )
    first, last, times = (np.concatenate(each) for each in (counts, explained, when))
    enough = (last - first >= 2) & (first >= 2)
    misfits = np.empty((2, len(times)))
    for row, fit in zip(misfits, (_bounce, _rest), strict=True):
        weights, misfit = fit(times, before, after)
        acceleration = weights[1]
        landed = enough & (0.5 * acceleration * times**2 >= min_fall)
        if len(weights) == 3:
            landed &= -weights[2] >= MIN_JUMP * acceleration * times
        row[:] = np.where(landed, misfit, np.inf)
    return np.split(misfits, np.cumsum([len(each) for each in when])[:-1], axis=1)


class _Path:
    """The part of a path after the start of a fall, with the sums that every least-squares fit of it is made of."""

    def __init__(self, path: np.ndarray, start: float) -> None:
        frames = np.arange(len(path), dtype=np.float64)
        seen = np.isfinite(path) & (frames >= start)
        self.start, self.times = start, frames[seen] - start  # frames
        self.values = path[seen] - path[seen][:1]
        self._end = len(path) - 2.0 - start
        powers = self.times ** np.arange(5)[:, None]
        terms = np.concatenate([powers, self.values * powers[:3], self.values[None] ** 2])
        # Sums of the first 0 to n terms: of 1, t .. t^4, of y, y t, y t^2, and of y^2.
        self.sums = np.concatenate([np.zeros((len(terms), 1)), np.cumsum(terms, axis=1)], axis=1)

    def candidates(self, step: float) -> np.ndarray:
        """Times (K,) at which it may land."""
        return np.arange(1.0, self._end, step)

    def count(self, when: np.ndarray) -> np.ndarray:
        """Number (K,) of seen frames up to and with each time."""
        return np.searchsorted(self.times, when, side="right")

    def restitution(self, landing: float, last: int) -> float:
        """Speed after over speed before a bounce at a time, from the first ``last`` frames; negative if it falls on."""
        when = np.array([landing])
        before, after = self.sums[:, self.count(when)], self.sums[:, [last]]
        _, acceleration, jump = (float(weight[0]) for weight in _bounce(when, before, after)[0])
        return -(acceleration * landing + jump) / (acceleration * landing)

    def going_on(self, last: int) -> float:
        """Squared residual of the best path with constant acceleration that never slows its descent."""
        t = self.times[:last]
        design = np.stack([np.ones_like(t), t, 0.5 * t**2], axis=1)
        for columns in (3, 2):
            weights = np.linalg.lstsq(design[:, :columns], self.values[:last])[0]
            if columns == 2 or weights[2] >= 0:
                break
        return float(((design[:, :columns] @ weights - self.values[:last]) ** 2).sum())


def _bounce(when: np.ndarray, before: np.ndarray, after: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Weights (K,) of 1, t^2 / 2 and max(t - s, 0), and squared residuals (K,).

    Args:
        when: (K,) candidates s.
        before, after: (9, K) sums of a path over the frames up to s, and over all that are explained.
    """
    n, t1, t2, t3, _, y0, y1 = (after - before)[:7]
    normal = [
        [after[0], after[2] / 2, t1 - when * n],
        [after[4] / 4, (t3 - when * t2) / 2],
        [t2 - 2 * when * t1 + when**2 * n],
    ]
    return _solve(normal, [after[5], after[7] / 2, y1 - when * y0], after[8])


def _rest(when: np.ndarray, before: np.ndarray, after: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Weights (K,) of 1 and min(t, s)^2 / 2, and squared residuals (K,); arguments as of a bounce."""
    n, squared = after[0] - before[0], when**2
    normal = [[after[0], (before[2] + squared * n) / 2], [(before[4] + squared**2 * n) / 4]]
    right = [after[5], (before[7] + squared * (after[5] - before[5])) / 2]
    return _solve(normal, right, after[8])


def _solve(
    normal: list[list[np.ndarray]], right: list[np.ndarray], squares: np.ndarray
) -> tuple[list[np.ndarray], np.ndarray]:
    """Weights, P of (K,), of K systems of P normal equations, and squared residuals (K,).

    Solved by elimination, all K at once, which for few unknowns is many times faster than LAPACK.

    Args:
        normal: P rows of the upper triangle, each entry (K,).
        right: P right sides (K,).
        squares: (K,) sums of squared values.
    """
    number = len(right)
    rows = [[row[0] + 1e-9, *row[1:]] for row in normal]
    values = list(right)
    for i in range(number - 1):
        for j in range(i + 1, number):
            share = rows[i][j - i] / rows[i][0]
            rows[j] = [entry - share * rows[i][j - i + k] for k, entry in enumerate(rows[j])]
            values[j] = values[j] - share * values[i]
    weights: list[np.ndarray] = []  # the last unknown first
    for i in reversed(range(number)):
        known = sum((entry * w for entry, w in zip(rows[i][1:], reversed(weights), strict=True)), np.float64(0.0))
        weights.append((values[i] - known) / rows[i][0])
    weights.reverse()
    misfit = squares.copy()
    for i, (row, w) in enumerate(zip(normal, weights, strict=True)):
        twice = sum((2 * entry * other for entry, other in zip(row[1:], weights[i + 1 :], strict=True)), row[0] * w)
        misfit += w * (twice - 2 * right[i])
    return weights, np.maximum(misfit, 0.0)
