"""Intervals and tests that the tables print; every random one takes the generator it uses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import comb, sqrt

import numpy as np
from scipy.stats import wilcoxon

from worldmodel.evaluators.checks import check_values

RESAMPLES = 10_000
Z95 = 1.959963984540054  # 97.5 % quantile of the standard normal


@dataclass(frozen=True)
class Interval:
    """An estimate with the ends of its 95 % confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class PairedDifference:
    """Differences a - b over the same n scenes; below zero where a is smaller."""

    n: int
    mean: Interval
    median: Interval
    hodges_lehmann: float  # median of the Walsh averages (d_i + d_j) / 2, i <= j
    wilcoxon_p: float  # two-sided signed-rank test; 1 if all differences are 0


def wilson(successes: int, n: int) -> Interval:
    """Proportion with Wilson's score interval, (p + z^2/2n +- z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)."""
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"successes, n: got {successes} of {n}, expected 0 <= successes <= n and n >= 1; count again")
    p, z = successes / n, Z95
    centre = p + z**2 / (2 * n)
    half = z * sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return Interval(p, max(0.0, (centre - half) / (1 + z**2 / n)), min(1.0, (centre + half) / (1 + z**2 / n)))


def bootstrap_mean(values: np.ndarray, rng: np.random.Generator, clusters: np.ndarray | None = None) -> Interval:
    """Mean of (n,) values with a percentile bootstrap interval; ``clusters`` (n,) are drawn whole."""
    return _bootstrap(values, rng, clusters, _mean)


def bootstrap_median(values: np.ndarray, rng: np.random.Generator, clusters: np.ndarray | None = None) -> Interval:
    """Median of (n,) values with a percentile bootstrap interval; ``clusters`` (n,) are drawn whole."""
    return _bootstrap(values, rng, clusters, _median)


def paired_difference(a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> PairedDifference:
    """Compare (n,) numbers of the same n scenes under two conditions; scenes are the resampled unit."""
    a, b = check_values("a", a), check_values("b", b)
    if len(a) != len(b):
        raise ValueError(f"b: got {len(b)} values, expected {len(a)} as in a; score both on the same scenes")
    d = a - b
    return PairedDifference(
        n=len(d),
        mean=bootstrap_mean(d, rng),
        median=bootstrap_median(d, rng),
        hodges_lehmann=hodges_lehmann(d),
        wilcoxon_p=float(wilcoxon(d).pvalue) if d.any() else 1.0,
    )


def hodges_lehmann(differences: np.ndarray) -> float:
    """Median of the Walsh averages (d_i + d_j) / 2, i <= j."""
    d = check_values("differences", differences)
    i, j = np.triu_indices(len(d))
    return float(np.median((d[i] + d[j]) / 2))


def mcnemar(only_a: int, only_b: int) -> float:
    """Exact two-sided p of ``only_a`` against ``only_b`` discordant pairs, min(1, 2 P(X <= min))."""
    if only_a < 0 or only_b < 0:
        raise ValueError(f"only_a, only_b: got {only_a}, {only_b}, expected counts of at least 0; count again")
    n = only_a + only_b
    return min(1.0, 2 * sum(comb(n, i) for i in range(min(only_a, only_b) + 1)) / 2**n)


def holm(p_values: list[float]) -> list[float]:
    """Holm's adjusted p values, max over j <= i of min(1, (m - j + 1) p_(j)), in the order given."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.maximum.accumulate(np.minimum(1.0, (len(p) - np.arange(len(p))) * p[order]))
    return adjusted[np.argsort(order, kind="stable")].tolist()


def _bootstrap(
    values: np.ndarray,
    rng: np.random.Generator,
    clusters: np.ndarray | None,
    statistic: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> Interval:
    values = check_values("values", values)
    labels = np.arange(len(values)) if clusters is None else np.asarray(clusters)
    if labels.shape != values.shape:
        raise ValueError(f"clusters: got shape {labels.shape}, expected {values.shape}; pass one label for each value")
    order = np.argsort(values, kind="stable")
    names, index = np.unique(labels[order], return_inverse=True)
    # How often each scene is drawn is all that a statistic needs to know of a resample.
    picks = rng.integers(len(names), size=(RESAMPLES, len(names))) + len(names) * np.arange(RESAMPLES)[:, None]
    drawn = np.bincount(picks.ravel(), minlength=picks.size).reshape(picks.shape).astype(np.float64)
    low, high = np.percentile(statistic(values[order], drawn[:, index]), [2.5, 97.5])
    (value,) = statistic(values[order], np.ones((1, len(values))))
    return Interval(float(value), float(low), float(high))


def _mean(ordered: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return counts @ ordered / counts.sum(axis=1)


def _median(ordered: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Median of (n,) sorted values repeated ``counts`` (R, n) times."""
    upto = counts.cumsum(axis=1)
    total = upto[:, -1:]
    lower = (upto < (total + 1) // 2).sum(axis=1)
    upper = (upto < total // 2 + 1).sum(axis=1)
    return (ordered[lower] + ordered[upper]) / 2
