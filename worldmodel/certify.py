"""The certificate of the evaluators: clips of known worth are made, scored, and must be ranked as declared."""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm.auto import tqdm

from worldmodel.collect import _make_env, collect, environment_id
from worldmodel.evaluators.certificate import Declaration, certify
from worldmodel.evaluators.certificate_page import text_table, write_page
from worldmodel.evaluators.faults import FAULTS
from worldmodel.evaluators.metrics import Evaluator
from worldmodel.evaluators.registry import evaluator_of
from worldmodel.evaluators.results import plain, write_results
from worldmodel.storage import EpisodeStore
from worldmodel.storage.video_files import through_h264
from worldmodel.truth import Truth

if TYPE_CHECKING:
    from worldmodel.envs.scene_env import SceneEnv

SEED = 3_000_000  # of the first scene: neither training (from 0) nor validation or demo (from 1 and 2 million)
BOOTSTRAP_SEED = 0
COMMON = ("frozen", "half_speed", "vanish", "teleport", "reversed", "shuffled", "other_seed", *FAULTS)


@dataclass(frozen=True)
class Course:
    """One family as it is certified.

    Attributes:
        env: short name of the environment.
        judged_as: what judges its clips, see ``worldmodel.evaluators.registry``.
        controls: what is made from each true clip, beside the replay and its H.264 copy.
        policies: under which its scenes are recorded; the default one if empty.
        options: of the environment.
        embedded: whether the embedded model knows these clips, so that its autoencoder is a ceiling.
    """

    env: str
    judged_as: str
    controls: tuple[str, ...]
    policies: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    embedded: bool = False


COURSES = {
    "free fall": Course(
        "free-fall", "worldmodel/FreeFall-v0", (*COMMON, "linear", "half_gravity", "double_gravity"), embedded=True
    ),
    "grasp": Course("grasp", "worldmodel/Grasp-v0", (*COMMON, "ghost_lift", "knock_off"), ("expert", "no_close")),
    "graph agent": Course(
        "graph-traversal", "worldmodel/GraphTraversal-v0", (*COMMON, "wall_crossing"), ("shortest", "wrong_branch")
    ),
    "graph flood": Course(
        "graph-traversal", "worldmodel/GraphTraversal-v0:flood", (*COMMON, "spill"), options={"task": "flood"}
    ),
    "maze": Course("maze", "worldmodel/Maze-v0", (*COMMON, "wall_crossing"), ("shortest", "halfway")),
}


def run_certify(
    out: Path,
    *,
    families: Sequence[str] = (),
    scenes: int = 100,
    image_size: int = 64,
    copy: Path | None = None,
    workers: int | None = None,
) -> tuple[dict[str, Any], Path]:
    """Certify families (all if empty) on ``scenes`` scenes each; prints a table, returns the JSON and the page.

    The JSON is written to ``certificate/certificate.json`` and to ``copy``. Truth and scores are kept under
    ``out``, so an interrupted run goes on where it stopped.

    Raises:
        ValueError: an unknown family, too few scenes, or ``out`` holds something else.
    """
    families = list(families) or list(COURSES)
    unknown = [name for name in families if name not in COURSES]
    if unknown:
        raise ValueError(f"families: got {unknown[0]!r}, expected some of {', '.join(COURSES)}; correct the name")
    if scenes < 2:
        raise ValueError(f"scenes: got {scenes}, expected at least 2 (a control needs another scene); ask for more")
    if out.exists() and any(out.iterdir()) and not (out / "certificate").is_dir():
        raise ValueError(f"out: got {out}, which holds something else, expected a new folder; choose another")
    (out / "certificate").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    declarations: list[Declaration] = []
    tables: dict[str, Any] = {}
    for name in families:
        folder = out / name.replace(" ", "_")
        scores = _score_course(COURSES[name], folder, scenes, image_size, workers)
        evaluator = evaluator_of(COURSES[name].judged_as)
        declarations += certify(name, evaluator.metrics, scores, rng)
        tables[name] = summarise(evaluator, scores)
    document = plain({"scenes": scenes, "declarations": [each.to_dict() for each in declarations], "tables": tables})
    print(text_table(document))
    for path in (out / "certificate" / "certificate.json", *([copy] if copy else [])):
        write_results(path, document)
    page = out / "certificate" / "certificate.html"
    write_page(page, document)
    return document, page


def clips(
    course: Course, truth: Truth, other: Truth, env: SceneEnv, rng: np.random.Generator
) -> Iterator[tuple[str, np.ndarray]]:
    """Name and video of every ceiling and control of a true clip; ``other`` is a clip of another scene."""
    yield "replay", truth.video
    yield "h264", through_h264(truth.video, truth.fps)
    makers = _makers(truth, other, env, rng)
    for kind in course.controls:
        video = makers[kind]()
        if video is not None:
            yield kind, video


def _makers(
    truth: Truth, other: Truth, env: SceneEnv, rng: np.random.Generator
) -> dict[str, Callable[[], np.ndarray | None]]:
    from worldmodel import grasp_controls, traversal_controls
    from worldmodel.evaluators import controls

    return {
        "frozen": lambda: controls.frozen(truth.video),
        "linear": lambda: controls.linear_extrapolation(truth.video, truth.mask),
        "half_speed": lambda: controls.half_speed(truth.video, truth.mask),
        "vanish": lambda: controls.vanish(truth.video, truth.mask),
        "teleport": lambda: controls.teleport(truth.video, truth.mask, rng),
        "reversed": lambda: controls.reversed_after_first(truth.video),
        "shuffled": lambda: controls.shuffled_after_first(truth.video, rng),
        "other_seed": lambda: controls.other_seed(truth.video, other.video),
        **{name: functools.partial(fault, truth.video) for name, fault in FAULTS.items()},
        "half_gravity": lambda: _with_gravity(env, truth, 0.5),
        "double_gravity": lambda: _with_gravity(env, truth, 2.0),
        "ghost_lift": lambda: None if truth.success else grasp_controls.ghost_lift(env, truth),
        "knock_off": lambda: None if truth.success else grasp_controls.knock_off(env, truth),
        "wall_crossing": lambda: traversal_controls.wall_crossing(env, truth),
        "spill": lambda: traversal_controls.spill(truth),
    }


def _with_gravity(env: SceneEnv, truth: Truth, factor: float) -> np.ndarray:
    scene = env.family.scene_from_json({**truth.scene, "gravity": factor * truth.scene["gravity"]})
    return env.record(scene, seed=0).video


def _score_course(course: Course, folder: Path, scenes: int, image_size: int, workers: int | None) -> dict[str, list]:
    """Kind of clip -> one score a scene and policy (None where there is no such clip)."""
    count = scenes * max(1, len(course.policies))
    store = collect(
        folder / "truth",
        course.env,
        episodes=count,
        seed=SEED,
        image_size=image_size,
        policies=course.policies,
        options=course.options,
        workers=workers,
    )
    keys = store.keys()[:count]
    if course.embedded:
        _reconstruct(store, folder / "autoencoder", keys)
    missing = [key for key in keys if not _score_path(folder, key).exists()]
    with tqdm(total=len(keys), initial=len(keys) - len(missing), desc=f"certify {folder.name}", unit="clip") as bar:
        for _ in _score_all(course, folder, missing, keys, workers):
            bar.update()
    rows = [json.loads(_score_path(folder, key).read_text()) for key in keys]
    kinds = list(dict.fromkeys(kind for row in rows for kind in row))
    return {kind: [row.get(kind) for row in rows] for kind in kinds}


def _score_all(course: Course, folder: Path, missing: list[str], keys: list[str], workers: int | None) -> Iterator[str]:
    jobs = [
        (course, folder, key, keys[(keys.index(key) + max(1, len(course.policies))) % len(keys)]) for key in missing
    ]
    if (workers or os.cpu_count() or 1) == 1 or len(jobs) < 4:
        yield from (_score_scene(*job) for job in jobs)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers or os.cpu_count(), mp_context=context) as pool:
        try:
            for done in as_completed([pool.submit(_score_scene, *job) for job in jobs]):
                yield done.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _score_scene(course: Course, folder: Path, key: str, other: str) -> str:
    """Score all clips made of one true clip; the file appears only when it is complete."""
    store = EpisodeStore.open(folder / "truth", "truth")
    truth = store.read_truth(key)
    rng = np.random.default_rng([SEED, *key.encode()])
    made = dict(clips(course, truth, store.read_truth(other), _env_of(folder), rng))
    if course.embedded:
        made["autoencoder"] = EpisodeStore.open(folder / "autoencoder", "rollout").array(key, "video").data
    score = evaluator_of(course.judged_as).score
    row = {kind: plain(score(video, truth).to_dict()) for kind, video in made.items()}
    write_results(_score_path(folder, key), row)
    return key


@functools.lru_cache(maxsize=1)
def _env_of(folder: Path) -> SceneEnv:
    settings = EpisodeStore.open(folder / "truth", "truth").settings
    clip = {name: settings[name] for name in ("image_size", "fps", "num_frames")}
    return _make_env(environment_id(settings["env"]), json.dumps({**settings["options"], **clip}))


def _reconstruct(store: EpisodeStore, out: Path, keys: list[str]) -> None:
    import worldmodel
    from worldmodel.imagine import reconstruct

    reconstruct(worldmodel.load("tiny"), store, out, keys=keys)


def _score_path(folder: Path, key: str) -> Path:
    path = folder / "scores" / f"{key}.json"
    path.parent.mkdir(exist_ok=True)
    return path


def summarise(evaluator: Evaluator, scores: Mapping[str, Sequence[Mapping[str, Any] | None]]) -> dict[str, Any]:
    """Each metric's mean over the scenes for each kind of clip, in printed units."""
    table: dict[str, Any] = {}
    for metric in evaluator.metrics:
        table[metric.name] = {"label": metric.label, "unit": metric.unit, "digits": metric.digits, "kinds": {}}
        for kind, rows in scores.items():
            values = [row[metric.name] for row in rows if row is not None and row[metric.name] is not None]
            finite = np.array(values, np.float64)
            finite = finite[np.isfinite(finite)]
            table[metric.name]["kinds"][kind] = metric.factor * float(finite.mean()) if len(finite) else None
    return table
