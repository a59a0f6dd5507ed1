"""Pictures are those of MuJoCo's own renderer, whatever was in view before."""

import gymnasium as gym
import mujoco
import numpy as np
import pytest

from worldmodel.collect import environment_id
from worldmodel.envs.rendering import MAX_GEOMS, Eye
from worldmodel.envs.simulation import Simulation

SIZE = 48
FAMILIES = {
    "falls": ("free-fall", {}),
    "falls from a gripper": ("free-fall", {"objects": 2, "release": "gripper"}),
    "grasps": ("grasp", {}),
    "graphs": ("graph-traversal", {}),
    "mazes": ("maze", {}),
    "rooms": ("room", {}),
}


def started(name, seeds, **options):
    """A simulation of scenes, a quarter of a second into their clips, and what renders it."""
    env = gym.make(environment_id(name), pixels=False, **options).unwrapped
    simulation = Simulation(env.family, len(seeds), fps=env.fps)
    simulation.reset([env.family.sampler(np.random.default_rng(seed)) for seed in seeds])
    actions = None if env.action_spec is None else np.zeros((len(seeds), len(env.action_spec.low)))
    for _ in range(4):
        simulation.step(actions)
    return simulation, Eye(simulation, SIZE, SIZE)


def bare(simulation, index):
    """Colour, distances and geoms of a scene by a renderer that knows no other."""
    model, data = simulation.batch.get_model(index), simulation.batch.get_data(index)
    mujoco.mj_forward(model, data)
    with mujoco.Renderer(model, SIZE, SIZE, MAX_GEOMS) as renderer:
        renderer.update_scene(data, simulation.family.camera)
        colour = renderer.render()
        renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
        renderer.enable_depth_rendering()
        depth = renderer.render()
        renderer.enable_segmentation_rendering()
        geoms = renderer.render()[..., 0]
    bodies = [model.body(name).id for name in simulation.family.objects]
    labels = np.zeros(model.nbody + 1, np.uint8)
    labels[bodies] = np.arange(1, len(bodies) + 1)
    return colour, depth, labels[np.where(geoms < 0, -1, model.geom_bodyid[geoms])]


@pytest.mark.parametrize(("name", "options"), FAMILIES.values(), ids=FAMILIES)
def test_one_context_draws_every_scene_as_one_of_its_own_would(name, options):
    simulation, eye = started(name, (1, 2), **options)
    for index in (0, 1, 0):
        colour, depth, labels = bare(simulation, index)
        eye.look(index)
        np.testing.assert_array_equal(eye.colour(), colour)
        np.testing.assert_array_equal(eye.depth(), depth)
        np.testing.assert_array_equal(eye.segmentation(), labels)
    eye.close()


def test_water_is_drawn_where_it_stands_also_when_time_goes_back():
    simulation, eye = started("graph-traversal", (3,), task="flood")
    early = simulation.save()
    pictures = []
    for _ in range(8):
        simulation.step()
        eye.look(0)
        pictures.append(eye.colour())
    water = [(picture[..., 2].astype(int) - picture[..., 0] > 90).sum() for picture in pictures]
    assert (np.diff(water) >= 0).all() and water[-1] > water[0]
    simulation.load([early])
    simulation.step()
    eye.look(0)
    np.testing.assert_array_equal(eye.colour(), pictures[0])
    eye.close()
