"""Slopes of laws: exact powers, and intervals that copies of one clip do not narrow."""

import numpy as np
import pytest

from worldmodel.evaluators.fall_laws import height_ratio_error, intervention_effect, log_log_slope, root_height_slope

RNG = np.random.default_rng(0)
HEIGHTS = np.linspace(0.3, 1.2, 20)
TIMES = np.sqrt(2 * HEIGHTS / 9.81) * np.exp(0.05 * RNG.normal(size=20))


def test_a_power_law_has_its_exponent():
    slope = log_log_slope(HEIGHTS, 3.0 * HEIGHTS**0.7)
    assert (slope.value, slope.low, slope.high) == pytest.approx((0.7, 0.7, 0.7)) and slope.n == 20


def test_copies_of_a_clip_narrow_nothing():
    alone = root_height_slope(HEIGHTS, TIMES, np.arange(20))
    copies = root_height_slope(np.tile(HEIGHTS, 50), np.tile(TIMES, 50), np.tile(np.arange(20), 50))
    independent = root_height_slope(np.tile(HEIGHTS, 50), np.tile(TIMES, 50))
    assert copies.value == pytest.approx(alone.value)
    assert copies.high - copies.low == pytest.approx(alone.high - alone.low, rel=0.05)
    assert independent.high - independent.low < 0.2 * (copies.high - copies.low)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    covered = []
    for _ in range(400):
        shared = 0.1 * RNG.normal(size=12)  # of all five samples of a clip
        x = np.repeat(np.linspace(0.5, 2.0, 12), 5)
        y = x**0.5 * np.exp(np.repeat(shared, 5) + 0.02 * RNG.normal(size=60))
        slope = log_log_slope(x, y, clusters=np.repeat(np.arange(12), 5))
        covered.append(slope.low <= 0.5 <= slope.high)
    assert 0.88 < np.mean(covered) < 0.99


def test_one_cluster_has_no_interval():
    slope = root_height_slope(HEIGHTS, TIMES, np.zeros(20))
    assert np.isfinite(slope.value) and np.isnan(slope.low)


def test_an_effect_that_is_half_the_true_one_has_slope_one_half():
    true = np.array([0.1, 0.2, 0.3, -0.1])
    effect = intervention_effect(0.5 * true, true, np.arange(4))
    assert effect.slope.value == pytest.approx(0.5) and effect.intercept == pytest.approx(0.0)
    assert effect.sign_accuracy.value == 1.0


@pytest.mark.parametrize(("gravity", "alpha"), [(9.81, 1.0), (3.0, 1.0), (9.81, 2.0)])
def test_the_ratio_of_falls_is_free_of_gravity_and_speed(gravity, alpha):
    assert height_ratio_error(HEIGHTS, alpha * np.sqrt(2 * HEIGHTS / gravity)) == pytest.approx(0.0, abs=1e-12)
    assert height_ratio_error(HEIGHTS, np.full(20, 0.4)) > 0.2
