"""95 % intervals: of a rate from its counts, of a mean, median or IQM by drawing scenes again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from numbers import Integral

import numpy as np
from scipy.stats import beta

from worldmodel.evaluators.checks import check_values

RESAMPLES = 10_000
BLOCK = 500  # resamples worked on at a time, which bounds the memory
Z95 = 1.959963984540054  # 97.5 % quantile of the standard normal


@dataclass(frozen=True)
class Interval:
    """An estimate with the ends of its 95 % confidence interval."""

    value: float
    low: float
    high: float


def check_counts(**counts: int) -> None:
    """Refuse anything but whole numbers of at least 0."""
    if not all(isinstance(count, Integral) and count >= 0 for count in counts.values()):
        got = ", ".join(map(str, counts.values()))
        raise ValueError(f"{', '.join(counts)}: got {got}, expected whole numbers of at least 0; count again")


def check_successes(successes: int, n: int) -> None:
    """Refuse anything but 0 <= successes <= n with n >= 1."""
    check_counts(successes=successes, n=n)
    if n < 1 or successes > n:
        raise ValueError(f"successes, n: got {successes} of {n}, expected 0 <= successes <= n and n >= 1; count again")


def wilson(successes: int, n: int) -> Interval:
    """Proportion with Wilson's score interval, (p + z^2/2n +- z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)."""
    check_successes(successes, n)
    p, z = successes / n, Z95
    centre = p + z**2 / (2 * n)
    half = z * sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return Interval(p, max(0.0, (centre - half) / (1 + z**2 / n)), min(1.0, (centre + half) / (1 + z**2 / n)))


def clopper_pearson(successes: int, n: int) -> Interval:
    """Proportion with the exact interval, the Beta quantiles of Clopper and Pearson (1934).

    It covers at least 95 % of the time, so it is wider than ``wilson``; use it where nothing or all succeeded.
    """
    check_successes(successes, n)
    low = 0.0 if successes == 0 else float(beta.ppf(0.025, successes, n - successes + 1))
    high = 1.0 if successes == n else float(beta.ppf(0.975, successes + 1, n - successes))
    return Interval(successes / n, low, high)


def bootstrap_mean(values: np.ndarray, rng: np.random.Generator, clusters: np.ndarray | None = None) -> Interval:
    """Mean of (n,) values with a percentile bootstrap interval; ``clusters`` (n,) are drawn whole."""
    values, scene = _check_rows(values, clusters)
    size, total = np.bincount(scene).astype(np.float64), np.bincount(scene, weights=values)
    drawn = _draw(len(size), rng)
    low, high = np.percentile((drawn @ total) / (drawn @ size), [2.5, 97.5])
    return Interval(float(values.mean()), float(low), float(high))


def bootstrap_median(values: np.ndarray, rng: np.random.Generator, clusters: np.ndarray | None = None) -> Interval:
    """Median of (n,) values with a percentile bootstrap interval; ``clusters`` (n,) are drawn whole."""
    return _bootstrap_ordered(values, rng, clusters, _median)


def bootstrap_iqm(values: np.ndarray, rng: np.random.Generator, clusters: np.ndarray | None = None) -> Interval:
    """Interquartile mean (``iqm``) of (n,) values with a percentile bootstrap interval; clusters are drawn whole."""
    return _bootstrap_ordered(values, rng, clusters, _iqm)


def _check_rows(values: np.ndarray, clusters: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Values (n,) and the index (n,) of the scene of each."""
    values = check_values("values", values)
    labels = np.arange(len(values)) if clusters is None else np.asarray(clusters)
    if labels.shape != values.shape:
        raise ValueError(f"clusters: got shape {labels.shape}, expected {values.shape}; pass one label for each value")
    return values, np.unique(labels, return_inverse=True)[1]


def _draw(scenes: int, rng: np.random.Generator) -> np.ndarray:
    """How often each resample (R, scenes) has each scene, which is all that a statistic needs to know of it."""
    picks = rng.integers(scenes, size=(RESAMPLES, scenes)) + scenes * np.arange(RESAMPLES)[:, None]
    return np.bincount(picks.ravel(), minlength=picks.size).reshape(picks.shape).astype(np.float64)


def _bootstrap_ordered(
    values: np.ndarray,
    rng: np.random.Generator,
    clusters: np.ndarray | None,
    statistic: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> Interval:
    """Interval of a statistic of sorted values and of how many copies of each are among the first i."""
    values, scene = _check_rows(values, clusters)
    order = np.argsort(values, kind="stable")
    ordered, scene = values[order], scene[order]
    drawn = _draw(scene.max() + 1, rng).astype(np.int32)
    blocks = (drawn[start : start + BLOCK, scene] for start in range(0, RESAMPLES, BLOCK))
    estimates = np.concatenate([statistic(ordered, block.cumsum(axis=1, dtype=np.int32)) for block in blocks])
    low, high = np.percentile(estimates, [2.5, 97.5])
    (value,) = statistic(ordered, np.arange(1, len(values) + 1)[None])
    return Interval(float(value), float(low), float(high))


def _median(ordered: np.ndarray, upto: np.ndarray) -> np.ndarray:
    """Median of (n,) sorted values of which the first i + 1 occur ``upto[:, i]`` times, (R, n)."""
    total = upto[:, -1:]
    lower = (upto < (total + 1) // 2).sum(axis=1)
    upper = (upto < total // 2 + 1).sum(axis=1)
    return (ordered[lower] + ordered[upper]) / 2


def _iqm(ordered: np.ndarray, upto: np.ndarray) -> np.ndarray:
    """Mean without a quarter (rounded down) at either end, of values repeated as in ``_median``."""
    total = upto[:, -1:]
    cut = total // 4
    kept = np.diff(np.clip(upto, cut, total - cut), axis=1, prepend=cut)
    return kept @ ordered / (total - 2 * cut)[:, 0]
