"""Grasp: the Fetch arm picks an item from a table, or puts it elsewhere on it.

An action is a displacement of the gripper's set-point in metres along the world's axes and the
opening of the gripper in metres. Observations carry Gymnasium-Robotics' ``GoalEnv`` keys beside
the pixels; the reward is its sparse one, 0 within 5 cm of the goal and -1 elsewhere.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np

from worldmodel.actions import ActionSpec
from worldmodel.envs import fetch
from worldmodel.envs.drop_scene import COLOURS
from worldmodel.envs.drop_shapes import GEOM_TYPES
from worldmodel.envs.family import Family, Memory, Readings, Signals
from worldmodel.envs.grasp_policies import CHANGES, POLICIES
from worldmodel.envs.grasp_scene import GraspSampler, GraspScene, Item, check_scene
from worldmodel.envs.grasp_success import DEFINITIONS, GraspFacts, evaluate
from worldmodel.envs.options import expect
from worldmodel.envs.scene_env import Options, SceneEnv
from worldmodel.envs.scene_vector_env import SceneVectorEnv
from worldmodel.envs.views import first_in_sight

NEAR = 0.03  # m, from grip point to item: reached
LIFTED = 0.04  # m, of the item above its start
ATTACHED = (0.01, 15.0)  # m and degrees by which an item that is held may move in the hand
HOLD_DURATION = 0.5  # s
GOAL_RADIUS = 0.05  # m, of the sparse reward
PLACED = 0.025  # m, from item to goal
REST_SPEED = 0.02  # m/s
STAGES = ("reach", "contact", "lift", "hold", "place")

_FOUND_AND_FORCE = 0b11  # of a contact's data: the first two bits
_NET_FORCE = 3  # of MuJoCo's ways to reduce contacts to one
_OBSERVED = 23


class Grasp(Family):
    """Pick: the item is lifted and held for half a second. Place: it lies at the goal, let go."""

    id = "worldmodel/Grasp-v0"
    sampler_type = GraspSampler
    scene_type = GraspScene
    policies = POLICIES
    changes = CHANGES
    camera = fetch.CAMERA
    num_frames = 33
    signals = {
        "gripper_position": "m, point between the finger pads",
        "gripper_quaternion": "w, x, y, z; identity while the gripper points down",
        "gripper_velocity": "m/s",
        "gripper_target": "m, to where the actions have sent the gripper",
        "opening": "m, between the finger pads",
        "left_contact": "the finger on the left of the picture (-y) touches the item",
        "right_contact": "the finger on the right of the picture (+y) touches the item",
        "left_force": "N, of the left finger on the item",
        "right_force": "N, of the right finger on the item",
        "table_contact": "the item touches the table",
        "table_force": "N, with which the hand presses on the table",
        "joint_speed": "rad/s, of the arm's fastest joint",
        "goal_distance": "m, from the item to its goal",
        "reach": f"grip point within {NEAR} m of the item's centre",
        "contact": "a finger touched the item since the frame before",
        "lift": f"item at least {LIFTED} m above its start",
        "hold": f"lifted between both fingers for {HOLD_DURATION} s without moving in the hand",
        "place": f"item at rest within {PLACED} m of its goal",
        **{name: f"{each.says} ({each.source})" for name, each in DEFINITIONS.items()},
        "success": "pick: hold; place: place after a lift, with no finger on the item",
    }

    @property
    def objects(self) -> tuple[str, ...]:
        """The item to be grasped and the distractors."""
        return ("object", *(f"distractor {index}" for index in range(1, self.sampler.distractors + 1)))

    @property
    def action_spec(self) -> ActionSpec:
        """Displacement of the gripper's set-point and opening."""
        return ActionSpec(
            names=("dx", "dy", "dz", "opening"),
            units=("m", "m", "m", "m"),
            low=(*(-fetch.MAX_STEP,) * 3, 0.0),
            high=(*(fetch.MAX_STEP,) * 3, fetch.MAX_OPENING),
            frame="world",
            control_hz=self.fps,
            gripper=f"0 closed, {fetch.MAX_OPENING:g} open",
        )

    @property
    def observation_spaces(self) -> dict[str, gym.spaces.Box]:
        """Gripper, item and goal; see :meth:`observe`."""
        sizes = {"agent_pos": 4, "observation": _OBSERVED, "achieved_goal": 3, "desired_goal": 3}
        return {name: gym.spaces.Box(-np.inf, np.inf, (size,), np.float64) for name, size in sizes.items()}

    def check(self, scene: GraspScene) -> None:
        """Refuse what cannot stand on the table or be reached."""
        check_scene(scene, self.sampler.distractors)
        if scene.distractors:
            self._check_in_sight(scene)

    def _check_in_sight(self, scene: GraspScene) -> None:
        model = self.build(scene).compile()
        data = mujoco.MjData(model)
        mujoco.mj_resetDataKeyframe(model, data, 0)
        mujoco.mj_kinematics(model, data)
        seen = first_in_sight(model, data, fetch.CAMERA_POSITION, scene.centre)
        expect(seen not in self.objects[1:], "position", scene.position, f"a place that no {seen} hides")

    def build(self, scene: GraspScene) -> mujoco.MjSpec:
        """Robot, table and items, at rest in the first keyframe."""
        spec = fetch.fetch_spec(scene.grip_force)
        qpos = list(fetch.start_qpos(scene.gripper))
        for name, item in zip(self.objects, scene.items, strict=True):
            _add_item(spec, name, item)
            qpos += [*item.centre, *item.quaternion]
        _add_sensors(spec)
        ctrl = fetch.servo_ctrl(np.array(scene.gripper), np.zeros(3), np.array(fetch.MAX_OPENING))
        spec.add_key(name="start", qpos=qpos, ctrl=ctrl)
        return spec

    def memory(self, scene: GraspScene) -> dict[str, Any]:
        """Start, goal and task; the set-point; since when and how the item is held."""
        return {
            "start": np.array(scene.centre),
            "goal": np.array(scene.goal),
            "placing": scene.task == "place",
            "target": np.array(scene.gripper),
            "timestep": np.nan,
            "held_since": np.inf,
            "held_at": np.zeros(3),
            "held_turned": np.array([1.0, 0.0, 0.0, 0.0]),
            "lifted": False,
        }

    def command(self, actions: np.ndarray, memory: Memory, substeps: int) -> dict[str, np.ndarray]:
        """Lead the gripper evenly to the new set-point; the fingers at once."""
        old = memory["target"]
        new = np.clip(old + actions[:, :3], fetch.REACH_LOW, fetch.REACH_HIGH)
        memory["target"] = new
        share = np.arange(1, substeps + 1)[:, None] / substeps
        way = (new - old)[:, None]
        velocity = np.broadcast_to(way / (substeps * memory["timestep"][:, None, None]), (len(old), substeps, 3))
        opening = np.broadcast_to(actions[:, 3:4], (len(old), substeps))
        return {"ctrl": fetch.servo_ctrl(old[:, None] + share * way, velocity, opening)}

    def measure(self, readings: Readings, memory: Memory) -> Signals:
        """Gripper, contacts, stages and every definition of success."""
        memory["timestep"] = np.full(len(readings.time), readings.timestep)
        facts = _facts(readings, memory)
        stages = _stages(readings, memory, facts)
        touching = facts.left_contact | facts.right_contact
        placed = stages["place"] & memory["lifted"] & ~touching
        return {
            "gripper_position": facts.gripper,
            "gripper_quaternion": readings["grip quaternion"],
            "gripper_velocity": readings["grip velocity"],
            "gripper_target": memory["target"].copy(),
            "opening": facts.opening,
            "left_contact": facts.left_contact,
            "right_contact": facts.right_contact,
            "left_force": facts.left_force,
            "right_force": facts.right_force,
            "table_contact": facts.table_contact,
            "table_force": np.linalg.norm(readings["hand on table"][:, 1:], axis=1),
            "joint_speed": facts.joint_speed,
            "goal_distance": facts.goal_distance,
            **stages,
            **evaluate(facts),
            "success": np.where(memory["placing"], placed, stages["hold"]),
        }

    def observe(self, readings: Readings, memory: Memory, signals: Signals) -> dict[str, np.ndarray]:
        """``agent_pos`` (n, 4): grip point and opening in m. ``achieved_goal``, ``desired_goal`` (n, 3) m: item, goal.

        ``observation`` (n, 23): grip point, item, item relative to grip point, opening, the item's quaternion,
        velocity and angular velocity, and the gripper's velocity.
        """
        gripper, opening = signals["gripper_position"], signals["opening"][:, None]
        item = readings["position of object"]
        parts = [gripper, item, item - gripper, opening]
        parts += [readings[f"{each} of object"] for each in ("quaternion", "velocity", "angular_velocity")]
        return {
            "agent_pos": np.concatenate([gripper, opening], axis=1),
            "observation": np.concatenate([*parts, signals["gripper_velocity"]], axis=1),
            "achieved_goal": item,
            "desired_goal": memory["goal"].copy(),
        }

    def reward(self, signals: Signals) -> np.ndarray:
        """Rewards (n,): 0 within 5 cm of the goal, -1 elsewhere."""
        return _sparse(signals["goal_distance"])

    def outcome(self, scene: GraspScene, time: np.ndarray, signals: Signals) -> dict[str, Any]:
        """Success, what each definition says at the end, and when each stage was first reached (s, or None)."""
        first = {name: float(time[np.argmax(signals[name])]) if signals[name].any() else None for name in STAGES}
        return {
            "success": bool(signals["success"][-1]),
            "definitions": {name: bool(signals[name][-1]) for name in DEFINITIONS},
            "stages": first,
        }

    def task(self, scene: GraspScene) -> str:
        """What is to be done, as a prompt."""
        item = f"the {scene.colour} {scene.shape}"
        if scene.task == "pick":
            return f"A robot gripper picks up {item} from a table and holds it. Static camera."
        side = "right" if scene.goal[1] > scene.position[1] else "left"
        return f"A robot gripper picks up {item} and puts it down further {side} on the table. Static camera."

    def scene_from_json(self, document: Mapping[str, Any]) -> GraspScene:
        """The scene that ``Truth.scene`` describes."""
        scene = super().scene_from_json({**document, "distractors": ()})
        distractors = [Item(**_tuples(each)) for each in document.get("distractors", ())]
        return dataclasses.replace(scene, distractors=tuple(distractors))


def _tuples(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in document.items()}


def _add_item(spec: mujoco.MjSpec, name: str, item: Item) -> None:
    body = spec.worldbody.add_body(name=name, pos=item.centre, quat=item.quaternion)
    body.add_freejoint()
    body.add_geom(
        name=name,
        type=GEOM_TYPES[item.shape],
        size=item.size,
        mass=item.mass,
        rgba=(*COLOURS[item.colour], 1.0),
        condim=6,
        friction=(item.friction, 0.01 * item.friction, 0.0005 * item.friction),
        priority=1,  # the item's friction decides, whatever it touches
        solref=(0.01, 1.0),
        solimp=(0.95, 0.99, 0.001, 0.5, 2.0),
    )


def _add_sensors(spec: mujoco.MjSpec) -> None:
    geom, subtree = mujoco.mjtObj.mjOBJ_GEOM, mujoco.mjtObj.mjOBJ_XBODY
    for name, one, kind, other in (
        ("left on object", fetch.LEFT_FINGER, geom, "object"),
        ("right on object", fetch.RIGHT_FINGER, geom, "object"),
        ("table on object", fetch.TABLE, geom, "object"),
        ("hand on table", fetch.TABLE, subtree, fetch.PALM),
    ):
        spec.add_sensor(
            name=name,
            type=mujoco.mjtSensor.mjSENS_CONTACT,
            objtype=geom,
            objname=one,
            reftype=kind,
            refname=other,
            intprm=(_FOUND_AND_FORCE, _NET_FORCE, 1),
        )
    for name, sensor in (
        ("grip position", mujoco.mjtSensor.mjSENS_FRAMEPOS),
        ("grip quaternion", mujoco.mjtSensor.mjSENS_FRAMEQUAT),
        ("grip velocity", mujoco.mjtSensor.mjSENS_FRAMELINVEL),
    ):
        spec.add_sensor(name=name, type=sensor, objtype=mujoco.mjtObj.mjOBJ_SITE, objname=fetch.GRIP)
    joint = mujoco.mjtObj.mjOBJ_JOINT
    for name in (fetch.LEFT_JOINT, fetch.RIGHT_JOINT):
        spec.add_sensor(name=name, type=mujoco.mjtSensor.mjSENS_JOINTPOS, objtype=joint, objname=name)
    for name in fetch.ARM_JOINTS:
        spec.add_sensor(name=name, type=mujoco.mjtSensor.mjSENS_JOINTVEL, objtype=joint, objname=name)


def _facts(readings: Readings, memory: Memory) -> GraspFacts:
    left, right = readings["left on object"], readings["right on object"]
    speeds = np.concatenate([readings[name] for name in fetch.ARM_JOINTS], axis=1)
    return GraspFacts(
        position=readings["position of object"],
        start=memory["start"],
        goal=memory["goal"],
        gripper=readings["grip position"],
        opening=(readings[fetch.LEFT_JOINT] + readings[fetch.RIGHT_JOINT])[:, 0],
        axis=_y_axis(readings["grip quaternion"]),
        left_contact=left[:, 0] > 0,
        right_contact=right[:, 0] > 0,
        left_force=left[:, 1:],
        right_force=right[:, 1:],
        table_contact=readings["table on object"][:, 0] > 0,
        joint_speed=np.abs(speeds).max(axis=1),
    )


def _stages(readings: Readings, memory: Memory, facts: GraspFacts) -> Signals:
    fingers = ("left on object", "right on object")
    touched = np.any([(readings.before(name)[:, :, 0] > 0).any(axis=1) for name in fingers], axis=0)
    lift = facts.position[:, 2] - facts.start[:, 2] >= LIFTED
    memory["lifted"] = memory["lifted"] | (lift & facts.left_contact & facts.right_contact)
    speed = np.linalg.norm(readings["velocity of object"], axis=1)
    return {
        "reach": np.linalg.norm(facts.position - facts.gripper, axis=1) <= NEAR,
        "contact": touched | facts.left_contact | facts.right_contact,
        "lift": lift,
        "hold": _held(readings, memory, facts, lift & facts.left_contact & facts.right_contact),
        "place": (facts.goal_distance <= PLACED) & (speed <= REST_SPEED),
    }


def _held(readings: Readings, memory: Memory, facts: GraspFacts, gripped: np.ndarray) -> np.ndarray:
    """Whether the item has not moved in the hand for long enough; keeps when and how that began."""
    at, turned = facts.position - facts.gripper, readings["quaternion of object"]
    moved = np.linalg.norm(at - memory["held_at"], axis=1) > ATTACHED[0]
    # The gripper stays upright, so that what the item turns is what it turns in the hand.
    cosine = np.abs((turned * memory["held_turned"]).sum(axis=1))
    moved |= 2.0 * np.arccos(np.minimum(cosine, 1.0)) > np.deg2rad(ATTACHED[1])
    anew = gripped & (moved | np.isinf(memory["held_since"]))
    memory["held_at"] = np.where(anew[:, None], at, memory["held_at"])
    memory["held_turned"] = np.where(anew[:, None], turned, memory["held_turned"])
    memory["held_since"] = np.where(gripped, np.where(anew, readings.time, memory["held_since"]), np.inf)
    return gripped & (readings.time - memory["held_since"] >= HOLD_DURATION - 1e-9)


def _y_axis(quaternion: np.ndarray) -> np.ndarray:
    """Second column (n, 3) of the rotation matrices of unit quaternions (n, 4)."""
    w, x, y, z = quaternion.T
    return np.stack([2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)], axis=1)


def _sparse(distance: np.ndarray) -> np.ndarray:
    return np.where(np.asarray(distance) > GOAL_RADIUS, -1.0, 0.0)


class _Goals:
    """Gymnasium-Robotics' ``GoalEnv`` functions, vectorised over leading axes of the goals."""

    settings: Options

    def compute_reward(self, achieved_goal: np.ndarray, desired_goal: np.ndarray, info: Any = None) -> Any:
        """0 where (..., 3) m lie within 5 cm, else -1, as in Gymnasium-Robotics' Fetch; ``info`` is not used."""
        return _sparse(np.linalg.norm(np.subtract(achieved_goal, desired_goal), axis=-1))

    def compute_terminated(self, achieved_goal: np.ndarray, desired_goal: np.ndarray, info: Any) -> Any:
        """Whether an episode ends by success: under ``terminate`` where ``info["is_success"]``, else never."""
        if self.settings.terminate:
            return np.asarray(info["is_success"])
        return np.zeros(np.shape(achieved_goal)[:-1], bool)

    def compute_truncated(self, achieved_goal: np.ndarray, desired_goal: np.ndarray, info: Any) -> Any:
        """Whether ``info["time"]`` is that of a clip's last frame."""
        return np.asarray(info["time"]) * self.settings.fps >= self.settings.num_frames - 1 - 1e-6


class GraspEnv(_Goals, SceneEnv):
    """Pick an item from a table, or place it elsewhere on it.

    Options beside those of :class:`SceneEnv` are the fields of
    :class:`~worldmodel.envs.grasp_scene.GraspSampler`, such as ``shapes=("box",)``,
    ``mass=(0.1, 0.5)``, ``friction=0.2``, ``distractors=2`` or ``task="place"``. Balanced sets of
    success and failure come from ``record(policy=name)`` with ``expert`` and the names in
    :data:`~worldmodel.envs.grasp_policies.FAILURES`, which begin with the same picture.
    """

    family_type = Grasp


class GraspVectorEnv(_Goals, SceneVectorEnv):
    """Many grasps at once; see :class:`GraspEnv`."""

    family_type = Grasp
