"""The agent of graphs and mazes: a ball that is moved over a plane by velocity commands and stopped by walls.

The ball has two slide joints, as in dm_control's point mass, driven by velocity actuators: it
takes on the commanded velocity within a few ``TIME_CONSTANT``, and pushes against a wall with a
force proportional to the velocity it is denied. With a friction coefficient mu it slides along
the wall at v_along - mu * v_into, and sticks where that is not above 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np

from worldmodel.actions import ActionSpec
from worldmodel.envs.family import Memory, Policy, Readings, Signals
from worldmodel.envs.options import FRICTION, SMALLEST, Limits, expect
from worldmodel.envs.overhead import BELOW, PIXEL
from worldmodel.geometry import lines_of, nearest_on_lines

MASS = 0.05  # kg
TIME_CONSTANT = 0.03  # s, in which the ball comes within 1/e of the commanded velocity
FASTEST = 2.0  # m/s, up to which walls are known to hold
DRIVEN = {"max_speed": Limits(0.0, FASTEST, "m/s", above=True), "friction": FRICTION}  # options of every ball
COLOUR = (0.85, 0.12, 0.10)
_APPROACH = 12.0  # 1/s, speed over distance to the next point; at 16 frames a second it is not overshot
_FAR = 1000.0  # m, where walls are that do not exist

BODIES = f"""
    <body name="walls"/>
    <body name="ball">
      <joint name="x" type="slide" axis="1 0 0"/>
      <joint name="y" type="slide" axis="0 1 0"/>
      <geom name="ball" type="sphere" size="0.02" mass="{MASS}" rgba="{COLOUR[0]} {COLOUR[1]} {COLOUR[2]} 1"
            priority="1" solref="0.004 1" solimp="0.99 0.999 0.0005"/>
    </body>
"""
DRIVE = f"""
  <actuator>
    <velocity name="x" joint="x" kv="{MASS / TIME_CONSTANT}"/>
    <velocity name="y" joint="y" kv="{MASS / TIME_CONSTANT}"/>
  </actuator>
  <sensor><contact name="wall on ball" body1="ball" body2="walls" data="found force" reduce="netforce"/></sensor>
"""

MOTION = {
    "wall_contact": "touched a wall since the frame before",
    "wall_force": "N, mean force between walls and ball since the frame before",
    "wall_gap": "m, from the ball to the nearest wall",
    "path_length": "m, way of the ball since the first frame",
}


def check_ball(scene: Any, max_speed: float, corridor: float) -> None:
    """Refuse a scene's ball that does not fit into a corridor of the given width in metres, or its motor."""
    fits = f"{PIXEL / 2.0:.4f} m, a pixel of {SMALLEST} in diameter, up to half a corridor, {corridor / 2.0:.4f} m"
    expect(PIXEL / 2.0 <= scene.ball_radius < corridor / 2.0, "ball_radius", scene.ball_radius, fits)
    for name, limits in DRIVEN.items():
        expect(limits.hold(getattr(scene, name)), name, getattr(scene, name), str(limits))
    expect(scene.max_speed == max_speed, "max_speed", scene.max_speed, f"the environment's {max_speed} m/s")


def place_ball(spec: mujoco.MjSpec, position: np.ndarray, radius: float, friction: float) -> None:
    """Give the ball of a stage made with ``BODIES`` and ``DRIVE`` its size, friction and start (x, y) in metres."""
    geom = spec.geom("ball")
    geom.size = (radius, 0.0, 0.0)
    geom.friction = (friction, 0.005, 0.0001)
    spec.body("ball").pos = (0.0, 0.0, radius)
    spec.add_key(name="start", qpos=[float(position[0]), float(position[1])])


def add_walls(
    spec: mujoco.MjSpec, walls: np.ndarray, thickness: float, height: float, number: int, visible: bool
) -> None:
    """``number`` capsules along walls (W, 2, 2) at a height in metres; those beyond W are out of reach.

    Capsules that share their ends leave neither gaps nor edges at which a ball would catch.
    """
    body = spec.body("walls")
    for index in range(number):
        (ax, ay), (bx, by) = walls[index] if index < len(walls) else ((0.0, 0.0), (thickness, 0.0))
        z = height if index < len(walls) else BELOW
        body.add_geom(
            type=mujoco.mjtGeom.mjGEOM_CAPSULE,
            size=(thickness / 2.0, 0.0, 0.0),
            fromto=(ax, ay, z, bx, by, z),
            rgba=(0.0, 0.0, 0.0, 1.0),
            group=0 if visible else 3,
        )


def velocity_commands(max_speed: float, control_hz: float) -> ActionSpec:
    """The ball's velocity along x (right in the picture) and y (up) in m/s."""
    return ActionSpec(
        names=("velocity_x", "velocity_y"),
        units=("m/s", "m/s"),
        low=(-max_speed, -max_speed),
        high=(max_speed, max_speed),
        frame="world",
        control_hz=control_hz,
    )


def motion_memory(start: np.ndarray, walls: np.ndarray, thickness: float, radius: float, number: int) -> dict[str, Any]:
    """What :func:`track` and :func:`motion` need to know, walls filled up to ``number``."""
    padded = np.full((number, 2, 2), _FAR)
    padded[: len(walls)] = walls
    return {"ball": start, "path_length": 0.0, "walls": lines_of(padded), "reach": thickness / 2.0 + radius}


def track(readings: Readings, memory: Memory) -> tuple[np.ndarray, np.ndarray]:
    """Positions (n, S + 2, 2) in metres since the frame before, and their times (n, S + 2).

    They are where the ball was at that frame, at the beginning of each of the S physics steps since, and is now.
    """
    now, steps = readings["position of ball"], readings.before("position of ball")
    positions = np.empty((2, len(now), steps.shape[1] + 2))  # x and y apart: what follows reads them one by one
    for axis in (0, 1):
        positions[axis, :, 0] = memory["ball"][:, axis]
        positions[axis, :, 1:-1] = steps[:, :, axis]
        positions[axis, :, -1] = now[:, axis]
    memory["ball"] = now[:, :2]
    elapsed = np.maximum(np.arange(-1, steps.shape[1] + 1), 0) - float(steps.shape[1])
    return np.moveaxis(positions, 0, -1), readings.time[:, None] + readings.timestep * elapsed


def observation_spaces() -> dict[str, gym.spaces.Box]:
    """Space of what :func:`observe` returns."""
    bound = np.array([1.0, 1.0, 2.0 * FASTEST, 2.0 * FASTEST])
    return {"agent_pos": gym.spaces.Box(-bound, bound, dtype=np.float64)}


def observe(readings: Readings) -> dict[str, np.ndarray]:
    """``agent_pos`` (n, 4): x, y in metres and their velocities in m/s."""
    position, velocity = readings["position of ball"], readings["velocity of ball"]
    return {"agent_pos": np.concatenate([position[:, :2], velocity[:, :2]], axis=1)}


def motion(positions: np.ndarray, readings: Readings, memory: Memory) -> Signals:
    """The signals of ``MOTION``, with positions from :func:`track`."""
    x, y = np.moveaxis(positions, -1, 0)
    steps = np.sqrt(np.diff(x, axis=1) ** 2 + np.diff(y, axis=1) ** 2)
    memory["path_length"] = memory["path_length"] + steps.sum(axis=1)
    found, *force = np.moveaxis(readings.before("wall on ball"), -1, 0)
    pressed = np.sqrt(force[0] ** 2 + force[1] ** 2 + force[2] ** 2)
    squared, _ = nearest_on_lines(positions[:, -1], memory["walls"])
    return {
        "wall_contact": (found > 0.0).any(axis=1),
        "wall_force": pressed.sum(axis=1) / max(pressed.shape[1], 1),
        "wall_gap": np.sqrt(squared.min(axis=1)) - memory["reach"],
        "path_length": memory["path_length"],
    }


def efficiency(signals: Signals, shortest: float) -> dict[str, Any]:
    """Success weighted by path length (Anderson et al. 2018, arXiv 1807.06757) and what it is made of."""
    success = bool(signals["success"][-1])
    # The way until the task was fulfilled; what the ball does afterwards does not count.
    travelled = float(signals["path_length"][int(np.argmax(signals["success"])) if success else -1])
    return {
        "success": success,
        "path_length": travelled,
        "shortest_length": shortest,
        "spl": shortest / max(travelled, shortest) if success else 0.0,
        "wall_contacts": int(signals["wall_contact"].sum()),
        "illegal_moves": int((~signals["legal"]).sum()),
    }


def follow(waypoints: Sequence[Any] | np.ndarray, lookahead: float, max_speed: float) -> Policy:
    """Drive along straight lines between waypoints (K, 2) in metres, towards a point ``lookahead`` metres ahead."""
    corners = np.asarray(waypoints, np.float64).reshape(-1, 2)
    lengths = np.concatenate([[0.0], np.linalg.norm(np.diff(corners, axis=0), axis=1).cumsum()])
    progress = 0.0

    def point(at: Any) -> np.ndarray:
        return np.stack([np.interp(at, lengths, corners[:, axis]) for axis in (0, 1)], axis=-1)

    def act(info: Mapping[str, Any]) -> np.ndarray:
        nonlocal progress
        here = info["position"][0, :2]
        ahead = np.minimum(progress + np.linspace(0.0, 2.0 * lookahead, 65), lengths[-1])
        progress = float(ahead[np.linalg.norm(point(ahead) - here, axis=-1).argmin()])
        return towards(here, point(min(progress + lookahead, lengths[-1])), max_speed)

    return act


def towards(here: np.ndarray, there: np.ndarray, max_speed: float) -> np.ndarray:
    """Velocity (2,) from one point to another, slower when near it."""
    offset = there - here
    return offset * min(_APPROACH, max_speed / max(float(np.linalg.norm(offset)), 1e-9))


def head_for(target: np.ndarray, max_speed: float) -> Policy:
    """Drive straight at a point (2,) in metres, whatever stands in between."""
    return lambda info: towards(info["position"][0, :2], target, max_speed)


def wander(rng: np.random.Generator, max_speed: float) -> Policy:
    """Change the velocity at random, with a memory of a few frames."""
    velocity = rng.uniform(-max_speed, max_speed, size=2)

    def act(info: Mapping[str, Any]) -> np.ndarray:
        nonlocal velocity
        velocity = np.clip(0.8 * velocity + 0.6 * max_speed * rng.normal(size=2), -max_speed, max_speed)
        return velocity

    return act


def first_half(waypoints: np.ndarray) -> np.ndarray:
    """The first half of a way (K, 2), measured along it."""
    lengths = np.concatenate([[0.0], np.linalg.norm(np.diff(waypoints, axis=0), axis=1).cumsum()])
    middle = [np.interp(lengths[-1] / 2.0, lengths, waypoints[:, axis]) for axis in (0, 1)]
    return np.vstack([waypoints[lengths < lengths[-1] / 2.0], middle])
