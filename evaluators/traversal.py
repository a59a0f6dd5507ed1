"""A ball in a graph's channels or a maze, judged from its pixels: is its course possible, and where does it lead?

What each number means, in which direction it is better and what it must rank is declared in
:mod:`~worldmodel.evaluators.traversal_metrics`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import cv2
import numpy as np

from worldmodel.evaluators import flood
from worldmodel.evaluators.ball_tracking import BallTrack, follow_ball, track_ball
from worldmodel.evaluators.courses import Course, Visits, course, visits
from worldmodel.evaluators.floor_plans import FloorPlan, check_clip, floor_plan
from worldmodel.evaluators.matting import NEAR, clean_plate
from worldmodel.evaluators.metres import metres_per_pixel, on_plane
from worldmodel.evaluators.metrics import Evaluator
from worldmodel.evaluators.registration import register
from worldmodel.evaluators.structure import MIN_STRUCTURE, floor_shares, structure
from worldmodel.evaluators.tracking import Tracker, check_followed, true_detections
from worldmodel.evaluators.traversal_metrics import METRICS
from worldmodel.truth import Truth

__all__ = ["EVALUATOR", "METRICS", "TraversalScore", "evaluator_for", "score_traversal"]

UP = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True)
class TraversalScore:
    """One imagined clip of a ball among walls. The given first frame is not scored.

    The course goes straight from where the ball is seen to where it is seen next. Faults are
    those of :mod:`~worldmodel.evaluators.courses`, and frames in which the scene is not kept:
    not registered, or with a structure below 0.95. Goals are credited before the first fault.
    """

    valid: bool  # all goals visited (in their order where there is one), and no fault in the whole clip
    valid_any_frame: bool  # all goals visited before the first fault: the clip is valid up to some frame
    valid_last_frame: bool  # valid, and the ball is in the goal (the last of an order) in the last frame
    true_success: bool  # MuJoCo's
    success_agrees: bool  # valid_any_frame is MuJoCo's success
    false_success: float  # 1 if only the judged clip succeeds, 0 if neither does; nan where MuJoCo succeeds
    coverage: float  # share of the goals visited before the first fault
    order: float  # share of the goals visited in their order before the first fault; coverage where any order counts
    spl: float  # valid_any_frame * l / max(p, l), l the shortest way and p the ball's up to the goal, in metres
    place_agreement: float  # places visited before the first fault against the true ball's: intersection over union
    path_error_px: float  # mean distance from the true ball over the frames, where lost the picture's diagonal
    path_error_cm: float  # the same on the floor
    crossings: int  # moves that pass the centre line of a wall
    teleports: int  # moves longer than 1.5 times what the motor allows, and a pixel
    missing: float  # share of the frames in which no ball is seen
    doubled: float  # share of the frames in which a second ball is seen; nan where another tracker follows the first
    legal_moves: float  # share of the moves that neither cross a wall nor are teleports; 1 for a frozen ball
    clearance_mm: float  # least distance of the ball's rim from a wall's face; negative where they overlap
    path_length_m: float  # of the moves before the first fault, up to the last goal
    structure: float  # least intersection over union, over the frames, of the floor with the true first frame's
    registered: bool  # every frame: residual of the similarity to the true first frame <= 2 px, scale within 2 %
    camera_moved_px: float  # most that a similarity moves the picture; the track is mapped back. nan: no frame fits
    first_fault_frame: int | None
    success_frame: int | None
    centroid: np.ndarray  # (T, 2) px, (u, v), in the pixels of the true first frame; nan where lost

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers and lists."""
        return {f.name: getattr(self, f.name) for f in fields(self)} | {"centroid": self.centroid.tolist()}

    def overlays(self) -> dict[str, np.ndarray]:
        """Path (T, 2) px to draw over the clip."""
        return {"ball": self.centroid}


def score_traversal(video: np.ndarray, truth: Truth, tracker: Tracker | None = None) -> TraversalScore:
    """Score ``video`` (T, H, W, 3) uint8, imagined from the first frame of ``truth``, of an agent in a graph or maze.

    ``tracker`` follows the ball in the place of ``track_ball``; none of them tells a second ball.

    Raises:
        ValueError: the video does not belong to the truth, the truth lacks the scene, its maps or its ball, or a
            ``tracker`` cannot follow that.
    """
    check_clip(video, truth)
    plan = floor_plan(truth)
    shortest = _shortest(truth)
    still = cv2.dilate(truth.mask[0].astype(np.uint8), NEAR) == 0
    registration = register(video, truth.video[0], still)
    pixel = float(metres_per_pixel(truth.camera, np.array([0.0, 0.0, plan.ball_radius])))
    if tracker is None:
        ball = track_ball(registration.video, truth, plan.reach_of_move(1.0 / truth.fps) / pixel)
    else:
        check_followed(true_detections(truth, tracker), np.asarray(truth.mask.any(axis=(1, 2))))
        ball = follow_ball(registration.video, truth, tracker)
    plate = np.rint(clean_plate(truth)).astype(np.uint8)[None]
    kept = structure(floor_shares(registration.video, truth), floor_shares(plate, truth), ball.mask)
    way = _course(ball, truth, plan, pixel)
    faults = way.fault | ~registration.held | (kept < MIN_STRUCTURE)
    faults[0] = False
    first = int(faults.argmax()) if faults.any() else len(video)
    credited, true = visits(way, plan, first), _true_visits(truth, plan)
    reached = credited.success_frame is not None
    return TraversalScore(
        valid=reached and not faults.any(),
        valid_any_frame=reached,
        valid_last_frame=reached and not faults.any() and _at_goal(way.points[-1], plan),
        true_success=truth.success,
        success_agrees=reached == truth.success,
        false_success=float("nan") if truth.success else float(reached),
        **_credit(credited, true, plan, shortest),
        **_path_error(ball, truth, plan),
        **_faults(way, ball, plan) | ({} if tracker is None else {"doubled": float("nan")}),
        structure=float(kept[1:].min()),
        registered=bool(registration.held[1:].all()),
        camera_moved_px=registration.most_moved_px,
        first_fault_frame=first if faults.any() else None,
        success_frame=credited.success_frame,
        centroid=ball.centroid,
    )


def evaluator_for(truth: Truth) -> Evaluator:
    """The evaluator of a clip of a graph or maze, by the fields of its scene.

    Raises:
        ValueError: the scene is neither.
    """
    if "flood_speed" in truth.scene:
        return flood.EVALUATOR
    if "goals" in truth.scene:
        return EVALUATOR
    if "rows" in truth.scene:
        return MAZE_EVALUATOR
    got = ", ".join(truth.scene) or "none"
    raise ValueError(f"truth.scene: got fields {got}, expected goals, rows or flood_speed; judge it by its own family")


def _shortest(truth: Truth) -> float:
    if "shortest_length" not in truth.outcome:
        raise ValueError("truth.outcome: got no shortest_length, expected metres to the goal; record the clip again")
    return float(truth.outcome["shortest_length"])


def _course(ball: BallTrack, truth: Truth, plan: FloorPlan, pixel: float) -> Course:
    centre = np.array([0.0, 0.0, plan.ball_radius])
    points = on_plane(truth.camera, ball.centroid, centre, UP)[:, :2]
    points[0] = truth.position[0, 0, :2]
    return course(points, ball.doubled, plan, 1.0 / truth.fps, pixel)


def _true_visits(truth: Truth, plan: FloorPlan) -> Visits:
    points = truth.position[:, 0, :2]
    never = np.zeros(len(points), bool)
    return visits(course(points, never, plan, 1.0 / truth.fps, np.inf), plan, len(points))


def _at_goal(point: np.ndarray, plan: FloorPlan) -> bool:
    goals = plan.goals[-1:] if plan.ordered else plan.goals
    return bool(plan.inside(point)[list(goals)].any())


def _credit(credited: Visits, true: Visits, plan: FloorPlan, shortest: float) -> dict[str, Any]:
    count, reached = len(plan.goals), credited.success_frame is not None
    return {
        "coverage": credited.goals / count,
        "order": (credited.in_order if plan.ordered else credited.goals) / count,
        "spl": shortest / max(credited.length, shortest) if reached else 0.0,
        "place_agreement": len(credited.places & true.places) / len(credited.places | true.places),
        "path_length_m": credited.length,
    }


def _path_error(ball: BallTrack, truth: Truth, plan: FloorPlan) -> dict[str, Any]:
    true = truth.camera.project(truth.position[:, 0])
    distance = np.linalg.norm(ball.centroid - true, axis=1)
    error_px = np.where(ball.detected, distance, truth.camera.diagonal_px)[1:]
    cm_per_px = 100.0 * metres_per_pixel(truth.camera, truth.position[1:, 0])
    return {"path_error_px": float(error_px.mean()), "path_error_cm": float((error_px * cm_per_px).mean())}


def _faults(way: Course, ball: BallTrack, plan: FloorPlan) -> dict[str, Any]:
    start, end, ends = way.moves(len(way.points))
    bad = way.crossing | way.teleport
    return {
        "crossings": int(way.crossing.sum()),
        "teleports": int(way.teleport.sum()),
        "missing": float((~ball.detected[1:]).mean()),
        "doubled": float(ball.doubled[1:].mean()),
        "legal_moves": 1.0 - float(bad.sum()) / len(ends) if len(ends) else float("nan"),
        "clearance_mm": 1000.0 * plan.clearance(start, end) if len(ends) else float("nan"),
    }


EVALUATOR = Evaluator("worldmodel/GraphTraversal-v0", score_traversal, METRICS, "valid")
MAZE_EVALUATOR = Evaluator("worldmodel/Maze-v0", score_traversal, METRICS, "valid")
