"""The sweep with MuJoCo itself as the model, with its mirror image, and with one that knows nothing."""

import gymnasium as gym
import numpy as np
import pytest

import worldmodel
from worldmodel.actions import ActionSpec
from worldmodel.backends.recipe import Recipe
from worldmodel.rollout import Rollout
from worldmodel.sweep import _command, _levels, action_sweep, draw_sweep, find_env, sweep_lines
from worldmodel.wrapped import PixelEnv

FRAMES = 9


class MuJoCoAsModel:
    """Imagines what MuJoCo does under the actions times a sign."""

    def __init__(self, env, sign):
        self.env, self.sign = env, sign
        scenes = {"worldmodel/GraphTraversal-v0": {"nodes": 3, "node_radius": 0.08}}
        self.recipe = Recipe("MuJoCo", (32, 32), FRAMES, 16.0, steps=1, scenes=scenes)

    def rollout(self, frames, *, seeds, actions, progress):
        clips = []
        for seed, own in zip(seeds, actions, strict=True):
            truth = self.env.record(seed=int(seed), policy=lambda info, own=own: self.sign * own[0])
            clips.append(truth.video[:FRAMES])
        assert np.array_equal(np.stack(clips)[:, 0], frames)
        zeros = np.zeros(len(clips), np.int64)
        return Rollout(np.stack(clips), 16.0, zeros, zeros)


@pytest.fixture(scope="module")
def env():
    import worldmodel.envs  # noqa: F401  registers the ids

    return gym.make("worldmodel/Maze-v0", image_size=32, num_frames=FRAMES, wall_share=0.1).unwrapped


def test_mujoco_agrees_with_itself_and_its_mirror_image_does_not(env):
    same = action_sweep(MuJoCoAsModel(env, 1.0), env, [3, 4])
    assert same.agreement == pytest.approx(np.ones((2, 2)))
    assert same.levels == pytest.approx(np.array([[0.36, -0.36]] * 2))
    assert (action_sweep(MuJoCoAsModel(env, -1.0), env, [3, 4]).agreement < -0.9).all()


def test_a_model_that_knows_nothing_hardly_agrees_and_is_drawn_beside_mujoco(robot_folder, tmp_path):
    model = worldmodel.load(robot_folder, device="cpu")
    sweep = action_sweep(model, find_env(model, "maze"), [3])
    assert (np.abs(sweep.agreement) < 0.5).all()
    lines = sweep_lines(sweep)
    assert len(lines) == 2 and lines[0].startswith("velocity_x at +0.36 and -0.36 m/s: agreement with MuJoCo")
    assert draw_sweep(sweep, tmp_path / "sweep.png").stat().st_size > 1000


class Copied(MuJoCoAsModel):
    """The same of an environment without policies: another copy of it under the actions times a sign."""

    def rollout(self, frames, *, seeds, actions, progress):
        clips = []
        for seed, own in zip(seeds, actions, strict=True):
            pictures = [self.env.reset(seed=int(seed))[0]["pixels"]]
            pictures += [self.env.step(self.sign * action)[0]["pixels"] for action in own]
            clips.append(np.stack(pictures))
        assert np.array_equal(np.stack(clips)[:, 0], frames)
        zeros = np.zeros(len(clips), np.int64)
        return Rollout(np.stack(clips), 16.0, zeros, zeros)


def test_other_peoples_environments_are_swept_too():
    model = Copied(PixelEnv("Reacher-v5", (32, 32)), 1.0)
    env = find_env(model, "Reacher-v5")
    same = action_sweep(model, env, [3])
    assert same.agreement == pytest.approx(np.ones((2, 1)))
    assert (action_sweep(Copied(model.env, -1.0), env, [3]).agreement < 0.0).all()


def test_a_model_is_swept_in_scenes_such_as_it_was_trained_on():
    env = find_env(MuJoCoAsModel(None, 1.0), "graph-traversal").unwrapped
    env.reset(seed=0)
    assert len(env.scene.graph.nodes) == 3 and env.scene.graph.node_radius == 0.08


def test_motions_stay_within_bounds_without_zero():
    spec = ActionSpec(("throttle", "gripper"), ("1", "1"), (0.2, 0.0), (1.0, 1.0), "car", 16.0)
    assert _levels(spec) == pytest.approx(np.array([[0.68, 0.2], [1.0, 0.0]]))
    assert _command(spec, 1, 0.0) == pytest.approx([0.2, 0.0])


def test_what_cannot_be_swept_is_refused(robot_folder, pipeline_folder):
    model = worldmodel.load(robot_folder, device="cpu")
    with pytest.raises(ValueError, match="in which something acts"):
        action_sweep(model, find_env(model, "maze").unwrapped and gym.make("worldmodel/FreeFall-v0"), [0])
    with pytest.raises(ValueError, match="actions: got some for random, expected none"):
        action_sweep(worldmodel.load(pipeline_folder, device="cpu"), find_env(model, "maze"), [0])
