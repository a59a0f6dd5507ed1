"""Several attempts at one scene: how likely one of k is valid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from worldmodel.evaluators.aggregates import pass_at_k
from worldmodel.evaluators.intervals import Interval, bootstrap_mean


def valid_at_k(valid: Mapping[str, Sequence[bool]], k: int, rng: np.random.Generator) -> Interval:
    """Mean over scenes of the unbiased pass@k, with a 95 % interval from drawing scenes again.

    Args:
        valid: of each scene whether its attempts (one a seed, at least k) are valid.
        k: attempts of which one must be valid; 1 gives the share of valid clips.
        rng: for the bootstrap.

    Raises:
        ValueError: no scene, or one with fewer than k attempts.
    """
    if not valid:
        raise ValueError("valid: got no scene, expected at least one with its attempts; score some clips")
    short = [scene for scene, attempts in valid.items() if len(attempts) < k]
    if short:
        got = len(valid[short[0]])
        raise ValueError(
            f"valid: got {got} attempts at scene {short[0]}, expected at least k = {k}; roll out more seeds"
        )
    rates = [pass_at_k(successes=int(np.sum(each)), n=len(each), k=k) for each in valid.values()]
    return bootstrap_mean(np.array(rates, np.float64), rng)
