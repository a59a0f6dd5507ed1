"""A :class:`DropScene` as a MuJoCo model, and what no such scene may be."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import mujoco
import numpy as np

from worldmodel.envs.drop_contacts import bearings_xml, object_names, set_contacts
from worldmodel.envs.drop_gripper import GRIPPER, gripper_xml, place_gripper, tune_gripper
from worldmodel.envs.drop_scene import (
    COLOURS,
    DENSITY,
    LIMITS,
    MASSES,
    SCALES,
    Bounces,
    DropObject,
    DropScene,
    mass_of,
)
from worldmodel.envs.drop_shapes import DIMENSIONS, GEOM_TYPES, half_extents, thinnest_half
from worldmodel.envs.drop_stage import (
    CAMERA,
    CAMERA_FOVY,
    CAMERA_POSITION,
    CAMERA_TILT,
    HEIGHTS,
    SUPPORT_GEOMS,
    pictures,
    place_support,
    sees,
    support_xml,
)
from worldmodel.envs.options import SMALLEST
from worldmodel.envs.views import first_in_sight

_OVERLAP = 1e-6  # m

_STAGE = """
<mujoco model="free_fall">
  <!-- Without it the extent follows the object, and with it the clipping planes and shadows. -->
  <statistic extent="2.05" center="0 0 0.23" meansize="0.17"/>
  <visual>
    <headlight ambient="0.42 0.42 0.42" diffuse="0.28 0.28 0.28" specular="0 0 0"/>
    <quality shadowsize="512" offsamples="4"/>
    <map shadowclip="1.2" znear="0.05" zfar="40"/>
  </visual>
  <asset>
    <texture type="skybox" builtin="gradient" rgb1="0.66 0.70 0.74" rgb2="0.86 0.87 0.88" width="64" height="64"/>
  </asset>
  <worldbody>
    <light name="sun" type="directional" pos="0 0 4" dir="0 0 -1" diffuse="0.5 0.5 0.5" castshadow="true"/>
    <geom name="floor" type="plane" size="8 8 0.1" rgba="0.62 0.60 0.58 1"/>
    <camera name="{camera}" pos="{position}" xyaxes="1 0 0 0 {tilt} 1" fovy="{fovy}"/>
    {bodies}
  </worldbody>
  <sensor>{sensors}</sensor>
  {rest}
</mujoco>
"""


def collision_pairs(number: int, support: str, release: str) -> list[tuple[str, str]]:
    """Pairs of a body and an object that can meet, beside objects and what supports them."""
    names = object_names(number)
    pairs = [(one, other) for i, one in enumerate(names) for other in names[i + 1 :]]
    obstacles = (["screen"] if support == "ledge" else []) + ([GRIPPER] if release == "gripper" else [])
    return pairs + [(obstacle, name) for obstacle in obstacles for name in names]


@functools.cache
def _stage(number: int, support: str, release: str) -> str:
    names = object_names(number)
    bodies = "".join(
        f'<body name="{name}"><freejoint/><geom name="{name}" type="sphere" size="0.1"/>'
        f"{bearings_xml(name, support)}</body>"
        for name in names
    )
    # What the world's own geoms do to an object: the floor, and what it can stand on.
    sensors = "".join(
        f'<contact name="support of {name}" body1="world" body2="{name}" data="found force pos" reduce="netforce"/>'
        f'<subtreeangmom name="spin of {name}" body="{name}"/>'
        for name in names
    ) + "".join(
        f'<contact name="{one} on {name}" subtree1="{one}" geom2="{name}" data="found"/>'
        for one, name in collision_pairs(number, support, release)
    )
    gripper, rest = gripper_xml() if release == "gripper" else ("", "")
    return _STAGE.format(
        camera=CAMERA,
        position=" ".join(map(str, CAMERA_POSITION)),
        tilt=CAMERA_TILT,
        fovy=CAMERA_FOVY,
        bodies=support_xml(support) + bodies + gripper,
        sensors=sensors,
        rest=rest,
    )


def build(scene: DropScene) -> mujoco.MjSpec:
    """The model of a scene; its objects come first among the joints."""
    spec = mujoco.MjSpec.from_string(_stage(len(scene.objects), scene.support, scene.release))
    spec.option.gravity = (0.0, 0.0, -scene.gravity)
    place_support(spec, scene.support, scene.support_height)
    for name, thing in zip(object_names(len(scene.objects)), scene.objects, strict=True):
        _place(spec, name, thing)
    if scene.release == "gripper":
        place_gripper(spec, scene.position, half_extents(scene.shape, scene.size, scene.quaternion))
        tune_gripper(spec, mass_of(scene.objects[0], scene.scale), scene.scale)
        for name in object_names(len(scene.objects)):
            spec.geom(name).conaffinity = 3
    set_contacts(spec, scene)
    _scale(spec, scene.scale)
    return spec


def _place(spec: mujoco.MjSpec, name: str, thing: DropObject) -> None:
    body, geom = spec.body(name), spec.geom(name)
    body.pos, body.quat = thing.position, thing.quaternion
    geom.type, geom.size = GEOM_TYPES[thing.shape], thing.size
    geom.rgba = (*COLOURS[thing.colour], 1.0)
    if thing.mass > 0.0:
        geom.mass = thing.mass
    else:
        geom.density = DENSITY


def _scale(spec: mujoco.MjSpec, scale: float) -> None:
    """Multiply every length, the camera's and the light's places and the clipping planes among them.

    About the origin instead of the camera's centre: the same picture, and the floor stays at z = 0.
    """
    for geom in spec.geoms:
        geom.pos, geom.size = geom.pos * scale, geom.size * scale
    for placed in (*spec.bodies[1:], *spec.lights, *spec.cameras):
        placed.pos = placed.pos * scale
    spec.stat.extent, spec.stat.meansize = spec.stat.extent * scale, spec.stat.meansize * scale
    spec.stat.center = spec.stat.center * scale


def check(scene: DropScene) -> None:
    """Raise ValueError for what cannot be, or cannot be seen by the camera at t = 0."""
    for index, thing in enumerate(scene.objects):
        _check_object(thing, "" if index == 0 else f"others[{index - 1}].")
    _check_constants(scene)
    if scene.others or scene.support != "none":
        _check_places(scene)


def _refuse(name: str, got: Any, expected: str) -> None:
    raise ValueError(f"{name}: got {got!r}, expected {expected}; change it in the scene or its options")


def _check_constants(scene: DropScene) -> None:
    for name in ("gravity", "friction"):
        if not LIMITS[name].hold(getattr(scene, name)):
            _refuse(name, getattr(scene, name), str(LIMITS[name]))
    if not SCALES[0] <= scene.scale <= SCALES[1]:
        _refuse("scale", scene.scale, f"{SCALES[0]:g} to {SCALES[1]:g}")
    half = min(thinnest_half(thing.shape, thing.size) for thing in scene.objects)
    bounces = Bounces(len(scene.objects), scene.support, scene.scale, half, scene.gravity)
    least, most = bounces.restitutions
    if not least <= scene.restitution <= most:
        _refuse("restitution", scene.restitution, f"{least} to {most} {bounces}")
    least, most = HEIGHTS[scene.support][1]
    if not least <= scene.support_height <= most:
        _refuse("support_height", scene.support_height, f"{least:g} to {most:g} m with support {scene.support!r}")


def _check_object(thing: DropObject, owner: str) -> None:
    if thing.shape not in GEOM_TYPES:
        _refuse(f"{owner}shape", thing.shape, f"one of {', '.join(GEOM_TYPES)}")
    if thing.colour not in COLOURS:
        _refuse(f"{owner}colour", thing.colour, f"one of {', '.join(COLOURS)}")
    needed = DIMENSIONS[thing.shape]
    if len(thing.size) != 3 or not np.isfinite(thing.size).all() or not all(half > 0 for half in thing.size[:needed]):
        _refuse(f"{owner}size", thing.size, f"three half sizes in metres, the first {needed} above 0")
    if len(thing.position) != 3 or not np.isfinite(thing.position).all():
        _refuse(f"{owner}position", thing.position, "three finite coordinates in metres")
    if len(thing.quaternion) != 4 or not 0.999 < np.linalg.norm(thing.quaternion) < 1.001:
        _refuse(f"{owner}quaternion", thing.quaternion, "four numbers of norm 1")
    if thing.mass != 0.0 and not MASSES[0] <= thing.mass <= MASSES[1]:
        _refuse(f"{owner}mass", thing.mass, f"{MASSES[0]:g} to {MASSES[1]:g} kg, or 0 for {DENSITY:g} kg/m^3")
    half = half_extents(thing.shape, thing.size, thing.quaternion)
    lowest = half[2]
    if thing.position[2] < lowest:
        _refuse(f"{owner}position", thing.position, f"a centre at least {lowest:.3f} m above the floor")
    if not sees(thing.position):
        _refuse(f"{owner}position", thing.position, "a centre that the camera sees in a square picture")
    if not pictures(thing.position, half):
        least = f"half a metre before the camera and a pixel of {SMALLEST} wide or high"
        _refuse(f"{owner}size", thing.size, f"{least} at {thing.position}")


def _check_places(scene: DropScene) -> None:
    """Refuse objects that overlap each other or a support, or are hidden from the camera."""
    model = build(dataclasses.replace(scene, scale=1.0)).compile()
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    names = object_names(len(scene.objects))
    for index, name in enumerate(names):
        option = "position" if index == 0 else f"others[{index - 1}].position"
        place, geom = scene.objects[index].position, model.geom(name).id
        for other in (*names[:index], *SUPPORT_GEOMS[scene.support]):
            if mujoco.mj_geomDistance(model, data, geom, model.geom(other).id, 1.0, None) < -_OVERLAP:
                _refuse(option, place, f"a place where it does not overlap the {other}")
        seen = first_in_sight(model, data, CAMERA_POSITION, place)
        if seen != name:
            _refuse(option, place, f"a centre that the camera sees, not one behind the {seen}")
