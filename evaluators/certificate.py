"""The certificate: each metric is run on clips of known worth and must rank them as it declares.

Beside its own declarations every metric is held to one that needs no declaring: no control
may score better than the replay of the truth. Many controls leave alone what a metric measures;
they differ from the replay by what the tracker makes of a pixel's last bits, a hundred thousandth
of a pixel say, and of many scenes even that is significant. So better means by a digit that is printed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from worldmodel.evaluators.metrics import CONTROLS, Metric
from worldmodel.evaluators.statistics import Interval, bootstrap_mean

# Kind of clip -> one score a scene, in the same order; None where a scene has no such clip.
Scores = Mapping[str, Sequence[Mapping[str, Any] | None]]

MIN_COMMON = 0.5  # share of scenes that must have both numbers before one can be said to be better


@dataclass(frozen=True)
class Declaration:
    """One claim and whether it held.

    Attributes:
        strict: ``above`` must be better; otherwise it must not be worse by the last digit printed.
        n: scenes in which one of both clips has the number, a missing one being charged as the worst.
        difference: mean over the clips of how much better ``above`` scored, with its 95 % interval; scenes are
            drawn whole.
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


def certify(
    family: str,
    metrics: Sequence[Metric],
    scores: Scores,
    rng: np.random.Generator,
    scenes: Sequence[Any] | None = None,
) -> list[Declaration]:
    """Check every declaration of ``metrics`` on ``scores``.

    Args:
        family: as named in the declarations.
        metrics: whose declarations are checked.
        scores: of all kinds of clips, n of each.
        rng: draws the scenes of the intervals.
        scenes: (n,) which scene each clip shows, where several show one; each its own if None.

    Raises:
        ValueError: a kind of clip that a declaration names was not scored.
    """
    checked = []
    length = len(next(iter(scores.values()), []))
    labels = np.unique(np.arange(length) if scenes is None else np.asarray(scenes), return_inverse=True)[1]
    for metric in metrics:
        for above, below in metric.ranks:
            missing = [kind for kind in (above, below) if kind not in scores]
            if missing:
                raise ValueError(f"scores: got none of {missing[0]!r}, expected it for {metric.name}; score such clips")
            checked.append(_check(family, metric, above, below, scores, rng, labels, strict=True))
        if metric.better != "none":
            declared = {below for above, below in metric.ranks if above == "replay"}
            others = [kind for kind in scores if kind in CONTROLS and kind not in declared]
            checked += [_check(family, metric, "replay", kind, scores, rng, labels, strict=False) for kind in others]
    # What no clip of the family has a number of, such as revisits under a camera that stands, claims nothing.
    return [each for each in checked if each.strict or each.n > 0]


def _check(
    family: str,
    metric: Metric,
    above: str,
    below: str,
    scores: Scores,
    rng: np.random.Generator,
    scenes: np.ndarray,
    *,
    strict: bool,
) -> Declaration:
    pairs = zip(scores[above], scores[below], scenes, strict=True)
    both = [(a, b, scene) for a, b, scene in pairs if a is not None and b is not None]
    first, second = metric.goodness([a for a, _, _ in both]), metric.goodness([b for _, b, _ in both])
    exists = np.isfinite(first) | np.isfinite(second)
    first, second, shown = first[exists], second[exists], np.array([scene for _, _, scene in both])[exists]
    if not len(first):
        return Declaration(family, metric.name, above, below, strict, 0, np.nan, np.nan, np.nan, False)
    common = float((np.isfinite(first) & np.isfinite(second)).mean())
    # A number that does not exist for a clip is no excuse: it counts as the worst that was seen.
    worst = np.nanmin(np.concatenate([first, second]))
    better = np.nan_to_num(first, nan=worst) - np.nan_to_num(second, nan=worst)
    mean = _interval(better, rng, shown)
    holds = mean.low > 0 and common >= MIN_COMMON if strict else mean.value >= -metric.resolution
    n = len(np.unique(shown))
    return Declaration(family, metric.name, above, below, strict, n, mean.value, mean.low, mean.high, bool(holds))


def _interval(values: np.ndarray, rng: np.random.Generator, scenes: np.ndarray) -> Interval:
    """Mean and interval; of equal values there is nothing to draw."""
    if np.ptp(values) == 0.0:
        return Interval(*(float(values[0]),) * 3)
    return bootstrap_mean(values, rng, scenes)
