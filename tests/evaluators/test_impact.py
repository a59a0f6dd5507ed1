import disc_scenes as scenes
import numpy as np
import pytest

from worldmodel.evaluators.impact import impact_time

PX_PER_M = 33.0


@pytest.mark.parametrize("drop", [0.15, 0.2, 0.35, 0.6, 0.8, 1.0])
@pytest.mark.parametrize("restitution", [0.05, 0.4, 0.7])
def test_bouncing_parabola_lands_at_its_exact_time(drop, restitution):
    fallen, landing = scenes.falling(drop, restitution)
    found = impact_time(10 + PX_PER_M * fallen, scenes.FPS, 64)
    assert abs(found - landing) < 0.25 / scenes.FPS


def test_time_does_not_depend_on_picture_size_or_offset():
    fallen, _ = scenes.falling(0.5)
    small = impact_time(10 + PX_PER_M * fallen, scenes.FPS, 64)
    large = impact_time(90 + 4 * PX_PER_M * fallen, scenes.FPS, 256)
    assert small == pytest.approx(large, abs=1e-9)


def test_half_speed_lands_twice_as_late():
    fallen, landing = scenes.falling(0.5, frames=17)
    slow = np.interp(np.arange(17) / 2, np.arange(17), fallen)
    assert impact_time(10 + PX_PER_M * slow, scenes.FPS, 64) == pytest.approx(2 * landing, abs=0.03)


@pytest.mark.parametrize("shape", ["frozen", "straight", "falls on", "rises"])
def test_what_never_lands_has_no_time(shape):
    t = np.arange(17.0)
    path = {"frozen": 0 * t, "straight": 0.65 * t, "falls on": 0.2 * t**2, "rises": -1.0 * t}[shape]
    noise = np.random.default_rng(0).normal(0, 0.1, 17)
    assert np.isnan(impact_time(30 + path + noise, scenes.FPS, 64))


def test_missing_frames_are_bridged_and_an_early_loss_is_no_landing():
    fallen, landing = scenes.falling(0.8)
    path = 10 + PX_PER_M * fallen
    path[3] = np.nan
    assert abs(impact_time(path, scenes.FPS, 64) - landing) < 0.3 / scenes.FPS
    path[4:] = np.nan
    assert np.isnan(impact_time(path, scenes.FPS, 64))
