from math import comb

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from worldmodel.evaluators.comparisons import mcnemar
from worldmodel.evaluators.intervals import wilson
from worldmodel.evaluators.power import (
    mcnemar_power,
    mean_difference_power,
    scenes_for_half_width,
    scenes_for_mcnemar,
    scenes_for_mean_difference,
)


@pytest.mark.parametrize("difference, scenes", [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_scenes_for_cohen_s_small_medium_and_large_effect(difference, scenes):
    """Two-sided paired t test, alpha .05, power .8 (G*Power 3.1)."""
    assert scenes_for_mean_difference(difference=difference, std=1.0) == scenes
    assert scenes_for_mean_difference(difference=-10 * difference, std=10.0) == scenes


def test_mean_difference_power_is_the_share_of_found_differences():
    samples = np.random.default_rng(0).normal(0.5, 1.0, size=(20_000, 20))
    found = (ttest_1samp(samples, 0.0, axis=1).pvalue < 0.05).mean()
    assert mean_difference_power(scenes=20, difference=0.5, std=1.0) == pytest.approx(found, abs=0.01)


def test_mean_difference_of_almost_nothing_is_found_by_chance_alone():
    assert mean_difference_power(scenes=10, difference=1e-9, std=1.0, alpha=0.05) == pytest.approx(0.05)


@pytest.mark.parametrize("only_a, only_b", [(0.5, 0.1), (0.2, 0.2), (0.0, 0.7), (0.6, 0.4)])
def test_mcnemar_power_by_counting_every_outcome(only_a, only_b):
    n, both, power = 14, 1 - only_a - only_b, 0.0
    for a in range(n + 1):
        for b in range(n + 1 - a):
            chance = comb(n, a) * comb(n - a, b) * only_a**a * only_b**b * both ** (n - a - b)
            power += chance * (mcnemar(a, b) <= 0.05)
    assert mcnemar_power(scenes=n, only_a=only_a, only_b=only_b) == pytest.approx(power)


def test_mcnemar_needs_six_scenes_at_least():
    assert scenes_for_mcnemar(only_a=1.0, only_b=0.0) == 6
    assert scenes_for_mcnemar(only_a=1.0, only_b=0.0, alpha=0.01) == 8


def test_scenes_for_mcnemar_reach_the_power_and_one_fewer_does_not():
    scenes = scenes_for_mcnemar(only_a=0.2, only_b=0.1)
    assert scenes == scenes_for_mcnemar(only_a=0.1, only_b=0.2)
    assert mcnemar_power(scenes=scenes, only_a=0.2, only_b=0.1) >= 0.8
    assert mcnemar_power(scenes=scenes - 1, only_a=0.2, only_b=0.1) < 0.8
    # Connor (1987): (z_a sqrt(s) + z_b sqrt(s - d^2))^2 / d^2 with s = .3, d = .1, before any correction
    connor = (1.959964 * np.sqrt(0.3) + 0.841621 * np.sqrt(0.3 - 0.01)) ** 2 / 0.01
    assert connor <= scenes <= 1.1 * connor


@pytest.mark.parametrize("proportion, half_width, about", [(0.5, 0.05, 384), (0.5, 0.035, 784), (0.9, 0.05, 138)])
def test_scenes_for_half_width_fit_wilson(proportion, half_width, about):
    """Near the textbook's z^2 p(1 - p) / h^2, and exactly where Wilson's interval gets that narrow."""
    scenes = scenes_for_half_width(proportion=proportion, half_width=half_width)
    assert scenes == pytest.approx(about, rel=0.05)
    even = scenes + scenes % 2
    interval = wilson(round(proportion * even), even)
    assert (interval.high - interval.low) / 2 == pytest.approx(half_width, rel=0.02)


def test_more_demands_need_more_scenes():
    base = scenes_for_mean_difference(difference=0.3, std=1.0)
    assert scenes_for_mean_difference(difference=0.3, std=1.0, power=0.9) > base
    assert scenes_for_mean_difference(difference=0.3, std=1.0, alpha=0.01) > base
    few, many = (scenes_for_mean_difference(difference=0.1, std=std) for std in (1.0, 2.0))
    assert many == pytest.approx(4 * few, rel=0.01)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: mean_difference_power(scenes=1, difference=1.0, std=1.0), "scenes: got 1"),
        (lambda: scenes_for_mean_difference(difference=0.0, std=1.0), "difference: got 0.0"),
        (lambda: scenes_for_mean_difference(difference=float("nan"), std=1.0), "difference: got nan"),
        (lambda: scenes_for_mean_difference(difference=1.0, std=0.0), "std: got 0.0"),
        (lambda: scenes_for_mean_difference(difference=1.0, std=1.0, power=80), "power: got 80"),
        (lambda: scenes_for_mean_difference(difference=1.0, std=1.0, alpha=5), "alpha: got 5"),
        (lambda: scenes_for_mean_difference(difference=1e-6, std=1.0), "difference: got one that needs over 1048576"),
        (lambda: mcnemar_power(scenes=0, only_a=0.1, only_b=0.0), "scenes: got 0"),
        (lambda: scenes_for_mcnemar(only_a=0.2, only_b=0.2), "only_a, only_b: got 0.2 twice"),
        (lambda: scenes_for_mcnemar(only_a=0.8, only_b=0.3), "only_a, only_b: got 0.8, 0.3"),
        (lambda: scenes_for_half_width(proportion=1.5, half_width=0.05), "proportion: got 1.5"),
        (lambda: scenes_for_half_width(proportion=0.5, half_width=5), "half_width: got 5"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
