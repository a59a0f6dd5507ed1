"""Free fall: objects dropped onto a floor or a support, seen by a static camera.

The first frame decides the fall, so a video model that is given the first frame can be judged
frame by frame against MuJoCo. The scene is built from parameters only (:class:`DropScene`), and
the same parameters give the same pixels. Where a gripper holds the object, its commanded motion
is a clock in the picture, and it decides when the fall begins.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from worldmodel.actions import ActionSpec
from worldmodel.envs.drop_contacts import CONTACT_DURATION, contact_reference, object_names
from worldmodel.envs.drop_gripper import (
    ACTION_SPEC,
    FINGERS,
    GRIPPER,
    GRIPPER_POLICIES,
    gripper_command,
    gripper_memory,
)
from worldmodel.envs.drop_model import build, check, collision_pairs
from worldmodel.envs.drop_scene import COLOURS, DENSITY, DropObject, DropSampler, DropScene, mass_of
from worldmodel.envs.drop_shapes import OBJECT_SETS, SHAPES, half_extents
from worldmodel.envs.family import Family, Memory, Policy, Readings, Signals
from worldmodel.envs.scene_env import SceneEnv
from worldmodel.envs.scene_vector_env import SceneVectorEnv

__all__ = [
    "COLOURS",
    "CONTACT_DURATION",
    "DENSITY",
    "OBJECT_SETS",
    "SHAPES",
    "DropObject",
    "DropSampler",
    "DropScene",
    "FreeFall",
    "FreeFallEnv",
    "FreeFallVectorEnv",
    "contact_reference",
]

FINE_TIMESTEP = 0.000625  # s, with several objects or a support: longer steps add energy there
REST_SPEED = 0.02  # m/s at scale 1; of the whole kinetic energy, as if all of it were translation
ROLLING = 0.2  # a rolling object's contact point moves at less than this share of its speed


def _watch(scene: DropScene, rng: np.random.Generator) -> Policy:
    """The only thing to do."""
    return lambda info: 0


class FreeFall(Family):
    """Objects fall, bounce, roll and come to rest; the task is fulfilled once *the* object lies still.

    The structure is the sampler's: ``objects`` (1 to 4), ``support`` and ``release``. With
    ``release="gripper"`` an action is the gripper's velocity in m/s and its opening, and
    ``agent_pos`` its grip point (3) in m and its opening; otherwise there is nothing to do.

    In what follows N counts the objects that fall, which are the first N of ``Truth.objects``.
    """

    id = "worldmodel/FreeFall-v0"
    sampler_type = DropSampler
    scene_type = DropScene
    policies = {"watch": _watch}
    max_timestep = 0.00125
    signals = {
        "contact": "touched the floor or a support since the frame before",
        "contact_force": "N, mean vertical force of floor and support since the frame before",
        "impact_time": "s, first touch of the floor or a support; inf before it",
        "contacts": "(N,) as contact, of each object",
        "impact_times": "(N,) s, as impact_time, of each object",
        "collisions": "(N,) touched another object, the screen or the gripper since the frame before",
        "rolling": "(N,) rolls or tips over: moves while its contact point with floor or support stands still",
        "rest": "(N,) at rest on floor or support",
        "energy": "J, kinetic and potential of all objects; what a contact stores for its duration is left out",
        "held": "in the gripper",
        "release_time": "s, when the gripper let go; inf before it",
        "success": "the object is at rest on floor or support",
    }

    def __init__(self, sampler: Any = None, **ranges: Any) -> None:
        super().__init__(sampler, **ranges)
        if self.sampler.objects > 1 or self.sampler.support != "none":
            self.max_timestep = FINE_TIMESTEP
        self._names = object_names(self.sampler.objects)
        self._pairs = collision_pairs(self.sampler.objects, self.sampler.support, self.sampler.release)
        self._has_gripper = self.sampler.release == "gripper"
        if self._has_gripper:
            self.policies = GRIPPER_POLICIES  # type: ignore[misc]  # the gripper is an option

    @property
    def objects(self) -> tuple[str, ...]:
        """The N objects that fall, then the gripper and its fingers."""
        return (*self._names, GRIPPER, *FINGERS) if self._has_gripper else self._names

    @property
    def action_spec(self) -> ActionSpec | None:
        """The gripper's velocity and opening, or nothing to do."""
        return ACTION_SPEC if self._has_gripper else None

    @property
    def observation_spaces(self) -> dict[str, gym.spaces.Box]:
        """The gripper's grip point and opening; without a gripper, the clock."""
        if not self._has_gripper:
            return super().observation_spaces
        return {"agent_pos": gym.spaces.Box(-np.inf, np.inf, (4,), np.float64)}

    def check(self, scene: DropScene) -> None:
        """Refuse impossible shapes, sizes, poses and constants, and other things than this family was made with."""
        made_with = {
            "objects": (len(scene.objects), self.sampler.objects),
            "support": (scene.support, self.sampler.support),
            "release": (scene.release, self.sampler.release),
        }
        for name, (got, expected) in made_with.items():
            if got != expected:
                raise ValueError(
                    f"{name}: got {got!r}, expected {expected!r} as in the environment; make one with {name}={got!r}"
                )
        check(scene)

    def build(self, scene: DropScene) -> Any:
        """Floor, sun, camera, support, objects and gripper."""
        return build(scene)

    def memory(self, scene: DropScene) -> dict[str, Any]:
        """Masses, when the objects first touched floor or support, and the gripper's command."""
        values = {
            "impact_times": np.full(len(scene.objects), np.inf),
            "release_time": np.inf,
            "mass": [mass_of(thing, scene.scale) for thing in scene.objects],
            "gravity": scene.gravity,
            "rest_speed": REST_SPEED * math.sqrt(scene.scale),
            "held": False,
            "timestep": 0.0,
        }
        if self._has_gripper:
            values |= gripper_memory(
                scene.position,
                half_extents(scene.shape, scene.size, scene.quaternion),
                scene.support_height,
                scene.scale,
            )
        return values

    def command(self, actions: np.ndarray, memory: Memory, substeps: int) -> dict[str, np.ndarray]:
        """The gripper's servos and whether it holds."""
        return gripper_command(actions, memory, substeps)

    def measure(self, readings: Readings, memory: Memory) -> Signals:
        """Contacts between the frames, and how the objects move at the frame."""
        force = np.stack([readings.before(f"support of {name}")[:, :, 3] for name in self._names], axis=2)
        touched = force > 0.0  # (n, substeps, N)
        self._keep_times(readings, memory, touched)
        supports = self._supports(readings)
        speed, rolling = self._motion(readings, memory, supports)
        supported = supports[:, :, 3] > 0.0
        # What lies still trembles by what gravity adds in a physics step.
        still = np.maximum(memory["rest_speed"], memory["gravity"] * readings.timestep)
        rest = supported & (speed < still[:, None])
        contacts = np.logical_or.reduce(touched, axis=1)
        return {
            "contact": contacts[:, 0],
            "contact_force": force[:, :, 0].mean(axis=1) if force.shape[1] else np.zeros(len(force)),
            "impact_time": memory["impact_times"][:, 0].copy(),
            "contacts": contacts,
            "impact_times": memory["impact_times"].copy(),
            "collisions": self._collisions(readings),
            "rolling": supported & rolling & ~rest,
            "rest": rest,
            "energy": self._energy(readings, memory, speed),
            "held": memory["held"].copy(),
            "release_time": memory["release_time"].copy(),
            "success": rest[:, 0],
        }

    def observe(self, readings: Readings, memory: Memory, signals: Signals) -> dict[str, np.ndarray]:
        """The gripper's grip point in m and opening, 0 to 1; without a gripper, the clock."""
        if not self._has_gripper:
            return super().observe(readings, memory, signals)
        left, right = (readings[f"position of {name}"][:, 0] for name in FINGERS)
        opening = ((right - left) / 2 - memory["closed"]) / memory["travel"]
        return {"agent_pos": np.column_stack([readings[f"position of {GRIPPER}"], opening])}

    def outcome(self, scene: DropScene, time: np.ndarray, signals: Signals) -> dict[str, Any]:
        """Whether the object lies still at the end, its mass, and when things first touched something and were let go.

        A time is None where there is none.
        """
        return {
            "success": bool(signals["success"][-1]),
            "impact_time": _finite(signals["impact_time"][-1]),
            "impact_times": [_finite(impact) for impact in signals["impact_times"][-1]],
            "release_time": _finite(signals["release_time"][-1]),
            "mass_kg": mass_of(scene.objects[0], scene.scale),
        }

    def scale(self, scene: DropScene) -> float:
        """Of all lengths."""
        return scene.scale

    def task(self, scene: DropScene) -> str:
        """What the picture shows, as a prompt."""
        things = [f"a {thing.colour} {thing.shape}" for thing in scene.objects]
        if scene.release == "gripper":
            things[0] += " let go by a gripper"
        where = {"none": "to the floor", "table": "onto a table", "ramp": "onto a ramp", "ledge": "behind a screen"}
        falls, bounces, comes = ("fall", "bounce", "come") if scene.others else ("falls", "bounces", "comes")
        who = " and ".join([*([", ".join(things[:-1])] if things[:-1] else []), things[-1]])
        text = f"{who} {falls} {where[scene.support]}, {bounces} and {comes} to rest. Static camera."
        return text[0].upper() + text[1:]

    def scene_from_json(self, document: Mapping[str, Any]) -> DropScene:
        """The scene that ``Truth.scene`` describes; what an older one leaves out has its default."""
        scene = super().scene_from_json({**document, "others": ()})
        return dataclasses.replace(scene, others=tuple(_object_from_json(one) for one in document.get("others", ())))

    def _keep_times(self, readings: Readings, memory: Memory, touched: np.ndarray) -> None:
        """First touches, and the time at which the gripper let go: the start of the frame in which it was told to."""
        memory["timestep"] = np.full(len(touched), readings.timestep)
        if not touched.shape[1]:
            return
        times = readings.times_before()
        first = np.take_along_axis(times, touched.argmax(axis=1), axis=1)
        new = touched.any(axis=1) & np.isinf(memory["impact_times"])
        memory["impact_times"] = np.where(new, first, memory["impact_times"])
        if self._has_gripper:
            new = ~memory["held"] & np.isinf(memory["release_time"])
            memory["release_time"] = np.where(new, times[:, 0] - readings.timestep, memory["release_time"])

    def _supports(self, readings: Readings) -> np.ndarray:
        """What floor and support do to each object at the frame (n, N, 7): touches, force in N, and its place in m.

        What lies still does not press in every physics step, so where nothing presses the step before speaks.
        """
        supports = []
        for name in self._names:
            now, steps = readings[f"support of {name}"], readings.before(f"support of {name}")
            supports.append(np.where(now[:, 3:4] > 0.0, now, steps[:, -1]) if steps.shape[1] else now)
        return np.stack(supports, axis=1)

    def _motion(self, readings: Readings, memory: Memory, supports: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of each object (n, N): the speed in m/s with all its kinetic energy in it, and whether its contact stands."""
        speeds, rolling = [], []
        for index, name in enumerate(self._names):
            velocity, spin = readings[f"velocity of {name}"], readings[f"angular_velocity of {name}"]
            momentum = readings[f"spin of {name}"]  # N m s, about the centre of mass
            squared = (velocity**2).sum(axis=1)
            speeds.append(np.sqrt(squared + np.maximum((spin * momentum).sum(axis=1), 0.0) / memory["mass"][:, index]))
            arm = supports[:, index, 4:] - readings[f"position of {name}"]
            slip = np.linalg.norm(velocity + np.cross(spin, arm), axis=1)
            rolling.append(slip < ROLLING * np.sqrt(squared))
        return np.stack(speeds, axis=1), np.stack(rolling, axis=1)

    def _energy(self, readings: Readings, memory: Memory, speed: np.ndarray) -> np.ndarray:
        height = np.stack([readings[f"position of {name}"][:, 2] for name in self._names], axis=1)
        return (memory["mass"] * (0.5 * speed**2 + memory["gravity"][:, None] * height)).sum(axis=1)

    def _collisions(self, readings: Readings) -> np.ndarray:
        collided = np.zeros((len(readings.time), len(self._names)), bool)
        for one, other in self._pairs:
            met = (readings.before(f"{one} on {other}")[:, :, 0] > 0.0).any(axis=1)
            for name in {one, other} & set(self._names):
                collided[:, self._names.index(name)] |= met
        return collided


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _object_from_json(document: Mapping[str, Any]) -> DropObject:
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in document.items()
    }
    return DropObject(**values)


class FreeFallEnv(SceneEnv):
    """Watch objects fall, or let a gripper drop one.

    Options beside those of :class:`SceneEnv` are the fields of :class:`DropSampler`, such as
    ``objects=3``, ``support="ledge"``, ``release="gripper"``, ``gravity=(1.0, 10.0)``. Without a
    gripper ``action_space`` is ``Discrete(1)``.
    """

    family_type = FreeFall


class FreeFallVectorEnv(SceneVectorEnv):
    """Many falls at once."""

    family_type = FreeFall
