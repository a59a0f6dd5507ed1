"""How many scenes a difference would need, from the exact power of the tests that the tables print.

``alpha`` is for one two-sided test; for the smallest p of m tests under Holm pass 0.05 / m.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite, sqrt

import numpy as np
from scipy.stats import binom, nct, t

from worldmodel.counts import check_count
from worldmodel.evaluators.intervals import Z95

MOST_SCENES = 2**20


def mean_difference_power(*, scenes: int, difference: float, std: float, alpha: float = 0.05) -> float:
    """Chance that a paired t test finds a mean ``difference``, given the ``std`` of the differences (same unit).

    The noncentral t distribution with n - 1 degrees of freedom at sqrt(n) difference / std. For normal differences
    Wilcoxon's test needs about pi / 3 times as many scenes; for long tails it needs fewer.
    """
    _check_share("alpha", alpha)
    if scenes < 2:
        raise ValueError(f"scenes: got {scenes}, expected at least 2; a spread needs two")
    _check_effect(difference, std)
    shift, critical = sqrt(scenes) * abs(difference) / std, t.ppf(1 - alpha / 2, scenes - 1)
    return float(nct.sf(critical, scenes - 1, shift) + nct.cdf(-critical, scenes - 1, shift))


def scenes_for_mean_difference(*, difference: float, std: float, power: float = 0.8, alpha: float = 0.05) -> int:
    """Scenes with which a paired t test finds a mean ``difference`` with chance ``power``; see above for ``std``."""
    _check_share("power", power)
    return _first(
        2, lambda n: mean_difference_power(scenes=n, difference=difference, std=std, alpha=alpha) >= power, "difference"
    )


def mcnemar_power(*, scenes: int, only_a: float, only_b: float, alpha: float = 0.05) -> float:
    """Chance that the exact ``mcnemar`` test finds a difference between two success rates on the same scenes.

    Args:
        scenes: how many.
        only_a: chance that only a succeeds in a scene; the difference of the rates is only_a - only_b.
        only_b: chance that only b does.
        alpha: two-sided level.
    """
    _check_share("alpha", alpha)
    check_count("scenes", scenes)
    _check_discordant(only_a, only_b)
    discordant = np.arange(scenes + 1)
    # The largest count of the rarer kind that is still significant, -1 where none is.
    most = binom.ppf(alpha / 2, discordant, 0.5)
    most = np.where(binom.cdf(most, discordant, 0.5) > alpha / 2, most - 1, most)
    share = only_a / (only_a + only_b)
    rejected = binom.cdf(most, discordant, share) + binom.sf(discordant - most - 1, discordant, share)
    return float(binom.pmf(discordant, scenes, min(1.0, only_a + only_b)) @ rejected)


def scenes_for_mcnemar(*, only_a: float, only_b: float, power: float = 0.8, alpha: float = 0.05) -> int:
    """Scenes with which ``mcnemar`` finds the difference of two success rates with chance ``power``.

    The exact power climbs in a saw, so one scene fewer falls short, but not every larger number must suffice.
    """
    _check_share("power", power)
    _check_discordant(only_a, only_b)
    if only_a == only_b:
        raise ValueError(
            f"only_a, only_b: got {only_a} twice, expected different chances; no number finds no difference"
        )
    return _first(
        1,
        lambda n: mcnemar_power(scenes=n, only_a=only_a, only_b=only_b, alpha=alpha) >= power,
        "only_a, only_b",
    )


def scenes_for_half_width(*, proportion: float, half_width: float) -> int:
    """Scenes with which ``wilson``'s 95 % interval of a ``proportion`` is at most +- ``half_width`` wide."""
    _check_share("half_width", half_width)
    if not 0 <= proportion <= 1:
        raise ValueError(f"proportion: got {proportion}, expected a rate in 0..1; divide percent by 100")
    z, p = Z95, proportion
    return _first(
        1,
        lambda n: z * sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n) <= half_width,
        "half_width",
    )


def _first(smallest: int, enough: Callable[[int], bool], name: str) -> int:
    """Smallest n that is enough: doubled until one is, then halved between the last two."""
    low, high = smallest - 1, smallest
    while not enough(high):
        low, high = high, 2 * high
        if high > MOST_SCENES:
            raise ValueError(
                f"{name}: got one that needs over {MOST_SCENES} scenes, expected a larger one; ask for less"
            )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _check_share(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name}: got {value}, expected a share between 0 and 1, as 0.05; divide percent by 100")


def _check_effect(difference: float, std: float) -> None:
    if not isfinite(difference) or difference == 0:
        raise ValueError(f"difference: got {difference}, expected a finite number but 0; no number finds no difference")
    if not isfinite(std) or std <= 0:
        raise ValueError(
            f"std: got {std}, expected a finite number above 0; take it from the differences of a pilot run"
        )


def _check_discordant(only_a: float, only_b: float) -> None:
    if not (only_a >= 0 and only_b >= 0 and 0 < only_a + only_b <= 1 + 1e-12):
        raise ValueError(
            f"only_a, only_b: got {only_a}, {only_b}, expected chances of at least 0 whose sum is in 0..1; "
            "divide the counts by the number of scenes"
        )
