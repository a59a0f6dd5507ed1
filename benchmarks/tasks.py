"""How well a model knows each task, on held-out scenes, and what it must beat.

    python benchmarks/tasks.py --model runs/tiny/pipeline

For each task the plain sampler with the model's own number of steps, told the clips' actions if it takes them; the same
told another clip's actions; the true video through the model's autoencoder, which no transformer can beat; a frozen
video and a linear extrapolation. Scenes are recorded under ``--out``, from seeds that neither training nor tuning used.
Numbers are medians or means over scenes with bootstrapped 95 % intervals; the goals are those that the embedded model
was made for, and each is printed as met or missed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

os.environ.setdefault("MUJOCO_GL", "egl")

import numpy as np
import tyro
from tqdm.auto import tqdm

import worldmodel
from worldmodel.backends.domains import listening
from worldmodel.collect import collect
from worldmodel.evaluators.controls import frozen, linear_extrapolation
from worldmodel.evaluators.intervals import Interval, bootstrap_mean, bootstrap_median
from worldmodel.evaluators.registry import family_id_of, own_evaluator
from worldmodel.evaluators.statistics import confusion
from worldmodel.model import WorldModel
from worldmodel.processes import finish
from worldmodel.training.curriculum import BALL, LARGE, NAMED_FAILURES, WIDE
from worldmodel.truth import Truth

FIRST_SEED = 2_300_000
MODEL, OTHERS, CEILING, FROZEN, LINEAR = "model", "other actions", "round trip", "frozen", "linear"

Scores = list[dict[str, Any]]
Table = Mapping[str, Mapping[str, Interval]]


@dataclass(frozen=True)
class Column:
    """One number of a row: ``value`` of each clip's score and truth, put together over the scenes."""

    label: str
    value: Callable[[Mapping[str, Any], Truth], float]
    pooled: Literal["median", "mean"] = "mean"


@dataclass(frozen=True)
class Task:
    """Scenes and what is read off them; ``frames`` None: clips of the environment's own length."""

    env: str
    columns: tuple[Column, ...]
    goals: Mapping[str, Callable[[Table], bool]]
    frames: int | None = 17
    policies: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


def at(table: Table, row: str, column: Column) -> float:
    """What stands in a cell."""
    return table[row][column.label].value


def of_diagonal(name: str) -> Callable[[Mapping[str, Any], Truth], float]:
    """A distance in pixels as a percentage of the picture's diagonal."""
    return lambda score, truth: 100.0 * score[name] / truth.camera.diagonal_px


def percent(name: str) -> Callable[[Mapping[str, Any], Truth], float]:
    """A share or a flag in percent."""
    return lambda score, truth: np.nan if score[name] is None else 100.0 * score[name]


FALL = Column("error % diag", of_diagonal("centroid_error_px"), "median")
FOUND, LANDS = Column("found %", percent("detection_rate")), Column("landing +-2 %", percent("impact_within_2_frames"))
ARM = Column("arm % diag", of_diagonal("arm_error_px"), "median")
ITEM = Column("item mm", lambda score, truth: score["object_error_mm"], "median")
AGREES = Column("success agrees %", percent("success_agrees"))
FALSE = Column("false success %", percent("false_success"))
PATH = Column("path % diag", of_diagonal("path_error_px"), "median")
ILLEGAL = Column("illegal %", lambda score, truth: 100.0 * (1.0 - score["legal_moves"]))
VALID = Column("valid %", percent("valid"))
COVERED = Column("coverage", lambda score, truth: score["coverage"], "median")

GRASPS = ("expert", *NAMED_FAILURES)
OF_A_BALL = {
    "path <= 2.5 % of the diagonal": lambda table: at(table, MODEL, PATH) <= 2.5,
    "illegal moves <= 10 %": lambda table: at(table, MODEL, ILLEGAL) <= 10.0,
    "other actions: error >= 3 times": lambda table: worse(table, PATH) >= 3.0,
}
TASKS = {
    "free fall": Task(
        "free-fall",
        (FALL, FOUND, LANDS),
        {
            "found >= 95 %": lambda table: at(table, MODEL, FOUND) >= 95.0,
            "error <= 40 % of frozen": lambda table: at(table, MODEL, FALL) <= 0.4 * at(table, FROZEN, FALL),
            "error < linear": lambda table: at(table, MODEL, FALL) < at(table, LINEAR, FALL),
            "landing within 2 frames >= 80 %": lambda table: at(table, MODEL, LANDS) >= 80.0,
        },
    ),
    "grasp, a chunk": Task(
        "grasp",
        (ARM, ITEM),
        {
            "arm <= 2 % of the diagonal": lambda table: at(table, MODEL, ARM) <= 2.0,
            "other actions: error >= 3 times": lambda table: worse(table, ARM) >= 3.0,
        },
        policies=GRASPS,
    ),
    "grasp, whole": Task(
        "grasp",
        (AGREES, FALSE, ITEM),
        {"MCC of lift >= 0.6": lambda table: table[MODEL]["MCC of lift"].value >= 0.6},
        frames=None,
        policies=("expert", "perturbed", "offset_left", "early_close"),
    ),
    "graph agent": Task(
        "graph-traversal", (PATH, ILLEGAL), OF_A_BALL, policies=BALL, options={"task": "agent", **LARGE}
    ),
    "graph flood": Task(
        "graph-traversal",
        (VALID, COVERED),
        {"coverage >= 0.8": lambda table: at(table, MODEL, COVERED) >= 0.8},
        frames=None,
        options={"task": "flood", **WIDE},
    ),
    "maze": Task("maze", (PATH, ILLEGAL), OF_A_BALL, policies=BALL),
}


@dataclass(frozen=True)
class Settings:
    """Settings of the benchmark."""

    model: str = "tiny"
    device: str | None = None  # a GPU if there is one
    out: Path = Path("runs/tasks")
    tasks: tuple[str, ...] = tuple(TASKS)
    scenes: int = 128
    steps: int | None = None  # the model's own number
    batch_size: int = 32


def main(settings: Settings) -> None:
    """Print a table for each task."""
    model = worldmodel.load(settings.model, settings.device)
    for name in settings.tasks:
        task, truths, scenes, family = TASKS[name], *record(name, model, settings)
        rows = score_rows(imagine_rows(model, truths, settings), truths, family, name)
        table = {row: pooled(task, scores, truths, scenes) for row, scores in rows.items()}
        print_table(f"{name}: {len(truths)} clips of {len(truths[0])} frames", table)
        for goal, met in task.goals.items():
            print(f"  {'met   ' if met(table) else 'missed'} {goal}")
        path = settings.out / f"{file_name(name)}.json"
        document = {"model": model.provenance(steps=settings.steps), "rows": rows}
        path.write_text(json.dumps(document, default=float))
        print(f"  every clip: {path}", flush=True)


def file_name(task: str) -> str:
    """Of what is kept of a task."""
    return task.replace(",", "").replace(" ", "-")


def record(name: str, model: WorldModel, settings: Settings) -> tuple[list[Truth], np.ndarray, str]:
    """Held-out clips, the label (n,) of the scene of each, and the id of their family."""
    task = TASKS[name]
    store = collect(
        settings.out / "truth" / file_name(name), task.env, episodes=settings.scenes,
        seed=FIRST_SEED, image_size=model.recipe.image_size[0], num_frames=task.frames,
        policies=task.policies, options=task.options,
    )  # fmt: skip
    keys = store.keys()
    scenes = np.array([store.attributes(key)["seed"] for key in keys])
    return [store.read_truth(key) for key in keys], scenes, family_id_of(store.settings)


def imagine_rows(model: WorldModel, truths: list[Truth], settings: Settings) -> dict[str, list[np.ndarray]]:
    """The videos of each row."""
    listener, rows = listening(model, truths[0].action_spec), {}
    told = model if listener is None else listener
    actions = None if listener is None else np.stack([truth.actions for truth in truths])
    first, horizon = np.stack([truth.video[0] for truth in truths]), len(truths[0]) - 1

    def rolled(commands: np.ndarray | None) -> list[np.ndarray]:
        return list(
            told.rollout(
                first, seeds=range(len(truths)), actions=commands, horizon=horizon, tail="cut",
                steps=settings.steps, batch_size=settings.batch_size,
            ).video
        )  # fmt: skip

    rows[MODEL] = rolled(actions)
    if actions is not None:
        rows[OTHERS] = rolled(np.roll(actions, len(actions) // 2, axis=0))
    rows[CEILING] = [model.reconstruct(truth.video[None])[0] for truth in truths]
    rows[FROZEN] = [frozen(truth.video) for truth in truths]
    rows[LINEAR] = [linear_extrapolation(truth.video, truth.mask) for truth in truths]
    return rows


def score_rows(
    videos: Mapping[str, list[np.ndarray]], truths: list[Truth], family: str, name: str
) -> dict[str, Scores]:
    """Every clip's numbers."""
    rows: dict[str, Scores] = {row: [{} for _ in truths] for row in videos}
    jobs = [(family, row, i, clip, truths[i]) for row, clips in videos.items() for i, clip in enumerate(clips)]
    for row, index, score in tqdm(finish(score_one, jobs, None), total=len(jobs), desc=f"scoring {name}"):
        rows[row][index] = score
    return rows


def score_one(family: str, row: str, index: int, video: np.ndarray, truth: Truth) -> tuple[str, int, dict[str, Any]]:
    """One clip under the family's own evaluator."""
    return row, index, own_evaluator(family).score(video, truth).to_dict()


def pooled(task: Task, scores: Scores, truths: list[Truth], scenes: np.ndarray) -> dict[str, Interval]:
    """The row's numbers; clips of one scene under several policies are drawn together."""
    cells = {}
    for column in task.columns:
        values = np.array([column.value(score, truth) for score, truth in zip(scores, truths, strict=True)], float)
        known = np.isfinite(values)
        draw = bootstrap_median if column.pooled == "median" else bootstrap_mean
        nothing = Interval(np.nan, np.nan, np.nan)
        cells[column.label] = draw(values[known], np.random.default_rng(0), scenes[known]) if known.any() else nothing
    if "lift" in scores[0]:
        judged, true = (np.array([score[key] for score in scores], bool) for key in ("lift", "true_lift"))
        cells["MCC of lift"] = bootstrapped_mcc(judged, true, scenes, np.random.default_rng(0))
    return cells


def bootstrapped_mcc(
    judged: np.ndarray, true: np.ndarray, scenes: np.ndarray, rng: np.random.Generator, draws: int = 2000
) -> Interval:
    """Matthews correlation of two flags (n,) with its interval over scenes (n,)."""
    clips = [np.flatnonzero(scenes == scene) for scene in np.unique(scenes)]
    drawn = []
    for pick in rng.integers(len(clips), size=(draws, len(clips))):
        chosen = np.concatenate([clips[scene] for scene in pick])
        drawn.append(confusion(judged=judged[chosen], truth=true[chosen]).mcc)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Interval(confusion(judged=judged, truth=true).mcc, float(low), float(high))


def worse(table: Table, column: Column) -> float:
    """How many times the error another clip's actions make; 0 for a model that takes none."""
    if OTHERS not in table:
        return 0.0
    return at(table, OTHERS, column) / at(table, MODEL, column)


def print_table(title: str, table: Table) -> None:
    """One line a row."""
    print(f"\n{title}")
    labels = list(table[MODEL])
    print(f"{'':14}" + "".join(f"{label:>26}" for label in labels))
    for row, cells in table.items():
        print(f"{row:14}" + "".join(f"{f'{c.value:.2f} [{c.low:.2f}, {c.high:.2f}]':>26}" for c in cells.values()))


if __name__ == "__main__":
    main(tyro.cli(Settings))
