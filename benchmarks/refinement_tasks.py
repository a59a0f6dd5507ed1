"""The tasks of benchmarks/refinement_study.py: their clips of one chunk, and the numbers that are kept of each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from worldmodel.evaluators.regions import background, changed, still
from worldmodel.evaluators.registry import own_evaluator
from worldmodel.evaluators.tone import tone_error
from worldmodel.training.curriculum import LARGE, WIDE
from worldmodel.truth import Truth


@dataclass(frozen=True)
class Task:
    """What is imagined and what is read off it.

    Attributes:
        env, options, policies: of ``worldmodel collect``.
        family: id of the evaluator.
        error: the number that decides, lower is better; ``label`` and ``unit`` as printed.
        found, fine: shares in percent that are printed beside it; names of scores and what they are called.
    """

    env: str
    family: str
    error: str
    label: str
    unit: str
    found: tuple[str, str]
    fine: tuple[str, str]
    options: Mapping[str, Any] = field(default_factory=dict)
    policies: tuple[str, ...] = ()


FRAMES = 17  # a chunk
TASKS = {
    "free-fall": Task(
        "free-fall", "worldmodel/FreeFall-v0", "centroid_error_px", "centroid error", "px",
        ("detection_rate", "found, %"), ("impact_within_2_frames", "landing ± 2 frames, %"),
    ),
    "grasp": Task(
        "grasp", "worldmodel/Grasp-v0", "object_error_mm", "item's error", "mm",
        ("identity", "item is itself, %"), ("stage_agreement", "stages as in MuJoCo, %"),
        policies=("expert", "perturbed"),
    ),
    "graph-agent": Task(
        "graph-traversal", "worldmodel/GraphTraversal-v0", "path_error_px", "ball's error", "px",
        ("found", "found, %"), ("legal_moves", "legal moves, %"), {"task": "agent", **LARGE}, ("shortest", "random"),
    ),
    "graph-flood": Task(
        "graph-traversal", "worldmodel/GraphTraversal-v0:flood", "dry", "water elsewhere", "% of the union",
        ("monotone", "never dried, %"), ("structure", "channels kept, %"),
        {"task": "flood", **WIDE},
    ),
    "maze": Task(
        "maze", "worldmodel/Maze-v0", "path_error_px", "ball's error", "px",
        ("found", "found, %"), ("legal_moves", "legal moves, %"), policies=("shortest", "random"),
    ),
}  # fmt: skip


def score(task: str, video: np.ndarray, truth: Truth) -> dict[str, Any]:
    """The numbers of one clip: the task's, and by how many grey levels the tone of still places drifted off."""
    told = TASKS[task]
    numbers = own_evaluator(told.family).score(video, truth).to_dict()
    numbers["found"] = 1.0 - numbers.get("missing", 0.0)
    numbers["dry"] = 100.0 * (1.0 - numbers.get("water_iou", 0.0))
    kept = {name: numbers[name] for name in (told.error, told.found[0], told.fine[0])}
    if "frame_error_px" in numbers:
        kept["frame_error_px"] = numbers["frame_error_px"]
    quiet = np.broadcast_to(still(background(truth), changed(truth.video)), video.shape[:3])
    drifts = np.diff(tone_error(video[[0, -1]], truth.video[[0, -1]], quiet[[0, -1]]), axis=0)[0]
    kept |= dict(zip(("saturation_drift", "luminance_drift", "contrast_drift"), drifts, strict=True))
    return {name: _json_ready(value) for name, value in kept.items()}


def _json_ready(value: Any) -> Any:
    if isinstance(value, list):
        return [_json_ready(each) for each in value]
    if isinstance(value, bool):
        return value
    return None if value is None or math.isnan(value) else round(float(value), 5)
