"""Rollouts of stored clips, told what was done in them."""

import dataclasses

import numpy as np
import pytest

import worldmodel
from worldmodel.collect import collect
from worldmodel.imagine import imagine, range_lines


@pytest.fixture(scope="module")
def model(robot_folder):
    return worldmodel.load(robot_folder, device="cpu")


@pytest.fixture(scope="module")
def mazes(tmp_path_factory):
    path = tmp_path_factory.mktemp("truth") / "maze"
    return collect(path, "maze", episodes=2, seed=3, image_size=32, num_frames=9, policies=["random"])


def test_a_model_that_takes_actions_is_told_those_of_the_clips(model, mazes, tmp_path):
    told = imagine(model, mazes, tmp_path / "told")
    untold = imagine(model, mazes, tmp_path / "untold", told=False)
    key = mazes.keys()[0]
    rollout = told.read_rollout([key])
    assert np.allclose(rollout.actions[0], mazes.array(key, "actions").data)
    assert rollout.provenance["domain"] == "ball"
    assert untold.read_rollout([key]).actions is None
    assert not np.array_equal(rollout.video, untold.read_rollout([key]).video)
    expected = model.conditioned(domain="ball").rollout(
        mazes.array(key, "video").data[None, 0],
        seeds=[mazes.attributes(key)["seed"]],
        actions=mazes.array(key, "actions").data[None],
        progress=False,
    )
    difference = np.abs(expected.video.astype(int) - rollout.video).max()
    assert difference <= 1, "the same rollout, but for rounding in another batch"


def test_a_clip_without_actions_is_imagined_without(model, tmp_path):
    drops = collect(tmp_path / "drop", episodes=1, seed=3, image_size=32, num_frames=9)
    assert imagine(model, drops, tmp_path / "out").read_rollout(drops.keys()).actions is None


def test_clips_of_another_robot_are_refused_for_a_model_of_one(pipeline_folder, mazes, tmp_path, monkeypatch):
    other = worldmodel.load(pipeline_folder, device="cpu")
    spec = mazes.action_spec(mazes.keys()[0])
    monkeypatch.setattr(type(other.backend), "action_spec", dataclasses.replace(spec, frame="gripper"))
    with pytest.raises(ValueError, match="differ from those given: frame 'world' where 'gripper' is expected"):
        imagine(other, mazes, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_range_report_has_a_line_for_each_number(model, mazes):
    lines = range_lines(model, mazes)
    assert len(lines) == 2
    assert "velocity_x" in lines[0] and "outside -0.5 to 0.5 m/s" in lines[0]
    actions = np.concatenate([mazes.array(key, "actions").data for key in mazes.keys()])  # noqa: SIM118  no dict
    share = (np.abs(actions[:, 0]) > 0.5).mean()
    assert f"{share:.1%}" in lines[0]
