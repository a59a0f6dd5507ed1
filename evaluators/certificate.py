"""The certificate: each metric is run on clips of known worth and must rank them as it declares.

Beside its own declarations every metric is held to one that needs no declaring: no control
may score better than the replay of the truth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from worldmodel.evaluators.metrics import CONTROLS, Metric
from worldmodel.evaluators.statistics import bootstrap_mean

# Kind of clip -> one score a scene, in the same order; None where a scene has no such clip.
Scores = Mapping[str, Sequence[Mapping[str, Any] | None]]

MIN_COMMON = 0.5  # share of scenes that must have both numbers before one can be said to be better


@dataclass(frozen=True)
class Declaration:
    """One claim and whether it held.

    Attributes:
        strict: ``above`` must be better; otherwise it must not be worse.
        n: scenes in which one of both clips has the number, a missing one being charged as the worst.
        difference: mean over the scenes of how much better ``above`` scored, with its 95 % interval.
    """

    family: str
    metric: str
    above: str
    below: str
    strict: bool
    n: int
    difference: float
    low: float
    high: float
    holds: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def certify(family: str, metrics: Sequence[Metric], scores: Scores, rng: np.random.Generator) -> list[Declaration]:
    """Check every declaration of ``metrics`` on ``scores``.

    A metric that a declaration names but that was not scored on one of its kinds is a failure
    of the caller and is refused.
    """
    checked = []
    for metric in metrics:
        for above, below in metric.ranks:
            missing = [kind for kind in (above, below) if kind not in scores]
            if missing:
                raise ValueError(f"scores: got none of {missing[0]!r}, expected it for {metric.name}; score such clips")
            checked.append(_check(family, metric, above, below, scores, rng, strict=True))
        if metric.better != "none":
            declared = {below for above, below in metric.ranks if above == "replay"}
            others = [kind for kind in scores if kind in CONTROLS and kind not in declared]
            checked += [_check(family, metric, "replay", kind, scores, rng, strict=False) for kind in others]
    return checked


def _check(
    family: str, metric: Metric, above: str, below: str, scores: Scores, rng: np.random.Generator, *, strict: bool
) -> Declaration:
    both = [(a, b) for a, b in zip(scores[above], scores[below], strict=True) if a is not None and b is not None]
    first, second = metric.goodness([a for a, _ in both]), metric.goodness([b for _, b in both])
    exists = np.isfinite(first) | np.isfinite(second)
    first, second = first[exists], second[exists]
    if not len(first):
        return Declaration(family, metric.name, above, below, strict, 0, np.nan, np.nan, np.nan, not strict)
    common = float((np.isfinite(first) & np.isfinite(second)).mean())
    # A number that does not exist for a clip is no excuse: it counts as the worst that was seen.
    worst = np.nanmin(np.concatenate([first, second]))
    better = np.nan_to_num(first, nan=worst) - np.nan_to_num(second, nan=worst)
    mean = bootstrap_mean(better, rng)
    holds = mean.low > 0 and common >= MIN_COMMON if strict else mean.high >= 0
    return Declaration(
        family, metric.name, above, below, strict, len(better), mean.value, mean.low, mean.high, bool(holds)
    )
