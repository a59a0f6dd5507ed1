"""What is read off MuJoCo's pictures of grasps against what MuJoCo knows."""

import gymnasium as gym
import numpy as np
import pytest

import worldmodel.envs  # noqa: F401
from worldmodel.envs import fetch
from worldmodel.envs.imagined_grasp import front_camera
from worldmodel.envs.imagined_readout import readout_for

HAND = (91, 94, 98)


@pytest.fixture(scope="module")
def env():
    return gym.make("worldmodel/Grasp-v0", image_size=64, num_frames=49).unwrapped


def read(env, seed, policy):
    first, info = env.reset(seed=seed)
    act, actions, infos, frames = env.family.policy(policy, env.scene, np.random.default_rng(seed)), [], [], []
    for _ in range(env.num_frames - 1):
        actions.append(np.asarray(act(info)))
        observation, *_, info = env.step(actions[-1])
        frames.append(observation["pixels"]), infos.append(info)
    readout = readout_for(env)
    _, signals = readout.read(readout.begin(first), np.stack(frames)[None], np.array(actions)[None])
    true = {name: np.stack([each[name] for each in infos]) for name in ("position", "gripper_position", "success")}
    return readout, signals, true


@pytest.mark.parametrize("policy", ["expert", "offset_left", "no_close", "late_close"])
def test_success_and_places_are_read_as_mujoco_knows_them(env, policy):
    for seed in (0, 3):
        _, signals, true = read(env, seed, policy)
        assert bool(signals["success"][0, -1]) == bool(true["success"][-1]) == (policy == "expert")
        item = np.linalg.norm(signals["position"][0] - true["position"], axis=-1)
        assert np.median(item) < 0.010
        assert np.median(np.linalg.norm(signals["gripper_position"][0] - true["gripper_position"], axis=1)) < 0.002


def test_an_item_that_rises_without_the_gripper_is_no_success(env):
    first, _ = env.reset(seed=0)
    readout = readout_for(env)
    picture = first["pixels"]
    raised = np.stack([np.roll(picture, -min(k, 14), axis=0) for k in range(1, 25)])[None]
    still = np.tile([0.0, 0.0, 0.0, 0.1], (1, 24, 1))
    reading = readout.begin({"pixels": picture, "agent_pos": np.array([1.2, 0.6, 0.6, 0.1])})
    _, signals = readout.read(reading, raised, still)
    assert not signals["success"].any() and not signals["lift"].any()


def test_putting_down_is_refused():
    env = gym.make("worldmodel/Grasp-v0", image_size=32, task="place").unwrapped
    env.reset(seed=0)
    with pytest.raises(ValueError, match="expected 'pick'"):
        readout_for(env)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("hidden", ["above", "left"])
def test_an_item_half_behind_the_hand_is_where_it_stands(env, seed, hidden):
    first, _ = env.reset(seed=seed)
    readout, picture = readout_for(env), first["pixels"].copy()
    item = np.array(env.scene.centre)
    u, v = front_camera(64, 64).project(item[None])[0]
    rows, columns = np.indices((64, 64)) + 0.5
    picture[(rows < v) if hidden == "above" else (columns < u)] = HAND
    start = readout.begin({**first, "pixels": picture})
    _, signals = readout.read(start, picture[None, None], np.zeros((1, 1, 4)))
    assert signals["found"].all()
    # A third of a pixel is a centimetre of depth, as flat as the camera looks; the centroid would be 5 cm off.
    assert np.abs(start.memory["item"][0] - item).max() < 0.02
    assert np.abs(signals["position"][0, 0, 0] - item).max() < 0.02


def test_an_item_behind_the_hand_is_not_carried(env):
    """A hand between camera and item, at the height where it would hold one that is seen there."""
    first, _ = env.reset(seed=0)
    readout, camera, item = readout_for(env), front_camera(64, 64), np.array(env.scene.centre)
    ray = item - np.linalg.inv(camera.world_to_camera)[:3, 3]
    before = item - 0.15 * ray / abs(ray[0])
    assert before[2] - item[2] > 0.02, "where a carried one would be"
    closed = np.array([0.0, 0.0, 0.0, env.scene.width])
    start = readout.begin({**first, "agent_pos": np.array([*before, 0.1])})
    _, signals = readout.read(start, np.repeat(first["pixels"][None, None], 24, axis=1), np.tile(closed, (1, 24, 1)))
    assert not signals["lift"].any() and not signals["success"].any()
    assert np.abs(signals["position"][0, :, 0] - item).max() < 0.005


@pytest.mark.parametrize("fist", [False, True])
def test_a_fist_carries_nothing(env, fist):
    """An item that rises with the hand around which it cannot be: what a model may well imagine."""
    first, _ = env.reset(seed=0)
    item, camera, up = np.array(env.scene.centre), front_camera(64, 64), np.array([0.0, 0.0, 0.02])
    opening = 0.0 if fist else env.scene.width
    start = readout_for(env).begin({**first, "agent_pos": np.array([*(item + 5 * up), opening])})
    ways = [-up] * 5 + [up] * 8
    heights = np.maximum(np.arange(-4, 9), 0)
    rises = (camera.project(item) - camera.project(item + heights[:, None] * up))[:, 1].round().astype(int)
    video = np.stack([np.roll(first["pixels"], -rise, axis=0) for rise in rises])[None]
    _, signals = readout_for(env).read(start, video, np.array([[*way, opening] for way in ways])[None])
    assert signals["lift"][0, -1] != fist
    assert signals["opening"][0, -1] == pytest.approx(opening)


def test_reading_can_begin_with_an_item_in_the_hand(env):
    _, info = env.reset(seed=0)
    act = env.family.policy("expert", env.scene, np.random.default_rng(0))
    while not info["lift"]:
        observation, *_, info = env.step(np.asarray(act(info)))
    readout, frames, actions = readout_for(env), [], []
    start = readout.begin(observation)
    assert start.memory["held"].all()
    for _ in range(10):
        actions.append(np.asarray(act(info)))
        observation, *_, info = env.step(actions[-1])
        frames.append(observation["pixels"])
    _, signals = readout.read(start, np.stack(frames)[None], np.array(actions)[None])
    assert signals["lift"].all() and signals["success"][0, -1]
    assert np.linalg.norm(signals["position"][0, -1, 0] - info["position"][0]) < 0.02


def test_the_hand_is_not_in_the_table(env):
    first, _ = env.reset(seed=0)
    readout = readout_for(env)
    down = np.tile([0.0, 0.0, -0.05, 0.1], (1, 16, 1))
    _, signals = readout.read(readout.begin(first), np.repeat(first["pixels"][None, None], 16, axis=1), down)
    assert signals["gripper_target"][0, -1, 2] == pytest.approx(fetch.TABLE_HEIGHT)
    assert signals["gripper_position"][0, -1, 2] == pytest.approx(fetch.TABLE_HEIGHT + fetch.FINGER_DEPTH)
