"""Scenes and options of falls that are refused, by name, range and value."""

import dataclasses

import pytest

from worldmodel.envs.free_fall import DropObject, DropScene, FreeFall, FreeFallEnv

UPRIGHT = (1.0, 0.0, 0.0, 0.0)
SPHERE = DropScene("sphere", (0.12, 0.0, 0.0), "red", (0.1, 0.0, 0.92), UPRIGHT)
BELOW = DropObject("sphere", (0.1, 0.0, 0.0), "blue", (0.1, 0.0, 0.4), UPRIGHT)


@pytest.fixture(scope="module")
def env():
    return FreeFallEnv(image_size=64)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": "cone"}, "shape: got 'cone', expected one of box"),
        ({"colour": "mauve"}, "colour: got 'mauve'"),
        ({"size": (0.0, 0.0, 0.0)}, "size: got"),
        ({"size": (-0.1, 0.0, 0.0)}, r"size: got \(-0.1, 0.0, 0.0\), expected three half sizes in metres"),
        (
            {"restitution": 1.0},
            "restitution: got 1.0, expected 0.14 to 0.9 with 1 object at least 0.24 m thick, gravity 9.81 m/s.2",
        ),
        (
            {"size": (0.029, 0.0, 0.0), "position": (0.0, 0.0, 0.5), "restitution": 0.5},
            "restitution: got 0.5, expected 0.14 to 0.47 with 1 object at least 0.058 m thick",
        ),
        ({"gravity": 99.0, "size": (0.09, 0.0, 0.0), "restitution": 0.5}, "0.14 to 0.47 with .* gravity 99 m/s.2"),
        ({"scale": 0.2, "restitution": 0.5}, "restitution: got 0.5, expected 0.14 to 0.47 with .* scale 0.2"),
        ({"gravity": -1.0}, "gravity: got -1.0"),
        ({"friction": -0.1}, "friction: got -0.1"),
        ({"mass": -1.0}, "mass: got -1.0, expected 1e-06 to 1e[+]06 kg"),
        ({"scale": 0.0}, "scale: got 0.0, expected 0.1 to 100"),
        ({"scale": float("nan")}, "scale: got nan"),
        ({"position": (0.0, 0.0, 0.05)}, "position: got .* expected a centre at least 0.120 m above the floor"),
        ({"position": (5.0, 0.0, 1.0)}, "position: got .* expected a centre that the camera sees"),
        ({"position": (0.0, -4.0, 1.0)}, "position: got .* expected a centre that the camera sees"),
        ({"size": (0.01, 0.0, 0.0)}, "size: got .* a pixel of 64 wide or high"),
        ({"position": (0.0, -2.9, 0.95)}, "size: got .* half a metre before the camera"),
        ({"mass": 1e-20}, "mass: got 1e-20, expected 1e-06 to"),
        ({"friction": 1e300}, "friction: got 1e[+]300, expected at least 0 and at most 100"),
        ({"height": 1.0}, r"options: got height="),
        ({"scene": {"shape": "box"}}, "options: got a scene of type dict"),
        ({"position": (0.0, float("nan"), 1.0)}, "position: got"),
        ({"quaternion": (0.0, 0.0, 0.0, 0.0)}, "quaternion: got"),
        ({"shape": "box", "size": (0.1, 0.1, 0.0)}, "the first 3 above 0"),
        ({"support": "table"}, "support: got 'table', expected 'none' as in the environment; make one with support"),
        ({"release": "gripper"}, "release: got 'gripper', expected 'none'"),
        ({"others": (BELOW,)}, "objects: got 2, expected 1"),
        ({"support_height": 0.2}, "support_height: got 0.2, expected 0 to 0 m with support 'none'"),
    ],
)
def test_impossible_scenes_are_refused(env, change, message):
    with pytest.raises(ValueError, match=message):
        env.reset(options={"scene": SPHERE, **change})


@pytest.mark.parametrize(
    ("options", "change", "message"),
    [
        ({"objects": 2}, {"others": (SPHERE.objects[0],)}, r"others\[0\].position: got .* does not overlap the object"),
        (
            {"objects": 2},
            {"others": (dataclasses.replace(BELOW, position=(0.133, 1.0, 0.91)),)},
            r"others\[0\].position: got .* not one behind the object;",
        ),
        ({"objects": 2}, {"others": (dataclasses.replace(BELOW, mass=-1.0),)}, r"others\[0\].mass: got -1.0"),
        (
            {"support": "table"},
            {"position": (0.1, 0.0, 0.3), "support": "table", "support_height": 0.2},
            "does not overlap the table",
        ),
        (
            {"support": "ramp"},
            {"support": "ramp", "restitution": 0.9, "support_height": 0.3},
            "restitution: got 0.9, expected 0.14 to 0.8 with 1 object .* support .ramp.",
        ),
        ({"support": "table"}, {"support": "table", "support_height": 0.9}, "support_height: got 0.9, expected 0.1 to"),
        (
            {"support": "ledge"},
            {"support": "ledge", "position": (0.1, 0.0, 0.2)},
            "position: got .* not one behind the screen",
        ),
    ],
)
def test_objects_that_overlap_or_cannot_be_seen_are_refused(options, change, message):
    with pytest.raises(ValueError, match=message):
        FreeFall(**options).check(dataclasses.replace(SPHERE, **change))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"height": 1.0}, "options: got height=.*, expected one of"),
        ({"objects": 9}, "objects: got 9, expected 1 to 4"),
        ({"support": "cloud"}, "support: got 'cloud', expected one of none, table, ramp, ledge"),
        ({"release": "magnet"}, "release: got 'magnet', expected one of none, gripper"),
        ({"shapes": "odd"}, "shapes: got 'odd'"),
        ({"shapes": ("cone",)}, r"shapes: got \('cone',\), expected a tuple of some of box"),
        ({"objects": 4, "radius": (0.5, 0.6), "sideways": (0.0, 0.0)}, "objects: got 4, expected fewer"),
        ({"render_mode": "human"}, "render_mode: got 'human'"),
        ({"image_size": 8}, "image_size: got 8"),
        ({"num_frames": 1}, "num_frames, fps: got 1"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        FreeFallEnv(**options)
