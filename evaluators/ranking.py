"""Does a model rank policies as the reference does: Pearson's r, rank correlations, mean maximum rank violation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import kendalltau, rankdata

from worldmodel.counts import check_count
from worldmodel.evaluators.checks import check_values
from worldmodel.evaluators.intervals import BLOCK, Z95, Interval

DRAWS = 2_000  # of starts; each costs n^2 comparisons


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


@dataclass(frozen=True)
class StartsAgreement:
    """Agreement of n policies' success rates with 95 % percentile intervals over the starts they were played from."""

    pearson: Interval | None  # None with fewer than 3 policies or equal rates
    spearman: Interval | None  # likewise
    mmrv: Interval
    draws: int
    left_out: int  # draws without a correlation, in which all rates of one world were equal


def agreement_over_starts(
    *, predicted: np.ndarray, reference: np.ndarray, rng: np.random.Generator, draws: int = DRAWS
) -> StartsAgreement:
    """Pearson's r, Spearman's rho and MMRV of n policies with bootstrap intervals over S starts.

    Starts are drawn with replacement, the same for all policies and both worlds, so what starts have in common is kept.
    The intervals are for these n policies: what others would do is not in them (``fisher_interval`` is for policies as
    a sample, their rates taken as exact). Rates of few starts are noisy, which draws correlations towards 0 and MMRV
    away from it, in the draws once more than in the estimate: close to perfect agreement the intervals are pessimistic.

    Args:
        predicted: (n >= 2, S >= 2) successes, 0 or 1, in the model.
        reference: those of the same policies from the same starts in the reference.
        rng: draws the starts.
        draws: of S starts each.

    Raises:
        ValueError: other shapes or values, or no draws.
    """
    s, r = _check_successes("predicted", predicted), _check_successes("reference", reference)
    if s.shape != r.shape:
        raise ValueError(f"reference: got shape {r.shape}, expected {s.shape} as in predicted; play the same episodes")
    check_count("draws", draws, f"{DRAWS} are usual")
    starts = s.shape[1]
    times = np.concatenate([np.ones((1, starts)), rng.multinomial(starts, np.full(starts, 1 / starts), size=draws)])
    rates_s, rates_r = times @ s.T / starts, times @ r.T / starts  # (1 + draws, n), the estimate's own first
    plain = _correlations(rates_s, rates_r)
    ranked = _correlations(rankdata(rates_s, axis=1), rankdata(rates_r, axis=1))
    blocks = (slice(first, first + BLOCK) for first in range(0, 1 + draws, BLOCK))
    violation = np.concatenate([_max_violations(rates_s[block], rates_r[block]).mean(axis=1) for block in blocks])
    interval = _percentiles(violation)
    assert interval is not None  # always defined
    return StartsAgreement(_percentiles(plain), _percentiles(ranked), interval, draws, int(np.isnan(plain[1:]).sum()))


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
    return float(_max_violations(s[None], r[None]).mean())


def _max_violations(s: np.ndarray, r: np.ndarray) -> np.ndarray:
    """max_j |R_i - R_j| [(S_i > S_j) != (R_i > R_j)] of each policy, both (B, n)."""
    violated = (s[:, :, None] > s[:, None]) != (r[:, :, None] > r[:, None])
    return np.asarray(np.where(violated, np.abs(r[:, :, None] - r[:, None]), 0).max(axis=2))


def _correlations(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson's r (B,) of rows (B, n); nan where those of either are equal, or fewer than 3."""
    defined = (np.ptp(x, axis=1) > 0) & (np.ptp(y, axis=1) > 0) & (x.shape[1] > 2)
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    scale = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    r = np.divide((x * y).sum(axis=1), scale, out=np.full(len(x), np.nan), where=defined)
    return np.clip(r, -1, 1)


def _percentiles(values: np.ndarray) -> Interval | None:
    """The first of the values with the 95 % interval of the others; None if there is no first or no others."""
    drawn = values[1:][np.isfinite(values[1:])]
    if np.isnan(values[0]) or len(drawn) == 0:
        return None
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Interval(float(values[0]), float(low), float(high))


def _check_successes(name: str, successes: np.ndarray) -> np.ndarray:
    values = np.asarray(successes, np.float64)
    if values.ndim != 2 or min(values.shape) < 2:
        raise ValueError(f"{name}: got shape {values.shape}, expected (n >= 2 policies, S >= 2 starts); play more")
    if not np.isin(values, (0.0, 1.0)).all():
        raise ValueError(f"{name}: got other values than 0 and 1, expected failures and successes; do not average them")
    return values


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
