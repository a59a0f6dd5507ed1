"""A two-finger gripper of plain boxes that holds an object, moves as it is told and lets go.

The object hangs on the palm by a weld that is switched off to let go, not by friction: a weld
holds every shape in every pose and does not creep, and what is let go starts to fall with the
gripper's own velocity. The fingers stand ``GAP`` off the object, so they do not push it when they
open. Servos follow the commanded path to about a millimetre; they are stiff in proportion to the
object's mass, so that the motion does not depend on it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from worldmodel.actions import ActionSpec
from worldmodel.envs.family import Policy

GRIPPER, FINGERS = "gripper", ("left finger", "right finger")
JOINTS = ("gripper x", "gripper y", "gripper z", *FINGERS)
MAX_SPEED = 1.0  # m/s, along each axis
LETS_GO = 0.5  # opening from which the object is free
GAP = 0.005  # m, between a finger and the object it holds
TRAVEL = 0.06  # m, of each finger from closed to open
_REACH = np.array([[-0.9, -0.5, 0.0], [0.9, 0.5, 1.6]])  # m, where the grip point may be taken
_FINGER, _PALM = 0.012, 0.02  # m, half thickness
_SERVO = 80.0  # rad/s, natural frequency of a servo with its load
_HEAVIER = 20.0  # the gripper's mass over the object's
_COLOUR = "0.30 0.30 0.32 1"
_COLLIDES = 'contype="2" conaffinity="0"'  # with objects only

# For an environment to complete with its rate of actions.
ACTION_SPEC = ActionSpec(
    names=("velocity x", "velocity y", "velocity z", "opening"),
    units=("m/s", "m/s", "m/s", "1"),
    low=(-MAX_SPEED, -MAX_SPEED, -MAX_SPEED, 0.0),
    high=(MAX_SPEED, MAX_SPEED, MAX_SPEED, 1.0),
    frame="world",
    control_hz=16.0,
    gripper=f"0 closed, 1 open; from {LETS_GO} on the object is let go, for good",
)


def gripper_xml() -> tuple[str, str]:
    """MJCF of the gripper: its bodies, and the weld and servos; :func:`place_gripper` gives it its sizes."""
    slides = "".join(
        f'<joint name="gripper {axis}" type="slide" axis="{way}"/>'
        for axis, way in zip("xyz", ("1 0 0", "0 1 0", "0 0 1"), strict=True)
    )
    geoms = "".join(
        f'<geom name="{name}" type="box" size="1 1 1" rgba="{_COLOUR}" {_COLLIDES}/>' for name in ("palm", "stem")
    )
    inertial = '<inertial pos="0 0 0" mass="1" diaginertia="1 1 1"/>'
    fingers = "".join(
        f'<body name="{name}" gravcomp="1">{inertial}<joint name="{name}" type="slide" axis="{way} 0 0"/>'
        f'<geom name="{name}" type="box" size="1 1 1" rgba="{_COLOUR}" {_COLLIDES}/></body>'
        for name, way in zip(FINGERS, (-1, 1), strict=True)
    )
    servos = "".join(
        f'<position name="{joint}" joint="{joint}"/><velocity name="{joint} velocity" joint="{joint}"/>'
        for joint in JOINTS
    )
    return (
        f'<body name="{GRIPPER}" gravcomp="1">{inertial}{slides}{geoms}{fingers}</body>',
        f'<equality><weld name="grip" body1="{GRIPPER}" body2="object" solref="0.0025 1"/></equality>'
        f"<actuator>{servos}</actuator>",
    )


def room_around(half: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper corner (2,), (x, z) in metres from the object's centre, of what the open gripper takes."""
    side = half[0] + GAP + TRAVEL + 3 * _FINGER
    return np.array([-side, -half[2]]), np.array([side, 3.0])


def place_gripper(spec: mujoco.MjSpec, position: tuple[float, float, float], half: np.ndarray) -> None:
    """Put the closed gripper around an object of half extents (3,) m."""
    spec.body(GRIPPER).pos = position
    top = half[2] + 2 * GAP
    palm, stem = spec.geom("palm"), spec.geom("stem")
    palm.pos, palm.size = (0.0, 0.0, top + _PALM), (half[0] + GAP + TRAVEL + 2 * _FINGER, 0.035, _PALM)
    stem.pos, stem.size = (0.0, 0.0, top + 2 * _PALM + 0.8), (0.03, 0.03, 0.8)
    bottom = -0.35 * half[2]
    for name, way in zip(FINGERS, (-1, 1), strict=True):
        spec.body(name).pos = (way * (half[0] + GAP + _FINGER), 0.0, 0.0)
        spec.geom(name).pos = (0.0, 0.0, (top + bottom) / 2)
        spec.geom(name).size = (_FINGER, 0.03, (top - bottom) / 2)


def tune_gripper(spec: mujoco.MjSpec, mass: float, scale: float) -> None:
    """Masses and servos for an object of a mass in kg in a scene of a scale."""
    frequency = _SERVO / math.sqrt(scale)
    for name in (GRIPPER, *FINGERS):
        spec.body(name).mass = _HEAVIER * mass if name == GRIPPER else mass
    for joint in JOINTS:
        load = mass if joint in FINGERS else (_HEAVIER + 3) * mass
        spec.actuator(joint).set_to_position(kp=load * frequency**2)
        spec.actuator(f"{joint} velocity").set_to_velocity(kv=2 * load * frequency)


def gripper_memory(
    position: tuple[float, float, float], half: np.ndarray, ground: float, scale: float
) -> dict[str, Any]:
    """Running command of a gripper; ``ground`` is the height in metres above which the held object is kept."""
    low, high = _REACH - np.asarray(position)
    low[2] = min(0.0, ground + half[2] + GAP - position[2])
    return {
        "hand": np.zeros(3),  # m, commanded way of the grip point since the start
        "opening": 0.0,
        "held": True,
        "low": scale * np.minimum(low, 0.0),
        "high": scale * np.maximum(high, 0.0),
        "travel": scale * TRAVEL,
        "closed": scale * (half[0] + GAP + _FINGER),
    }


def gripper_command(actions: np.ndarray, memory: dict[str, np.ndarray], substeps: int) -> dict[str, np.ndarray]:
    """Servo references (n, substeps, 10) along straight lines, and the weld, from actions (n, 4)."""
    duration = memory["timestep"] * substeps
    start = np.concatenate([memory["hand"], memory["opening"][:, None]], axis=1)
    hand = np.clip(memory["hand"] + actions[:, :3] * duration[:, None], memory["low"], memory["high"])
    goal = np.concatenate([hand, actions[:, 3:]], axis=1)
    share = np.arange(1, substeps + 1)[:, None] / substeps
    path = start[:, None] + share * (goal - start)[:, None]
    speed = np.broadcast_to(((goal - start) / duration[:, None])[:, None], path.shape)
    memory["hand"], memory["opening"] = hand, goal[:, 3]
    memory["held"] = memory["held"] & (goal[:, 3] < LETS_GO)
    servo = np.stack([path, speed], axis=3)  # (n, substeps, 4, 2)
    servo[:, :, 3] *= memory["travel"][:, None, None]
    both_fingers = servo[:, :, [0, 1, 2, 3, 3]]
    return {"ctrl": both_fingers.reshape(*path.shape[:2], -1), "eq_active": memory["held"][:, None].astype(np.float64)}


@dataclass(frozen=True)
class _Plan:
    """A scripted motion: ``velocity`` (3,) m/s for so many seconds, then the opening of the gripper."""

    velocity: np.ndarray
    stop: float  # s
    release: float  # s, inf for never

    def __call__(self, info: Mapping[str, Any]) -> np.ndarray:
        time = info["time"] + 1e-6
        velocity = self.velocity if time < self.stop else np.zeros(3)
        return np.append(velocity, 1.0 if time >= self.release else 0.0)


def _lower(scene: Any, rng: np.random.Generator) -> _Plan:
    """Down by at most 7 cm, stand still for a moment, let go."""
    pace = math.sqrt(scene.scale)
    stop = pace * rng.uniform(0.1, 0.2)
    return _Plan(np.array([0.0, 0.0, -min(0.3 * pace, MAX_SPEED)]), stop, stop + 0.1 * pace)


def _let_go(scene: Any, rng: np.random.Generator) -> _Plan:
    return _Plan(np.zeros(3), 0.0, 0.0)


def _never(scene: Any, rng: np.random.Generator) -> _Plan:
    return dataclasses.replace(_lower(scene, rng), release=math.inf)


def _carry(scene: Any, rng: np.random.Generator) -> _Plan:
    """Sideways across the middle of the picture, letting go on the way: the object flies on as fast."""
    pace = math.sqrt(scene.scale)
    speed = math.copysign(min(pace * rng.uniform(0.3, 0.5), MAX_SPEED), -scene.position[0])
    return _Plan(np.array([speed, 0.0, 0.0]), 0.6 * pace, pace * rng.uniform(0.2, 0.35))


GRIPPER_POLICIES: dict[str, Callable[[Any, np.random.Generator], Policy]] = {
    "lower_and_release": _lower,
    "release_at_once": _let_go,
    "never_release": _never,
    "carry_sideways_and_release": _carry,
}
