"""Does one model differ from another: shifts, tests, and their correction for a table of many."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy.stats import binomtest, boschloo_exact, wilcoxon

from worldmodel.evaluators.checks import check_values
from worldmodel.evaluators.intervals import Interval, bootstrap_mean, bootstrap_median, check_counts, check_successes

Scene = TypeVar("Scene", bound=Hashable)


@dataclass(frozen=True)
class PairedDifference:
    """Differences a - b over the same n scenes; below zero where a is smaller."""

    n: int
    mean: Interval
    median: Interval
    hodges_lehmann: float  # median of the Walsh averages (d_i + d_j) / 2, i <= j
    wilcoxon_p: float  # two-sided signed-rank test; 1 if all differences are 0


def pair_by_scene_and_seed(
    a: Mapping[tuple[Scene, int], float], b: Mapping[tuple[Scene, int], float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Line up two models' numbers by (scene, seed).

    Returns:
        Values of a (n,), values of b (n,) and their scene labels (n,), the ``clusters`` of the other functions.

    Raises:
        ValueError: if a pair is in only one of them; leaving such rows out would favour the model that fails more.
    """
    if a.keys() != b.keys():
        extra, lacking = len(b.keys() - a.keys()), len(a.keys() - b.keys())
        raise ValueError(
            f"b: got {extra} (scene, seed) pairs that a lacks and none for {lacking} of a's, expected the same pairs; "
            "score both on the same scenes and seeds"
        )
    names = list(dict.fromkeys(scene for scene, _ in a))
    number = {name: i for i, name in enumerate(names)}
    clusters = np.array([number[scene] for scene, _ in a], dtype=np.int64)
    return check_values("a", np.array(list(a.values()))), check_values("b", np.array([b[key] for key in a])), clusters


def paired_difference(
    a: np.ndarray, b: np.ndarray, rng: np.random.Generator, clusters: np.ndarray | None = None
) -> PairedDifference:
    """Compare (n,) numbers of the same rows under two conditions; the scene is the unit.

    Without ``clusters`` every row is a scene. With scene labels (n,), the differences of a scene's seeds are
    averaged first: seeds make a scene's number steadier and are no further scenes.
    """
    a, b = check_values("a", a), check_values("b", b)
    if len(a) != len(b):
        raise ValueError(f"b: got {len(b)} values, expected {len(a)} as in a; score both on the same scenes")
    d = a - b if clusters is None else _scene_means(a - b, np.asarray(clusters))
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
    """Exact two-sided p of ``only_a`` against ``only_b`` discordant pairs, min(1, 2 P(X <= min)).

    The pairs must be independent: one outcome a scene, not one a seed.
    """
    check_counts(only_a=only_a, only_b=only_b)
    return float(binomtest(only_a, only_a + only_b, 0.5).pvalue) if only_a + only_b else 1.0


def boschloo(*, successes_a: int, n_a: int, successes_b: int, n_b: int) -> float:
    """Exact two-sided p that two success rates on *different* scenes differ (Boschloo 1970).

    Twice the smaller one-sided p, never larger than twice Fisher's. For the same scenes use ``mcnemar``.
    """
    check_successes(successes_a, n_a)
    check_successes(successes_b, n_b)
    if successes_a + successes_b in (0, n_a + n_b):
        return 1.0
    table = [[successes_a, successes_b], [n_a - successes_a, n_b - successes_b]]
    return min(1.0, float(boschloo_exact(table).pvalue))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p values, max over j <= i of min(1, (m - j + 1) p_(j)), in the order given; [] of none."""
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(
            f"p_values: got {p.tolist()}, expected a list of numbers in 0..1; drop tests that were not run"
        )
    order = np.argsort(p, kind="stable")
    adjusted = np.maximum.accumulate(np.minimum(1.0, (len(p) - np.arange(len(p))) * p[order]))
    return adjusted[np.argsort(order, kind="stable")].tolist()


def _scene_means(values: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    if clusters.shape != values.shape:
        raise ValueError(
            f"clusters: got shape {clusters.shape}, expected {values.shape}; pass one label for each value"
        )
    scene = np.unique(clusters, return_inverse=True)[1]
    return np.bincount(scene, weights=values) / np.bincount(scene)
