"""Energy from nowhere and restitution in closed form, and what sinks into a support."""

import dataclasses
from functools import partial

import numpy as np
import pytest

from worldmodel.envs.free_fall import DropObject, DropScene, FreeFallEnv
from worldmodel.evaluators.bounce import energy_gain, penetration, true_restitution
from worldmodel.evaluators.falling import TrackedFall, TrueFall, flown_fall, true_fall
from worldmodel.evaluators.free_fall import score_free_fall
from worldmodel.evaluators.tracking import track_objects

FPS, G, DROP = 60.0, 9.81, 1.0
FALL = TrueFall(G, 0.0, np.sqrt(2 * DROP / G), DROP, 0.0, 0.01, 0.0, 0.01)


def bounce(restitution, frames=60):
    """A point that falls by ``DROP`` and leaves the floor with a share of its speed, seen without error."""
    time = np.arange(frames) / FPS
    after = time - FALL.impact
    up = restitution * G * FALL.impact
    height = np.where(after < 0, DROP - 0.5 * G * time**2, up * after - 0.5 * G * after**2)
    free = height > 0.02
    unbroken = free & np.concatenate([[False], free[:-1]])
    position = np.stack([0 * time, 0 * time, np.maximum(height, 0.0)], axis=1)
    return TrackedFall(time, position, 0.0, 0.0, free, unbroken)


@pytest.mark.parametrize("restitution", [0.0, 0.5, 1.0])
def test_no_real_bounce_gains_energy(restitution):
    assert energy_gain(bounce(restitution), FALL, FPS) == pytest.approx(0.0, abs=0.02)


def test_a_bounce_that_is_faster_than_the_fall_gains_its_square_less_one():
    assert energy_gain(bounce(1.2), FALL, FPS) == pytest.approx(1.2**2 - 1.0, abs=0.03)


@pytest.mark.parametrize("restitution", [0.3, 0.6])
def test_the_true_restitution_is_the_one_that_was_set(restitution):
    env = FreeFallEnv(image_size=32, fps=24.0, num_frames=33, shapes=("sphere",), restitution=restitution)
    truth = env.record(seed=0)
    assert true_restitution(truth, true_fall(truth)) == pytest.approx(restitution, abs=0.05)


def test_a_bounce_into_another_object_has_no_restitution():
    upright = (1.0, 0.0, 0.0, 0.0)
    alone = DropScene("sphere", (0.12, 0.0, 0.0), "red", (0.0, 0.0, 0.7), upright, restitution=0.6)
    met = dataclasses.replace(alone, others=(DropObject("sphere", (0.12, 0.0, 0.0), "blue", (0.2, 0.0, 1.0), upright),))
    truths = [FreeFallEnv(32, 24.0, 33, objects=len(each.objects)).record(each) for each in (alone, met)]
    assert truths[1].signals["collisions"][:, 0].any()
    bounces = [true_restitution(truth, true_fall(truth)) for truth in truths]
    assert bounces[0] == pytest.approx(0.6, abs=0.05) and np.isnan(bounces[1])


def test_what_sinks_into_a_support_is_not_measured():
    env = FreeFallEnv(image_size=32, support="table")
    truth = env.record(seed=3)
    assert np.isnan(penetration(flown_fall(truth, true_fall(truth)), truth))


def test_what_weighs_the_noise_of_the_default_tracker_is_not_told_with_another():
    truth = FreeFallEnv(image_size=64).record(seed=3)
    own, other = score_free_fall(truth.video, truth), score_free_fall(truth.video, truth, partial(track_objects))
    assert np.isfinite(own.ghost_wrench) and np.isfinite(own.penetration_mm)
    assert np.isnan([other.ghost_wrench, other.penetration_mm, other.energy_gain, other.gravity_error]).all()
    assert np.isfinite(other.centroid_error_px)
