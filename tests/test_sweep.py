"""The sweep with MuJoCo itself as the model, with its mirror image, and with one that knows nothing."""

import dataclasses
from contextlib import nullcontext
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
from PIL import Image

import worldmodel
from worldmodel.actions import ActionSpec
from worldmodel.backends.recipe import Recipe
from worldmodel.commands.judging import doctor
from worldmodel.rollout import Rollout
from worldmodel.sweep import (
    Sweep,
    _command,
    _levels,
    action_sweep,
    draw_sweep,
    find_envs,
    sweep_lines,
    unseen,
    wrong_ways,
)
from worldmodel.wrapped import PixelEnv

FRAMES = 9


class MuJoCoAsModel:
    """Imagines what MuJoCo does under the actions times a sign."""

    def __init__(self, env, sign):
        self.env, self.sign = env, sign
        self.backend = SimpleNamespace(action_spec=getattr(env, "action_spec", None))
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
    sweep = action_sweep(model, find_envs(model, "maze")[0], [3])
    assert (np.abs(sweep.agreement) < 0.5).all()
    lines = sweep_lines(sweep)
    assert len(lines) == 2 and lines[0].startswith("ball velocity_x at +0.36 and -0.36 m/s: agreement with MuJoCo")
    assert draw_sweep([sweep], tmp_path / "sweep.png").stat().st_size > 1000


def test_every_robot_of_a_model_is_swept_and_they_are_drawn_one_below_the_other(robot_folder, tmp_path):
    model = worldmodel.load(robot_folder, device="cpu")
    envs = find_envs(model, None)
    assert [env.unwrapped.task for env in envs] == ["worldmodel/GraphTraversal-v0", "worldmodel/Grasp-v0"]
    sweeps = [action_sweep(model, env, [3]) for env in envs]
    assert [sweep.robot for sweep in sweeps] == ["ball", "fetch"]
    assert unseen(model, sweeps) == [] and unseen(model, sweeps[:1]) == ["fetch"]
    heights = []
    for count in (1, 2):
        with Image.open(draw_sweep(sweeps[:count], tmp_path / f"{count}.png")) as picture:
            heights.append(picture.height)
    title = 30  # px
    assert (heights[1] - title) / (heights[0] - title) == (2 + 4) / 2, "as many rows as ends of numbers"


def test_what_moves_the_wrong_way_or_the_wrong_thing_is_said():
    names = ("right", "wrong", "other", "still")
    spec = ActionSpec(names, ("m",) * 4, (-1.0,) * 4, (1.0,) * 4, "arm", 16.0)
    true, imagined = (np.zeros((4, 2, 1, 2, 1, 2, 3), np.uint8) for _ in range(2))
    true[:3, 0, 0, 1, 0, 0] = 100
    imagined[0, 0, 0, 1, 0, 0], imagined[1, 1, 0, 1, 0, 0], imagined[2, 0, 0, 1, 0, 1] = 50, 50, 100
    sweep = Sweep(spec, np.array([[1.0, -1.0]] * 4), true, imagined, 16.0, "arm")
    assert sweep.means == pytest.approx([1.0, -1.0, 0.0, np.nan], nan_ok=True)
    ends = [line.partition("agreement with MuJoCo ")[2] for line in sweep_lines(sweep)]
    assert ends[0] == "+1.00 (n = 1)" and ends[1] == "-1.00 (n = 1): moves the wrong way"
    assert ends[2].startswith("+0.00 (n = 1): below 0.3") and ends[3] == "not to be seen"
    assert wrong_ways([sweep, sweep]) == ["arm wrong"] * 2


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_command_fails_if_something_moves_the_wrong_way(sign, tmp_path, monkeypatch, capsys):
    (env,) = find_envs(MuJoCoAsModel(None, sign), "maze")
    monkeypatch.setattr(worldmodel, "load", lambda name: MuJoCoAsModel(env.unwrapped, sign), raising=False)
    wrong = pytest.raises(SystemExit, match="MuJoCo moves the wrong way by velocity_x, velocity_y")
    with wrong if sign < 0 else nullcontext():
        doctor("mine", "maze", scenes=1, out=tmp_path / "sweep.png")
    assert "picture:" in capsys.readouterr().out and (tmp_path / "sweep.png").exists()


def test_a_model_of_other_units_and_rate_is_refused(env):
    model = MuJoCoAsModel(env, 1.0)
    model.backend.action_spec = dataclasses.replace(env.action_spec, units=("cm/s", "cm/s"), control_hz=4.0)
    with pytest.raises(ValueError, match=r"'cm/s'\) is expected; control_hz 16.0 where 4.0 is expected"):
        action_sweep(model, env, [0])
    with pytest.raises(ValueError, match="takes no actions of graph-traversal, maze, grasp; name the --env"):
        find_envs(model, None)


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
    (env,) = find_envs(model, "Reacher-v5")
    same = action_sweep(model, env, [3])
    assert same.agreement == pytest.approx(np.ones((2, 1)))
    assert (action_sweep(Copied(model.env, -1.0), env, [3]).agreement < 0.0).all()


def test_a_model_is_swept_in_scenes_such_as_it_was_trained_on():
    env = find_envs(MuJoCoAsModel(None, 1.0), "graph-traversal")[0].unwrapped
    env.reset(seed=0)
    assert len(env.scene.graph.nodes) == 3 and env.scene.graph.node_radius == 0.08


def test_motions_stay_within_bounds_without_zero():
    spec = ActionSpec(("throttle", "gripper"), ("1", "1"), (0.2, 0.0), (1.0, 1.0), "car", 16.0)
    assert _levels(spec) == pytest.approx(np.array([[0.68, 0.2], [1.0, 0.0]]))
    assert _command(spec, 1, 0.0) == pytest.approx([0.2, 0.0])


def test_what_cannot_be_swept_is_refused(robot_folder, pipeline_folder):
    model = worldmodel.load(robot_folder, device="cpu")
    with pytest.raises(ValueError, match="in which something acts"):
        action_sweep(model, gym.make("worldmodel/FreeFall-v0"), [0])
    with pytest.raises(ValueError, match="model: got random, which takes no actions"):
        action_sweep(worldmodel.load(pipeline_folder, device="cpu"), find_envs(model, "maze")[0], [0])
