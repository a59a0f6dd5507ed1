"""Does a model rank policies as the reference does: Pearson's r, Kendall's tau-b, mean maximum rank violation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import kendalltau

from worldmodel.evaluators.checks import check_values
from worldmodel.evaluators.intervals import Z95, Interval


@dataclass(frozen=True)
class RankAgreement:
    """Success rates of n policies in a model against those in a reference."""

    n: int
    pearson: Interval
    kendall_tau_b: float
    mmrv: float  # in the unit of the rates; 0 is best


def rank_agreement(*, predicted: np.ndarray, reference: np.ndarray) -> RankAgreement:
    """All three measures for ``predicted`` and ``reference`` success rates (n >= 4,) of the same policies."""
    return RankAgreement(
        n=np.size(reference),
        pearson=pearson(predicted, reference),
        kendall_tau_b=kendall_tau_b(predicted, reference),
        mmrv=mmrv(predicted=predicted, reference=reference),
    )


def pearson(x: np.ndarray, y: np.ndarray) -> Interval:
    """Pearson's r of two (n >= 4,) arrays with Fisher's interval; the order of the two does not matter."""
    x, y = _check_policies("x", x, "y", y)
    _refuse_constant(x=x, y=y)
    x, y = x - x.mean(), y - y.mean()
    r = float(np.clip(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)), -1, 1))
    return fisher_interval(r=r, n=len(x))


def fisher_interval(*, r: float, n: int) -> Interval:
    """A correlation with tanh(atanh r +- z / sqrt(n - 3)) (Fisher 1921); of no width at r = +-1."""
    if n < 4:
        raise ValueError(f"n: got {n} pairs, expected at least 4 for an interval of r; add policies")
    if not -1 <= r <= 1:
        raise ValueError(f"r: got {r}, expected a correlation in -1..1; pass r itself")
    if abs(r) == 1:
        return Interval(r, r, r)
    low, high = np.tanh(np.arctanh(r) + np.array([-1, 1]) * Z95 / np.sqrt(n - 3))
    return Interval(r, float(low), float(high))


def kendall_tau_b(x: np.ndarray, y: np.ndarray) -> float:
    """Kendall's rank correlation of two (n >= 2,) arrays, corrected for ties; their order does not matter."""
    x, y = _check_policies("x", x, "y", y)
    _refuse_constant(x=x, y=y)
    return float(kendalltau(x, y, variant="b").statistic)


def mmrv(*, predicted: np.ndarray, reference: np.ndarray) -> float:
    """Mean maximum rank violation of (n >= 2,) success rates, in SIMPLER's definition (Li et al. 2024).

    (1/n) sum_i max_j |R_i - R_j| [(S_i > S_j) != (R_i > R_j)], with S predicted and R the reference: how much of the
    reference rate the worst misranked partner of each policy stands for. It is not symmetric, so both are named.
    A tie in S alone is charged to the policy that is better in R only, because both comparisons are strict.
    """
    s, r = _check_policies("predicted", predicted, "reference", reference)
    violated = (s[:, None] > s) != (r[:, None] > r)
    return float(np.where(violated, np.abs(r[:, None] - r), 0).max(axis=1).mean())


def _check_policies(name_a: str, a: np.ndarray, name_b: str, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = check_values(name_a, a), check_values(name_b, b)
    if len(a) != len(b):
        raise ValueError(f"{name_b}: got {len(b)} values, expected {len(a)} as in {name_a}; rate the same policies")
    if len(a) < 2:
        raise ValueError(f"{name_a}: got 1 value, expected at least 2; a ranking needs several policies")
    return a, b


def _refuse_constant(**arrays: np.ndarray) -> None:
    for name, array in arrays.items():
        if np.ptp(array) == 0:
            raise ValueError(f"{name}: got {len(array)} equal values, expected different ones; no correlation exists")
