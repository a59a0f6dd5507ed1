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


def test_a_reset_that_raises_fails_its_own_episode(env):
    class Unready(Constant):
        def reset(self):
            raise OSError("no link to the arm")

    episode = run_episode(env, Unready(np.zeros((4, 2))), seed=0)
    assert episode.error == "OSError: no link to the arm" and not episode.success
    assert episode.video.shape == (1, 16, 16, 3) and len(episode.actions) == len(episode.seconds) == 0


@pytest.mark.parametrize("execute", [0, -1, 1.5, True])
def test_executing_no_action_is_refused_before_the_episode(env, execute):
    policy = Constant(np.zeros((4, 2)))
    with pytest.raises(ValueError, match="execute: got"):
        run_episode(env, policy, seed=0, execute=execute)
    with pytest.raises(ValueError, match="execute: got"):
        LeRobotPolicy(policy, execute=execute)
    assert policy.calls == 0


def test_a_policy_may_write_into_what_it_sees_and_use_its_array_again(env):
    class Scribbler(Constant):
        def infer(self, observation):
            observation["pixels"][:] = 0
            self.actions[:] = 0.1 * self.calls
            return super().infer(observation)

    class Quiet(Constant):
        def infer(self, observation):
            return {"actions": np.full((4, 2), 0.1 * self.calls)} | {"note": super().infer(observation)["note"]}

    scribbled, quiet = (run_episode(env, kind(np.zeros((4, 2))), seed=0) for kind in (Scribbler, Quiet))
    assert np.array_equal(scribbled.video, quiet.video) and scribbled.video[0].any()
    assert np.array_equal(scribbled.actions, quiet.actions) and np.ptp(scribbled.actions) > 0


def test_a_signal_within_a_chunk_is_a_stage_though_its_last_frame_does_not_show_it(env):
    """A ball that has left the wall before the chunk ends was there."""
    away = np.concatenate([np.full((8, 2), 0.3), np.full((3, 2), -0.3), np.zeros((53, 2))])
    chunks = ChunkActions(env, 64)
    chunks.reset(seed=0)
    *_, info = chunks.step(away)
    assert info["signals"]["wall_contact"].shape == (64,) and not info["wall_contact"]
    episode = run_episode(chunks, Constant(away), seed=0, stages=("wall_contact",), until_success=False)
    assert episode.stages["wall_contact"]


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


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_tensors_of_any_floating_type_are_read(dtype):
    picture = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    tensor = (torch.from_numpy(picture).permute(2, 0, 1)[None].double() / 255.0).to(dtype).requires_grad_()
    seen = from_lerobot({"observation.image": tensor, "observation.state": torch.arange(4)[None].to(dtype)})
    assert np.abs(seen["pixels"].astype(int) - picture).max() <= (1 if dtype == torch.bfloat16 else 0)
    assert seen["agent_pos"].tolist() == [0.0, 1.0, 2.0, 3.0]


@pytest.mark.parametrize("key", ["observation.image", "pixels"])
def test_the_next_action_is_of_the_kind_of_the_observation(key):
    picture = np.zeros((4, 4, 3), np.uint8)
    for value, kind in ((picture, np.ndarray), (torch.from_numpy(picture), torch.Tensor)):
        policy = LeRobotPolicy(Constant(np.arange(4.0).reshape(2, 2)))
        batch = {key: {"top": value} if key == "pixels" else value}
        for expected in ([[0.0, 1.0]], [[2.0, 3.0]]):
            action = policy.select_action(batch)
            assert isinstance(action, kind) and action.tolist() == expected
            assert str(action.dtype).removeprefix("torch.") == "float32"


def test_a_chunk_is_played_out_action_by_action():
    inner = Constant(np.arange(8.0).reshape(4, 2))
    policy = LeRobotPolicy(inner, execute=3)
    policy.reset()
    batch = {"observation.image": torch.zeros(1, 3, 4, 4)}
    played = np.concatenate([policy.select_action(batch) for _ in range(4)])
    assert played.tolist() == [[0, 1], [2, 3], [4, 5], [0, 1]] and inner.calls == 2


def test_latency_is_told_in_percentiles():
    told = latency(np.arange(101) / 100.0)
    assert told == {"calls": 101.0, "p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "max": 1.0}
    with pytest.raises(ValueError, match="no calls"):
        latency([])
