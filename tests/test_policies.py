"""Policies and what runs them: failures are recorded, observations of LeRobot are understood."""

import gymnasium as gym
import numpy as np
import pytest
import torch

import worldmodel.envs  # noqa: F401
from worldmodel.envs.imagined_wrappers import ChunkActions
from worldmodel.graded import GradedPolicy
from worldmodel.policies import LeRobotPolicy, from_lerobot, latency, run_episode


@pytest.fixture(scope="module")
def env():
    return gym.make("worldmodel/GraphTraversal-v0", image_size=16, num_frames=65, nodes=3).unwrapped


class Constant:
    def __init__(self, actions, after=None):
        self.actions, self.after, self.calls = np.asarray(actions), after, 0

    def reset(self):
        self.calls = 0

    def infer(self, observation):
        self.calls += 1
        if self.after is not None and self.calls > self.after:
            raise RuntimeError("the arm is gone")
        return {"actions": self.actions, "note": self.calls}


def test_an_episode_is_recorded_whole(env):
    episode = run_episode(env, Constant(np.full((4, 2), 0.1)), seed=0, stages=("wall_contact",), until_success=False)
    assert episode.video.shape == (65, 16, 16, 3) and episode.actions.shape == (64, 2)
    assert len(episode.seconds) == 16 and [each["note"] for each in episode.answers] == list(range(1, 17))
    assert episode.stages == {"wall_contact": True} and not episode.error
    assert len(run_episode(env, Constant(np.zeros((4, 2))), seed=0, execute=1).seconds) == 64


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (Constant(np.zeros((4, 2)), after=2), "RuntimeError: the arm is gone"),
        (Constant(np.full((4, 2), np.nan)), "NaN"),
        (Constant(np.zeros(2)), "shape"),
        (Constant(np.full((4, 2), 9.0)), "clip it"),
    ],
)
def test_a_policy_that_fails_fails_its_own_episode(env, policy, message):
    episode = run_episode(env, policy, seed=0)
    assert message in episode.error and not episode.success
    assert not run_episode(env, Constant(np.zeros((4, 2))), seed=0).error


def test_skill_is_graded_and_runs_in_chunks(env):
    chunks = ChunkActions(env, 16)
    rates = []
    for skill in (0.0, 1.0):
        successes = []
        for seed in range(3):
            env.reset(seed=seed)
            policy = GradedPolicy(env.family, env.scene, 16, skill=skill, seed=seed)
            first = run_episode(chunks, policy, seed=seed)
            again = run_episode(chunks, policy, seed=seed)
            assert np.array_equal(first.actions, again.actions)
            successes.append(first.success)
        rates.append(np.mean(successes))
    assert rates[1] == 1.0 and rates[0] <= 0.5


def test_lerobot_observations_become_ours():
    picture = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    tensor = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255.0
    seen = from_lerobot({"observation.images.top": tensor, "observation.state": torch.arange(4.0)[None], "task": "go"})
    assert np.array_equal(seen["pixels"], picture) and seen["agent_pos"].tolist() == [0.0, 1.0, 2.0, 3.0]
    assert np.array_equal(from_lerobot({"pixels": {"left": picture, "right": 0 * picture}}, "left")["pixels"], picture)
    with pytest.raises(ValueError, match="expected one of left, right"):
        from_lerobot({"pixels": {"left": picture, "right": picture}})
    with pytest.raises(ValueError, match="0 to 1"):
        from_lerobot({"observation.image": 7.0 * tensor})


def test_a_chunk_is_played_out_action_by_action():
    inner = Constant(np.arange(8.0).reshape(4, 2))
    policy = LeRobotPolicy(inner, execute=3)
    policy.reset()
    batch = {"observation.image": torch.zeros(1, 3, 4, 4)}
    played = np.concatenate([policy.select_action(batch) for _ in range(4)])
    assert played.tolist() == [[0, 1], [2, 3], [4, 5], [0, 1]] and inner.calls == 2 and played.dtype == np.float32


def test_latency_is_told_in_percentiles():
    told = latency(np.arange(101) / 100.0)
    assert told == {"calls": 101.0, "p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "max": 1.0}
    with pytest.raises(ValueError, match="no calls"):
        latency([])
