"""Rollouts of stored clips, told what was done in them."""

import dataclasses

import numpy as np
import pytest

import worldmodel
from worldmodel.backends.cameras import View
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


def test_clips_from_another_camera_are_refused_before_anything_is_written(pipeline_folder, tmp_path):
    size = {"episodes": 2, "seed": 3, "image_size": 32, "num_frames": 9}
    drops = collect(tmp_path / "drop", options={"scale": [0.5, 2.0]}, **size)
    rooms = collect(tmp_path / "room", "room", fps=16.0, **size)
    plain = worldmodel.load(pipeline_folder, device="cpu")
    view = View.of_clip(drops.attributes(drops.keys()[0]))
    cameras = {"worldmodel/FreeFall-v0": view}
    plain.backend.recipe = dataclasses.replace(plain.recipe, cameras=cameras, scenes={env: {} for env in cameras})
    model = worldmodel.WorldModel(plain.backend)
    assert len(imagine(model, drops, tmp_path / "drops", steps=1).keys()) == 2, "whatever their scale"
    with pytest.raises(ValueError, match=r"clip 0+3: got worldmodel/Room-v0, which .* one of worldmodel/FreeFall-v0"):
        imagine(model, rooms, tmp_path / "rooms", steps=1)
    assert not (tmp_path / "rooms").exists()
    assert len(imagine(model, rooms, tmp_path / "rooms", steps=1, any_camera=True).keys()) == 2
    moved = dict.fromkeys(cameras, View.of_clip(rooms.attributes(rooms.keys()[0])))
    plain.backend.recipe = dataclasses.replace(model.recipe, cameras=moved)
    with pytest.raises(ValueError, match=r"degrees, .* m away, expected that of worldmodel/FreeFall-v0 which random"):
        imagine(worldmodel.WorldModel(plain.backend), drops, tmp_path / "other", steps=1)


def test_the_range_report_has_a_line_for_each_number(model, mazes):
    lines = range_lines(model, mazes)
    assert len(lines) == 2
    assert "velocity_x" in lines[0] and "outside -0.5 to 0.5 m/s" in lines[0]
    actions = np.concatenate([mazes.array(key, "actions").data for key in mazes.keys()])  # noqa: SIM118  no dict
    share = (np.abs(actions[:, 0]) > 0.5).mean()
    assert f"{share:.1%}" in lines[0]
