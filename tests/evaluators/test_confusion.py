from math import isnan

import numpy as np
import pytest

from worldmodel.evaluators.confusion import Confusion, confusion, rogan_gladen
from worldmodel.evaluators.intervals import wilson


def test_counts_and_rates_by_hand():
    truth = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0], dtype=bool)
    judged = np.array([1, 1, 1, 0, 1, 1, 0, 0, 0, 0], dtype=bool)
    c = confusion(judged=judged, truth=truth)
    assert c == Confusion(tp=3, fp=2, fn=1, tn=4)
    assert c.sensitivity == wilson(3, 4)
    assert c.specificity == wilson(4, 6)
    assert c.false_success == wilson(2, 6)
    assert (c.judged_rate.value, c.true_rate.value) == (0.5, 0.4)
    assert c.mcc == pytest.approx((3 * 4 - 2 * 1) / np.sqrt(5 * 4 * 6 * 5))


def test_mcc_is_the_correlation_of_verdict_and_outcome():
    rng = np.random.default_rng(0)
    truth = rng.random(200) < 0.3
    judged = truth ^ (rng.random(200) < 0.2)
    assert confusion(judged=judged, truth=truth).mcc == pytest.approx(np.corrcoef(judged, truth)[0, 1])
    assert confusion(judged=~judged, truth=truth).mcc == pytest.approx(-np.corrcoef(judged, truth)[0, 1])
    assert confusion(judged=truth, truth=truth).mcc == pytest.approx(1)


def test_a_judge_that_always_says_success_is_seen_through():
    """Right in 90 % of these clips, and yet without any worth."""
    truth = np.arange(60) < 54
    c = confusion(judged=np.ones(60, dtype=bool), truth=truth)
    assert c.sensitivity.value == 1 and c.false_success.value == 1 and c.mcc == 0
    assert c.bias_p == pytest.approx(2 / 2**6)


def test_rates_of_absent_outcomes_do_not_exist():
    c = Confusion(tp=3, fp=0, fn=1, tn=0)
    assert isnan(c.false_success.value) and isnan(c.specificity.low) and c.sensitivity.value == 0.75
    assert c.mcc == 0


def test_rogan_gladen_undoes_the_judge():
    for c in (Confusion(tp=3, fp=2, fn=1, tn=4), Confusion(tp=50, fp=9, fn=3, tn=88)):
        corrected = rogan_gladen(
            apparent=c.judged_rate.value, sensitivity=c.sensitivity.value, specificity=c.specificity.value
        )
        assert corrected == pytest.approx(c.true_rate.value)
    assert rogan_gladen(apparent=0.37, sensitivity=1.0, specificity=1.0) == pytest.approx(0.37)
    assert rogan_gladen(apparent=0.05, sensitivity=0.9, specificity=0.9) == 0.0


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: Confusion(tp=1, fp=-1, fn=0, tn=0), "tp, fp, fn, tn: got 1, -1, 0, 0"),
        (lambda: confusion(judged=np.ones(2), truth=np.ones(2, dtype=bool)), "judged: got float64"),
        (lambda: confusion(judged=np.zeros(0, dtype=bool), truth=np.zeros(0, dtype=bool)), r"judged: .*\(0,\)"),
        (lambda: confusion(judged=np.ones(2, dtype=bool), truth=np.ones(3, dtype=bool)), "judged: got 2 clips"),
        (lambda: rogan_gladen(apparent=1.2, sensitivity=0.9, specificity=0.9), "apparent: got 1.2"),
        (lambda: rogan_gladen(apparent=float("nan"), sensitivity=0.9, specificity=0.9), "apparent: got nan"),
        (
            lambda: rogan_gladen(apparent=0.5, sensitivity=0.5, specificity=0.5),
            "sensitivity, specificity: got 0.5, 0.5",
        ),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
