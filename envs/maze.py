"""Mazes seen from above: a ball is driven from a cell to the green one through corridors between walls."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np

from worldmodel.actions import ActionSpec
from worldmodel.envs import ball
from worldmodel.envs.family import Family, Memory, Policy, Readings, Signals
from worldmodel.envs.mazes import Maze, check_maze, check_size, distance_field, draw_maze, max_walls, maze_walls, solve
from worldmodel.envs.options import SMALLEST, Limits, check_numbers, expect, least_and_most
from worldmodel.envs.overhead import CAMERA, PIXEL, add_bar, floor_points, stage
from worldmodel.envs.places import NOWHERE, Moves, arrivals, first_visits, legal_moves
from worldmodel.envs.scene_env import SceneEnv
from worldmodel.envs.scene_vector_env import SceneVectorEnv
from worldmodel.geometry import cell_side, distance_to_segments
from worldmodel.truth import Camera

GROUND = (0.0, 0.0, 0.0)  # black, as the walls
FLOOR = (0.92, 0.92, 0.92)
GOAL = (0.12, 0.62, 0.18)  # green
LIMITS = {
    "braid": Limits(0.0, 1.0),
    "wall_share": Limits(0.02, 0.5),
    "ball_share": Limits(0.05, 0.5, below=True),
    **ball.DRIVEN,
}
_LOOKAHEAD = 0.45  # of a cell: turns are cut within the corridor


@dataclass(frozen=True)
class MazeScene:
    """A maze (:mod:`~worldmodel.envs.mazes`) and a ball in it. Metres, world frame, x right and y up in the picture."""

    rows: int
    columns: int
    passages: tuple[tuple[int, int], ...]  # pairs of neighbouring cells, the smaller first
    start: int  # cell
    goal: int  # cell
    wall_thickness: float
    ball_radius: float
    max_speed: float  # m/s along x and along y
    friction: float  # Coulomb coefficient between ball and walls

    @cached_property
    def maze(self) -> Maze:
        """The maze for distances and walls."""
        return Maze(self.rows, self.columns, self.passages)

    @property
    def cell_size(self) -> float:
        """Side of a cell in metres, from wall centre to wall centre."""
        return cell_side(self.rows, self.columns)


@dataclass(frozen=True)
class MazeSampler:
    """What mazes are drawn; a number fixes a value, a pair gives its least and greatest one.

    Attributes:
        rows, columns: size in cells.
        braid: share of dead ends that are opened: 0 for perfect mazes, 1 for mazes without dead ends.
        wall_share: thickness of the walls as a share of a cell.
        ball_share: radius of the ball as a share of the corridors' width.
        max_speed: of the ball, in m/s along x and along y.
        friction: between the ball and the walls.
    """

    rows: int | tuple[int, int] = 5
    columns: int | tuple[int, int] = 5
    braid: float = 0.0
    wall_share: float = 0.2
    ball_share: float = 0.28
    max_speed: float = 0.6
    friction: float = 0.2

    def __post_init__(self) -> None:
        for size in zip(self.row_range, self.column_range, strict=True):
            check_size(*size)
        check_numbers(self, LIMITS)
        cell = cell_side(max(self.row_range), max(self.column_range))
        least = PIXEL / 2.0 / (cell * (1.0 - self.wall_share))
        expected = f"at least {least:.3f}, with which a ball in these mazes is a pixel of {SMALLEST} in diameter"
        expect(self.ball_share >= least, "ball_share", self.ball_share, expected)

    @property
    def row_range(self) -> tuple[int, int]:
        """Least and greatest number of rows."""
        return least_and_most("rows", self.rows)

    @property
    def column_range(self) -> tuple[int, int]:
        """Least and greatest number of columns."""
        return least_and_most("columns", self.columns)

    def __call__(self, rng: np.random.Generator) -> MazeScene:
        rows, columns = (int(rng.integers(least, most + 1)) for least, most in (self.row_range, self.column_range))
        maze = draw_maze(rng, rows, columns, self.braid)
        start = int(rng.integers(rows * columns))
        steps = distance_field(maze, start)
        goal = int(rng.choice(np.nonzero(2 * steps >= steps.max())[0]))
        cell = cell_side(rows, columns)
        wall = self.wall_share * cell
        radius = self.ball_share * (cell - wall)
        return MazeScene(rows, columns, maze.passages, start, goal, wall, radius, self.max_speed, self.friction)


def _way(scene: MazeScene, goal: int) -> np.ndarray:
    return scene.maze.centres(scene.cell_size)[solve(scene.maze, scene.start, goal)]


def _follow(scene: MazeScene, way: np.ndarray) -> Policy:
    return ball.follow(way, _LOOKAHEAD * scene.cell_size, scene.max_speed)


def _shortest(scene: MazeScene, rng: np.random.Generator) -> Policy:
    """The shortest way to the goal."""
    return _follow(scene, _way(scene, scene.goal))


def _straight(scene: MazeScene, rng: np.random.Generator) -> Policy:
    """Straight at the goal, walls or not."""
    return ball.head_for(scene.maze.centres(scene.cell_size)[scene.goal], scene.max_speed)


def _wrong_branch(scene: MazeScene, rng: np.random.Generator) -> Policy:
    """The shortest way to the farthest cell that is reached without passing the goal."""
    ways = [solve(scene.maze, scene.start, cell) for cell in range(scene.rows * scene.columns)]
    return _follow(scene, _way(scene, max((way for way in ways if scene.goal not in way), key=len)[-1]))


def _halfway(scene: MazeScene, rng: np.random.Generator) -> Policy:
    """The first half of the shortest way."""
    return _follow(scene, ball.first_half(_way(scene, scene.goal)))


def _random(scene: MazeScene, rng: np.random.Generator) -> Policy:
    """Aimless."""
    return ball.wander(rng, scene.max_speed)


class MazeTraversal(Family):
    """Fulfilled once the ball's centre has been in the goal's cell."""

    id = "worldmodel/Maze-v0"
    sampler_type = MazeSampler
    scene_type = MazeScene
    camera = CAMERA
    num_frames = 81
    policies = {
        "shortest": _shortest,
        "straight": _straight,
        "wrong_branch": _wrong_branch,
        "halfway": _halfway,
        "random": _random,
    }
    signals = {
        "cell": "index of the cell that the ball's centre is in, row by row from the top left",
        "visited": "cells (C,) that the ball's centre has been in",
        "visit_time": "s (C,), first time in each cell; inf before it",
        "steps_to_goal": "passages between that cell and the goal",
        "distance_to_goal": "m through the passages to the centre of the goal's cell",
        "legal": "since the frame before the ball only moved within cells and through passages",
        "success": "has been in the goal's cell",
        **ball.MOTION,
    }

    @property
    def max_cells(self) -> int:
        """Cells that a scene may have."""
        return self.sampler.row_range[1] * self.sampler.column_range[1]

    @property
    def max_walls(self) -> int:
        """Straight walls that a scene may have."""
        return max_walls(self.sampler.row_range[1], self.sampler.column_range[1])

    @property
    def objects(self) -> tuple[str, ...]:
        """The ball."""
        return ("ball",)

    @property
    def action_spec(self) -> ActionSpec:
        """Velocities in m/s."""
        return ball.velocity_commands(self.sampler.max_speed, self.fps)

    @property
    def observation_spaces(self) -> dict[str, gym.spaces.Box]:
        """``agent_pos``: x, y in metres and their velocities in m/s."""
        return ball.observation_spaces()

    def check(self, scene: MazeScene) -> None:
        """Refuse what is no maze, is larger than the environment was made for, or has no room for the ball."""
        check_maze(scene.maze)
        for name, (_, limit) in (("rows", self.sampler.row_range), ("columns", self.sampler.column_range)):
            expect(getattr(scene, name) <= limit, name, getattr(scene, name), f"at most this environment's {limit}")
        cells = scene.rows * scene.columns
        for name in ("start", "goal"):
            expect(0 <= getattr(scene, name) < cells, name, getattr(scene, name), f"a cell from 0 to {cells - 1}")
        expect(scene.goal != scene.start, "goal", scene.goal, "another cell than the start")
        least, most = 0.01 * scene.cell_size, 0.5 * scene.cell_size
        thin = least <= scene.wall_thickness <= most
        expect(thin, "wall_thickness", scene.wall_thickness, f"{least:.4f} to {most:.4f} m")
        ball.check_ball(scene, self.sampler.max_speed, scene.cell_size - scene.wall_thickness)

    def build(self, scene: MazeScene) -> mujoco.MjSpec:
        """White floor, the goal's green cell, black walls and the ball on its start."""
        spec = stage(GROUND, ball.BODIES, ball.DRIVE)
        cell, centres = scene.cell_size, scene.maze.centres(scene.cell_size)
        half = np.array([scene.columns * cell / 2.0, 0.0])
        add_bar(spec.worldbody, "floor", np.stack([-half, half]), scene.rows * cell, FLOOR, layer=1)
        side = np.array([cell / 2.0, 0.0])
        goal = np.stack([centres[scene.goal] - side, centres[scene.goal] + side])
        add_bar(spec.worldbody, "goal", goal, cell, GOAL, layer=2)
        ball.place_ball(spec, centres[scene.start], scene.ball_radius, scene.friction)
        walls = maze_walls(scene.maze, cell)
        ball.add_walls(spec, walls, scene.wall_thickness, scene.ball_radius, self.max_walls, visible=True)
        return spec

    def memory(self, scene: MazeScene) -> dict[str, Any]:
        """The maze as arrays, filled up to the sizes of this family."""
        more = self.max_cells - scene.rows * scene.columns
        centres = scene.maze.centres(scene.cell_size)
        neighbours = np.pad(scene.maze.neighbours(), ((0, more), (0, 0)), constant_values=-2)
        own = np.arange(self.max_cells)[:, None]
        visit_time = np.full(self.max_cells, np.inf)
        visit_time[scene.start] = 0.0
        steps = distance_field(scene.maze, scene.goal)
        walls = maze_walls(scene.maze, scene.cell_size)
        return {
            **ball.motion_memory(centres[scene.start], walls, scene.wall_thickness, scene.ball_radius, self.max_walls),
            "rows": scene.rows,
            "columns": scene.columns,
            "cell_size": scene.cell_size,
            "centres": np.pad(centres, ((0, more), (0, 0))),
            "neighbours": neighbours,
            "anchors": np.concatenate([own, np.where(neighbours < 0, own, neighbours)], axis=1),
            "steps": np.pad(steps, (0, more)),
            "goal": scene.goal,
            "visit_time": visit_time,
        }

    def command(self, actions: np.ndarray, memory: Memory, substeps: int) -> dict[str, np.ndarray]:
        """Velocities for both joints."""
        return {"ctrl": actions}

    def measure(self, readings: Readings, memory: Memory) -> Signals:
        """Where the ball has been since the frame before, and what it touched."""
        positions, times = ball.track(readings, memory)
        cells = locate(positions, *(memory[name][:, None] for name in ("rows", "columns", "cell_size")))
        moves = Moves.within(cells)
        arrived = arrivals(cells, moves, memory["visit_time"])
        memory["visit_time"] = first_visits(arrived, times, memory["visit_time"])
        visited, here = np.isfinite(memory["visit_time"]), cells[:, -1]
        steps = np.take_along_axis(memory["steps"], np.maximum(here, 0)[:, None], axis=1)[:, 0]
        ways = memory["steps"] * memory["cell_size"][:, None]
        return {
            "cell": here,
            "visited": visited,
            "visit_time": memory["visit_time"],
            "steps_to_goal": np.where(here == NOWHERE, NOWHERE, steps),
            "distance_to_goal": _way_to_goal(positions[:, -1], here, memory["centres"], memory["anchors"], ways),
            "legal": legal_moves(cells, moves, memory["neighbours"]),
            "success": visited[np.arange(len(here)), memory["goal"]],
            **ball.motion(positions, readings, memory),
        }

    def observe(self, readings: Readings, memory: Memory, signals: Signals) -> dict[str, np.ndarray]:
        """Position and velocity of the ball."""
        return ball.observe(readings)

    def outcome(self, scene: MazeScene, time: np.ndarray, signals: Signals) -> dict[str, Any]:
        """Success, the efficiency of the way, the shortest one, and when each cell was first entered (None: never)."""
        way = solve(scene.maze, scene.start, scene.goal)
        times = signals["visit_time"][-1][: scene.rows * scene.columns]
        return {
            **ball.efficiency(signals, (len(way) - 1) * scene.cell_size),
            "shortest_steps": len(way) - 1,
            "shortest_path": [int(cell) for cell in way],
            "visit_times": [float(each) if np.isfinite(each) else None for each in times],
        }

    def maps(self, scene: MazeScene, camera: Camera) -> dict[str, np.ndarray]:
        """Labels (H, W) of the pixels' centres.

        ``cell``: index + 1 of the cell, 0 outside; ``wall``: 1 on walls and outside; ``steps_to_goal``:
        passages between the cell and the goal, -1 on walls and outside.
        """
        points = floor_points(camera)
        cells = locate(points, scene.rows, scene.columns, scene.cell_size)
        walls = maze_walls(scene.maze, scene.cell_size)
        wall = (distance_to_segments(points, walls).min(axis=-1) <= scene.wall_thickness / 2.0) | (cells == NOWHERE)
        steps = distance_field(scene.maze, scene.goal)[np.maximum(cells, 0)]
        return {
            "cell": (cells + 1).astype(np.uint16),
            "wall": wall.astype(np.uint8),
            "steps_to_goal": np.where(wall, -1, steps).astype(np.int16),
        }

    def task(self, scene: MazeScene) -> str:
        """What the ball is to do, as a prompt."""
        return (
            "The red ball rolls along the white corridors to the green cell, without ever touching the black walls. "
            "Static camera."
        )


def locate(points: np.ndarray, rows: Any, columns: Any, cell_size: Any) -> np.ndarray:
    """Cells (...,) of points (..., 2) in metres, ``NOWHERE`` outside of the maze."""
    column = np.floor(points[..., 0] / cell_size + columns / 2.0).astype(np.int64)
    row = np.floor(rows / 2.0 - points[..., 1] / cell_size).astype(np.int64)
    inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
    return np.where(inside, row * columns + column, NOWHERE)


def _way_to_goal(
    points: np.ndarray, cells: np.ndarray, centres: np.ndarray, anchors: np.ndarray, from_centres: np.ndarray
) -> np.ndarray:
    """Lengths (n,) in metres of the ways from points (n, 2), first straight to their cell's centre or a neighbour's.

    Args:
        points: (n, 2) m.
        cells: (n,) in which the points are; nan comes out for ``NOWHERE``.
        centres: (n, C, 2) m.
        anchors: (n, C, A) the cells to whose centres one can go straight from each cell.
        from_centres: (n, C) m, lengths of the ways from the centres to the goal.
    """
    rows = np.arange(len(points))[:, None]
    near = anchors[rows[:, 0], np.maximum(cells, 0)]
    aside = centres[rows, near] - points[:, None]
    straight = np.sqrt(aside[..., 0] ** 2 + aside[..., 1] ** 2)
    return np.where(cells == NOWHERE, np.nan, (straight + from_centres[rows, near]).min(axis=1))


class MazeEnv(SceneEnv):
    """A ball to be driven through a maze. Options: the fields of :class:`MazeSampler`."""

    family_type = MazeTraversal


class MazeVectorEnv(SceneVectorEnv):
    """Many mazes at once."""

    family_type = MazeTraversal
