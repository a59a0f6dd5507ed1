"""Control clips of graphs and mazes that need the simulator or the scene's geometry: through walls, and over them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from worldmodel.evaluators.floor_plans import FloorPlan, floor_plan
from worldmodel.geometry import crosses
from worldmodel.truth import Truth

if TYPE_CHECKING:
    from worldmodel.envs.scene_env import SceneEnv

LEAK = 0.25  # speed of the spilt water over that of the flood
DEEPEST = 0.06  # m from the graph to which it comes


def wall_crossing(env: SceneEnv, truth: Truth) -> np.ndarray:
    """The agent's clip (T, H, W, 3) uint8 in which it goes through the walls to its goals, as fast as its motor allows.

    It goes straight; where no wall is in between, it takes a bow through one.

    Args:
        env: of the truth's family, options and picture size.
        truth: a clip of an agent in a graph or maze.
    """
    plan = floor_plan(truth)
    corners = [plan.centres[plan.start], *plan.centres[list(plan.goals)]]
    line = np.vstack([_through_walls(a, b, plan) for a, b in zip(corners, corners[1:], strict=False)])
    lengths = np.concatenate([[0.0], np.linalg.norm(np.diff(line, axis=0), axis=1).cumsum()])
    way = np.minimum(plan.max_speed * truth.time, lengths[-1])
    qpos = np.stack([np.interp(way, lengths, line[:, axis]) for axis in (0, 1)], axis=1)
    return env.render_at(env.family.scene_from_json(truth.scene), qpos)


def spill(truth: Truth) -> np.ndarray:
    """The flood's clip (T, H, W, 3) uint8 with water that leaks over the walls, the farther the later."""
    camera = truth.camera
    metres = 1.0 / camera.focal_px * float(camera.depth(np.zeros(3)))
    colour = np.median(truth.video[0][truth.mask[0]], axis=0).astype(np.uint8)
    frames = truth.video.copy()
    for t, frame in enumerate(frames):
        leak = min(LEAK * float(truth.scene["flood_speed"]) * float(truth.time[t]), DEEPEST)
        distance = cv2.distanceTransform((~truth.mask[t]).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        frame[distance * metres <= leak] = colour
    return frames


def _through_walls(start: np.ndarray, end: np.ndarray, plan: FloorPlan) -> np.ndarray:
    """Corners (3, 2) in metres of the least bow from ``start`` to ``end`` that passes a wall; often none is needed."""
    across = np.array([[0.0, -1.0], [1.0, 0.0]]) @ (end - start)
    for bow in np.linspace(0.0, 1.0, 21):
        middle = (start + end) / 2.0 + bow * across
        if crosses(np.stack([start, middle]), np.stack([middle, end]), plan.walls).any():
            break
    return np.stack([start, middle, end])
