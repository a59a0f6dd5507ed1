"""Scripted grasps: the expert succeeds, every failure fails, and as its name says."""

import numpy as np
import pytest

from worldmodel.envs.grasp import Grasp
from worldmodel.envs.grasp_policies import FAILURES, POLICIES, slippery
from worldmodel.envs.simulation import Simulation

SEEDS = range(12)
ATTEMPTS = ("expert", *FAILURES)


def play(names, seeds=SEEDS, fps=16.0, num_frames=33, **options):
    """Signals (T, A, S, ...) of the named attempts on the scenes of the seeds, all in one batch."""
    family = Grasp(**options)
    scenes = {seed: family.sampler(np.random.default_rng(seed)) for seed in seeds}
    jobs = [(family.attempted(name, scenes[seed]), name, seed) for name in names for seed in seeds]
    policies = [family.policy(name, scene, np.random.default_rng(seed)) for scene, name, seed in jobs]
    simulation = Simulation(family, len(jobs), fps=fps)
    simulation.reset([scene for scene, _, _ in jobs])
    frames = [dict(simulation.signals)]
    for _ in range(num_frames - 1):
        actions = [policy(simulation.info(index)) for index, policy in enumerate(policies)]
        simulation.step(family.action_spec.check(actions))
        frames.append(dict(simulation.signals))
    shape = (num_frames, len(names), len(seeds))
    return {name: np.stack([f[name] for f in frames]).reshape(*shape, *frames[0][name].shape[1:]) for name in frames[0]}


@pytest.fixture(scope="module")
def played():
    """Attempt to signals (T, S, ...)."""
    signals = play(list(ATTEMPTS))
    return {name: {key: value[:, index] for key, value in signals.items()} for index, name in enumerate(ATTEMPTS)}


@pytest.mark.parametrize("name", ATTEMPTS)
def test_attempts_end_as_they_are_meant_to(played, name):
    assert (played[name]["success"][-1] == (name == "expert")).all()
    assert name == "expert" or not played[name]["success"].any()


def test_the_expert_passes_every_stage_and_every_definition_of_a_lift(played):
    expert = played["expert"]
    for name in ("reach", "contact", "lift", "hold", "place"):
        assert expert[name].any(axis=0).all(), name
    for name in ("robosuite_lift", "robosuite_grasp", "maniskill_grasp", "maniskill_pick_cube", "metaworld_grasp"):
        assert expert[name][-1].all(), name


@pytest.mark.parametrize("name", ["offset_left", "offset_right", "offset_high", "late_close", "no_close"])
def test_misses_leave_the_item_alone(played, name):
    signals = played[name]
    assert not signals["contact"].any()
    assert np.ptp(signals["goal_distance"], axis=0).max() < 1e-3


@pytest.mark.parametrize(("name", "sign"), [("offset_left", -1.0), ("offset_right", 1.0)])
def test_sideways_misses_close_on_that_side(played, name, sign):
    aside = played[name]["gripper_position"][-1, :, 1] - played["expert"]["gripper_position"][-1, :, 1]
    assert (sign * aside > 0.05).all()


@pytest.mark.parametrize(("name", "closed"), [("offset_high", True), ("late_close", True), ("no_close", False)])
def test_openings_at_the_end(played, name, closed):
    opening = played[name]["opening"][-1]
    assert (opening < 0.002).all() if closed else (opening > 0.098).all()


def test_an_early_close_lands_on_the_item(played):
    signals = played["early_close"]
    first = signals["contact"].argmax(axis=0)
    assert signals["contact"].any(axis=0).all()
    assert (signals["opening"][first, np.arange(len(SEEDS))] < 0.01).all()


def test_a_wrong_width_surrounds_the_item_without_pressing_it(played):
    signals = played["wrong_width"]
    assert signals["reach"].any(axis=0).all()
    assert not (signals["left_contact"] & signals["right_contact"]).any()
    assert (signals["opening"][-1] > 0.05).all()


def test_a_slip_has_both_fingers_on_the_item_and_loses_it(played):
    signals = played["slip"]
    gripped = signals["left_contact"] & signals["right_contact"]
    assert gripped.any(axis=0).all()
    assert not gripped[-1].any()
    assert not signals["hold"].any()


def test_failures_begin_like_the_success(played):
    for name in ATTEMPTS:
        np.testing.assert_array_equal(played[name]["gripper_position"][0], played["expert"]["gripper_position"][0])
        np.testing.assert_array_equal(played[name]["goal_distance"][0], played["expert"]["goal_distance"][0])


def test_the_expert_puts_items_down_at_their_goal_and_lets_go():
    signals = play(["expert"], task="place")
    assert signals["success"][-1].all()
    assert (signals["opening"][-1] > 0.09).all()
    assert signals["lift"].any(axis=0).all()
    assert not signals["lift"][-1].any()


def test_the_expert_is_not_disturbed_by_other_items():
    assert play(["expert"], distractors=3)["success"][-1].all()


@pytest.mark.parametrize(("fps", "num_frames"), [(10.0, 31), (32.0, 49)])
def test_the_expert_does_not_depend_on_the_control_rate(fps, num_frames):
    assert play(["expert"], seeds=range(4), fps=fps, num_frames=num_frames)["success"][-1].all()


def test_policies_vary_with_the_generator_and_with_nothing_else():
    family = Grasp()
    scene = family.sampler(np.random.default_rng(0))
    info = {"gripper_target": np.array(scene.gripper), "time": 0.0}
    first = [POLICIES["expert"](scene, np.random.default_rng(seed))(info) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(first[0], first[1])
    assert not np.allclose(first[0], first[2])


def test_a_gripper_that_searches_lifts_knocks_and_misses():
    signals = play(["searching"], seeds=range(24), num_frames=49)
    moved = np.abs(signals["goal_distance"] - signals["goal_distance"][0]).max(axis=0)
    lifted = signals["lift"].any(axis=0)
    assert 0.1 < lifted.mean() < 0.9
    assert (moved[~lifted] > 0.02).mean() > 0.3, "knocked or pushed"
    assert 0.2 < signals["reach"].mean() < 0.9, "and goes elsewhere"


def test_a_slippery_item_is_too_heavy_for_the_grip():
    scene = Grasp().sampler(np.random.default_rng(0))
    assert 2 * slippery(scene)["friction"] * scene.grip_force == pytest.approx(0.8 * scene.mass * 9.81)


def test_a_failure_by_another_width_stays_within_what_the_gripper_opens():
    """An item that lies across is wider than the hand; the script still plays."""
    played = play(["wrong_width"], seeds=range(4), num_frames=9, yaw=(1.5, 1.6), shapes=("capsule",))
    assert np.isfinite(played["opening"]).all()
