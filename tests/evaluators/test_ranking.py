import numpy as np
import pytest
from scipy.stats import rankdata

from worldmodel.evaluators.ranking import (
    agreement_over_starts,
    fisher_interval,
    kendall_tau_b,
    mmrv,
    pearson,
    rank_agreement,
)

# Picking a coke can: RT-2-X, RT-1 (converged, at 15 %, begin), RT-1-X, Octo-Base; on the robot and in SIMPLER's
# visual matching (REAL_PERF and SIMPLER_PERF of github.com/simpler-env/SimplerEnv; Li et al. 2024).
COKE_CAN = {
    "reference": np.array([0.907, 0.853, 0.920, 0.133, 0.760, 0.293]),
    "predicted": np.array([0.787, 0.857, 0.710, 0.027, 0.567, 0.170]),
}


def test_simpler_s_coke_can_numbers():
    agreement = rank_agreement(**COKE_CAN)
    assert agreement.n == 6
    assert round(agreement.mmrv, 3) == 0.031
    assert round(agreement.pearson.value, 3) == 0.975
    assert agreement.pearson.low < 0.8  # six policies say less than .975


def test_mmrv_with_its_arguments_swapped_is_another_number():
    swapped = mmrv(predicted=COKE_CAN["reference"], reference=COKE_CAN["predicted"])
    assert round(swapped, 3) == 0.062
    with pytest.raises(TypeError):
        mmrv(COKE_CAN["predicted"], COKE_CAN["reference"])


def test_mmrv_by_hand():
    reference = np.array([0.1, 0.5, 0.9])
    assert mmrv(predicted=np.array([1.0, 2.0, 3.0]), reference=reference) == 0
    assert mmrv(predicted=np.array([2.0, 1.0, 3.0]), reference=reference) == pytest.approx((0.4 + 0.4 + 0) / 3)
    assert mmrv(predicted=np.array([3.0, 2.0, 1.0]), reference=reference) == pytest.approx((0.8 + 0.4 + 0.8) / 3)


def test_mmrv_charges_a_tie_in_the_prediction_to_the_better_policy_only():
    assert mmrv(predicted=np.array([0.5, 0.5]), reference=np.array([0.2, 0.6])) == pytest.approx(0.4 / 2)


def test_mmrv_knows_ranks_of_the_prediction_and_sizes_of_the_reference():
    rng = np.random.default_rng(0)
    s, r = rng.uniform(size=(2, 9))
    base, order = mmrv(predicted=s, reference=r), rng.permutation(9)
    assert base > 0
    assert mmrv(predicted=s[order], reference=r[order]) == pytest.approx(base)
    assert mmrv(predicted=np.exp(7 * s), reference=r) == pytest.approx(base)
    assert mmrv(predicted=s, reference=100 * r) == pytest.approx(100 * base)


@pytest.mark.parametrize(
    "r, n, low, high, digits",
    [
        (0.90, 5, 0.09, 0.99, 2),
        (0.95, 5, 0.42, 0.997, 3),
        (0.99, 5, 0.85, 0.999, 3),
        (0.88, 8, 0.46, 0.98, 2),
        (0.12, 16, -0.40, 0.58, 2),
    ],
)
def test_fisher_intervals_of_few_policies(r, n, low, high, digits):
    interval = fisher_interval(r=r, n=n)
    assert (round(interval.low, 2), round(interval.high, digits)) == (low, high)


def test_pearson_finds_the_correlation_that_was_built_in():
    x, e = np.array([-1.0, -1.0, 1.0, 1.0]), np.array([1.0, -1.0, 1.0, -1.0])
    assert pearson(x, 0.6 * x + 0.8 * e).value == pytest.approx(0.6)
    assert pearson(0.6 * x + 0.8 * e, 5 - 2 * x).value == pytest.approx(-0.6)
    assert pearson(x, 3 * x + 1) == pytest.approx(pearson(x, x)) and pearson(x, x).value == pytest.approx(1)


def test_fisher_interval_covers():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(600):
        x, e = rng.normal(size=(2, 8))
        interval = pearson(x, 0.8 * x + 0.6 * e)
        covered += interval.low <= 0.8 <= interval.high
    assert 0.925 <= covered / 600 <= 0.975


def test_kendall_tau_b_by_hand():
    assert kendall_tau_b(np.array([1, 2, 3, 4]), np.array([1, 2, 4, 3])) == pytest.approx(4 / 6)
    # 4 of 6 pairs agree, one is tied in x, one in y: 4 / sqrt(5 * 5)
    assert kendall_tau_b(np.array([1, 2, 2, 3]), np.array([1, 2, 3, 3])) == pytest.approx(0.8)


def over_starts(s, r, draws=2000, seed=0):
    return agreement_over_starts(
        predicted=np.array(s), reference=np.array(r), rng=np.random.default_rng(seed), draws=draws
    )


def test_agreement_over_starts_is_that_of_the_rates():
    s, r = np.random.default_rng(1).uniform(size=(2, 5, 12)) < np.linspace(0.2, 0.9, 5)[:, None]
    found, (predicted, reference) = over_starts(s, r), (s.mean(axis=1), r.mean(axis=1))
    assert found.pearson.value == pytest.approx(pearson(predicted, reference).value)
    assert found.spearman.value == pytest.approx(pearson(rankdata(predicted), rankdata(reference)).value)
    assert found.mmrv.value == mmrv(predicted=predicted, reference=reference)


def test_intervals_over_two_starts_by_hand():
    """Draws are the first start twice, either once, or the second twice, in 1, 2 and 1 of 4."""
    s, r = np.array([[0, 0], [1, 0], [1, 1]]), np.array([[0, 0], [0, 1], [1, 1]])
    ways = [np.array([2, 0]), np.array([1, 1]), np.array([0, 2])]
    r_of = [_plain(s @ way, r @ way) for way in ways]
    violations = [mmrv(predicted=s @ way / 2, reference=r @ way / 2) for way in ways]
    found = over_starts(s, r)
    assert (found.pearson.low, found.pearson.high) == pytest.approx((min(r_of), max(r_of)))
    assert (found.mmrv.low, found.mmrv.high) == pytest.approx((min(violations), max(violations)))
    assert found.pearson.value == pytest.approx(1.0) and found.left_out == 0


def _plain(x, y):
    return np.corrcoef(x, y)[0, 1]


def test_draws_of_equal_rates_are_left_out_and_counted():
    """All succeed from the second start: drawn twice, in 1 of 4, it ranks nobody."""
    s = np.array([[0, 1], [0, 1], [1, 1]])
    found = over_starts(s, s, draws=4000)
    assert abs(found.left_out - 1000) < 5 * np.sqrt(4000 * 0.25 * 0.75)
    assert found.pearson.low == pytest.approx(1.0) and found.mmrv.high == 0.0
    assert over_starts(np.ones_like(s), s).pearson is None and over_starts(s[1:], s[1:]).spearman is None


def test_starts_are_drawn_for_all_policies_and_both_worlds_at_once():
    """From hard starts all fail in both worlds: the worlds agree in every draw, however hard it is."""
    start = np.random.default_rng(0).uniform(size=40)
    same = start > np.linspace(0.1, 0.9, 6)[:, None]
    found = over_starts(same, same)
    assert found.pearson.low == pytest.approx(1.0) and (found.mmrv.low, found.mmrv.high) == (0.0, 0.0)


def test_intervals_over_starts_cover():
    """Seven policies and two worlds whose true rates are known; what starts have in common, they have in both."""
    r, s = np.linspace(0.05, 0.95, 7), np.array([0.1, 0.05, 0.5, 0.3, 0.9, 0.6, 0.8])
    true = np.array([_plain(s, r), _plain(rankdata(s), rankdata(r)), mmrv(predicted=s, reference=r)])
    rng, covered = np.random.default_rng(0), np.zeros(3)
    for seed in range(300):
        hard = rng.uniform(size=200)
        seen, real = (
            np.where(rng.uniform(size=(7, 200)) < 0.5, hard, rng.uniform(size=(7, 200))) < rates[:, None]
            for rates in (s, r)
        )
        found = over_starts(seen, real, draws=300, seed=seed)
        intervals = (found.pearson, found.spearman, found.mmrv)
        covered += [each.low - 1e-9 <= value <= each.high + 1e-9 for each, value in zip(intervals, true, strict=True)]
    assert (covered / 300 >= 0.9).all() and covered[0] / 300 <= 0.975


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: pearson(np.arange(3.0), np.arange(3.0)), "n: got 3 pairs"),
        (lambda: pearson(np.ones(5), np.arange(5.0)), "x: got 5 equal values"),
        (lambda: pearson(np.arange(5.0), np.arange(4.0)), "y: got 4 values, expected 5"),
        (lambda: fisher_interval(r=1.2, n=9), "r: got 1.2"),
        (lambda: over_starts([[0, 1]], [[0, 1]]), r"predicted: got shape \(1, 2\)"),
        (lambda: over_starts([[0], [1]], [[0], [1]]), r"predicted: got shape \(2, 1\)"),
        (lambda: over_starts(np.eye(2), np.eye(3)), r"reference: got shape \(3, 3\), expected \(2, 2\)"),
        (lambda: over_starts(np.eye(2), np.eye(2) / 2), "reference: got other values than 0 and 1"),
        (lambda: over_starts(np.eye(2), np.eye(2), draws=0), "draws: got 0"),
        (lambda: fisher_interval(r=float("nan"), n=9), "r: got nan"),
        (lambda: kendall_tau_b(np.arange(3.0), np.zeros(3)), "y: got 3 equal values"),
        (lambda: mmrv(predicted=np.arange(3.0), reference=np.arange(2.0)), "reference: got 2 values, expected 3"),
        (lambda: mmrv(predicted=np.array([0.5]), reference=np.array([0.5])), "predicted: got 1 value"),
        (lambda: mmrv(predicted=np.array([0.5, np.nan]), reference=np.arange(2.0)), "predicted: got 1 NaN"),
        (lambda: mmrv(predicted=np.array([]), reference=np.array([])), r"predicted: got shape \(0,\)"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
