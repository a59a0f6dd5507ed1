"""Side columns of an evaluation: LPIPS, DINO and a vision-language judge. Networks, so never part of a headline."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm.auto import tqdm

from worldmodel.evaluators.endpoint import Endpoint
from worldmodel.evaluators.intervals import bootstrap_mean
from worldmodel.evaluators.judge import Clip, JudgeColumn, JudgeError, judge, judge_errors
from worldmodel.evaluators.learned import dino_scores, load_dino, load_lpips, lpips_distance
from worldmodel.evaluators.results import CEILING
from worldmodel.evaluators.rubric import Rubric, load_rubric
from worldmodel.known_clips import from_pixels, simulated
from worldmodel.parts import Part
from worldmodel.truth import Truth

if TYPE_CHECKING:
    from worldmodel.evaluators.learned import Distance, Features

CERTIFIED = 20  # true clips of each family on which the judge's own error is measured
SEED = 0  # of the controls that are made for it
KNOWN = {CEILING: "replay", "frozen": "frozen", "linear": "linear"}  # rows whose worth is known
FROM_PIXELS = {"vanish", "teleport", "shuffled", "other_seed"}  # kinds that every family has
SIMULATED = {  # further ones that need the family's environment
    "worldmodel/Grasp-v0": {"ghost_lift", "knock_off"},
    "worldmodel/GraphTraversal-v0": {"wall_crossing"},
    "worldmodel/Maze-v0": {"wall_crossing"},
}
TASKS = {
    "worldmodel/FreeFall-v0": "A {colour} {shape} falls, hits what is below it and comes to rest.",
    "worldmodel/FreeFall-v0:gripper": "A gripper lets go of a {colour} {shape}, which falls and comes to rest.",
    "worldmodel/FreeFall-v0:several": "A {colour} {shape} and others fall, hit what is below and come to rest.",
    "worldmodel/Grasp-v0": "A robot gripper comes down, grasps a {colour} {shape} and lifts it.",
    "worldmodel/Grasp-v0:place": "A robot gripper grasps a {colour} {shape}, carries it to the mark and lets it go.",
    "worldmodel/GraphTraversal-v0": "A ball rolls through channels between discs to the marked disc, through no wall.",
    "worldmodel/GraphTraversal-v0:flood": "Water flows from the blue disc through the channels and fills all discs.",
    "worldmodel/Maze-v0": "A ball rolls through a maze to the marked cell, through no wall.",
    "worldmodel/Room-v0": "A camera moves through a room with boxes and comes back, while a ball falls.",
}


@dataclass(frozen=True)
class SideColumns:
    """What stands beside the metrics; whatever is None is left out.

    Attributes:
        lpips, dino: see ``evaluators/learned.py``.
        endpoint: of the judge.
        rubric: its questions; by the family if None.
        frames: how many of a clip the judge sees.
        parallel: questions under way at once.
    """

    lpips: Distance | None = None
    dino: Features | None = None
    endpoint: Endpoint | None = None
    rubric: Rubric | None = None
    frames: int = 8
    parallel: int = 4

    @property
    def wanted(self) -> bool:
        """Whether there is any."""
        return any(each is not None for each in (self.lpips, self.dino, self.endpoint))


def open_side_columns(
    *, lpips: bool = False, dino: str | None = None, endpoint: Endpoint | None = None, rubric: str | None = None
) -> SideColumns:
    """Load the networks and the rubric.

    Raises:
        ValueError: a package, weights or a rubric cannot be had, or a rubric without an endpoint.
    """
    if rubric is not None and endpoint is None:
        raise ValueError(f"rubric: got {rubric!r} without a judge, expected --judge URL with it; add it")
    questions = None if rubric is None else load_rubric(Path(rubric) if rubric.endswith(".json") else rubric)
    try:
        return SideColumns(
            load_lpips() if lpips else None, None if dino is None else load_dino(dino), endpoint, questions
        )
    except ImportError as error:
        raise ValueError(str(error)) from None
    except (OSError, RuntimeError) as error:
        what = "lpips" if dino is None else "lpips or dino"
        raise ValueError(
            f"{what}: got no weights ({str(error).splitlines()[0][:90]}), expected them on disk or a hub in reach; "
            "download them, and pass --dino FOLDER"
        ) from None


def side_of(part: Part, family: dict[str, Any], side: SideColumns, rng: np.random.Generator) -> dict[str, Any]:
    """The side columns of one family, after :func:`worldmodel.scoring.judge`; clips are read once more.

    Returns:
        {"columns": {row: {name: {"value", "low", "high", "n"}}}, "clips": {row: [{name: value}] as the row's clips},
         "judge": {"rubric", "model", ..., "errors": [see ``JudgeError``]} or None, "exit_code"}
    """
    clips: dict[str, list[dict[str, float]]] = {
        name: [{} for _ in row["clips"]] for name, row in family["rows"].items()
    }
    if side.lpips or side.dino:
        for name, place, video, truth in _videos(part, family, "networks"):
            clips[name][place] |= _learned(video, truth, side)
    document = None
    if side.endpoint is not None:
        column, errors = _ask(part, family, side, _rubric(part, side))
        scores = column.scores
        for name, row in family["rows"].items():
            for place in range(len(row["clips"])):
                clips[name][place]["judge"] = scores.get(f"{name} {place}", np.nan)
        document = column.to_dict() | {"errors": [error.to_dict() for error in errors]}
    return {
        "columns": {name: _pooled(family, name, found, rng) for name, found in clips.items()},
        "clips": clips,
        "judge": document,
        "exit_code": 0 if document is None else document["exit_code"],
    }


def _learned(video: np.ndarray, truth: Truth, side: SideColumns) -> dict[str, float]:
    found = {} if side.lpips is None else {"lpips": lpips_distance(video, truth.video, side.lpips)}
    return found | ({} if side.dino is None else dino_scores(video, truth.video, side.dino))


def check_side(part: Part, side: SideColumns) -> None:
    """Refuse a rubric that asks nothing of a part's clips."""
    if side.endpoint is not None and not _rubric(part, side).for_family(_kind(part)):
        raise ValueError(f"rubric: got no question for {part.title}, expected some; choose another rubric, or none")


def _rubric(part: Part, side: SideColumns) -> Rubric:
    return side.rubric or load_rubric("robot" if _kind(part) == "worldmodel/Grasp-v0" else "physics_standards")


def _kind(part: Part) -> str:
    """The environment's id without its task, as rubrics name families."""
    return part.evaluator.family.split(":")[0]


def _ask(part: Part, family: dict[str, Any], side: SideColumns, rubric: Rubric) -> tuple[JudgeColumn, list[JudgeError]]:
    """The answers about every clip, and the judge's own error on clips of known worth."""
    assert side.endpoint is not None
    kind = _kind(part)
    labels: dict[tuple[str, str], bool] = {}

    def label(name: str, worth: str, truth: Truth) -> None:
        for question in rubric.for_family(kind):
            known = question.label(worth, kind, truth.outcome)
            if known is not None:
                labels[name, question.id] = known

    def asked() -> Iterator[Clip]:
        for name, place, video, truth in _videos(part, family, "judge"):
            if name in KNOWN:
                label(f"{name} {place}", KNOWN[name], truth)
            yield _clip(f"{name} {place}", video, truth, part)
        wanted = {worth for question in rubric.for_family(kind) for worth in question.fails_on} - set(KNOWN.values())
        keys = [scene["key"] for scene in family["scenes"]]
        for index, (key, other) in enumerate(zip(keys[:CERTIFIED], keys[1:] + keys[:1], strict=False)):
            truth = part.truth(key)
            for worth, video in _controls(truth, partial(part.truth, other), part, wanted, index):
                label(f"control {worth} {index}", worth, truth)
                yield _clip(f"control {worth} {index}", video, truth, part)

    column = judge(asked(), rubric, side.endpoint, frames=side.frames, parallel=side.parallel)
    return column, judge_errors(column.answers, labels) if labels else []


def _controls(
    truth: Truth, other: Callable[[], Truth], part: Part, wanted: set[str], index: int
) -> Iterator[tuple[str, np.ndarray]]:
    """Kind and video of clips of known worth; those that are rendered only where a simulator is installed."""
    other = cache(other)
    makers = from_pixels(truth, other, np.random.default_rng([SEED, index]))
    names, rendered = wanted & FROM_PIXELS, wanted & SIMULATED.get(part.evaluator.family, set())
    if rendered and find_spec("mujoco") is not None:
        from worldmodel.collect import env_of

        makers |= simulated(truth, env_of(part.store.settings))
        names |= rendered
    if "other_seed" in names and np.array_equal(truth.video[0], other().video[0]):
        names.remove("other_seed")
    for worth in sorted(names):
        yield worth, makers[worth]()


def _videos(part: Part, family: Mapping[str, Any], label: str) -> Iterator[tuple[str, int, np.ndarray, Truth]]:
    """Row, place in the row's clips, video and truth of everything that was judged, a true clip at a time."""
    for index, scene in enumerate(tqdm(family["scenes"], desc=f"{label}, {family['title']}", unit="clip")):
        truth = part.truth(scene["key"])
        for name, row in family["rows"].items():
            for place, entry in enumerate(row["clips"]):
                if entry["clip"] == index and not entry["failure"]:
                    yield name, place, part.read(name, scene["key"], entry["sample"], truth).video, truth


def _clip(name: str, video: np.ndarray, truth: Truth, part: Part) -> Clip:
    family = part.evaluator.family
    task = f"{family}:{truth.scene.get('task')}"
    sentence = TASKS.get(task, TASKS.get(family, "What the first frame shows goes on as it would in the world."))
    words = {word: truth.scene.get(word, "object") for word in ("colour", "shape")}
    return Clip(name, video, truth.fps, _kind(part), sentence.format(**words))


def _pooled(
    family: Mapping[str, Any], name: str, found: list[dict[str, float]], rng: np.random.Generator
) -> dict[str, dict[str, Any]]:
    """Mean of each column over the clips that have it, scenes drawn again for the interval."""
    entries = family["rows"][name]["clips"]
    keys = [family["scenes"][entry["clip"]]["seed"] for entry in entries]
    scenes = np.array([entry["clip"] if key is None else key for key, entry in zip(keys, entries, strict=True)])
    columns = dict.fromkeys(column for each in found for column in each)
    pooled = {}
    for column in columns:
        values = np.array([each.get(column, np.nan) for each in found])
        seen = np.isfinite(values)
        interval = asdict(bootstrap_mean(values[seen], rng, scenes[seen])) if seen.any() else {}
        pooled[column] = {"value": None, "low": None, "high": None, **interval, "n": int(seen.sum())}
    return pooled
