"""What stands on the table of a grasp and what is to be done with it."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from worldmodel.counts import is_whole
from worldmodel.envs.drop_scene import COLOURS
from worldmodel.envs.drop_shapes import DIMENSIONS, SHAPES
from worldmodel.envs.fetch import (
    FINGER_DEPTH,
    MAX_GRIP_FORCE,
    MAX_OPENING,
    REACH_HIGH,
    REACH_LOW,
    TABLE_HEIGHT,
    sees,
    start_qpos,
)
from worldmodel.envs.options import FRICTION, Limits, Range, check_name, check_names, check_ranges, drawn, ends, expect

TASKS = ("pick", "place")
MAX_DISTRACTORS = 3
CENTRE = (1.34, 0.75)  # m, x and y of the middle of the picture's table
CLEARANCE = 0.004  # m, between finger tips and table and between palm and item in a grasp
LOWEST_GRIP = TABLE_HEIGHT + FINGER_DEPTH + CLEARANCE  # m, height of the grip point in such a grasp of a flat item
BESIDE, ABOVE = 0.08, 0.14  # m, of a workspace
GOAL_ASIDE = (0.02, 0.04)  # m, x and y of a goal in the air beside the item, at most
TALLEST = MAX_OPENING / 2.0  # m, of half heights
LIMITS = {
    "width": Limits(0.01, MAX_OPENING, "m", below=True),
    "mass": Limits(1e-4, 1000.0, "kg"),
    "friction": FRICTION,
    "depth": Limits(unit="m"),
    "sideways": Limits(unit="m"),
    "yaw": Limits(unit="rad"),
    "lift": Limits(0.0, REACH_HIGH[2] - TABLE_HEIGHT - TALLEST, "m", above=True),
    "grip_force": Limits(0.0, MAX_GRIP_FORCE, "N", above=True),
}

_SINK = 1e-5  # m, by which an item at rest presses into the table
_TRIES = 2000  # a distractor


@dataclass(frozen=True)
class Item:
    """A rigid object standing on the table; cylinders stand upright, capsules lie along x before ``yaw``."""

    shape: str
    size: tuple[float, float, float]  # m, MuJoCo half sizes: (x, y, z), (radius, 0, 0) or (radius, half length, 0)
    colour: str
    position: tuple[float, float]  # m, centre, x and y
    yaw: float  # rad, about the vertical
    mass: float  # kg
    friction: float  # Coulomb coefficient against fingers and table

    @property
    def half_height(self) -> float:
        """Height in metres of the centre above the table."""
        return {"box": self.size[2], "cylinder": self.size[1]}.get(self.shape, self.size[0])

    @property
    def width(self) -> float:
        """Size in metres between the finger pads, once they have turned it straight."""
        return 2.0 * (self.size[1] if self.shape == "box" else self.size[0])

    @property
    def width_now(self) -> float:
        """Size in metres along y at t = 0, turned as it is."""
        along = {"box": self.size[0], "capsule": self.size[1]}.get(self.shape, 0.0)
        across = 0.5 * self.width * (abs(np.cos(self.yaw)) if self.shape == "box" else 1.0)
        return float(2.0 * (across + along * abs(np.sin(self.yaw))))

    @property
    def footprint(self) -> float:
        """Radius in metres of a circle on the table that covers it."""
        if self.shape == "box":
            return float(np.hypot(self.size[0], self.size[1]))
        return self.size[0] + (self.size[1] if self.shape == "capsule" else 0.0)

    @property
    def centre(self) -> tuple[float, float, float]:
        """World position in metres of the centre at t = 0."""
        return (*self.position, TABLE_HEIGHT + self.half_height - _SINK)

    @property
    def quaternion(self) -> tuple[float, float, float, float]:
        """w, x, y, z at t = 0."""
        turn = np.array([np.cos(0.5 * self.yaw), 0.0, 0.0, np.sin(0.5 * self.yaw)])
        if self.shape == "capsule":  # its own axis is z: first tilt it onto x
            turn = np.sqrt(0.5) * np.array([turn[0], -turn[3], turn[0], turn[3]])
        w, x, y, z = map(float, turn)
        return (w, x, y, z)


@dataclass(frozen=True)
class GraspScene(Item):
    """The item to be grasped, and all else that decides a clip. SI units, world frame, z up.

    ``goal`` is where the item's centre is to be. In the task ``pick`` it is in the air and the
    item is to be held; in ``place`` it is on the table and the item is to be left there.
    """

    goal: tuple[float, float, float]  # m
    gripper: tuple[float, float, float]  # m, grip point at t = 0
    task: str = "pick"
    grip_force: float = 20.0  # N, with which each finger presses at most
    distractors: tuple[Item, ...] = ()

    @property
    def workspace(self) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        """Corners in metres of a box around the item: grip points that reach, grasp and lift it, above the table."""
        x, y = self.position
        return (x - BESIDE, y - BESIDE, LOWEST_GRIP), (x + BESIDE, y + BESIDE, LOWEST_GRIP + ABOVE)

    @property
    def items(self) -> tuple[Item, ...]:
        """Everything on the table, the item to be grasped first."""
        return (self, *self.distractors)


@dataclass(frozen=True)
class GraspSampler:
    """Ranges from which scenes are drawn; a number fixes a value, a pair is uniform."""

    shapes: tuple[str, ...] = SHAPES
    colours: tuple[str, ...] = tuple(COLOURS)
    width: Range = (0.047, 0.065)  # m, between the finger pads
    mass: Range = (0.05, 0.3)  # kg
    friction: Range = (0.6, 1.0)
    depth: Range = (-0.04, 0.04)  # m, towards the camera from the middle
    sideways: Range = (-0.04, 0.04)  # m, along the picture
    yaw: Range = (-0.2, 0.2)  # rad
    task: str = "pick"
    lift: Range = (0.08, 0.11)  # m, of the goal of `pick` above the item
    grip_force: Range = 20.0  # N
    distractors: int = 0  # further items on the table

    def __post_init__(self) -> None:
        check_names(self, "shapes", SHAPES)
        check_names(self, "colours", tuple(COLOURS))
        check_name("task", self.task, TASKS)
        few = is_whole(self.distractors) and 0 <= self.distractors <= MAX_DISTRACTORS
        expect(few, "distractors", self.distractors, f"0 to {MAX_DISTRACTORS}, for which there is room")
        check_ranges(self, LIMITS)
        for depth, sideways in itertools.product(ends(self.depth), ends(self.sideways)):
            x, y = CENTRE[0] + depth, CENTRE[1] + sideways
            goals = [(x + sign * GOAL_ASIDE[0], y + sign * GOAL_ASIDE[1]) for sign in (-1, 1)]
            reached = all(_within(goal, REACH_LOW[:2], REACH_HIGH[:2]) for goal in goals)
            got = f"{self.depth}, {self.sideways}, which allow {depth:g} and {sideways:g} m"
            expected = "places around which the gripper reaches, and which the camera sees"
            expect(reached and sees((x, y, TABLE_HEIGHT)), "depth, sideways", got, expected)

    def __call__(self, rng: np.random.Generator) -> GraspScene:
        item = self._item(rng, self.colours, ends(self.depth), ends(self.sideways))
        start = (CENTRE[0] + rng.uniform(-0.03, 0.03), CENTRE[1] + rng.uniform(-0.05, 0.05), rng.uniform(0.54, 0.57))
        return GraspScene(
            **dataclasses.asdict(item),
            goal=self._goal(item, rng),
            gripper=(float(start[0]), float(start[1]), float(start[2])),
            task=self.task,
            grip_force=drawn(self, "grip_force", rng),
            distractors=self._distractors(item, rng),
        )

    def _item(
        self,
        rng: np.random.Generator,
        colours: tuple[str, ...],
        depth: tuple[float, float],
        sideways: tuple[float, float],
    ) -> Item:
        shape = str(rng.choice(self.shapes))
        return Item(
            shape=shape,
            size=_half_sizes(shape, 0.5 * drawn(self, "width", rng), rng),
            colour=str(rng.choice(colours)),
            position=(float(CENTRE[0] + rng.uniform(*depth)), float(CENTRE[1] + rng.uniform(*sideways))),
            yaw=drawn(self, "yaw", rng),
            mass=drawn(self, "mass", rng),
            friction=drawn(self, "friction", rng),
        )

    def _goal(self, item: Item, rng: np.random.Generator) -> tuple[float, float, float]:
        x, y, z = item.centre
        if self.task == "pick":
            dx, dy = (rng.uniform(-aside, aside) for aside in GOAL_ASIDE)
            return (float(x + dx), float(y + dy), float(z + drawn(self, "lift", rng)))
        aside = rng.uniform(0.07, 0.1) * (-1.0 if y > CENTRE[1] else 1.0)  # towards the middle, so it stays in view
        return (float(x + rng.uniform(-0.02, 0.02)), float(y + aside), z)

    def _distractors(self, item: Item, rng: np.random.Generator) -> tuple[Item, ...]:
        """Items of other colours that neither hide the item nor stand where the open gripper comes down."""
        others = tuple(colour for colour in self.colours if colour != item.colour) or self.colours
        found: list[Item] = []
        for _ in range(_TRIES * self.distractors):
            if len(found) == self.distractors:
                break
            new = self._item(rng, others, (-0.13, 0.06), (-0.16, 0.16))
            apart = [np.hypot(*np.subtract(new.position, old.position)) - old.footprint for old in (item, *found)]
            behind = item.position[0] - new.position[0] - new.footprint > 0.05
            beside = abs(new.position[1] - item.position[1]) - new.footprint > 0.07
            if (behind or beside) and all(gap > new.footprint + 0.005 for gap in apart):
                found.append(new)
        if len(found) < self.distractors:
            raise ValueError(
                f"distractors: got room for {len(found)} of {self.distractors}, expected it for all; "
                "make the items smaller or fewer"
            )
        return tuple(found)


def check_scene(scene: GraspScene, distractors: int) -> None:
    """Raise ValueError for a scene that cannot be, or that has not the given number of distractors."""
    if len(scene.distractors) != distractors:
        _refuse("distractors", len(scene.distractors), f"{distractors}, as the environment was made with")
    for item in scene.items:
        _check_item(item)
    for index, item in enumerate(scene.items):
        for other in scene.items[:index]:
            if np.hypot(*np.subtract(item.position, other.position)) < item.footprint + other.footprint:
                _refuse("position", item.position, f"a place clear of the {other.colour} {other.shape}")
    if scene.task not in TASKS:
        _refuse("task", scene.task, f"one of {', '.join(TASKS)}")
    if not 0.0 < scene.grip_force <= MAX_GRIP_FORCE:
        _refuse("grip_force", scene.grip_force, f"N above 0 and at most {MAX_GRIP_FORCE:g}, the real gripper's")
    if not _within(scene.goal, REACH_LOW, REACH_HIGH):
        _refuse("goal", scene.goal, f"a point from {REACH_LOW} to {REACH_HIGH} m")
    lowest = TABLE_HEIGHT + 2.0 * max(item.half_height for item in scene.items) + FINGER_DEPTH
    if len(scene.gripper) != 3 or not scene.gripper[2] > lowest:
        _refuse("gripper", scene.gripper, f"a grip point more than {lowest:.3f} m high, above everything on the table")
    start_qpos(scene.gripper)


def _check_item(item: Item) -> None:
    if item.shape not in SHAPES:
        _refuse("shape", item.shape, f"one of {', '.join(SHAPES)}")
    if item.colour not in COLOURS:
        _refuse("colour", item.colour, f"one of {', '.join(COLOURS)}")
    halves = item.size[: DIMENSIONS[item.shape]]
    if len(item.size) != 3 or not np.isfinite(item.size).all() or not all(half > 0 for half in halves):
        _refuse("size", item.size, f"three half sizes in metres, the first {DIMENSIONS[item.shape]} above 0")
    if not LIMITS["width"].hold(item.width):
        _refuse("size", item.size, f"an item {LIMITS['width']} wide, which the gripper opens")
    for name in ("mass", "friction"):
        if not LIMITS[name].hold(getattr(item, name)):
            _refuse(name, getattr(item, name), str(LIMITS[name]))
    if not np.isfinite(item.yaw):
        _refuse("yaw", item.yaw, "radians")
    if not _within(item.position, REACH_LOW[:2], REACH_HIGH[:2]):
        _refuse("position", item.position, f"x and y on the table from {REACH_LOW[:2]} to {REACH_HIGH[:2]} m")
    if not sees(item.centre):
        _refuse("position", item.position, "a place that the camera sees")


def _within(point: tuple[float, ...], low: tuple[float, ...], high: tuple[float, ...]) -> bool:
    return len(point) == len(low) and bool((np.less_equal(low, point) & np.less_equal(point, high)).all())


def _refuse(name: str, got: Any, expected: str) -> None:
    raise ValueError(f"{name}: got {got!r}, expected {expected}; change it in the scene or its options")


def _half_sizes(shape: str, half_width: float, rng: np.random.Generator) -> tuple[float, float, float]:
    """Sizes of an item that is ``2 * half_width`` metres wide and no taller than the gripper's palm allows."""
    if shape == "sphere":
        return (half_width, 0.0, 0.0)
    if shape == "box":
        depth, height = rng.uniform(0.02, 0.035, size=2)
        return (float(depth), half_width, float(height))
    return (half_width, float(rng.uniform(0.022, 0.035)), 0.0)
