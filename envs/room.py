"""A room that a camera is moved through: what it has left behind must be there again when it comes back.

The camera stands at eye level before things of many colours and looks into the room; actions move
and turn it. A ball falls meanwhile, so that not all that changes in the picture is the camera's.
Its pose in every frame is the signal ``world_to_camera``, exact, so that with the depth of a frame
each pixel's way through the picture is known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np

from worldmodel.actions import ActionSpec
from worldmodel.envs.family import Family, Memory, Policy, Readings, Signals
from worldmodel.envs.options import Limits, Range, check_ranges, ends, expect
from worldmodel.envs.scene_env import SceneEnv
from worldmodel.envs.scene_vector_env import SceneVectorEnv
from worldmodel.envs.views import in_square_picture

CAMERA, HEAD, BALL = "eye", "head", "ball"
THINGS = 5
COLOURS = ((0.85, 0.35, 0.3), (0.35, 0.75, 0.4), (0.4, 0.5, 0.95), (0.9, 0.75, 0.3), (0.8, 0.45, 0.8), (0.4, 0.8, 0.8))
EYE_LEVEL, TILT = 0.8, 0.2  # m; downward slope of the optical axis
WALK = np.array([[-0.8, -2.5, -math.pi / 4], [0.8, -1.3, math.pi / 4]])  # x, y in m and heading in rad, of the camera
FOVY = 52.0  # degrees
WALL_Y = 1.8  # m, of the wall at the back
MAX_SPEED, MAX_TURN = 1.0, 1.0  # m/s along each axis; rad/s
PERIOD = 2.0  # s, of a way there and back
BACK, AWAY = np.array([0.005, 0.01]), np.array([0.15, 0.15])  # m and rad: as near as this is back, further is away
BALL_RADIUS = 0.1  # m
LIMITS = {"width": Limits(0.05, 0.3, "m"), "height": Limits(0.05, 0.8, "m"), "drop": Limits(BALL_RADIUS, 1.2, "m")}
_PLACES = np.array([[-1.1, -0.5], [1.1, 1.0]])  # m, where things stand
_ATTEMPTS = 1000

_ROOM = """
<mujoco model="room">
  <statistic extent="2" center="0 0 0.5" meansize="0.2"/>
  <visual>
    <headlight ambient="0.5 0.5 0.5" diffuse="0.5 0.5 0.5" specular="0 0 0"/>
    <quality shadowsize="0" offsamples="4"/>
    <map znear="0.02" zfar="20"/>
  </visual>
  <asset>
    <texture name="tiles" type="2d" builtin="checker" rgb1=".8 .75 .65" rgb2=".45 .45 .5" width="128" height="128"/>
    <texture name="bricks" type="2d" builtin="checker" rgb1=".7 .7 .72" rgb2=".5 .58 .62" width="128" height="128"/>
    <texture name="patches" type="cube" builtin="checker" rgb1="1 1 1" rgb2=".35 .35 .35" width="64" height="64"/>
    <material name="tiles" texture="tiles" texuniform="true" texrepeat="1.5 1.5"/>
    <material name="bricks" texture="bricks" texuniform="true" texrepeat="1 1"/>
    <material name="patches" texture="patches"/>
  </asset>
  <worldbody>
    <geom name="floor" type="plane" size="2 3 0.1" material="tiles"/>
    <geom name="back" type="plane" size="2 1.2 0.1" pos="0 {wall} 1.2" euler="90 0 0" material="bricks"/>
    <geom name="left" type="plane" size="1.2 3 0.1" pos="-2 0 1.2" euler="0 90 0" material="bricks"/>
    <geom name="right" type="plane" size="1.2 3 0.1" pos="2 0 1.2" euler="0 -90 0" material="bricks"/>
    {things}
    <body name="ball"><freejoint/><geom name="ball" type="sphere" size="0.1" rgba="0.9 0.15 0.1 1"/></body>
    <body name="head" mocap="true"><camera name="eye" xyaxes="1 0 0 0 {tilt} 1" fovy="{fovy}"/></body>
  </worldbody>
</mujoco>
""".format(
    things="".join(f'<geom name="thing {i}" type="box" size="1 1 1" material="patches"/>' for i in range(THINGS)),
    tilt=TILT,
    fovy=FOVY,
    wall=WALL_Y,
)


@dataclass(frozen=True)
class RoomScene:
    """Where things stand, and where camera and ball begin. Metres, world frame, z up, y into the picture."""

    places: tuple[tuple[float, float], ...]  # of the things' centres
    half_sizes: tuple[tuple[float, float, float], ...]
    turns: tuple[float, ...]  # rad, about the vertical
    colours: tuple[int, ...]  # indices into COLOURS
    ball: tuple[float, float, float]  # centre at t = 0
    ball_radius: float
    start: tuple[float, float, float]  # x, y and heading of the camera, rad to the left


@dataclass(frozen=True)
class RoomSampler:
    """Ranges from which rooms are drawn, uniform.

    Attributes:
        width: half of a thing's width and depth, m.
        height: half of its height, m.
        drop: height of the ball's centre, m.
    """

    width: Range = (0.1, 0.22)
    height: Range = (0.1, 0.5)
    drop: Range = (0.5, 1.2)

    def __post_init__(self) -> None:
        check_ranges(self, LIMITS)

    def __call__(self, rng: np.random.Generator) -> RoomScene:
        sizes = np.column_stack([rng.uniform(*ends(self.width), (THINGS, 2)), rng.uniform(*ends(self.height), THINGS)])
        return RoomScene(
            places=tuple((float(x), float(y)) for x, y in self._places(rng, np.hypot(sizes[:, 0], sizes[:, 1]))),
            half_sizes=tuple((float(x), float(y), float(z)) for x, y, z in sizes),
            turns=tuple(map(float, rng.uniform(-0.7, 0.7, THINGS))),
            colours=tuple(map(int, rng.permutation(len(COLOURS))[:THINGS])),
            ball=(
                float(rng.uniform(-0.5, 0.5)),
                float(rng.uniform(-0.85, -0.75)),
                float(rng.uniform(*ends(self.drop))),
            ),
            ball_radius=BALL_RADIUS,
            start=(float(rng.uniform(-0.15, 0.15)), float(rng.uniform(-2.1, -1.9)), float(rng.uniform(-0.05, 0.05))),
        )

    @staticmethod
    def _places(rng: np.random.Generator, radii: np.ndarray) -> np.ndarray:
        """Centres (N, 2) at which no thing touches another, as far as there is room."""
        for _ in range(_ATTEMPTS):
            places = rng.uniform(_PLACES[0], _PLACES[1], (len(radii), 2))
            apart = np.linalg.norm(places[:, None] - places[None], axis=2) + np.diag(np.full(len(radii), np.inf))
            if (apart > radii[:, None] + radii[None]).all():
                break
        return places


@dataclass(frozen=True)
class _Swing:
    """To one side, back through the start to the other, and back: a velocity (3,) over half a wave of time."""

    speed: np.ndarray

    def __call__(self, info: Any) -> np.ndarray:
        return self.speed * math.cos(2 * math.pi * info["time"] / PERIOD)


def _there_and_back(scene: RoomScene, rng: np.random.Generator) -> Policy:
    """Sideways by up to 31 cm and back every ``PERIOD``, looking at the middle of the room or straight on."""
    reach = rng.choice([-1.0, 1.0]) * rng.uniform(0.2, 0.31)
    turn = reach * rng.uniform(0.0, 0.6)  # rad to the left when it has gone to the right
    return _Swing(2 * math.pi / PERIOD * np.array([reach, rng.uniform(-0.08, 0.08), turn]))


def _away(scene: RoomScene, rng: np.random.Generator) -> Policy:
    """Sideways, and it does not come back."""
    speed = np.array([rng.choice([-1.0, 1.0]) * rng.uniform(0.15, 0.3), 0.0, 0.0])
    return lambda info: speed


def _stand(scene: RoomScene, rng: np.random.Generator) -> Policy:
    return lambda info: np.zeros(3)


class Room(Family):
    """Fulfilled while the camera is back where it began, having been away."""

    id = "worldmodel/Room-v0"
    sampler_type = RoomSampler
    scene_type = RoomScene
    camera = CAMERA
    fps = 8.0
    policies = {"there_and_back": _there_and_back, "away": _away, "stand": _stand}
    signals = {
        "pose": "(3,) x, y in m and heading in rad to the left, of the camera",
        "world_to_camera": "(4, 4) from world to OpenCV's camera axes, m",
        "away": "has been away from where it began",
        "success": "is back where it began, having been away",
    }

    @property
    def objects(self) -> tuple[str, ...]:
        """The ball."""
        return (BALL,)

    @property
    def action_spec(self) -> ActionSpec:
        """The camera's velocity in the world's frame; it stops at the borders of ``WALK``."""
        high = (MAX_SPEED, MAX_SPEED, MAX_TURN)
        return ActionSpec(
            names=("velocity x", "velocity y", "turn"),
            units=("m/s", "m/s", "rad/s"),
            low=tuple(-value for value in high),
            high=high,
            frame="world, of the camera; turn to the left",
            control_hz=self.fps,
        )

    @property
    def observation_spaces(self) -> dict[str, gym.spaces.Box]:
        """``agent_pos``: x, y in metres and heading in rad of the camera."""
        return {"agent_pos": gym.spaces.Box(-np.inf, np.inf, (3,), np.float64)}

    def check(self, scene: RoomScene) -> None:
        """Refuse another number of things, colours that do not exist, and a camera off its walk."""
        for name in ("places", "half_sizes", "turns", "colours"):
            expect(len(getattr(scene, name)) == THINGS, name, getattr(scene, name), f"one for each of {THINGS} things")
        sizes = np.asarray(scene.half_sizes, np.float64)
        expect(bool(np.isfinite(sizes).all() and (sizes > 0).all()), "half_sizes", scene.half_sizes, "metres above 0")
        known = all(0 <= colour < len(COLOURS) for colour in scene.colours)
        expect(known, "colours", scene.colours, f"indices from 0 to {len(COLOURS) - 1}")
        inside = bool(((WALK[0] <= scene.start) & (scene.start <= WALK[1])).all())
        expect(inside, "start", scene.start, f"between {WALK[0].tolist()} and {WALK[1].tolist()}")
        expect(0.02 <= scene.ball_radius <= 0.3, "ball_radius", scene.ball_radius, "0.02 to 0.3 m")
        _check_seen(scene)
        lifted = bool(np.isfinite(scene.ball).all()) and scene.ball[2] >= scene.ball_radius
        expect(lifted, "ball", scene.ball, "a centre in metres at least a radius above the floor")

    def build(self, scene: RoomScene) -> mujoco.MjSpec:
        """Floor, walls, things, ball and camera."""
        spec = mujoco.MjSpec.from_string(_ROOM)
        for index in range(THINGS):
            geom, size = spec.geom(f"thing {index}"), scene.half_sizes[index]
            geom.pos, geom.size = (*scene.places[index], size[2]), size
            geom.quat = _about_z(scene.turns[index])
            geom.rgba = (*COLOURS[scene.colours[index]], 1.0)
        spec.body(BALL).pos = scene.ball
        spec.geom(BALL).size = (scene.ball_radius, 0.0, 0.0)
        head = spec.body(HEAD)
        head.pos, head.quat = (*scene.start[:2], EYE_LEVEL), _about_z(scene.start[2])
        return spec

    def memory(self, scene: RoomScene) -> dict[str, Any]:
        """Where the camera began, where it is, and how long a physics step is."""
        start = np.asarray(scene.start, np.float64)
        return {"start": start, "pose": start, "away": False, "timestep": 0.0}

    def command(self, actions: np.ndarray, memory: Memory, substeps: int) -> dict[str, np.ndarray]:
        """The camera is where it will be at the end of the frame; nothing sees it before."""
        duration = memory["timestep"] * substeps
        memory["pose"] = np.clip(memory["pose"] + actions * duration[:, None], *WALK)
        level = np.full(len(actions), EYE_LEVEL)
        return {
            "mocap_pos": np.column_stack([memory["pose"][:, :2], level])[:, None],
            "mocap_quat": np.stack([_about_z(heading) for heading in memory["pose"][:, 2]])[:, None],
        }

    def measure(self, readings: Readings, memory: Memory) -> Signals:
        """Where the camera is, and whether it has come back."""
        memory["timestep"] = np.full(len(readings.time), readings.timestep)
        offset = np.abs(memory["pose"] - memory["start"])
        apart = np.column_stack([np.linalg.norm(offset[:, :2], axis=1), offset[:, 2]])  # m and rad
        memory["away"] = memory["away"] | (apart > AWAY).any(axis=1)
        return {
            "pose": memory["pose"].copy(),
            "world_to_camera": np.stack([world_to_camera(pose) for pose in memory["pose"]]),
            "away": memory["away"].copy(),
            "success": memory["away"] & (apart <= BACK).all(axis=1),
        }

    def observe(self, readings: Readings, memory: Memory, signals: Signals) -> dict[str, np.ndarray]:
        """The camera's pose."""
        return {"agent_pos": signals["pose"].copy()}

    def task(self, scene: RoomScene) -> str:
        """What the picture shows, as a prompt."""
        return (
            "A camera moves through a room with colourful boxes, looks at it from elsewhere and comes back, while a "
            "red ball falls to the tiled floor."
        )


def _check_seen(scene: RoomScene) -> None:
    x, y, heading = scene.start
    offset = np.subtract(scene.ball[:2], (x, y))
    right, away = offset @ (math.cos(heading), math.sin(heading)), offset @ (-math.sin(heading), math.cos(heading))
    above, radius = scene.ball[2] - EYE_LEVEL, scene.ball_radius
    right, above = (float(each - np.clip(each, -radius, radius)) for each in (right, above))  # of its nearest part
    seen = in_square_picture(right, float(away), above, TILT, FOVY) and scene.ball[1] < WALL_Y
    expect(seen, "ball", scene.ball, "one in the room that the camera sees from its start")


def world_to_camera(pose: np.ndarray) -> np.ndarray:
    """Matrix (4, 4) to OpenCV's axes of the camera at x, y in m with a heading in rad."""
    x, y, heading = pose
    ahead = np.array([-math.sin(heading), math.cos(heading), -TILT]) / math.hypot(1.0, TILT)
    right = np.array([math.cos(heading), math.sin(heading), 0.0])
    rotation = np.stack([right, np.cross(ahead, right), ahead])
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    matrix[:3, 3] = -rotation @ (x, y, EYE_LEVEL)
    return matrix


def _about_z(angle: float) -> tuple[float, float, float, float]:
    return (math.cos(angle / 2), 0.0, 0.0, math.sin(angle / 2))


class RoomEnv(SceneEnv):
    """A camera to be moved through a room. Options: the fields of :class:`RoomSampler`."""

    family_type = Room


class RoomVectorEnv(SceneVectorEnv):
    """Many rooms at once."""

    family_type = Room
