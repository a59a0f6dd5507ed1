"""The certificate of the evaluators: clips of known worth are made, scored, and must be ranked as declared."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm.auto import tqdm

from worldmodel import certified_laws
from worldmodel.ceilings import through_autoencoder
from worldmodel.collect import collect, env_of, episode_name
from worldmodel.evaluators.certificate import Declaration, certify
from worldmodel.evaluators.certificate_page import text_table, write_page
from worldmodel.evaluators.certified_judge import certify_judge
from worldmodel.evaluators.faults import FAULTS
from worldmodel.evaluators.metrics import Evaluator
from worldmodel.evaluators.registry import evaluator_of, family_of
from worldmodel.evaluators.results import plain, write_results
from worldmodel.known_clips import from_pixels, simulated
from worldmodel.processes import finish
from worldmodel.storage import EpisodeStore
from worldmodel.storage.video_files import through_h264
from worldmodel.truth import Truth

if TYPE_CHECKING:
    from worldmodel.envs.scene_env import SceneEnv

SEED = 4_000_000  # of the first scene: neither training (from 0) nor validation or demo (from 1 and 2 million)
BOOTSTRAP_SEED = 0
MOST = 4  # times as many scenes are drawn as asked for, at most, until each number exists in as many as asked for
SPARE = 1.1  # times as many are drawn as the share of scenes with the rarest number makes likely
JUDGED_SCENES = 2  # for each scene of a family, of those on which its judge of success is tried
PRESENTING = ("certificate", "report", "plots")  # how modules of evaluators begin that no score depends on
COMMON = ("frozen", "half_speed", "vanish", "teleport", "reversed", "shuffled", "other_seed", *FAULTS)


@dataclass(frozen=True)
class Course:
    """One family as it is certified.

    Attributes:
        env: short name of the environment.
        judged_as: what judges its clips, see ``worldmodel.evaluators.registry``.
        controls: what is made from each true clip, beside the replay and its H.264 copy.
        policies: among which its scenes are dealt out; the default one if empty.
        options: of the environment.
        fps, num_frames: of a clip; the family's defaults if None.
        depth: whether depth is recorded, and the camera's way with it.
        judged: whether there is a judge of success, whose sensitivity and specificity are certified too.
    """

    env: str
    judged_as: str
    controls: tuple[str, ...]
    policies: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    fps: float | None = None
    num_frames: int | None = None
    depth: bool = False
    judged: bool = False


OF_FALLS = (*COMMON, "linear", "half_gravity", "double_gravity")
OF_AGENTS = (*COMMON, "wall_crossing", "twin", "done_anyway")
COURSES = {
    "free fall": Course("free-fall", "worldmodel/FreeFall-v0", OF_FALLS),
    "gripper fall": Course(
        "free-fall",
        "worldmodel/FreeFall-v0:gripper",
        OF_FALLS,
        ("carry_sideways_and_release",),
        options={"release": "gripper", "shapes": ["sphere"], "clearance": [0.7, 1.0], "restitution": [0.5, 0.8]},
        fps=24.0,
        num_frames=37,
    ),
    "several falls": Course(
        "free-fall",
        "worldmodel/FreeFall-v0:several",
        OF_FALLS,
        options={"objects": 3, "shapes": ["sphere"], "clearance": [0.4, 1.0], "restitution": [0.5, 0.8]},
    ),
    "grasp": Course(
        "grasp",
        "worldmodel/Grasp-v0",
        (*COMMON, "ghost_lift", "knock_off", "done_anyway"),
        ("expert", "no_close"),
        judged=True,
    ),
    "graph agent": Course("graph-traversal", "worldmodel/GraphTraversal-v0", OF_AGENTS, ("shortest", "wrong_branch")),
    "graph flood": Course(
        "graph-traversal", "worldmodel/GraphTraversal-v0:flood", (*COMMON, "spill"), options={"task": "flood"}
    ),
    "maze": Course("maze", "worldmodel/Maze-v0", OF_AGENTS, ("shortest", "halfway")),
    "room": Course(
        "room",
        "worldmodel/Room-v0",
        ("frozen", "half_speed", "reversed", "shuffled", "other_seed", *FAULTS, "flat", "forgotten"),
        depth=True,
    ),
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

    Some numbers exist in some scenes only, such as a restitution where something bounces. More scenes are drawn, up
    to ``MOST`` times as many, until each declaration stands on ``scenes`` of them.

    The JSON is written to ``certificate/certificate.json`` and to ``copy``. Truth and the scores of each finished
    scene are kept under ``out``, so an interrupted run goes on where it stopped; scores that other code has made
    are not used.

    Raises:
        ValueError: an unknown family, too few scenes, or ``out`` holds something else.
    """
    known = (*COURSES, certified_laws.NAME)
    families = list(families or known)
    unknown = [name for name in families if name not in known]
    if unknown:
        raise ValueError(f"families: got {unknown[0]!r}, expected some of {', '.join(known)}; correct the name")
    if image_size % 16:
        raise ValueError(
            f"image_size: got {image_size}, expected a multiple of 16, which the autoencoder can take; try 64 or 128"
        )
    if scenes < 2:
        raise ValueError(f"scenes: got {scenes}, expected at least 2 (a control needs another scene); ask for more")
    if out.exists() and any(out.iterdir()) and not (out / "certificate").is_dir():
        raise ValueError(f"out: got {out}, which holds something else, expected a new folder; choose another")
    (out / "certificate").mkdir(parents=True, exist_ok=True)
    parts = {}
    for name in families:
        certify_part = _certify_laws if name == certified_laws.NAME else _certify_family
        parts[name] = certify_part(name, out, scenes, image_size, workers)
    document = plain(
        {
            "scenes": scenes,
            "drawn": {name: part.drawn for name, part in parts.items()},
            "options": {name: part.options for name, part in parts.items()},
            "seed": SEED,
            "image_size": image_size,
            "declarations": [each.to_dict() for part in parts.values() for each in part.declarations],
            "withdrawn": [each for part in parts.values() for each in part.withdrawn],
            "judges": {name: judge for part in parts.values() for name, judge in part.judges.items()},
            "tables": {name: part.table for name, part in parts.items()},
        }
    )
    print(text_table(document))
    for path in (out / "certificate" / "certificate.json", *([copy] if copy else [])):
        write_results(path, document)
    page = out / "certificate" / "certificate.html"
    write_page(page, document)
    return document, page


@dataclass(frozen=True)
class _Part:
    """What the certificate says of one family."""

    options: dict[str, Any]  # of the environment
    drawn: int  # scenes
    declarations: list[Declaration]
    withdrawn: list[dict[str, str]]
    judges: dict[str, Any]
    table: dict[str, Any]


def _certify_family(name: str, out: Path, scenes: int, image_size: int, workers: int | None) -> _Part:
    course, folder = COURSES[name], out / name.replace(" ", "_")
    evaluator = evaluator_of(course.judged_as)
    scores: dict[str, list] = {}
    drawn, more = 0, scenes
    while more:
        for kind, found in _score_course(course, folder, drawn, more, image_size, workers).items():
            scores.setdefault(kind, []).extend(found)
        drawn += more
        declarations = certify(name, evaluator.metrics, scores, np.random.default_rng(BOOTSTRAP_SEED))
        more = _missing(scenes, drawn, min((each.n for each in declarations), default=scenes))
    judges = {}
    if course.judged:
        verdicts = _judge(folder, JUDGED_SCENES * scenes, image_size, workers)
        declared, judges[name] = certify_judge(name, verdicts["replay"])
        _, judges[f"{name}, through H.264"] = certify_judge(name, verdicts["h264"])
        declarations += declared
    withdrawn = [{"family": name, **each.to_dict()} for each in family_of(course.judged_as).withdrawn]
    return _Part(dict(course.options), drawn, declarations, withdrawn, judges, summarise(evaluator, scores))


def _certify_laws(name: str, out: Path, scenes: int, image_size: int, workers: int | None) -> _Part:
    folder = _scores_folder(out / name.replace(" ", "_"))
    seeds = range(SEED, SEED + scenes)
    jobs = [(folder, seed, image_size) for seed in seeds if not _path(folder, str(seed)).exists()]
    _finish(certified_laws.score_laws, jobs, f"certify {name}", scenes, workers)
    times = certified_laws.read_times(certified_laws.read_rows(folder, seeds))
    declarations = certified_laws.certify_laws(times, np.random.default_rng(BOOTSTRAP_SEED))
    return _Part(dict(certified_laws.OPTIONS), scenes, declarations, [], {}, certified_laws.law_table(times))


def _missing(wanted: int, drawn: int, least: int) -> int:
    """How many scenes to draw, beside those drawn, so that a number that ``least`` of them have is in ``wanted``."""
    if least >= wanted or drawn >= MOST * wanted:
        return 0
    likely = int(np.ceil(SPARE * drawn * wanted / max(least, 1)))
    return max(2, min(likely, MOST * wanted) - drawn)


def clips(
    course: Course, truth: Truth, other: Truth, env: SceneEnv, rng: np.random.Generator
) -> Iterator[tuple[str, np.ndarray]]:
    """Name and video of every ceiling and control of a true clip; ``other`` is a clip of another scene."""
    yield "replay", truth.video
    yield "h264", through_h264(truth.video, truth.fps)
    yield "autoencoder", through_autoencoder(truth.video)
    makers = {**from_pixels(truth, lambda: other, rng), **simulated(truth, env)}
    for kind in course.controls:
        yield kind, makers[kind]()


def _score_course(
    course: Course, folder: Path, first: int, scenes: int, image_size: int, workers: int | None
) -> dict[str, list]:
    """Kind of clip -> one score a scene, of so many scenes from the ``first`` on."""
    clips = _record(course, folder, first, scenes, image_size, workers)
    scored = _scores_folder(folder)
    others = clips[1:] + clips[:1]
    jobs = [
        (course, scored, clip, other)
        for clip, other in zip(clips, others, strict=True)
        if not _score_of(scored, clip).exists()
    ]
    _finish(_score_scene, jobs, f"certify {folder.name}", len(clips), workers)
    rows = [json.loads(_score_of(scored, clip).read_text()) for clip in clips]
    return {kind: [row[kind] for row in rows] for kind in rows[0]}


def _record(
    course: Course, folder: Path, first: int, scenes: int, image_size: int, workers: int | None
) -> list[tuple[Path, str]]:
    """Store and key of the true clip of each scene; each policy plays as many scenes as the others, of its own."""
    found = []
    for number, policy in enumerate(course.policies or ("",)):
        ends = [SEED + first + scenes * end // max(1, len(course.policies)) for end in (number, number + 1)]
        store = collect(
            folder / (f"truth-{policy}" if policy else "truth"),
            course.env,
            episodes=ends[1] - ends[0],
            seed=ends[0],
            image_size=image_size,
            fps=course.fps,
            num_frames=course.num_frames,
            policies=(policy,) if policy else (),
            options=course.options,
            depth=course.depth,
            workers=workers,
        )
        found += [(store.path, episode_name(seed)) for seed in range(*ends)]
    return found


def _finish(function: Callable[..., Any], jobs: Sequence[Any], label: str, total: int, workers: int | None) -> None:
    """Do the jobs that are left of ``total``, with a progress bar."""
    with (
        tqdm(total=total, initial=total - len(jobs), desc=label, unit="clip") as bar,
        contextlib.closing(finish(function, jobs, workers)) as results,
    ):
        for _ in results:
            bar.update()


def _score_scene(course: Course, scored: Path, clip: tuple[Path, str], other: tuple[Path, str]) -> None:
    """Score all clips made of one true clip; the file appears only when it is complete."""
    store, key = clip
    truth, strange = (EpisodeStore.open(path, "truth").read_truth(name) for path, name in (clip, other))
    rng = np.random.default_rng([SEED, *key.encode()])
    made = clips(course, truth, strange, env_of(EpisodeStore.open(store, "truth").settings), rng)
    score = evaluator_of(course.judged_as).score
    row = {kind: plain(score(video, truth).to_dict()) for kind, video in made}
    write_results(_score_of(scored, clip), row)


def _judge(folder: Path, scenes: int, image_size: int, workers: int | None) -> dict[str, list[dict[str, Any]]]:
    """Verdicts by kind of clip, see :mod:`~worldmodel.grasp_judge`."""
    judged = _scores_folder(folder) / "judged"
    judged.mkdir(exist_ok=True)
    seeds = range(SEED, SEED + scenes)
    jobs = [(judged, seed, image_size) for seed in seeds if not _path(judged, str(seed)).exists()]
    _finish(_judge_scene, jobs, f"judge {folder.name}", scenes, workers)
    rows = [json.loads(_path(judged, str(seed)).read_text()) for seed in seeds]
    return {kind: [verdict for row in rows for verdict in row[kind]] for kind in rows[0]}


def _judge_scene(judged: Path, seed: int, image_size: int) -> None:
    from worldmodel.grasp_judge import judged_attempts

    write_results(_path(judged, str(seed)), judged_attempts(seed, image_size))


def _path(folder: Path, key: str) -> Path:
    return folder / f"{key}.json"


def _score_of(scored: Path, clip: tuple[Path, str]) -> Path:
    """Where the scores of a true clip are; its store is named for what was played in its scene."""
    return _path(scored, f"{clip[0].name}-{clip[1]}")


def _scores_folder(folder: Path) -> Path:
    """Where the scores of a family are that the code as it is now has made."""
    path = folder / f"scores-{_code()}"
    path.mkdir(parents=True, exist_ok=True)
    return path


@functools.lru_cache(maxsize=1)
def _code() -> str:
    """Twelve digits of the hash of all code that a score depends on, beside that of the recorded truth."""
    from worldmodel import backends, evaluators

    names = (
        "certify",
        "ceilings",
        "certified_laws",
        "grasp_controls",
        "grasp_judge",
        "known_clips",
        "traversal_controls",
    )
    judging = sorted(Path(evaluators.__path__[0]).glob("*.py"))
    sources = [path for path in judging if not path.name.startswith(PRESENTING)]
    sources += [Path(__file__).with_name(f"{name}.py") for name in names]
    sources += sorted(Path(backends.__path__[0]).glob("tiny/vae/*"))
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:12]


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
