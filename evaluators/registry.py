"""Which evaluator judges the clips of which environment, and in which groups its numbers are printed."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from worldmodel.evaluators.metrics import Evaluator, Metric
from worldmodel.evaluators.panels import overlays_of
from worldmodel.evaluators.tracking import Tracker
from worldmodel.truth import Truth

PISA = "pisa_"


@dataclass(frozen=True)
class Withdrawn:
    """A claim that a metric makes in general, and that the clips of a family cannot bear out.

    Attributes:
        metric: its name.
        below: the control that it does not rank below the replay here.
        why: the reason.
    """

    metric: str
    below: str
    why: str

    def to_dict(self) -> dict[str, str]:
        """Plain values, with what the control should have ranked below."""
        return {"metric": self.metric, "above": "replay", "below": self.below, "why": self.why}


@dataclass(frozen=True)
class Family:
    """Where a family's evaluator is, and what of it is printed first.

    Attributes:
        title: as in "free fall against MuJoCo".
        module: of ``worldmodel.evaluators``.
        printed: names of the metrics of the short table.
        evaluator: name of the module's ``Evaluator``.
        judged: number of the score that says what ``true_success`` says of MuJoCo's clip; "" if there is none.
        withdrawn: what metrics declare in general but not of these clips.
    """

    title: str
    module: str
    printed: tuple[str, ...]
    evaluator: str = "EVALUATOR"
    judged: str = ""
    withdrawn: tuple[Withdrawn, ...] = ()


@dataclass(frozen=True)
class Group:
    """Metrics that stand together in a table; tests are corrected for all of a group."""

    title: str
    note: str
    metrics: tuple[str, ...]


_BLACK = "what stands still in a flood is its black ground"
_OF_FLOOD = (
    Withdrawn("background_mae", "frozen", "only water changes in a flood, and water is no background"),
    Withdrawn("background_drift", "sliding", f"{_BLACK}, which has no texture to be followed; camera_moved_px tells"),
    Withdrawn("saturation_drift", "overdriven", f"{_BLACK}, which has no colour to be saturated"),
    Withdrawn("contrast_drift", "overdriven", f"{_BLACK}, which has no contrast to grow"),
)

_HELD = "what the gripper holds until the end hangs by no ghost, and nothing else is free to be judged"
_OF_GRIPPERS = (Withdrawn("ghost_wrench", "frozen", _HELD), Withdrawn("ghost_wrench", "linear", _HELD))
_OF_FALLS = (
    "centroid_error_diagonal",
    "centroid_error_cm",
    "detection_rate",
    "impact_absolute_error_ms",
    "impact_within_2_frames",
)

# What of an environment is judged differently has an entry ``id:name``.
FAMILIES = {
    "worldmodel/FreeFall-v0": Family(title="free fall", module="free_fall", printed=_OF_FALLS),
    "worldmodel/FreeFall-v0:gripper": Family(
        title="fall from a gripper",
        module="free_fall",
        evaluator="GRIPPER_EVALUATOR",
        printed=(*_OF_FALLS, "alpha", "arm_gravity_m_s2"),
        withdrawn=_OF_GRIPPERS,
    ),
    "worldmodel/FreeFall-v0:several": Family(
        title="falls of several objects",
        module="free_fall",
        evaluator="SEVERAL_EVALUATOR",
        printed=(*_OF_FALLS, "objects_error_diagonal", "objects_ratio_error"),
    ),
    "worldmodel/Grasp-v0": Family(
        title="grasp",
        module="grasp",
        printed=("success_agrees", "false_success", "object_error_mm", "ghost_motion", "arm_error_px"),
        judged="success",
    ),
    "worldmodel/GraphTraversal-v0": Family(
        title="graph agent",
        module="traversal",
        printed=("valid", "success_agrees", "false_success", "spl", "path_error_px"),
        judged="valid_any_frame",
    ),
    "worldmodel/GraphTraversal-v0:flood": Family(
        title="graph flood",
        module="flood",
        printed=("valid", "coverage", "order", "spill", "tau_b"),
        withdrawn=_OF_FLOOD,
    ),
    "worldmodel/Maze-v0": Family(
        title="maze",
        module="traversal",
        evaluator="MAZE_EVALUATOR",
        printed=("valid", "success_agrees", "false_success", "spl", "path_error_px"),
        judged="valid_any_frame",
    ),
    "worldmodel/Room-v0": Family(
        title="room",
        module="scene",
        printed=("reprojection_error_px", "reprojection_mae", "revisit_psnr_db", "revisit_ssim", "psnr_db"),
    ),
}

# Families in which nothing is followed: water spreads, and a room stands still.
WITHOUT_TRACKER = ("worldmodel/GraphTraversal-v0:flood", "worldmodel/Room-v0")


@dataclass(frozen=True)
class JointScore:
    """The score of a family and that of the picture around it."""

    task: Any
    picture: Any

    def to_dict(self) -> dict[str, Any]:
        """The numbers of both."""
        return {**self.picture.to_dict(), **self.task.to_dict()}

    def overlays(self) -> dict[str, np.ndarray]:
        """What the family's evaluator tracked."""
        return overlays_of(self.task)


def family_id_of(settings: Mapping[str, Any]) -> str:
    """The entry of ``FAMILIES`` for the settings of a truth store; its environment's id if there is none."""
    env, options = str(settings.get("env")), settings.get("options", {})
    kinds = [options.get("task"), options.get("release"), "several" if options.get("objects", 1) > 1 else None]
    return next((name for name in (f"{env}:{kind}" for kind in kinds) if name in FAMILIES), env)


def family_of(family_id: str) -> Family:
    """What is registered under an id.

    Raises:
        ValueError: nothing judges that environment.
    """
    if family_id not in FAMILIES:
        raise ValueError(f"truth: got clips of {family_id}, expected one of {', '.join(FAMILIES)}; collect such clips")
    return FAMILIES[family_id]


def own_evaluator(family_id: str) -> Evaluator:
    """What judges the task of an environment, the picture around it aside.

    Raises:
        ValueError: nothing judges that environment.
    """
    family = family_of(family_id)
    found: Evaluator = getattr(importlib.import_module(f"worldmodel.evaluators.{family.module}"), family.evaluator)
    return found


def evaluator_of(family_id: str, tracker: Tracker | None = None) -> Evaluator:
    """Scorer and metrics of an environment's id, such as ``worldmodel/FreeFall-v0``, those of the picture included.

    A ``tracker`` stands for the evaluator's own where that can be any.

    Raises:
        ValueError: nothing judges that environment, or its evaluator follows nothing.
    """
    from worldmodel.evaluators import scene

    family = family_of(family_id)
    if tracker is not None and family_id in WITHOUT_TRACKER:
        raise ValueError(
            f"tracker: got one for {family.title}, in which no object is followed, expected none; leave it out"
        )
    chosen: dict[str, Any] = {} if tracker is None else {"tracker": tracker}
    own = own_evaluator(family_id)
    if own.score is scene.score_scene:
        return own

    def score(video: np.ndarray, truth: Truth) -> JointScore:
        return JointScore(own.score(video, truth, **chosen), scene.score_scene(video, truth))

    metrics = tuple(_without(metric, family.withdrawn) for metric in own.metrics + scene.METRICS)
    return replace(own, family=family_id, score=score, metrics=metrics)


def _without(metric: Metric, withdrawn: Sequence[Withdrawn]) -> Metric:
    """A metric without the claims that are withdrawn."""
    dropped = {("replay", each.below) for each in withdrawn if each.metric == metric.name}
    return replace(metric, ranks=tuple(pair for pair in metric.ranks if pair not in dropped))


def groups_of(metrics: Sequence[str]) -> list[Group]:
    """The groups of an evaluator's metrics, by their names; empty ones are left out."""
    from worldmodel.evaluators import scene

    picture = {metric.name for metric in scene.METRICS}
    parts = {
        "": ("", [name for name in metrics if not name.startswith(PISA) and name not in picture]),
        "As PisaBench": (
            "What its released code would print for the same clips. It drops frames in which the object is missing, "
            "so it flatters videos that lose it.",
            [name for name in metrics if name.startswith(PISA)],
        ),
        "The picture": (
            "Against the true video frame by frame: what stands still, what moves, and the tone.",
            [name for name in metrics if name in picture],
        ),
    }
    return [Group(title, note, tuple(names)) for title, (note, names) in parts.items() if names]
