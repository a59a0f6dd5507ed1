"""The grasp scene against statics and geometry, and its contract with Gymnasium."""

import dataclasses
import json

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from worldmodel.envs.drop_shapes import SHAPES
from worldmodel.envs.fetch import REACH_LOW, TABLE_HEIGHT
from worldmodel.envs.grasp import Grasp, GraspEnv, GraspVectorEnv
from worldmodel.envs.grasp_policies import FAILURES
from worldmodel.envs.grasp_scene import GraspSampler, GraspScene, Item
from worldmodel.envs.grasp_success import DEFINITIONS

GRAVITY = 9.81
BOX = GraspScene(
    shape="box",
    size=(0.025, 0.025, 0.025),
    colour="red",
    position=(1.34, 0.75),
    yaw=0.0,
    mass=0.2,
    friction=0.8,
    goal=(1.34, 0.75, TABLE_HEIGHT + 0.125),
    gripper=(1.33, 0.77, 0.55),
)


@pytest.fixture(scope="module")
def env():
    env = GraspEnv(image_size=64)
    yield env
    env.close()


@pytest.fixture(scope="module")
def blind():
    return GraspEnv(image_size=16, pixels=False)


@pytest.fixture(scope="module")
def held(env):
    return env.record(BOX, seed=0)


def run(env, scene, policy="expert"):
    """Infos of a clip without pictures."""
    _, info = env.reset(seed=0, options={"scene": scene})
    act = env.family.policy(policy, scene, np.random.default_rng(0))
    infos = [info]
    for _ in range(env.num_frames - 1):
        infos.append(env.step(act(infos[-1]))[4])
    return infos


def test_passes_gymnasiums_checker():
    check_env(GraspEnv(image_size=16))


def test_a_held_item_is_carried_by_the_friction_of_both_fingers(held):
    left, right = held.signals["left_force"][-1], held.signals["right_force"][-1]
    assert left[2] + right[2] == pytest.approx(BOX.mass * GRAVITY, rel=0.02)
    assert left[1] == pytest.approx(BOX.grip_force, rel=0.02)
    assert right[1] == pytest.approx(-BOX.grip_force, rel=0.02)
    assert not held.signals["table_contact"][-1]
    assert held.signals["table_contact"][0]


def test_an_item_is_held_at_its_goal_with_the_pads_as_far_apart_as_it_is_wide(held):
    np.testing.assert_allclose(held.position[-1, 0], BOX.goal, atol=0.004)
    assert held.signals["opening"][-1] == pytest.approx(BOX.width, abs=1e-3)
    np.testing.assert_allclose(held.signals["gripper_quaternion"][-1], [1, 0, 0, 0], atol=1e-3)
    assert held.signals["goal_distance"][-1] == pytest.approx(np.linalg.norm(held.position[-1, 0] - BOX.goal))


def test_stages_come_in_order_and_holding_takes_half_a_second(held):
    stages = held.outcome["stages"]
    assert 0.0 < stages["reach"] <= stages["contact"] < stages["lift"] < stages["hold"]
    assert stages["hold"] - stages["lift"] >= 0.5
    assert held.success
    assert held.outcome["definitions"] == {name: bool(held.signals[name][-1]) for name in DEFINITIONS}


@pytest.mark.parametrize(("share", "holds"), [(0.6, True), (1.3, False)])
def test_a_grip_carries_twice_friction_times_its_force(blind, share, holds):
    mass = share * 2 * BOX.friction * BOX.grip_force / GRAVITY
    assert run(blind, dataclasses.replace(BOX, mass=mass))[-1]["is_success"] == holds


@pytest.mark.parametrize("shape", SHAPES)
def test_a_grasp_fails_when_friction_goes_to_zero(blind, shape):
    size = {"box": BOX.size, "sphere": (0.028, 0.0, 0.0)}.get(shape, (0.026, 0.03, 0.0))
    scene = dataclasses.replace(BOX, shape=shape, size=size)
    assert run(blind, scene)[-1]["is_success"]
    assert not any(info["is_success"] for info in run(blind, dataclasses.replace(scene, friction=0.0)))


def test_a_tall_item_is_gripped_below_its_top(blind):
    scene = dataclasses.replace(BOX, shape="cylinder", size=(0.025, 0.06, 0.0), goal=(1.34, 0.75, 0.55))
    info = run(blind, scene)[-1]
    assert info["is_success"]
    assert info["gripper_position"][2] > info["position"][0, 2] + 0.005


@pytest.mark.parametrize("change", [{"mass": 0.01}, {"friction": 0.0}, {"grip_force": 60.0}, {"task": "place"}])
def test_interventions_leave_the_first_frame_as_it_was(env, change):
    plain, _ = env.reset(seed=4)
    changed, _ = env.reset(seed=4, options=change)
    np.testing.assert_array_equal(plain["pixels"], changed["pixels"])


@pytest.mark.parametrize("name", FAILURES)
def test_every_attempt_begins_with_the_same_picture(env, name):
    scene = env.family.sampler(np.random.default_rng(1))
    plain, _ = env.reset(options={"scene": scene})
    other, _ = env.reset(options={"scene": env.family.attempted(name, scene)})
    np.testing.assert_array_equal(plain["pixels"], other["pixels"])


def test_actions_are_displacements_in_metres_along_the_worlds_axes(blind):
    _, start = blind.reset(options={"scene": BOX})
    actions = [(0.03, 0.0, 0.0, 0.1), (0.0, -0.02, 0.0, 0.1), (0.0, 0.0, 0.04, 0.1), *[(0.0, 0.0, 0.0, 0.06)] * 6]
    for action in actions:
        info = blind.step(action)[4]
    moved = info["gripper_position"] - start["gripper_position"]
    np.testing.assert_allclose(moved, (0.03, -0.02, 0.04), atol=5e-4)
    np.testing.assert_allclose(info["gripper_target"], np.add(BOX.gripper, (0.03, -0.02, 0.04)), atol=1e-12)
    assert info["opening"] == pytest.approx(0.06, abs=5e-4)


def test_the_gripper_follows_without_falling_behind(blind):
    blind.reset(options={"scene": BOX})
    lags = []
    for _ in range(4):
        info = blind.step((-0.04, 0.0, 0.0, 0.1))[4]
        lags.append(np.linalg.norm(info["gripper_position"] - info["gripper_target"]))
    assert max(lags) < 0.01


def test_the_set_point_stays_within_reach_and_presses_the_table_with_limited_force(blind):
    scene = dataclasses.replace(BOX, gripper=(1.34, 0.62, 0.5))
    blind.reset(options={"scene": scene})
    for _ in range(8):
        info = blind.step((0.0, 0.0, -0.05, 0.0))[4]
    assert info["gripper_target"][2] == REACH_LOW[2]
    assert 10.0 < info["table_force"] < 250.0


def test_the_goal_functions_agree_with_what_step_returns(blind):
    observation, info = blind.reset(options={"scene": BOX})
    policy = blind.family.policy("expert", BOX, np.random.default_rng(0))
    rewards = []
    for _ in range(blind.num_frames - 1):
        observation, reward, terminated, truncated, info = blind.step(policy(info))
        goals = observation["achieved_goal"], observation["desired_goal"]
        assert reward == blind.compute_reward(*goals, info)
        assert terminated == blind.compute_terminated(*goals, info)
        assert truncated == blind.compute_truncated(*goals, info)
        rewards.append(reward)
    assert (rewards[0], rewards[-1]) == (-1.0, 0.0)
    assert truncated


def test_rewards_are_vectorised_over_goals(blind):
    goals = np.zeros((2, 3, 3))
    achieved = goals + np.array([0.0, 0.0501, 0.0499])[:, None] * (1.0, 0.0, 0.0)
    np.testing.assert_array_equal(blind.compute_reward(achieved, goals, {}), 2 * [[0.0, -1.0, 0.0]])


def test_success_ends_the_episode_if_asked_to():
    env = GraspEnv(image_size=16, pixels=False, terminate=True)
    _, info = env.reset(options={"scene": BOX})
    policy, terminated = env.family.policy("expert", BOX, np.random.default_rng(0)), False
    while not terminated:
        observation, _, terminated, truncated, info = env.step(policy(info))
        assert not truncated
    assert env.compute_terminated(observation["achieved_goal"], observation["desired_goal"], info)


def test_observations_hold_gripper_item_and_goal(blind):
    observation, info = blind.reset(options={"scene": BOX})
    np.testing.assert_allclose(observation["agent_pos"], [*BOX.gripper, 0.1], atol=1e-9)
    np.testing.assert_allclose(observation["achieved_goal"], BOX.centre, atol=1e-12)
    np.testing.assert_array_equal(observation["desired_goal"], BOX.goal)
    np.testing.assert_allclose(observation["observation"][6:9], np.subtract(BOX.centre, BOX.gripper), atol=1e-9)
    assert observation in blind.observation_space
    np.testing.assert_allclose(info["gripper_velocity"], 0.0, atol=1e-9)


def test_many_grasps_at_once_are_the_single_ones(blind):
    together = GraspVectorEnv(num_envs=2, image_size=16, pixels=False)
    together.reset(seed=7)
    policies = [blind.family.policy("expert", scene, np.random.default_rng(0)) for scene in together.scenes]
    singles = [run(blind, scene) for scene in together.scenes]
    for frame in range(20):
        actions = [policy(infos[frame]) for policy, infos in zip(policies, singles, strict=True)]
        _, reward, _, _, info = together.step(np.array(actions))
        for index, infos in enumerate(singles):
            for name in ("gripper_position", "left_force", "goal_distance", "position"):
                np.testing.assert_array_equal(info[name][index], infos[frame + 1][name])
    assert reward.shape == (2,)


@pytest.mark.parametrize("shape", SHAPES)
def test_an_item_stands_still_on_the_table_and_is_eight_pixels_wide(env, shape):
    for seed in range(4):
        scene = GraspSampler(shapes=(shape,), distractors=0)(np.random.default_rng(seed))
        _, info = env.reset(options={"scene": scene})
        np.testing.assert_array_equal(info["velocity"], 0.0)
        env.eye.look(0)
        columns = np.nonzero((env.eye.segmentation() == 1).any(axis=0))[0]
        assert np.ptp(columns) + 1 >= 8
        after = env.step((0.0, 0.0, 0.0, 0.1))[4]
        np.testing.assert_allclose(after["position"], info["position"], atol=2e-4)


def test_the_item_alone_has_its_colour(env):
    scene = dataclasses.replace(BOX, colour="blue")
    pixels = env.reset(options={"scene": scene})[0]["pixels"].astype(int)
    env.eye.look(0)
    mask = env.eye.segmentation() == 1
    blue = pixels[..., 2] - pixels[..., :2].max(axis=-1) > 40
    assert blue[mask].mean() > 0.7  # the rest are mixed pixels of its edges
    shifts = [(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1)]
    near = np.any([np.roll(mask, shift, axis=(0, 1)) for shift in shifts], axis=0)
    assert not blue[~near].any()


def test_further_items_are_recorded_and_of_other_colours():
    env = GraspEnv(image_size=64, num_frames=2, distractors=2)
    clip = env.record(seed=0)
    assert clip.objects == ("object", "distractor 1", "distractor 2")
    assert clip.position.shape == (2, 3, 3)
    assert set(np.unique(clip.segmentation[0])) == {0, 1, 2, 3}
    scene = env.family.scene_from_json(json.loads(json.dumps(clip.scene)))
    assert scene.colour not in {item.colour for item in scene.distractors}
    np.testing.assert_allclose(clip.position[0], [item.centre for item in scene.items], atol=1e-12)
    np.testing.assert_array_equal(env.record(scene).video[0], clip.video[0])


def test_placing_needs_the_item_at_rest_at_its_goal_and_let_go():
    env = GraspEnv(image_size=16, pixels=False, task="place")
    scene = env.family.sampler(np.random.default_rng(0))
    infos = run(env, scene)
    first = next(index for index, info in enumerate(infos) if info["is_success"])
    assert not (infos[first]["left_contact"] or infos[first]["right_contact"])
    np.testing.assert_allclose(infos[first]["position"][0], scene.goal, atol=0.01)
    touching = [info for info in infos if info["place"] and (info["left_contact"] or info["right_contact"])]
    assert touching
    assert not any(info["is_success"] for info in touching)


def test_tasks_are_put_into_words(env):
    assert env.family.task(BOX) == "A robot gripper picks up the red box from a table and holds it. Static camera."
    place = dataclasses.replace(BOX, task="place", goal=(1.34, 0.65, 0.425))
    assert "further left" in env.family.task(place)


def test_the_action_spec_tells_unit_frame_rate_and_polarity(blind):
    spec = blind.action_spec
    assert (spec.names, spec.frame, spec.control_hz) == (("dx", "dy", "dz", "opening"), "world", 16.0)
    assert spec.gripper == "0 closed, 0.1 open"
    with pytest.raises(ValueError, match=r"action dz: got 0\.06 m"):
        blind.step((0.0, 0.0, 0.06, 0.1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": "cone"}, "shape: got 'cone', expected one of box"),
        ({"colour": "mauve"}, "colour: got 'mauve'"),
        ({"size": (0.02, 0.0, 0.02)}, "size: got"),
        ({"size": (0.02, 0.05, 0.02)}, r"size: got .* at least 0.01 and below 0.1 m wide"),
        ({"size": (0.02, 0.025, np.inf)}, "size: got"),
        ({"mass": 0.0}, "mass: got 0.0"),
        ({"mass": np.inf}, "mass: got inf"),
        ({"friction": -0.1}, "friction: got -0.1"),
        ({"friction": np.inf}, "friction: got inf"),
        ({"position": (1.34, 0.52)}, r"position: got \(1.34, 0.52\), expected a place that the camera sees"),
        ({"yaw": float("nan")}, "yaw: got nan"),
        ({"position": (0.5, 0.75)}, "position: got"),
        ({"task": "throw"}, "task: got 'throw', expected one of pick, place"),
        ({"grip_force": 61.0}, "grip_force: got 61.0, expected N above 0 and at most 60"),
        ({"goal": (1.34, 0.75, 2.0)}, "goal: got"),
        ({"gripper": (1.34, 0.75, 0.46)}, "gripper: got"),
        ({"gripper": (2.34, 0.75, 0.6)}, "gripper: got"),
        ({"distractors": (BOX,)}, "distractors: got 1, expected 0"),
        ({"width": 0.1}, r"options: got width="),
    ],
)
def test_impossible_scenes_are_refused(blind, change, message):
    with pytest.raises(ValueError, match=message):
        blind.reset(options={"scene": BOX, **change})


def test_an_item_behind_a_distractor_is_refused():
    ball = dataclasses.replace(
        BOX, shape="sphere", size=(0.02, 0.0, 0.0), position=(1.3, 0.75), gripper=(1.3, 0.75, 0.62)
    )
    tall = Item("box", (0.02, 0.04, 0.06), "blue", (1.38, 0.75), 0.0, 0.1, 0.8)
    family = Grasp(distractors=1)
    with pytest.raises(ValueError, match=r"position: got \(1.3, 0.75\), expected a place that no distractor 1 hides"):
        family.check(dataclasses.replace(ball, distractors=(tall,)))
    family.check(dataclasses.replace(ball, distractors=(dataclasses.replace(tall, position=(1.38, 0.85)),)))


def test_items_that_overlap_are_refused():
    family = Grasp(distractors=1)
    with pytest.raises(ValueError, match="expected a place clear of the red box"):
        family.check(dataclasses.replace(BOX, distractors=(dataclasses.replace(BOX, position=(1.36, 0.76)),)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "throw"}, "task: got 'throw'"),
        ({"distractors": 4}, "distractors: got 4, expected 0 to 3"),
        ({"height": 1.0}, "options: got height"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        GraspEnv(**options)
