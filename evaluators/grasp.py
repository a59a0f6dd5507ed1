"""A grasp judged from its pixels alone, and the judgement held against MuJoCo's.

What each number means, in which direction it is better and what it must rank is declared in
:mod:`~worldmodel.evaluators.grasp_metrics`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from worldmodel.evaluators.checks import check_video
from worldmodel.evaluators.confusion import Confusion, confusion
from worldmodel.evaluators.grasp_metrics import METRICS
from worldmodel.evaluators.grasp_stages import STAGES, STILL, Judgement, judge, lift_height, slip
from worldmodel.evaluators.grasp_tracks import GraspTracks, command_of, track_grasp
from worldmodel.evaluators.gripper_tracking import MAX_OPENING, Command
from worldmodel.evaluators.metrics import Evaluator
from worldmodel.evaluators.once import once_a_truth
from worldmodel.evaluators.tracking import Tracker, check_followed, track_objects
from worldmodel.truth import Camera, Truth

__all__ = ["EVALUATOR", "METRICS", "GraspScore", "grasp_confusion", "judge_clip", "score_grasp", "stage_confusions"]

ARM_TOLERANCE = 0.005  # m by which the gripper's tracker may be off
HIGHER = 0.05  # m, a second threshold of lift
_NEEDED = ("gripper_position", "gripper_target", "opening", *STAGES)


@dataclass(frozen=True)
class GraspScore:
    """One imagined clip against MuJoCo; stages are judged at any time of the clip, success at its end.

    nan stands for what the true clip does not allow to measure. What only the judged clip lacks is charged in the
    errors; an item that is never found has not moved and is not lifted, and is charged by those.
    """

    success: bool  # judged from the pixels; an invalid clip is a failure, and one with ghost motion
    true_success: bool  # MuJoCo's
    success_agrees: bool
    false_success: float  # 1 if only the judged clip succeeds, 0 if neither does; nan where MuJoCo succeeds
    valid: bool  # the item is found, with the area it should have, in 95 % of the frames
    reach: bool
    contact: bool
    lift: bool  # by at least 40 mm, signed
    hold: bool
    place: bool
    true_reach: bool
    true_contact: bool
    true_lift: bool
    true_hold: bool
    true_place: bool
    stage_agreement: float  # share of the five stages
    stage_time_error_ms: float  # mean over the stages passed in either clip; where in one only, the clip's length
    lift_5cm: bool  # by at least 50 mm at any time
    lift_mm: float  # signed, where the item is last found; nan if it never is
    lift_error_mm: float
    ghost_motion: bool  # moves by more than 5 mm across the line of sight before any contact
    ghost_motion_mm: float  # by how much
    slip_mm: float  # in the hand; nan if it is never grasped
    slip_error_mm: float  # nan if it is never grasped in the true clip
    identity: float  # share of frames in which the item is itself, of those in which it is in the true clip
    object_error_mm: float  # mean over the frames after the first, missing ones at the picture's diagonal
    gripper_error_mm: float  # likewise
    opening_error_mm: float  # likewise, missing ones at 100 mm
    arm_error_px: float  # mean distance from the commanded way beyond the tracker's 5 mm, missing: the diagonal
    gripper_found: float  # share of all frames
    object_path: np.ndarray  # (T, 2) px, projected centre of the item; nan where lost
    gripper_path: np.ndarray  # (T, 2) px, projected grip point; nan where lost

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers and lists."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return values | {name: getattr(self, name).tolist() for name in ("object_path", "gripper_path")}

    def overlays(self) -> dict[str, np.ndarray]:
        """Paths (T, 2) px to draw over the clip."""
        return {"object": self.object_path, "gripper": self.gripper_path}


def judge_clip(video: np.ndarray, truth: Truth, tracker: Tracker = track_objects) -> tuple[GraspTracks, Judgement]:
    """Tracks and verdict of ``video`` (T, H, W, 3) uint8, from its pixels alone.

    Of ``truth`` only what is known beforehand is used: the camera, the first frame with its masks
    and poses, the item's size, the task and the actions. The gripper has a tracker of its own.
    """
    tracks = track_grasp(video, truth, tracker)
    start, goal = truth.position[0, 0], np.asarray(truth.scene["goal"])
    return tracks, judge(tracks, truth.camera, start, goal, truth.scene["task"], truth.fps)


def score_grasp(video: np.ndarray, truth: Truth, tracker: Tracker = track_objects) -> GraspScore:
    """Score ``video`` (T, H, W, 3) uint8, imagined from the first frame of ``truth``.

    ``tracker`` follows the item here and in MuJoCo's own video.

    Raises:
        ValueError: shapes that differ, a truth that is not a grasp's, or a ``tracker`` that cannot follow its item.
    """
    _check(video, truth)
    tracks, verdict = judge_clip(video, truth, tracker)
    true_tracks, true_verdict = _judge_truth(truth, tracker)
    if tracker is not track_objects:
        check_followed(true_tracks.found, np.asarray(truth.mask.any(axis=(1, 2))))
    command, start, camera = command_of(truth), truth.position[0, 0], truth.camera
    lift = lift_height(tracks, start)
    stages = {stage: verdict.passed(stage) for stage in STAGES}
    true_stages = {stage: bool(truth.signals[stage].any()) for stage in STAGES}
    return GraspScore(
        success=verdict.success,
        true_success=truth.success,
        success_agrees=verdict.success == truth.success,
        false_success=float("nan") if truth.success else float(verdict.success),
        valid=verdict.valid,
        **stages,
        **{f"true_{stage}": passed for stage, passed in true_stages.items()},
        stage_agreement=float(np.mean([stages[stage] == true_stages[stage] for stage in STAGES])),
        stage_time_error_ms=1000.0 * _stage_time_error(verdict, true_verdict, truth.time),
        lift_5cm=bool((tracks.position[:, 2] - start[2] >= HIGHER).any()),
        lift_mm=1000.0 * lift,
        lift_error_mm=1000.0 * abs(np.nan_to_num(lift) - np.nan_to_num(lift_height(true_tracks, start))),
        ghost_motion=verdict.ghost_motion > STILL,
        ghost_motion_mm=1000.0 * verdict.ghost_motion,
        slip_mm=1000.0 * slip(tracks, command),
        slip_error_mm=1000.0 * _slip_error(tracks, true_tracks, command),
        identity=_share(verdict.same, true_verdict.same),
        **_path_errors(tracks, true_tracks, float(camera.diagonal_px * camera.depth(start) / camera.focal_px)),
        arm_error_px=_arm_error(tracks, true_tracks, camera, command),
        gripper_found=float(tracks.gripper.detected.mean()),
        object_path=camera.project(tracks.position),
        gripper_path=camera.project(tracks.gripper.position),
    )


def grasp_confusion(scores: Sequence[GraspScore]) -> Confusion:
    """Judged against true success: sensitivity, specificity, false success, with Wilson's intervals, and MCC.

    Scores of true clips certify the judge, those of imagined clips the model; never mix them.
    """
    return confusion(
        judged=np.array([score.success for score in scores], dtype=bool),
        truth=np.array([score.true_success for score in scores], dtype=bool),
    )


def stage_confusions(scores: Sequence[GraspScore]) -> dict[str, Confusion]:
    """Likewise for each of the stages."""
    return {
        stage: confusion(
            judged=np.array([getattr(score, stage) for score in scores], dtype=bool),
            truth=np.array([getattr(score, f"true_{stage}") for score in scores], dtype=bool),
        )
        for stage in STAGES
    }


@once_a_truth
def _judge_truth(truth: Truth, tracker: Tracker) -> tuple[GraspTracks, Judgement]:
    return judge_clip(truth.video, truth, tracker)


def _stage_time_error(verdict: Judgement, true: Judgement, time: np.ndarray) -> float:
    """Mean difference in seconds of when stages are first passed; 0 if none is in either clip."""
    errors = []
    for stage in STAGES:
        if verdict.passed(stage) and true.passed(stage):
            errors.append(abs(time[getattr(verdict, stage).argmax()] - time[getattr(true, stage).argmax()]))
        elif verdict.passed(stage) or true.passed(stage):
            errors.append(time[-1])
    return float(np.mean(errors)) if errors else 0.0


def _path_errors(tracks: GraspTracks, true: GraspTracks, diagonal: float) -> dict[str, Any]:
    """Mean errors in mm over the frames after the first in which the true clip shows what is compared."""
    item = np.linalg.norm(tracks.position - true.position, axis=1)
    grip = np.linalg.norm(tracks.gripper.position - true.gripper.position, axis=1)
    opening = np.abs(tracks.gripper.opening - true.gripper.opening)
    return {
        "object_error_mm": _charged_mean(item, true.found, diagonal),
        "gripper_error_mm": _charged_mean(grip, true.gripper.detected, diagonal),
        "opening_error_mm": _charged_mean(opening, true.gripper.detected, MAX_OPENING),
    }


def _charged_mean(error: np.ndarray, scored: np.ndarray, charge: float) -> float:
    scored = scored & (np.arange(len(scored)) > 0)
    return float(1000.0 * np.where(np.isfinite(error), error, charge)[scored].mean()) if scored.any() else float("nan")


def _share(this: np.ndarray, among: np.ndarray) -> float:
    return float(this[among].mean()) if among.any() else float("nan")


def _slip_error(tracks: GraspTracks, true: GraspTracks, command: Command) -> float:
    true_slip, moved = slip(true, command), slip(tracks, command)
    if np.isfinite(true_slip) and not np.isfinite(moved):
        path = true.gripper.position[np.flatnonzero(true.grasped)[0] :]
        moved = float(np.nanmax(np.linalg.norm(path - path[0], axis=1)))
    return abs(moved - true_slip) if np.isfinite(true_slip) else float("nan")


def _arm_error(tracks: GraspTracks, true: GraspTracks, camera: Camera, command: Command) -> float:
    """Mean distance in pixels of the grip point from the set-point's way in each frame, beyond the tracker's error."""
    seen, target = camera.project(tracks.gripper.position)[1:], camera.project(command.target)
    begin, way = target[:-1], np.diff(target, axis=0)
    along = ((seen - begin) * way).sum(axis=1) / np.maximum((way**2).sum(axis=1), 1e-12)
    nearest = begin + np.clip(along, 0.0, 1.0)[:, None] * way
    tolerance = ARM_TOLERANCE * camera.focal_px / camera.depth(command.target[1:])
    distance = np.maximum(np.linalg.norm(seen - nearest, axis=1) - tolerance, 0.0)
    error = np.where(tracks.gripper.detected[1:], distance, camera.diagonal_px)[true.gripper.detected[1:]]
    return float(error.mean()) if len(error) else float("nan")


def _check(video: np.ndarray, truth: Truth) -> None:
    check_video("video", video)
    if video.shape != truth.video.shape:
        raise ValueError(
            f"video: got shape {video.shape}, expected {truth.video.shape} as in truth; "
            "roll out as many frames of the same size as were recorded"
        )
    missing = [name for name in _NEEDED if name not in truth.signals]
    if missing or truth.actions is None or "goal" not in truth.scene:
        got = f"no {', '.join(missing)}" if missing else "no actions or no goal"
        raise ValueError(f"truth: got {got}, expected a clip of worldmodel/Grasp-v0; record it with that environment")
    if not (truth.segmentation[0] == 1).any():
        raise ValueError("truth.segmentation: got no pixel of the item in frame 0, expected some; choose another scene")


EVALUATOR = Evaluator("worldmodel/Grasp-v0", score_grasp, METRICS, "success_agrees")
