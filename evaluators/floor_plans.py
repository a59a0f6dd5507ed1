"""What a truth's scene says of the floor that a ball rolls on: its walls, its places, and where the ball is to go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from worldmodel.evaluators.checks import check_mask, check_video
from worldmodel.geometry import WALL, cell_centres, cell_side, channel_walls, crosses, distance_to_segments, maze_walls
from worldmodel.truth import Truth

GRAPH = ("nodes", "edges", "start", "node_radius", "channel_width")  # fields of a scene
VISIT = (*GRAPH, "goals", "ordered", "ball_radius", "max_speed")
MAZE = ("rows", "columns", "passages", "start", "goal", "wall_thickness", "ball_radius", "max_speed")


@dataclass(frozen=True)
class FloorPlan:
    """A floor with P places (the discs of a graph or the cells of a maze). Metres, world frame, seen from above."""

    walls: np.ndarray  # (W, 2, 2) centre lines
    wall_thickness: float
    centres: np.ndarray  # (P, 2) of the places
    reach: float  # radius of the discs, or half the side of the cells
    cells: bool  # whether places are square cells; otherwise they are discs
    start: int  # place
    goals: tuple[int, ...]  # places to be visited
    ordered: bool  # whether in the given order
    ball_radius: float
    max_speed: float  # m/s along x and along y

    def inside(self, points: np.ndarray) -> np.ndarray:
        """Which places (..., P) bool points (..., 2) are in."""
        offset = points[..., None, :] - self.centres
        if self.cells:
            return np.abs(offset).max(axis=-1) <= self.reach
        return np.linalg.norm(offset, axis=-1) <= self.reach

    def reach_of_move(self, seconds: float) -> float:
        """Metres that the ball's motor can move it, in the direction in which it is fastest."""
        return float(np.sqrt(2.0)) * self.max_speed * seconds

    def clearance(self, start: np.ndarray, end: np.ndarray) -> float:
        """Metres between a ball that rolls straight from ``start`` to ``end``, (M, 2), and the nearest wall's face.

        Below 0 they overlap; where the ball's centre passes a wall's centre line they do so wholly.
        """
        faces = self.wall_thickness / 2.0 + self.ball_radius
        if crosses(start, end, self.walls).any():
            return -faces
        to_walls = distance_to_segments(np.concatenate([start, end]), self.walls).min()
        to_moves = distance_to_segments(self.walls.reshape(-1, 2), np.stack([start, end], axis=1)).min()
        return float(min(to_walls, to_moves)) - faces


def floor_plan(truth: Truth) -> FloorPlan:
    """The floor of a clip with a ball in a graph or in a maze.

    Raises:
        ValueError: the truth's scene lacks a field of both kinds.
    """
    scene = truth.scene
    if "rows" in scene:
        check_fields(scene, MAZE)
        rows, columns = scene["rows"], scene["columns"]
        side = cell_side(rows, columns)
        walls = maze_walls(rows, columns, [(u, v) for u, v in scene["passages"]], side)
        places: dict[str, Any] = {"centres": cell_centres(rows, columns, side), "reach": side / 2.0, "cells": True}
        task: dict[str, Any] = {"goals": (scene["goal"],), "ordered": True, "wall_thickness": scene["wall_thickness"]}
    else:
        check_fields(scene, VISIT)
        centres, ends = np.array(scene["nodes"], np.float64), np.array(scene["edges"], np.int64)
        walls = channel_walls(centres, ends, scene["node_radius"], scene["channel_width"])
        places = {"centres": centres, "reach": scene["node_radius"], "cells": False}
        task = {"goals": tuple(scene["goals"]), "ordered": scene["ordered"], "wall_thickness": WALL}
    ball = {name: scene[name] for name in ("start", "ball_radius", "max_speed")}
    return FloorPlan(walls=walls, **places, **task, **ball)


def check_fields(scene: dict[str, Any], names: tuple[str, ...]) -> None:
    """Refuse a scene without one of the fields by which its floor is known."""
    missing = [name for name in names if name not in scene]
    if missing:
        raise ValueError(
            f"truth.scene: got no {', '.join(missing)}, expected the fields {', '.join(names)}; "
            "judge the clip as what it is, or record it with its scene"
        )


def check_clip(video: np.ndarray, truth: Truth) -> None:
    """Refuse a video that does not belong to the truth, and a truth whose first frame does not show its object."""
    check_video("video", video)
    if video.shape != truth.video.shape:
        raise ValueError(
            f"video: got shape {video.shape}, expected {truth.video.shape} as in truth; "
            "roll out as many frames of the same size as were recorded"
        )
    check_mask("truth.mask", truth.mask, video.shape[:3])
    if not truth.mask[0].any():
        raise ValueError("truth.mask: got no pixel of the object in the first frame; record the clip again")
