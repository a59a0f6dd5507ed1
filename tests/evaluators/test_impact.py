import disc_scenes as scenes
import numpy as np
import pytest

from worldmodel.evaluators.impact import _solve, find_landing, impact_time

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


@pytest.mark.parametrize("unknowns", [2, 3])
def test_many_small_systems_are_solved_at_once(unknowns):
    rng = np.random.default_rng(0)
    design = rng.normal(size=(50, 9, unknowns))
    values = rng.normal(size=(50, 9))
    normal = np.einsum("kni,knj->kij", design, design)
    right = np.einsum("kni,kn->ki", design, values)
    rows = [[normal[:, i, j] for j in range(i, unknowns)] for i in range(unknowns)]
    weights, misfit = _solve(rows, list(right.T), (values**2).sum(axis=1))
    expected = np.linalg.solve(normal, right[..., None])[..., 0]
    assert np.allclose(np.stack(weights, axis=1), expected, atol=1e-6)
    assert np.allclose(misfit, np.square((design @ expected[..., None])[..., 0] - values).sum(axis=1), atol=1e-6)


@pytest.mark.parametrize("fps", [16, 24, 60])
@pytest.mark.parametrize("drop", [0.5, 0.7, 0.9])
def test_what_rests_where_it_lands_has_no_restitution(drop, fps):
    times = np.arange(fps + 2) / fps
    landing = np.sqrt(2 * drop / 9.81)
    found = find_landing(10 + PX_PER_M * 4.905 * np.minimum(times, landing) ** 2, fps, 64)
    assert found.restitution == 0.0 and found.time == pytest.approx(landing, abs=0.02)


@pytest.mark.parametrize("restitution", [0.2, 0.5, 0.8])
def test_a_bounce_leaves_with_its_share_of_the_speed(restitution):
    fallen, landing = scenes.falling(0.6, restitution)
    found = find_landing(10 + PX_PER_M * fallen, scenes.FPS, 64)
    assert found.restitution == pytest.approx(restitution, abs=0.08) and found.start == 0
    assert found.time == pytest.approx(landing, abs=0.25 / scenes.FPS)
