"""Cameras of a model's training: what makes two of them one, and which clips are refused."""

import dataclasses
import json

import numpy as np
import pytest

from worldmodel.backends.cameras import View, check_view, shared_view, view_differences
from worldmodel.backends.recipe import Recipe
from worldmodel.truth import Camera


def camera(focal=1.5, angle=0.0, away=0.0, side=64, axis=0.5):
    """From 3 m before the origin, turned about its own centre by degrees, then moved by metres."""
    lens = np.array([[focal * side, 0.0, axis * side], [0.0, focal * side, side / 2], [0.0, 0.0, 1.0]])
    cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    pose = np.eye(4)
    pose[:3, :3] = [[cosine, 0.0, sine], [0.0, 1.0, 0.0], [-sine, 0.0, cosine]]
    pose[:3, 3] = -pose[:3, :3] @ [0.0, away, -3.0]
    return Camera(lens, pose, side, side)


def test_neither_the_size_of_a_picture_nor_the_scale_of_its_scene_makes_another_view():
    scaled = camera(angle=20.0)
    scaled.world_to_camera[:3, 3] *= 2.5
    assert View.of(camera(angle=20.0)) == View.of(camera(angle=20.0, side=128)) == View.of(scaled, 2.5)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({}, []),
        ({"focal": 2.0}, ["of focal length 2 picture widths where 1.5 is expected"]),
        ({"axis": 0.4}, ["with its axis at (0.4, 0.5) of the picture where (0.5, 0.5) is expected"]),
        ({"angle": 12.0}, ["turned by 12 degrees"]),
        ({"angle": 180.0}, ["turned by 180 degrees"]),
        ({"away": 0.25}, ["0.25 m away"]),
        ({"angle": 1.0, "away": 0.5}, ["turned by 1 degrees", "0.5 m away"]),
        ({"focal": 1.5005, "angle": 0.005, "away": 0.0005}, []),
    ],
)
def test_what_differs_between_two_cameras_is_said_in_its_own_unit(other, said):
    assert view_differences(View.of(camera()), View.of(camera(**other))) == said


def test_clips_share_a_view_if_all_have_it():
    one, other = View.of(camera()), View.of(camera(angle=1.0))
    assert shared_view([one, one]) == one
    assert shared_view([one, other]) is shared_view([one, None]) is shared_view([]) is None


def recipe(**options):
    return Recipe("mine", (64, 64), 17, 16.0, steps=2, **options)


def test_a_clip_of_a_known_environment_must_have_its_camera_and_any_other_one_of_the_known_cameras():
    known = {"fall": View.of(camera()), "maze": View.of(camera(focal=20.0))}
    model = recipe(scenes={"fall": {}, "maze": {}, "room": {}}, cameras=known)
    for env, view in (("fall", known["fall"]), ("other", known["fall"]), ("other", known["maze"])):
        check_view(model, env, view, "clip", "do that")
    with pytest.raises(
        ValueError, match=r"^clip: got a camera of focal length 20 .* that of fall which mine was trained"
    ):
        check_view(model, "fall", known["maze"], "clip", "do that")
    turned = View.of(camera(angle=9.0))
    said = (
        "got other, which mine was not trained on, from a camera turned by 9 degrees as compared with fall, expected "
    )
    with pytest.raises(ValueError, match=said + "the camera of one of fall, maze; .*, or do that$"):
        check_view(model, "other", turned, "clip", "do that")
    check_view(model, "room", turned, "an environment seen by several cameras in training", "")
    check_view(recipe(scenes={"fall": {}}), "fall", turned, "a recipe of an earlier version", "")


def test_cameras_reach_the_recipes_file_and_a_file_without_them_is_read(tmp_path):
    path, model = tmp_path / "worldmodel.json", recipe(cameras={"fall": View.of(camera(angle=33.0))})
    path.write_text(json.dumps(model.to_json()))
    assert Recipe.read(path) == model
    path.write_text(json.dumps(recipe().to_json()))
    assert "cameras" not in path.read_text() and Recipe.read(path).cameras == {}
    broken = {**model.to_json(), "cameras": {"fall": {"intrinsics": [[1.0]], "world_to_camera": [[1.0]]}}}
    path.write_text(json.dumps(broken))
    with pytest.raises(ValueError, match=r"expected name, image_size, .*cameras; fetch it again"):
        Recipe.read(path)
    assert dataclasses.asdict(model)["cameras"]["fall"].keys() == {"intrinsics", "world_to_camera"}
