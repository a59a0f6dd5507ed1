"""Scripted grasps: one that succeeds, and failures that begin with the same first frame.

A policy is a sequence of moves of the grip point's set-point. It knows the scene but no
dynamics, and works at any control rate: speeds are metres per action, pauses are seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from worldmodel.envs.family import Policy, PolicyMaker
from worldmodel.envs.fetch import FINGER_DEPTH, FINGER_THICKNESS, MAX_OPENING, MAX_STEP, PALM_HEIGHT, TABLE_HEIGHT
from worldmodel.envs.grasp_scene import CLEARANCE, LOWEST_GRIP, GraspScene

GRAVITY = 9.81  # m/s^2
_UP = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True)
class Move:
    """Go straight to a point with the fingers commanded to an opening, then pause."""

    to: np.ndarray  # (3,) m
    opening: float  # m
    pause: float = 0.0  # s
    pace: float = 1.0  # share of the script's speed


class Script:
    """Plays moves one after the other; the last is held."""

    def __init__(self, moves: Sequence[Move], speed: float) -> None:
        self._moves = list(moves)
        self._speed = speed  # m per action
        self._since: float | None = None  # s, when the current move arrived

    def __call__(self, info: Mapping[str, Any]) -> np.ndarray:
        """Action (4,) from ``gripper_target`` (3,) and ``time``."""
        target, time = np.asarray(info["gripper_target"]), float(info["time"])
        while len(self._moves) > 1:
            if self._since is None and np.abs(self._moves[0].to - target).max() < 1e-9:
                self._since = time
            if self._since is None or time - self._since < self._moves[0].pause - 1e-9:
                break
            self._moves.pop(0)
            self._since = None
        move = self._moves[0]
        way = move.to - target
        step = way * min(1.0, move.pace * self._speed / max(float(np.linalg.norm(way)), 1e-12))
        return np.array([*step, move.opening])


@dataclass(frozen=True)
class Grip:
    """Where and how a script grips; a failure changes a single value."""

    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)  # m, of the grip point from where it should be
    width: float = 0.0  # m, to which the fingers are closed
    close: str = "in time"  # or "early" (above the item), "late" (on the way up), "never"


def scripted(grip: Callable[[GraspScene], Grip]) -> PolicyMaker:
    """The maker of a policy that grips as ``grip(scene)`` says, with a little variation from ``rng``."""

    def make(scene: GraspScene, rng: np.random.Generator) -> Policy:
        jitter = rng.uniform(-0.003, 0.003, size=3)
        return Script(_moves(scene, grip(scene), jitter), speed=float(rng.uniform(0.032, 0.04)))

    return make


def _moves(scene: GraspScene, grip: Grip, jitter: np.ndarray) -> list[Move]:
    centre = np.array(scene.centre)
    at = centre + jitter
    at[2] = max(at[2], _lowest(scene))
    at += grip.offset
    over = np.array([at[0], at[1], max(_over(scene), at[2])])
    carry = np.array(scene.goal) - centre
    moves = [Move(over, MAX_OPENING)]
    if grip.close == "early":
        moves.append(Move(over, grip.width, pause=0.2))
    closed = grip.width if grip.close in ("early", "in time") else MAX_OPENING
    moves.append(Move(at, grip.width if grip.close == "early" else MAX_OPENING, pause=0.06, pace=0.6))
    moves.append(Move(at, closed, pause=0.25))
    if grip.close == "late":
        moves += [Move(over, MAX_OPENING), Move(over, grip.width, pause=0.2)]
        at, closed = over, grip.width
    return moves + (_bring(at, carry, closed) if scene.task == "pick" else _put(at, carry, closed))


def _lowest(scene: GraspScene) -> float:
    """Height in metres below which the finger tips would meet the table or the palm the item."""
    palm = TABLE_HEIGHT + 2.0 * scene.half_height - PALM_HEIGHT + CLEARANCE
    return max(LOWEST_GRIP, palm)


def _over(scene: GraspScene) -> float:
    """Height in metres at which the finger tips are 1 cm above the item."""
    return TABLE_HEIGHT + 2.0 * scene.half_height + FINGER_DEPTH + 0.01


def _bring(at: np.ndarray, carry: np.ndarray, closed: float) -> list[Move]:
    return [Move(at + min(0.04, carry[2]) * _UP, closed), Move(at + carry, closed)]


def _put(at: np.ndarray, carry: np.ndarray, closed: float) -> list[Move]:
    lift, down = 0.06 * _UP, at + carry + 0.001 * _UP
    return [
        Move(at + lift, closed),
        Move(at + carry + lift, closed),
        Move(down, closed, pause=0.12, pace=0.6),
        Move(down, MAX_OPENING, pause=0.2),
        Move(down + 1.5 * lift, MAX_OPENING),
    ]


def _beside(scene: GraspScene) -> float:
    """Distance in metres along y at which the open gripper comes down beside the item."""
    return 0.5 * (scene.width_now + MAX_OPENING) + FINGER_THICKNESS + 0.008


def _perturbed(scene: GraspScene, rng: np.random.Generator) -> Policy:
    """The expert, pushed off its way for a while now and then."""
    expert = scripted(lambda scene: Grip())(scene, rng)
    push = np.zeros(3)

    def act(info: Mapping[str, Any]) -> np.ndarray:
        nonlocal push
        push = 0.5 * push + (rng.random() < 0.1) * rng.normal(scale=0.01, size=3)
        action = expert(info)
        action[:3] = np.clip(action[:3] + push, -MAX_STEP, MAX_STEP)
        return action

    return act


def _random(scene: GraspScene, rng: np.random.Generator) -> Policy:
    """Aimless: a velocity with a memory of a few frames, fingers that open or close now and then."""
    velocity, opening = np.zeros(3), MAX_OPENING

    def act(info: Mapping[str, Any]) -> np.ndarray:
        nonlocal velocity, opening
        velocity = np.clip(0.8 * velocity + rng.normal(scale=0.015, size=3), -MAX_STEP, MAX_STEP)
        if rng.random() < 0.1:
            opening = float(rng.uniform(0.0, MAX_OPENING))
        return np.array([*velocity, opening])

    return act


def _searching(scene: GraspScene, rng: np.random.Generator) -> Policy:
    """What a planner tries: movements held for four actions, about the item, into it, and anywhere.

    Every other one begins in the middle of a grasp.
    """
    expert = scripted(lambda scene: Grip())(scene, rng)
    begins = int(rng.integers(4, 24)) if rng.random() < 0.5 else 0
    spread = float(rng.uniform(0.01, 0.06))  # m
    step, opening, count = np.zeros(3), MAX_OPENING, 0

    def act(info: Mapping[str, Any]) -> np.ndarray:
        nonlocal step, opening, count
        count += 1
        if count <= begins:
            action = expert(info)
            opening = float(action[3])
            return action
        if (count - begins) % 4 == 1:
            way = scene.centre + rng.normal(scale=spread, size=3) - info["gripper_target"]
            kind = rng.choice(("near", "up", "anywhere"), p=(0.6, 0.15, 0.25))
            anywhere = rng.uniform(-MAX_STEP, MAX_STEP, size=3)
            step = {"near": way / 4, "up": 0.2 * anywhere + 0.6 * MAX_STEP * _UP, "anywhere": anywhere}[kind]
            step = np.clip(step, -MAX_STEP, MAX_STEP)
            if rng.random() < 0.5:
                opening = float(rng.uniform(0.0, MAX_OPENING))
        return np.array([*step, opening])

    return act


POLICIES: dict[str, PolicyMaker] = {
    "expert": scripted(lambda scene: Grip()),
    "offset_left": scripted(lambda scene: Grip(offset=(0.0, -_beside(scene), 0.0))),
    "offset_right": scripted(lambda scene: Grip(offset=(0.0, _beside(scene), 0.0))),
    "offset_high": scripted(lambda scene: Grip(offset=(0.0, 0.0, _over(scene) - scene.centre[2]))),
    "early_close": scripted(lambda scene: Grip(close="early")),
    "late_close": scripted(lambda scene: Grip(close="late")),
    "wrong_width": scripted(lambda scene: Grip(width=min(scene.width_now + 0.01, MAX_OPENING))),
    "no_close": scripted(lambda scene: Grip(close="never")),
    "slip": scripted(lambda scene: Grip()),  # in a scene with ``CHANGES``
    "perturbed": _perturbed,
    "random": _random,
    "searching": _searching,
}
UNNAMED = ("expert", "perturbed", "random", "searching")  # those that do not fail in a named way
FAILURES = tuple(name for name in POLICIES if name not in UNNAMED)


def slippery(scene: GraspScene) -> dict[str, float]:
    """A friction at which the grip carries four fifths of the item's weight: 2 mu F = 0.8 m g."""
    return {"friction": 0.4 * scene.mass * GRAVITY / scene.grip_force}


CHANGES = {"slip": slippery}  # what a failure changes of the scene, in what cannot be seen
