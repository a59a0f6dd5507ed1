"""Free fall: one object dropped from rest onto a floor, seen by a static camera.

The first frame decides the fall, so a video model that is given the first frame can be
judged frame by frame against MuJoCo. The scene is built from parameters only
(:class:`DropScene`), and the same parameters give the same pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from worldmodel.envs.family import Family, Memory, Policy, Readings, Signals
from worldmodel.envs.scene_env import SceneEnv
from worldmodel.envs.scene_vector_env import SceneVectorEnv

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.85, 0.12, 0.10),
    "green": (0.12, 0.62, 0.18),
    "blue": (0.12, 0.28, 0.88),
    "yellow": (0.92, 0.78, 0.08),
    "magenta": (0.80, 0.14, 0.68),
    "cyan": (0.08, 0.68, 0.74),
}
SHAPES = ("box", "sphere", "cylinder", "capsule")
CAMERA = "front"
CONTACT_DURATION = 0.02  # s, how long a bounce takes; sets the floor's stiffness
DENSITY = 600.0  # kg/m^3
REST_SPEED = 0.02  # m/s

_GEOM_TYPES = {
    "box": mujoco.mjtGeom.mjGEOM_BOX,
    "sphere": mujoco.mjtGeom.mjGEOM_SPHERE,
    "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
    "capsule": mujoco.mjtGeom.mjGEOM_CAPSULE,
}

_DIMENSIONS = {"box": 3, "sphere": 1, "cylinder": 2, "capsule": 2}  # half sizes that matter

_STAGE = f"""
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
    <camera name="{CAMERA}" pos="0 -3.1 0.95" xyaxes="1 0 0 0 0.1 1" fovy="34"/>
    <body name="object"><freejoint/><geom name="object" type="sphere" size="0.1"/></body>
  </worldbody>
  <sensor>
    <contact name="floor on object" geom1="floor" geom2="object" data="found force" reduce="netforce"/>
  </sensor>
</mujoco>
"""


@dataclass(frozen=True)
class DropScene:
    """Everything that decides a clip. SI units, world frame, z up, the floor at z = 0.

    ``size`` holds MuJoCo half sizes: (x, y, z) of a box, (radius, 0, 0) of a sphere,
    (radius, half length, 0) of a cylinder or capsule.
    """

    shape: str
    size: tuple[float, float, float]  # m
    colour: str
    position: tuple[float, float, float]  # m, centre at t = 0
    quaternion: tuple[float, float, float, float]  # w, x, y, z at t = 0
    gravity: float = 9.81  # m/s^2, downwards
    restitution: float = 0.47  # speed after a central bounce over speed before
    friction: float = 0.7  # Coulomb coefficient against the floor


@dataclass(frozen=True)
class DropSampler:
    """Ranges from which scenes are drawn; a number fixes a value, a pair is uniform."""

    shapes: tuple[str, ...] = SHAPES
    colours: tuple[str, ...] = tuple(COLOURS)
    radius: tuple[float, float] = (0.12, 0.19)  # m, of the sphere of about equal volume
    clearance: tuple[float, float] = (0.15, 1.0)  # m, lowest point above the floor
    sideways: tuple[float, float] = (-0.45, 0.45)  # m, along the image
    depth: tuple[float, float] = (-0.2, 0.2)  # m, towards and away from the camera
    gravity: float | tuple[float, float] = 9.81
    restitution: float | tuple[float, float] = 0.47
    friction: float | tuple[float, float] = 0.7

    def __call__(self, rng: np.random.Generator) -> DropScene:
        shape = str(rng.choice(self.shapes))
        size = _half_sizes(shape, rng.uniform(*self.radius), rng)
        quaternion = rng.normal(size=4)
        quaternion /= np.linalg.norm(quaternion)
        lowest = _extent_below_centre(shape, size, quaternion)
        x, y = rng.uniform(*self.sideways), rng.uniform(*self.depth)
        z = lowest + rng.uniform(*self.clearance)
        qw, qx, qy, qz = map(float, quaternion)
        return DropScene(
            shape=shape,
            size=size,
            colour=str(rng.choice(self.colours)),
            position=(float(x), float(y), float(z)),
            quaternion=(qw, qx, qy, qz),
            gravity=_draw(self.gravity, rng),
            restitution=_draw(self.restitution, rng),
            friction=_draw(self.friction, rng),
        )


def _draw(value: float | tuple[float, float], rng: np.random.Generator) -> float:
    return float(rng.uniform(*value)) if isinstance(value, tuple) else float(value)


def _half_sizes(shape: str, radius: float, rng: np.random.Generator) -> tuple[float, float, float]:
    if shape == "box":
        half = 0.8 * radius * rng.uniform(0.8, 1.25, size=3)
        return (float(half[0]), float(half[1]), float(half[2]))
    if shape == "sphere":
        return (float(radius), 0.0, 0.0)
    thickness, length = (0.8, rng.uniform(0.8, 1.2)) if shape == "cylinder" else (0.7, rng.uniform(0.5, 0.9))
    return (float(thickness * radius), float(length * radius), 0.0)


def _extent_below_centre(shape: str, size: tuple[float, float, float], quaternion: np.ndarray) -> float:
    """Height in metres of the centre when the rotated shape touches the floor."""
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, quaternion)
    down = np.abs(rotation.reshape(3, 3)[2])  # the world's z axis in body coordinates
    radius, half_length, _ = size
    if shape == "box":
        return float(down @ np.asarray(size))
    if shape == "sphere":
        return radius
    if shape == "capsule":
        return float(radius + half_length * down[2])
    return float(radius * np.hypot(down[0], down[1]) + half_length * down[2])


def contact_reference(restitution: float) -> tuple[float, float]:
    """MuJoCo ``solref`` (negative: stiffness, damping) of a bounce with the given restitution.

    A mass on a damped spring that cannot pull leaves when the force ends, with a share
    e = exp(-zeta (pi - 2 asin zeta) / sqrt(1 - zeta^2)) of its speed. The stiffness is such
    that half an undamped period takes ``CONTACT_DURATION``.
    """
    grid = np.linspace(0.0, 1.0, 20_001)[1:-1]
    left = np.exp(-grid * (np.pi - 2.0 * np.arcsin(grid)) / np.sqrt(1.0 - grid**2))
    zeta = float(np.interp(-restitution, -left, grid))
    omega = np.pi / CONTACT_DURATION
    return -float(omega**2), -float(2.0 * zeta * omega)


def _build(scene: DropScene) -> mujoco.MjSpec:
    spec = mujoco.MjSpec.from_string(_STAGE)
    spec.option.gravity = (0.0, 0.0, -scene.gravity)
    body, geom, floor = spec.body("object"), spec.geom("object"), spec.geom("floor")
    body.pos, body.quat = scene.position, scene.quaternion
    geom.type = _GEOM_TYPES[scene.shape]
    geom.size = scene.size
    geom.density = DENSITY
    geom.rgba = (*COLOURS[scene.colour], 1.0)
    stiffness, damping = contact_reference(scene.restitution)
    for each in (geom, floor):
        each.friction = (scene.friction, 0.003, 0.0005)
        each.condim = 6
        each.solref = (stiffness, damping)
        each.solimp = (0.99, 0.999, 0.001, 0.5, 2.0)
    return spec


def _check_scene(scene: DropScene) -> None:
    def refuse(name: str, got: Any, expected: str) -> None:
        raise ValueError(f"{name}: got {got!r}, expected {expected}; change it in the scene or its options")

    if scene.shape not in SHAPES:
        refuse("shape", scene.shape, f"one of {', '.join(SHAPES)}")
    if scene.colour not in COLOURS:
        refuse("colour", scene.colour, f"one of {', '.join(COLOURS)}")
    if len(scene.size) != 3 or not all(half > 0 for half in scene.size[: _DIMENSIONS[scene.shape]]):
        refuse("size", scene.size, f"three half sizes in metres, the first {_DIMENSIONS[scene.shape]} above 0")
    if len(scene.position) != 3 or not np.isfinite(scene.position).all():
        refuse("position", scene.position, "three finite coordinates in metres")
    if len(scene.quaternion) != 4 or not 0.999 < np.linalg.norm(scene.quaternion) < 1.001:
        refuse("quaternion", scene.quaternion, "four numbers of norm 1")
    if not 0.14 <= scene.restitution < 1.0:
        refuse("restitution", scene.restitution, "at least 0.14 (a critically damped floor) and below 1")
    if not scene.gravity >= 0.0:
        refuse("gravity", scene.gravity, "m/s^2 downwards, at least 0")
    if not scene.friction >= 0.0:
        refuse("friction", scene.friction, "at least 0")
    lowest = _extent_below_centre(scene.shape, scene.size, np.asarray(scene.quaternion))
    if scene.position[2] < lowest:
        refuse("position", scene.position, f"a centre at least {lowest:.3f} m above the floor")


def _watch(scene: DropScene, rng: np.random.Generator) -> Policy:
    """The only thing to do."""
    return lambda info: 0


class FreeFall(Family):
    """One object falls, bounces and comes to rest; the task is fulfilled once it lies still on the floor."""

    id = "worldmodel/FreeFall-v0"
    sampler_type = DropSampler
    scene_type = DropScene
    policies = {"watch": _watch}
    max_timestep = 0.00125
    signals = {
        "contact": "touched the floor since the frame before",
        "contact_force": "N, mean vertical force of the floor since the frame before",
        "impact_time": "s, first touch of the floor; inf before it",
        "success": "at rest on the floor",
    }

    def check(self, scene: DropScene) -> None:
        """Refuse impossible shapes, sizes, poses and physical constants."""
        _check_scene(scene)

    def build(self, scene: DropScene) -> mujoco.MjSpec:
        """Floor, sun, camera and the object."""
        return _build(scene)

    def memory(self, scene: DropScene) -> dict[str, Any]:
        """When the object first touched the floor."""
        return {"impact_time": np.inf}

    def measure(self, readings: Readings, memory: Memory) -> Signals:
        """Contact with the floor between the frames, and rest."""
        force = readings.before("floor on object")[:, :, -1]  # (n, substeps) N
        touched = force > 0.0
        contact = touched.any(axis=1)
        if touched.shape[1]:
            first = np.take_along_axis(readings.times_before(), touched.argmax(axis=1)[:, None], axis=1)[:, 0]
            new = contact & np.isinf(memory["impact_time"])
            memory["impact_time"] = np.where(new, first, memory["impact_time"])
        speed = np.linalg.norm(readings["velocity of object"], axis=1)
        return {
            "contact": contact,
            "contact_force": force.mean(axis=1) if force.shape[1] else np.zeros(len(force)),
            "impact_time": memory["impact_time"].copy(),
            "success": contact & (speed < REST_SPEED),
        }

    def outcome(self, scene: DropScene, time: np.ndarray, signals: Signals) -> dict[str, Any]:
        """Whether it lies still at the end and when it first touched the floor (None if it never did)."""
        impact = float(signals["impact_time"][-1])
        return {"success": bool(signals["success"][-1]), "impact_time": None if np.isinf(impact) else impact}

    def task(self, scene: DropScene) -> str:
        """What the picture shows, as a prompt."""
        return f"A {scene.colour} {scene.shape} falls to the floor, bounces and comes to rest. Static camera."


class FreeFallEnv(SceneEnv):
    """Watch one object fall; ``action_space`` is ``Discrete(1)``."""

    family_type = FreeFall


class FreeFallVectorEnv(SceneVectorEnv):
    """Many falls at once."""

    family_type = FreeFall
