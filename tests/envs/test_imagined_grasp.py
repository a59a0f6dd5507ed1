"""What is read off MuJoCo's pictures of grasps against what MuJoCo knows."""

import gymnasium as gym
import numpy as np
import pytest

import worldmodel.envs  # noqa: F401
from worldmodel.envs.imagined_readout import readout_for


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
