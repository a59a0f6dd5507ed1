"""Many imagined falls from one first frame against the one that came, where the picture cannot tell the size.

A scene scaled by s about the camera looks the same and falls take sqrt(s) as long. What a model
should give from the first frame alone is therefore the push-forward of a prior on s, which has
to be printed beside its score: no model can be sharper and right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from worldmodel.evaluators.ensembles import central_coverage, crps
from worldmodel.evaluators.intervals import Interval

LEVELS = (0.5, 0.9)


@dataclass(frozen=True)
class ImpactDistribution:
    """How well n ensembles of m landing times foretell n landings."""

    crps: np.ndarray  # (n,) s
    prior_crps: np.ndarray  # (n,) s, of the push-forward of the prior: what the first frame allows
    skill: float  # 1 - mean crps / mean prior_crps: 0 for the prior's own, below it is worse
    coverage: dict[float, Interval | None]  # by level; None where there are too few members for it
    never: float  # share of members that never land
    n: int
    m: int


def prior_impact_times(time: float, scale: float, prior_scales: np.ndarray) -> np.ndarray:
    """Landing times (k,) s under the prior: a fall of ``time`` s at size ``scale`` takes time sqrt(s / scale) at s."""
    scales = np.asarray(prior_scales, np.float64)
    if not (scales > 0).all() or not scale > 0:
        raise ValueError(f"prior_scales: got {scales.min():g} and scale {scale:g}, expected sizes above 0")
    return time * np.sqrt(scales / scale)


def impact_distribution(
    members: np.ndarray, observed: np.ndarray, prior: np.ndarray, duration: float
) -> ImpactDistribution:
    """Score ensembles of landing times.

    Args:
        members: (n, m) s, one row a first frame, read off m rollouts of other seeds; nan for none.
        observed: (n,) s, the true ones; nan if the clip ends before.
        prior: (n, m) s, as many draws of :func:`prior_impact_times`; CRPS of other sizes do not compare.
        duration: s, of the clips; what lands later, or never, counts as landing at their end.
    """
    members, prior = np.asarray(members, np.float64), np.asarray(prior, np.float64)
    if members.ndim != 2 or members.shape != prior.shape:
        raise ValueError(f"prior: got shape {prior.shape} for members {members.shape}, expected the same (n, m)")
    never = float(np.isnan(members).mean())
    members, observed, prior = (
        np.minimum(np.where(np.isnan(times), duration, times), duration)
        for times in (members, np.asarray(observed, np.float64), prior)
    )
    scores, best = crps(members, observed), crps(prior, observed)
    coverage: dict[float, Interval | None] = {}
    for level in LEVELS:
        enough = members.shape[1] >= round(2 / (1 - level) - 1)
        coverage[level] = central_coverage(members, observed, level=level) if enough else None
    skill = float(1 - scores.mean() / best.mean()) if best.mean() > 0 else float("nan")
    return ImpactDistribution(scores, best, skill, coverage, never, *members.shape)
