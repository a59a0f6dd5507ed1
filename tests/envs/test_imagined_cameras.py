"""Imagined episodes begin with pictures from the cameras that the model was trained on."""

import dataclasses

import gymnasium as gym
import pytest
from known_models import random_robots

import worldmodel.envs  # noqa: F401
from worldmodel.backends.cameras import View
from worldmodel.collect import collect
from worldmodel.envs.imagined import ImaginedEnv
from worldmodel.envs.imagined_starts import EnvStarts, FrameStarts, StoreStarts
from worldmodel.model import WorldModel

MAZE, GRASP = "worldmodel/Maze-v0", "worldmodel/Grasp-v0"


@pytest.fixture(scope="module")
def overhead():
    """A model that knows the camera of mazes alone."""
    env = gym.make(MAZE, image_size=32).unwrapped
    env.reset(seed=0)
    backend = random_robots().backend
    backend.recipe = dataclasses.replace(backend.recipe, scenes={MAZE: {}}, cameras={MAZE: View.of(env.eye.camera())})
    return WorldModel(backend)


def test_environments_from_the_models_camera_are_beginnings_and_others_are_refused(overhead):
    for same in (MAZE, "worldmodel/GraphTraversal-v0"):
        assert ImaginedEnv(overhead, same).reset(seed=0)[0]["pixels"].shape == (32, 32, 3)
    with pytest.raises(ValueError, match="starts: got worldmodel/Grasp-v0, which random robots was not trained on"):
        ImaginedEnv(overhead, EnvStarts(GRASP))


def test_clips_from_another_camera_are_refused_but_as_pictures_alone(overhead, tmp_path):
    store = collect(tmp_path / "grasps", "grasp", episodes=1, seed=0, image_size=32, num_frames=3)
    starts = StoreStarts(store.path)
    with pytest.raises(ValueError, match=r"starts, clip 0+: got .* m away .* begin with FrameStarts\(frames\)"):
        ImaginedEnv(overhead, starts, reward=lambda chunk: 0.0)
    frames = store.array(store.keys()[0], "video").data[:1]
    ImaginedEnv(overhead, FrameStarts(frames, starts.action_spec), reward=lambda chunk: 0.0).reset(seed=0)
