import numpy as np
import pytest

from worldmodel.evaluators.ranking import fisher_interval, kendall_tau_b, mmrv, pearson, rank_agreement

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


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: pearson(np.arange(3.0), np.arange(3.0)), "n: got 3 pairs"),
        (lambda: pearson(np.ones(5), np.arange(5.0)), "x: got 5 equal values"),
        (lambda: pearson(np.arange(5.0), np.arange(4.0)), "y: got 4 values, expected 5"),
        (lambda: fisher_interval(r=1.2, n=9), "r: got 1.2"),
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
