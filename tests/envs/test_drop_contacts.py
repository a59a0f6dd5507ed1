"""What touches keeps energy, and cylinders lie and stand on tables."""

import dataclasses
import itertools
import math

import mujoco
import numpy as np
import pytest

from worldmodel.envs.drop_scene import DropSampler
from worldmodel.envs.drop_shapes import half_extents
from worldmodel.envs.free_fall import DropScene, FreeFall, FreeFallEnv
from worldmodel.envs.simulation import Simulation

UPRIGHT = (1.0, 0.0, 0.0, 0.0)
LIVELY = [
    {},
    {"objects": 3, "mass": (0.1, 30.0)},
    {"objects": 4, "mass": (0.001, 1e4), "friction": (0.0, 1.5)},
    {"objects": 3, "shapes": ("sphere", "capsule")},
    {"objects": 4, "scale": 0.5},
    {"support": "table"},
    {"support": "ramp"},
    {"support": "ledge", "shapes": "all", "radius": 0.2},
    {"support": "ramp", "scale": 0.5, "shapes": "all", "radius": 0.2},
    {"shapes": ("plate", "rod"), "radius": 0.2, "clearance": (0.9, 1.2)},
    {"gravity": 22.0},
    {"gravity": 22.0, "support": "ledge"},
]
CALM = [  # what may not bounce well
    {"support": "table", "objects": 3, "mass": (0.1, 30.0), "friction": (0.0, 1.5)},
    {"support": "ledge", "objects": 3, "mass": (0.001, 1e4)},
    {"objects": 4, "scale": 0.25},
    {"support": "ledge", "shapes": "all"},
    {"support": "table", "objects": 4, "shapes": "all", "mass": (0.1, 30.0), "friction": (0.0, 1.5)},
    {"support": "ledge", "objects": 4, "shapes": ("rod", "cylinder"), "mass": (0.001, 1e4)},
    {"support": "ramp", "scale": 0.25, "shapes": "all"},
    {"objects": 4, "scale": 0.1, "shapes": "all"},
    {"shapes": "all", "radius": (0.04, 0.12)},
    {"shapes": ("rod", "cylinder"), "radius": (0.04, 0.06), "support": "ramp"},
    {"gravity": 100.0, "support": "ledge"},
]


@pytest.mark.parametrize(
    ("options", "restitution"),
    [
        *itertools.product(LIVELY, ("least", 0.47, 0.6, "most")),
        *itertools.product(CALM, ("least", "most")),
    ],
)
def test_energy_never_grows(options, restitution):
    thinnest = "radius" in options and "rod" in options["shapes"]
    gain = 1e-2 if thinnest else 5e-3 if restitution == "most" else 2e-3
    least, most = DropSampler(**options).bounces.restitutions
    assert (most == 0.47) == (options in CALM)
    chosen = {"least": least, "most": most}.get(restitution, restitution)
    family = FreeFall(restitution=chosen, **options)
    simulation = Simulation(family, 40, fps=80)
    simulation.reset([family.sampler(np.random.default_rng(seed)) for seed in range(40)])
    start = simulation.signals["energy"].copy()
    lowest = start.copy()
    for _ in range(100):
        simulation.step()
        signals = simulation.signals
        # A contact stores energy and gives it back, so only what is free of contacts can be compared.
        free = ~(signals["contacts"] | signals["collisions"]).any(axis=1)
        assert (signals["energy"] <= start * (1 + 1e-12)).all()
        assert (signals["energy"] <= lowest + gain * start)[free].all()
        lowest = np.where(free, np.minimum(lowest, signals["energy"]), lowest)
    assert (simulation.signals["energy"] < 0.9 * start).all()


def lying(shape, size, quaternion, support, **changes):
    """A scene with an object a centimetre above the table or the floor."""
    height = {"table": 0.3, "none": 0.0}[support] + float(half_extents(shape, size, quaternion)[2]) + 0.01
    scene = DropScene(shape, size, "blue", (0.0, 0.0, height), quaternion, support=support, **changes)
    return dataclasses.replace(scene, support_height=0.3 if support == "table" else 0.0)


@pytest.mark.parametrize("restitution", [0.3, 0.47, 0.6])
@pytest.mark.parametrize("support", ["none", "table"])
@pytest.mark.parametrize("size", [(0.12, 0.14, 0.0), (0.05, 0.25, 0.0)], ids=["can", "rod"])
@pytest.mark.parametrize("quaternion", [UPRIGHT, (math.sqrt(0.5), 0.0, math.sqrt(0.5), 0.0)], ids=["stands", "lies"])
def test_a_cylinder_stands_and_lies_on_a_table_as_on_the_floor(restitution, support, size, quaternion):
    scene = lying("cylinder", size, quaternion, support, restitution=restitution)
    clip = FreeFallEnv(image_size=16, num_frames=49, support=support).record(scene)
    assert clip.signals["rest"][-16:, 0].all() and np.abs(clip.velocity[-16:]).max() < 0.02
    moved = clip.position[-1, 0] - clip.position[0, 0]
    assert np.abs(moved[:2]).max() < 0.005 and moved[2] == pytest.approx(-0.01, abs=0.001)


@pytest.mark.parametrize("size", [(0.12, 0.14, 0.0), (0.05, 0.25, 0.0), (0.15, 0.04, 0.0), (0.1, 0.1, 0.0)])
@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_what_bears_a_cylinder_is_inside_of_it_weighs_nothing_and_is_not_seen(size, scale):
    scene = lying("cylinder", size, UPRIGHT, "table", scale=scale)
    model = FreeFall(support="table").build(scene).compile()
    bare = FreeFall().build(lying("cylinder", size, UPRIGHT, "none", scale=scale)).compile()
    np.testing.assert_allclose(model.body("object").mass, bare.body("object").mass)
    np.testing.assert_allclose(model.body("object").inertia, bare.body("object").inertia)
    box, capsule = (model.geom(f"{part} of object") for part in ("ends", "side"))
    radius, half_length, _ = scale * np.array(size)
    assert 0.97 * radius < np.hypot(*box.size[:2]) <= radius and box.size[2] == half_length
    assert capsule.size[0] <= radius and capsule.size[:2].sum() <= half_length * (1 + 1e-9)
    assert not mujoco.MjvOption().geomgroup[[box.group[0], capsule.group[0]]].any()
