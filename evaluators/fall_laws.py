"""Laws that hold between falls whatever their gravity, speed or size, and what must not matter.

All take times of many clips, which :func:`~worldmodel.evaluators.free_fall.score_free_fall` reads
off each (``impact_time_ms``). Lists may hold nan for a fall that never ends: such clips are left
out and counted, in ``lost``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from worldmodel.evaluators.intervals import Interval, wilson


@dataclass(frozen=True)
class Slope:
    """d y / d x over n points with its 95 % interval (Student), and how many were left out."""

    value: float
    low: float
    high: float
    n: int
    lost: int


@dataclass(frozen=True)
class InterventionEffect:
    """How what a model shows follows what physics does when one cause is changed."""

    slope: Slope  # of the shown change on the true one, ideal 1
    intercept: float  # in the unit of the changes, ideal 0: what changes though it should not
    sign_accuracy: Interval | None  # share of right directions where physics changes; None if it nowhere does


def root_height_slope(heights: np.ndarray, times: np.ndarray, clusters: np.ndarray | None = None) -> Slope:
    """Log-log slope of fall times on drop heights, 1/2 under any constant gravity, played at any one speed."""
    return log_log_slope(heights, times, clusters=clusters)


def height_ratio_error(heights: np.ndarray, times: np.ndarray) -> float:
    """Median over all pairs of falls of |(t1^2 / t2^2) / (h1 / h2) - 1|, 0 for any gravity and speed.

    The ratio test of gravity-eval (arXiv 2512.02016); the larger fall is the numerator. nan with
    fewer than two falls that end.

    Args:
        heights: (n,) in one unit, metres or pixels.
        times: (n,) in one unit, from rest to landing; nan for none.
    """
    h, t = _check(heights, times, "heights", "times")
    kept = np.isfinite(t) & (t > 0)
    h, t = h[kept], t[kept]
    one, other = np.triu_indices(len(h), 1)
    if not len(one):
        return float("nan")
    big, small = np.where(h[one] >= h[other], (one, other), (other, one))
    return float(np.median(np.abs((t[big] / t[small]) ** 2 / (h[big] / h[small]) - 1)))


def size_slope(scales: np.ndarray, times: np.ndarray, scenes: np.ndarray) -> Slope:
    """Log-log slope of fall times on a scene's size, within scenes, which are the clusters; ideal 1/2.

    A scene scaled by s about the camera has the same first frame and takes sqrt(s) as long, so
    this needs no prior on sizes: they are told (5 cm and 50 cm must differ by sqrt(10) = 3.16).
    """
    return log_log_slope(scales, times, scenes, scenes)


def mass_placebo(masses: np.ndarray, times: np.ndarray, scenes: np.ndarray) -> Slope:
    """Log-log slope of fall times on mass, within scenes, which are the clusters; ideal 0, mass changes no fall."""
    return log_log_slope(masses, times, scenes, scenes)


def log_log_slope(
    x: np.ndarray, y: np.ndarray, scenes: np.ndarray | None = None, clusters: np.ndarray | None = None
) -> Slope:
    """Least-squares slope of ln y on ln x; with ``scenes`` (n,) labels, each scene has its own level.

    With ``clusters`` (n,) labels, points of one cluster, such as samples of one clip, are not independent: the interval
    has the cluster-robust standard error (CR1) and Student's t of the number of clusters less one. nan where x does not
    vary or fewer than one degree of freedom is left for the interval.
    """
    x, y = _check(x, y, "x", "y")
    if not (x > 0).all():
        raise ValueError(f"x: got {x.min():g}, expected numbers above 0; a logarithm is taken")
    kept = np.isfinite(y) & (y > 0)
    labels = np.zeros(len(x), dtype=int) if scenes is None else np.unique(scenes, return_inverse=True)[1]
    for name, given in (("scenes", labels), ("clusters", clusters)):
        if given is not None and len(given) != len(x):
            raise ValueError(f"{name}: got {len(given)} labels, expected {len(x)}; give each time its own")
    own = None if clusters is None else np.asarray(clusters)[kept]
    return _slope(np.log(x[kept]), np.log(y[kept]), labels[kept], int((~kept).sum()), own)


def intervention_effect(shown: np.ndarray, true: np.ndarray, clusters: np.ndarray | None = None) -> InterventionEffect:
    """Change of a quantity that a model shows against the true one, over n interventions.

    Args:
        shown: (n,) difference between two imagined clips, such as of their landing times, when
            gravity, restitution, friction or a hidden support is changed; nan where one has none.
        true: (n,) the same in MuJoCo.
        clusters: (n,) labels of what is not independent, see :func:`log_log_slope`.
    """
    shown, true = np.asarray(shown, np.float64), np.asarray(true, np.float64)
    if shown.ndim != 1 or shown.shape != true.shape or not np.isfinite(true).all():
        raise ValueError(f"true: got shape {true.shape} for shown {shown.shape}, expected n finite numbers for n")
    kept = np.isfinite(shown)
    own = None if clusters is None else np.asarray(clusters)[kept]
    slope = _slope(true[kept], shown[kept], np.zeros(int(kept.sum()), int), int((~kept).sum()), own)
    changes = true != 0
    right = int((np.sign(shown[changes & kept]) == np.sign(true[changes & kept])).sum())
    return InterventionEffect(
        slope,
        float(shown[kept].mean() - slope.value * true[kept].mean()) if kept.any() else float("nan"),
        wilson(right, int(changes.sum())) if changes.any() else None,
    )


def _slope(x: np.ndarray, y: np.ndarray, labels: np.ndarray, lost: int, clusters: np.ndarray | None) -> Slope:
    counts = np.maximum(np.bincount(labels, minlength=1), 1)
    x, y = (each - (np.bincount(labels, each, minlength=1) / counts)[labels] for each in (x, y))
    spread, n = float(x @ x), len(x)
    if spread <= 1e-12:
        return Slope(np.nan, np.nan, np.nan, n, lost)
    value = float(x @ y / spread)
    rest = y - value * x
    if clusters is None:
        freedom = n - len(np.unique(labels)) - 1
        variance = (rest**2).sum() / max(freedom, 1) / spread
    else:
        own = np.unique(clusters, return_inverse=True)[1]
        freedom = int(own.max())
        # Levels of scenes within clusters cost no more freedom than the clusters do.
        together = (np.bincount(own, x * rest) ** 2).sum() * (n - 1) / max(n - 2, 1)
        variance = together * (freedom + 1) / max(freedom, 1) / spread**2
    half = float(student.ppf(0.975, freedom) * np.sqrt(variance)) if freedom > 0 else np.nan
    return Slope(value, value - half, value + half, n, lost)


def _check(x: np.ndarray, y: np.ndarray, name: str, other: str) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.ndim != 1 or x.shape != y.shape or not np.isfinite(x).all():
        raise ValueError(f"{name}: got shape {x.shape} for {other} {y.shape}, expected n finite numbers for n times")
    return x, y
