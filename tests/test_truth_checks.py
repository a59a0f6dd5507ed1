"""True clips of every family pass; clips that are made of several do not."""

import dataclasses

import gymnasium as gym
import numpy as np
import pytest

import worldmodel.envs  # noqa: F401  registers the ids
from worldmodel.truth_checks import check_truth

KINDS = {
    "drop": ("FreeFall", {}, "worldmodel/FreeFall-v0"),
    "three": ("FreeFall", {"objects": 3}, "worldmodel/FreeFall-v0:several"),
    "held": ("FreeFall", {"release": "gripper"}, "worldmodel/FreeFall-v0:gripper"),
    "ledge": ("FreeFall", {"support": "ledge"}, "worldmodel/FreeFall-v0"),
    "grasp": ("Grasp", {}, "worldmodel/Grasp-v0"),
    "agent": ("GraphTraversal", {"task": "agent"}, "worldmodel/GraphTraversal-v0"),
    "flood": ("GraphTraversal", {"task": "flood"}, "worldmodel/GraphTraversal-v0:flood"),
    "maze": ("Maze", {}, "worldmodel/Maze-v0"),
    "room": ("Room", {}, "worldmodel/Room-v0"),
}


def record(kind, seed):
    name, options, _ = KINDS[kind]
    env = gym.make(f"worldmodel/{name}-v0", image_size=64, num_frames=17, **options).unwrapped
    return env.record(seed=seed)


@pytest.mark.parametrize("kind", KINDS)
def test_every_true_clip_passes(kind):
    for seed in range(3):
        check_truth(f"store {seed}", record(kind, seed), KINDS[kind][2])


@pytest.mark.parametrize("kind", ["drop", "grasp", "agent", "maze", "room"])
def test_masks_of_another_place_are_refused(kind):
    truth = record(kind, 1)
    for shift in (-8, 8):
        moved = dataclasses.replace(truth, segmentation=np.roll(truth.segmentation, shift, axis=2))
        with pytest.raises(ValueError, match=r"store 1: segmentation: got \w+ beside where its position puts it"):
            check_truth("store 1", moved, KINDS[kind][2])


@pytest.mark.parametrize("kind", ["agent", "flood", "maze"])
def test_maps_of_another_clip_are_refused(kind):
    truth, other = record(kind, 1), record(kind, 2).maps
    if kind == "maze":  # cells are alike in all mazes of one size, so the map is turned instead
        other = {**truth.maps, "cell": truth.maps["cell"][::-1, ::-1]}
    swapped = dataclasses.replace(truth, maps=other)
    with pytest.raises(ValueError, match=r"store 1: maps: got a map of (node|cell)s that does not have them"):
        check_truth("store 1", swapped, KINDS[kind][2])


@pytest.mark.parametrize("name", ["velocity", "qpos", "time", "position"])
def test_numbers_that_are_not_finite_are_refused(name):
    truth = record("drop", 1)
    values = getattr(truth, name).copy()
    values.flat[-1] = np.nan
    with pytest.raises(ValueError, match=f"store 1: {name}: got NaN or infinite numbers"):
        check_truth("store 1", dataclasses.replace(truth, **{name: values}), "worldmodel/FreeFall-v0")


def test_a_room_needs_the_way_of_its_camera():
    truth = record("room", 1)
    signals = {name: values for name, values in truth.signals.items() if name != "world_to_camera"}
    with pytest.raises(ValueError, match="got no world_to_camera, expected the camera's path"):
        check_truth("store 1", dataclasses.replace(truth, signals=signals), "worldmodel/Room-v0")
