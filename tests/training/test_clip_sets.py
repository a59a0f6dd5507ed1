"""What a training run knows of the clips that it is given."""

import dataclasses
import json

import numpy as np
import pytest

from worldmodel.actions import ActionSpec
from worldmodel.backends.recipe import Recipe
from worldmodel.collect import collect
from worldmodel.training.card import described_clips
from worldmodel.training.clip_sets import cameras_of, domains_of, read_clip_sets, scenes_of

SPEC = ActionSpec(("throttle",), ("1",), (-1.0,), (1.0,), "car", 16.0)


def test_scenes_are_what_all_sets_of_an_environment_share(clip_set):
    sets = [dataclasses.replace(clip_set, options=own) for own in ({"size": 1, "gravity": 9.8}, {"size": 1})]
    assert scenes_of(sets) == {"free-fall": {"size": 1}}
    still = dataclasses.replace(clip_set, env="other", options={"size": 2})
    assert scenes_of([*sets, still]) == {"free-fall": {"size": 1}, "other": {"size": 2}}
    known = {"other": {"size": 3}, "free-fall": {"size": 4}}
    assert scenes_of(sets, known) == {"free-fall": {"size": 1}, "other": {"size": 3}}


def test_sets_that_act_decide_how_scenes_are_where_others_do_not(clip_set):
    still = dataclasses.replace(clip_set, options={"task": "flood", "size": 1})
    acting = dataclasses.replace(clip_set, options={"task": "agent", "size": 1}, spec=SPEC)
    assert scenes_of([still, acting]) == {"free-fall": {"task": "agent", "size": 1}}


def test_recorded_options_reach_the_recipe_and_its_file(tmp_path):
    options = {"nodes": 3, "channel_width": 0.11, "node_radius": 0.08}
    collect(tmp_path / "clips", "graph-traversal", episodes=1, seed=0, image_size=32, num_frames=5, options=options)
    scenes = scenes_of(read_clip_sets(tmp_path / "clips"))["worldmodel/GraphTraversal-v0"]
    assert scenes["node_radius"] == 0.08 and scenes["nodes"] == 3
    recipe = Recipe("mine", (32, 32), 5, 16.0, steps=2, scenes={"worldmodel/GraphTraversal-v0": scenes})
    path = tmp_path / "worldmodel.json"
    path.write_text(json.dumps(recipe.to_json()))
    assert Recipe.read(path) == recipe
    scene = recipe.scene("worldmodel/GraphTraversal-v0", nodes=5)
    assert scene.keys() == scenes.keys() and scene["nodes"] == 5 and scene["node_radius"] == 0.08
    assert not any(isinstance(value, list) for value in scene.values())
    assert recipe.scene("unknown", nodes=5) == {"nodes": 5}
    path.write_text(path.read_text().replace('"steps"', '"stops"'))
    with pytest.raises(ValueError, match="expected name, image_size, num_frames, fps, steps, domains, scenes"):
        Recipe.read(path)


def test_success_is_known_of_clips_in_which_something_acts(tmp_path):
    few = {"seed": 0, "image_size": 32}
    collect(tmp_path / "drop", episodes=2, num_frames=5, **few)
    collect(tmp_path / "maze", "maze", episodes=4, policies=("shortest", "wrong_branch"), **few)
    drops, mazes = read_clip_sets(tmp_path)
    assert drops.success is None
    assert mazes.success.tolist() == [True, False] * 2
    assert "4 clips of" in described_clips([mazes]) and described_clips([mazes]).endswith(", 2 succeed)")


def test_cameras_are_those_that_all_clips_of_an_environment_share(tmp_path):
    size = {"episodes": 3, "seed": 0, "image_size": 32, "num_frames": 5}
    collect(tmp_path / "drop", options={"scale": [0.5, 2.0]}, **size)
    collect(tmp_path / "room", "room", **size)
    drops, rooms = read_clip_sets(tmp_path)
    fall = "worldmodel/FreeFall-v0"
    assert drops.view is not None and rooms.view is None, "scaled scenes look the same, rooms begin in other places"
    assert cameras_of([drops, rooms]) == {fall: drops.view}
    other = cameras_of([dataclasses.replace(drops, env="other")])["other"]
    moved = dataclasses.replace(other, intrinsics=((3.0, 0.0, 0.5), (0.0, 3.0, 0.5), (0.0, 0.0, 1.0)))
    tuned = cameras_of([drops, rooms], {fall: moved, "other": other, rooms.env: other})
    assert tuned == {fall: drops.view, "other": other}, "what the new clips show replaces what was known"
    assert cameras_of([drops, dataclasses.replace(drops, view=moved)]) == {}


def test_robots_that_no_clip_has_are_forgotten_only_where_room_is_lacking(clip_set, capsys):
    def acting(name, width):
        names = tuple(f"{name}{number}" for number in range(width))
        spec = ActionSpec(names, ("1",) * width, (-1.0,) * width, (1.0,) * width, name, 16.0)
        actions = np.zeros((*clip_set.video.shape[:1], clip_set.video.shape[1] - 1, width), np.float32)
        return dataclasses.replace(clip_set, env=name, spec=spec, actions=actions)

    ball, arm, car = acting("ball", 2), acting("arm", 4), acting("car", 2)
    known = domains_of([ball, arm], room=7)
    assert [domain.slots for domain in known] == [(0, 1), (2, 3, 4, 5)]
    assert domains_of([ball], known, room=7) == known and domains_of([car], known)[:2] == known
    assert not capsys.readouterr().out
    found = domains_of([car], known, room=7)
    assert [(domain.name, domain.slots) for domain in found] == [("arm", (2, 3, 4, 5)), ("car", (0, 1))]
    assert "forgets the actions of ball" in capsys.readouterr().out
    # What acts in the clips stays, even where nothing else is left to forget.
    assert len(domains_of([ball, arm, car], known, room=7)) == 3
