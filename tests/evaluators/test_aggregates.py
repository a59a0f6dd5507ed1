from itertools import combinations

import numpy as np
import pytest

from worldmodel.evaluators.aggregates import iqm, pass_at_k, skill


def test_iqm_is_the_mean_of_the_middle_half():
    assert iqm(np.array([100.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, -100.0])) == 3.5
    assert iqm(np.array([0.0, 0.0, 9.0])) == 3.0  # too few to cut


def test_pass_at_k_is_the_share_of_subsets_with_a_success():
    attempts = np.array([1, 0, 0, 1, 0, 0, 0])
    for k in range(1, 8):
        share = np.mean([attempts[list(subset)].any() for subset in combinations(range(7), k)])
        assert pass_at_k(successes=2, n=7, k=k) == pytest.approx(share)


def test_pass_at_k_is_unbiased_where_the_plug_in_is_not():
    n, k, rate = 6, 3, 0.3
    successes = np.random.default_rng(0).binomial(n, rate, size=4000)
    unbiased = np.mean([pass_at_k(successes=int(c), n=n, k=k) for c in successes])
    plug_in = np.mean(1 - (1 - successes / n) ** k)
    truth = 1 - (1 - rate) ** k
    assert abs(unbiased - truth) < 0.015 < truth - plug_in


def test_pass_at_1_is_the_success_rate_and_pass_at_n_needs_one():
    assert pass_at_k(successes=3, n=8, k=1) == pytest.approx(3 / 8)
    assert pass_at_k(successes=1, n=8, k=8) == 1.0
    assert pass_at_k(successes=0, n=8, k=8) == 0.0


def test_skill_ends_and_invariance():
    null, ceiling = np.array([10.0, 4.0]), np.array([2.0, 1.0])
    assert skill(model=null, null=null, ceiling=ceiling) == pytest.approx([0, 0])
    assert skill(model=ceiling, null=null, ceiling=ceiling) == pytest.approx([1, 1])
    model = np.array([6.0, 7.0])
    found = skill(model=model, null=null, ceiling=ceiling)
    assert found == pytest.approx([0.5, -1.0])  # not clipped
    rescaled = skill(model=3 - 2 * model, null=3 - 2 * null, ceiling=3 - 2 * ceiling)
    assert rescaled == pytest.approx(found)  # any unit, and higher or lower is better alike
    assert skill(model=model, null=10.0, ceiling=2.0) == pytest.approx([0.5, 0.375])


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: iqm(np.array([])), r"values: got shape \(0,\)"),
        (lambda: pass_at_k(successes=1, n=3, k=4), "successes, n, k: got 1 of 3 at 4"),
        (lambda: pass_at_k(successes=4, n=3, k=1), "successes, n, k: got 4 of 3 at 1"),
        (lambda: pass_at_k(successes=1, n=3, k=0), "successes, n, k: got 1 of 3 at 0"),
        (lambda: skill(model=1.0, null=2.0, ceiling=2.0), "null, ceiling: got 1 equal pairs"),
        (lambda: skill(model=np.zeros(3), null=np.ones(2), ceiling=0.0), "null: got 2 values, expected 3"),
        (lambda: skill(model=np.nan, null=1.0, ceiling=0.0), "model: got 1 NaN"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
