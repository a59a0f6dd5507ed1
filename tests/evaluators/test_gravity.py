"""Gravity from a fall: published standard errors, exact parabolas, and what noise really does to the fit."""

import numpy as np
import pytest

from worldmodel.evaluators.falling import TrackedFall, TrueFall
from worldmodel.evaluators.gravity import PRECISE, fit_gravity, free_fall_deviation, rule_of_thumb

G = 9.81
DURATION = np.sqrt(2 / G)  # s, a drop of 1 m


def fall(n, fps, gravity=G, height=1.0):
    time = np.arange(n) / fps
    return time, height - 0.5 * gravity * time**2


@pytest.mark.parametrize(("known_start", "expected"), [(False, 0.40), (True, 0.07)])
def test_the_rule_of_thumb_has_the_published_values(known_start, expected):
    error = rule_of_thumb(0.01, 11, DURATION, known_start=known_start)
    assert error == pytest.approx(expected, abs=0.005)
    assert pytest.approx(rule_of_thumb(0.01, 11, DURATION)) == PRECISE


def test_the_exact_sums_approach_the_rule_of_thumb():
    ratios = []
    for n in (11, 41, 401):
        time = np.linspace(0.0, DURATION, n)
        fit = fit_gravity(time, 1.0 - 0.5 * G * time**2, 0.01)
        ratios.append(fit.standard_error / rule_of_thumb(0.01, n, DURATION))
    assert ratios[0] == pytest.approx(0.39 / 0.40, abs=0.15) and ratios[2] == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("alpha", [1.0, 0.5, 2.0])
def test_slow_motion_shows_g_over_its_square(alpha):
    time = np.arange(12) / 24
    fit = fit_gravity(time, 2.0 + 0.3 * time - 0.5 * G * (time / alpha) ** 2, 0.001)
    assert fit.gravity == pytest.approx(G / alpha**2) and fit.rmse == pytest.approx(0.0, abs=1e-9)


def test_the_standard_error_is_that_of_many_noisy_falls():
    rng, (time, height) = np.random.default_rng(0), fall(11, 24)
    fits = [fit_gravity(time, height + 0.01 * rng.normal(size=11), 0.01) for _ in range(2000)]
    spread = np.std([fit.gravity for fit in fits])
    assert spread == pytest.approx(fit_gravity(time, height, 0.01).standard_error, rel=0.06)
    assert np.mean([fit.gravity for fit in fits]) == pytest.approx(G, abs=3 * spread / np.sqrt(2000))


def test_two_heights_tell_nothing():
    assert np.isnan(fit_gravity(*fall(2, 24), 0.01).gravity)


def test_what_falls_under_another_gravity_deviates_from_the_true_one_and_a_shift_or_push_does_not():
    truth = TrueFall(G, 0.0, np.nan, 3.0, 0.03, 0.05, 0.03, 0.1)

    def path(gravity, shift=0.0, push=0.0):
        time, height = fall(9, 24, gravity, height=2.0)
        position = np.stack([shift + push * time, 0 * time, height + shift + push * time], axis=1)
        free = np.ones(9, bool)
        return TrackedFall(time, position, 0.001, 0.0, free, free)

    true = path(G)
    assert free_fall_deviation(path(G, 0.3, 0.5), true, truth, 5.0) == pytest.approx(0.0, abs=1e-9)
    assert free_fall_deviation(path(G / 2), true, truth, 5.0) > 0.01
    lost = path(G)
    lost.position[4] = np.nan
    assert free_fall_deviation(lost, true, truth, 5.0) == pytest.approx(5.0 / 3)
