"""The course of a ball over a floor: its moves from frame to frame, the faults among them, and what it visited.

A move goes straight from where the ball was last seen to where it is seen next. A *fault* is

* a crossing: a move that passes the centre line of a wall, behind which no ball can get;
* a teleport: a move ``FASTER`` times as long as the motor allows and a pixel more;
* a loss: the ball is not seen in more than ``GAP`` frames in a row;
* a double: a second ball is seen in more than ``GAP`` frames in a row.

What a ball does from its first fault on is not to its credit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from worldmodel.evaluators.floor_plans import FloorPlan
from worldmodel.geometry import crosses

FASTER = 1.5
GAP = 2  # frames
BETWEEN = np.linspace(0.0, 1.0, 17)  # where along a move the ball is looked for in places


@dataclass(frozen=True)
class Course:
    """A ball over T frames; faults (T,) bool are those of the move that ends in a frame, or of the frame itself."""

    points: np.ndarray  # (T, 2) m; nan where the ball is not seen
    crossing: np.ndarray
    teleport: np.ndarray
    lost: np.ndarray
    doubled: np.ndarray
    before: np.ndarray  # (T,) frame in which the move to a frame began; -1 where there is no move

    @property
    def fault(self) -> np.ndarray:
        """Frames (T,) bool with a fault of any kind."""
        return self.crossing | self.teleport | self.lost | self.doubled

    def moves(self, frames: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Moves that end within so many frames: from (M, 2), to (M, 2) in metres, and the frames (M,) of their ends."""
        ends = np.flatnonzero(self.before[:frames] >= 0)
        return self.points[self.before[ends]], self.points[ends], ends


@dataclass(frozen=True)
class Visits:
    """What a ball has been in during its moves."""

    places: frozenset[int]
    goals: int  # visited, in whatever order
    in_order: int  # visited in their order
    success_frame: int | None  # in which the last goal was reached, in order where there is one
    length: float  # m, way up to there, or to the end


def course(points: np.ndarray, second: np.ndarray, plan: FloorPlan, frame_time: float, pixel: float) -> Course:
    """The course of a ball seen at ``points`` (T, 2) m, nan where it is not; the first one is given.

    Args:
        points: in metres.
        second: (T,) bool, whether a second ball was seen.
        plan: the floor.
        frame_time: seconds from frame to frame.
        pixel: metres that a pixel covers.
    """
    frames = len(points)
    seen = np.isfinite(points).all(axis=1)
    before = np.full(frames, -1)
    crossing, teleport = np.zeros(frames, bool), np.zeros(frames, bool)
    ends = np.flatnonzero(seen)
    before[ends[1:]] = ends[:-1]
    start, end = points[ends[:-1]], points[ends[1:]]
    step = plan.reach_of_move(frame_time)
    crossing[ends[1:]] = crosses(start, end, plan.walls)
    teleport[ends[1:]] = np.linalg.norm(end - start, axis=1) > FASTER * step * np.diff(ends) + pixel
    return Course(points, crossing, teleport, _in_a_row(~seen), _in_a_row(second), before)


def visits(course: Course, plan: FloorPlan, frames: int) -> Visits:
    """What the ball visits in its moves within the first ``frames`` frames."""
    places, in_order, length = {plan.start}, 0, 0.0
    success: tuple[int, float] | None = None
    start, end, ends = course.moves(frames)
    insides = plan.inside(start[:, None] + BETWEEN[:, None] * (end - start)[:, None])
    for t, way, inside in zip(ends, np.linalg.norm(end - start, axis=1), insides, strict=True):
        length += float(way)
        places |= set(np.flatnonzero(inside.any(axis=0)).tolist())
        for here in inside:
            in_order += in_order < len(plan.goals) and bool(here[plan.goals[in_order]])
        done = in_order if plan.ordered else len(places & set(plan.goals))
        if success is None and done == len(plan.goals):
            success = int(t), length
    frame, way = success or (None, length)
    return Visits(frozenset(places), len(places & set(plan.goals)), in_order, frame, way)


def _in_a_row(bad: np.ndarray) -> np.ndarray:
    """Frames (T,) bool that end more than ``GAP`` bad ones in a row."""
    run, out = 0, np.zeros(len(bad), bool)
    for t, each in enumerate(bad):
        run = run + 1 if each else 0
        out[t] = run > GAP
    return out
