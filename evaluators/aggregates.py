"""One number from many: interquartile mean, pass@k, skill between a null model and the ceiling."""

from __future__ import annotations

from math import comb

import numpy as np
from scipy.stats import trim_mean

from worldmodel.evaluators.checks import check_values
from worldmodel.evaluators.intervals import check_counts


def iqm(values: np.ndarray) -> float:
    """Interquartile mean of (n,) values: floor(n/4) are cut at either end (Agarwal et al., NeurIPS 2021)."""
    return float(trim_mean(check_values("values", values), 0.25))


def pass_at_k(*, successes: int, n: int, k: int) -> float:
    """Unbiased chance that one of k attempts succeeds, 1 - C(n - c, k) / C(n, k), from c of n (Chen et al. 2021).

    It is the share of the k-subsets of the n attempts with a success in them, for one scene.
    """
    check_counts(successes=successes, n=n, k=k)
    if successes > n or not 1 <= k <= n:
        raise ValueError(
            f"successes, n, k: got {successes} of {n} at {k}, expected successes <= n and 1 <= k <= n; "
            "roll out at least k attempts a scene"
        )
    return 1 - comb(n - successes, k) / comb(n, k)


def skill(*, model: np.ndarray | float, null: np.ndarray | float, ceiling: np.ndarray | float) -> np.ndarray:
    """Skill (x_null - x_model) / (x_null - x_ceiling): 0 as bad as the null model, 1 as good as can be measured.

    Args:
        model: numbers of the model, (n,) one a scene or one number.
        null: those of the best model without a model (frozen or linear), same shape or one number.
        ceiling: those of the true video through the same tracker, same shape or one number.

    Returns:
        Shape of the largest of them, not clipped: below 0 is worse than the null model. Pool it with ``iqm``.
    """
    arrays = {"model": model, "null": null, "ceiling": ceiling}
    numbers = {name: np.asarray(value, dtype=np.float64) for name, value in arrays.items()}
    length = max(array.size for array in numbers.values())
    for name, array in numbers.items():
        check_values(name, np.atleast_1d(array))
        if array.size not in (1, length):
            raise ValueError(f"{name}: got {array.size} values, expected {length} or one; score the same scenes")
    span = numbers["null"] - numbers["ceiling"]
    if not np.all(span):
        raise ValueError(
            f"null, ceiling: got {int((span == 0).sum())} equal pairs, expected none; skill does not exist there"
        )
    return (numbers["null"] - numbers["model"]) / span
