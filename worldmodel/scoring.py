"""From truth and videos on disk to results.json, report.html and plots; one clip is in memory at a time."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from worldmodel.clips import Clip, Resample
from worldmodel.evaluators.laws import laws
from worldmodel.evaluators.metrics import Evaluator
from worldmodel.evaluators.panels import overlays_of
from worldmodel.evaluators.registry import family_of, groups_of
from worldmodel.evaluators.report import write_report
from worldmodel.evaluators.report_laws import law_lines
from worldmodel.evaluators.report_scenes import write_animation
from worldmodel.evaluators.report_side import side_lines
from worldmodel.evaluators.results import CEILING, FORMAT, build_family, build_results, write_results
from worldmodel.evaluators.trackers import COLOUR, tracker_of
from worldmodel.evaluators.verdict import headline, markdown_table, open_questions
from worldmodel.over_refinement import over_refined, warning
from worldmodel.parts import Part, open_parts
from worldmodel.side_columns import SideColumns, check_side, side_of
from worldmodel.storage import StoreError
from worldmodel.truth import Truth

BOOTSTRAP_SEED = 0
FIELDS = ("seed", "fps", "sha256", "nfe", "seconds", "drift")  # of a clip, that the results list
RESULTS = ("results.json", "report.html", "median.gif", "plots")


def evaluate_stores(
    truth: Path,
    rollouts: Mapping[str, Path | Sequence[Path]],
    out: Path,
    keys: Sequence[str] | None = None,
    resample: Resample = "no",
    size_prior: tuple[float, float] | None = None,
    side: SideColumns | None = None,
    tracker: str = COLOUR,
) -> Path:
    """Score videos against the truth they started from, print the tables, and return report.html's path.

    A video that cannot be read or judged is a counted failure, and :func:`charged`. A clip whose *true* video
    cannot be judged is discarded for all rows, and listed.

    Args:
        truth: store of recorded clips, or a folder of such stores.
        rollouts: videos by row, of any name; "base", "euler_matched", "refined" and "autoencoder" have labels of
            their own. Each is what ``open_videos`` takes, or several of them, which are samples of the same
            clips. Where ``truth`` is a folder of stores, they are folders with the same names in them.
        out: folder of results.json, report.html, plots and median.gif; an earlier evaluation's are replaced.
        keys: which clips to score; all of the truth if None.
        resample: what to do with videos of another rate or size, see ``clips.fitted``.
        size_prior: range of sizes, as ``scale``, that a first frame of a fall leaves open; that from which the
            truth's scenes were drawn if None.
        side: networks beside the metrics; where one is out of reach its column is empty, and the results'
            ``exit_code`` is not 0.
        tracker: what follows the objects, see ``evaluators/trackers.py``.

    Raises:
        StoreError: a store is missing, unfinished or of another kind.
        ValueError: videos are of another truth, rate or size, or lack clips, or ``out`` holds files of the same
            names that are not results. Nothing has been written then.
    """
    check_results_folder(out)
    if size_prior is not None and not 0 < size_prior[0] < size_prior[1]:
        raise ValueError(f"size_prior: got {size_prior}, expected two sizes above 0, the smaller first; correct it")
    parts = open_parts(truth, rollouts, keys, resample, None if tracker == COLOUR else tracker_of(tracker))
    side = side or SideColumns()
    for part in parts:
        check_side(part, side)
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    families = [judge(part, rng) for part in parts]
    if side.wanted:
        families = [
            {**family, "side": side_of(part, family, side, rng)} for part, family in zip(parts, families, strict=True)
        ]
    priors = [size_prior or part.size_range for part in parts]
    results = build_results(families, _provenance(parts, resample, tracker), laws(families, priors, rng))
    out.mkdir(parents=True, exist_ok=True)
    for old in (*out.glob("median*.gif"), *(out / "plots").glob("*.svg")):
        old.unlink()
    write_results(out / "results.json", results)
    write_report(out / "report.html", results, parts)
    for number, (family, part) in enumerate(zip(results["families"], parts, strict=True)):
        name = "median.gif" if len(parts) == 1 else f"median-{number + 1}.gif"
        write_animation(out / name, family, part)
        title = [f"## {family['title']}", ""] if len(parts) > 1 else []
        print(
            *title,
            markdown_table(family),
            "",
            *headline(family),
            *open_questions(family),
            *_losses(family),
            *side_lines(family),
            sep="\n",
        )
    labels = {name: row["label"] for family in results["families"] for name, row in family["rows"].items()}
    for law in results["laws"]:
        print("", *law_lines(law, labels), sep="\n")
    return out / "report.html"


def check_results_folder(out: Path) -> None:
    """Refuse a folder in which the results would replace somebody else's files."""
    taken = [name for name in RESULTS if (out / name).exists()]
    try:
        ours = 1 <= json.loads((out / "results.json").read_text())["format"] <= FORMAT
    except (OSError, ValueError, KeyError, TypeError):
        ours = False
    if taken and not ours:
        raise ValueError(f"out: got {out} with other {', '.join(taken)}, expected no such file; choose another folder")


def judge(part: Part, rng: np.random.Generator) -> dict[str, Any]:
    """Score every row of one truth store on every clip; one family of the results (see ``evaluators/results.py``).

    Raises:
        ValueError: there is no clip whose true video can be judged.
    """
    scenes: list[dict[str, Any]] = []
    discards: list[dict[str, Any]] = []
    entries: dict[str, list[dict[str, Any]]] = {name: [] for name in part.names}
    with tqdm(total=len(part.keys), desc=f"judging {part.title}", unit="clip") as progress:
        for key in part.keys:
            scene = part.describe(key)
            try:
                truth = part.truth(key)
                scored = _score_clip(part, key, truth)
            except ValueError as error:
                where, reason = f"{part.store.path} {key}", str(error)
                reason = reason if reason.startswith(where) else f"{where}: {reason}"
                discards.append({"key": key, "seed": scene["seed"], "reason": reason})
            else:
                for name, found in scored.items():
                    entries[name] += [{"clip": len(scenes), "sample": i, **entry} for i, entry in enumerate(found)]
                scenes.append({**scene, "first_frame_sha256": frames_hash(truth.video[:1])})
            progress.update()
    if not scenes:
        raise ValueError(f"truth: every clip was discarded, expected some that can be judged; {discards[0]['reason']}")
    family = family_of(part.evaluator.family)
    return build_family(
        part.evaluator,
        title=part.title,
        printed=family.printed,
        groups=groups_of([metric.name for metric in part.evaluator.metrics]),
        judged=family.judged,
        clip=part.clip,
        scenes=scenes,
        discards=discards,
        rows={name: _row(clips) for name, clips in entries.items()},
        rng=rng,
    )


def _score_clip(part: Part, key: str, truth: Truth) -> dict[str, list[dict[str, Any]]]:
    """Entries of every row of one clip. Raises ValueError if the true video cannot be judged."""
    true = part.read(CEILING, key, 0, truth)
    replay = _known(true) | _judged(true, part.evaluator, truth)
    rows = [name for name in part.names if name != CEILING]
    scored = {name: [_score(part, name, key, sample, truth) for sample in range(part.samples(name))] for name in rows}
    entries = [entry for found in scored.values() for entry in found]
    if any(entry["failure"] for entry in entries):
        others = [entry["score"] for entry in entries if not entry["failure"]]
        price = charged(part.evaluator, truth, others)
        for entry in entries:
            entry["score"] = price if entry["failure"] else entry["score"]
    return {CEILING: [replay], **scored}


def _score(part: Part, name: str, key: str, sample: int, truth: Truth) -> dict[str, Any]:
    """One entry of a row; a failure has no score yet, and what is known of its video."""
    known: dict[str, Any] = dict.fromkeys(FIELDS)
    try:
        clip = part.read(name, key, sample, truth)
        known = _known(clip)
        return known | _judged(clip, part.evaluator, truth)
    except StoreError as error:
        reason = str(error)
    except ValueError as error:
        reason = f"{part.where(name, key, sample)}: {error}"
    return known | {"failure": reason, "tracks": {}, "score": None}


def _judged(clip: Clip, evaluator: Evaluator, truth: Truth) -> dict[str, Any]:
    score = evaluator.score(clip.video, truth)
    values = score.to_dict()
    if clip.at_own_rate is not None and clip.fps is not None and evaluator.score_own_rate is not None:
        values |= evaluator.score_own_rate(clip.at_own_rate, clip.fps, truth)
    tracks = {name: np.round(points, 2) for name, points in overlays_of(score).items()}
    return {"failure": None, "tracks": tracks, "score": values}


def _known(clip: Clip) -> dict[str, Any]:
    """Seed, rate, hash and costs of a video."""
    return {field: getattr(clip, field) for field in FIELDS} | {"sha256": clip.sha256 or frames_hash(clip.video)}


def frames_hash(video: np.ndarray) -> str:
    """SHA-256 of frames (T, H, W, 3) uint8, in hexadecimal."""
    return hashlib.sha256(np.ascontiguousarray(video).data).hexdigest()


def charged(evaluator: Evaluator, truth: Truth, others: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a video that cannot be judged scores: metric by metric the worst of a black one and the clip's others.

    Of a share it is the worse outcome. A metric that only describes has no number.
    """
    black = evaluator.score(np.zeros_like(truth.video), truth).to_dict()
    price = dict(black)
    for metric in evaluator.metrics:
        found = [score for score in (black, *others) if score[metric.name] is not None]
        goodness = metric.goodness(found) if found else np.empty(0)
        if metric.better == "none" or not np.isfinite(goodness).any():
            price[metric.name] = None
        elif metric.pooled == "share":
            price[metric.name] = metric.better == "lower"
        else:
            price[metric.name] = found[int(np.nanargmin(goodness))][metric.name]
    return price


def _row(clips: list[dict[str, Any]]) -> dict[str, Any]:
    spent = {field: [entry[field] for entry in clips if entry[field] is not None] for field in ("nfe", "seconds")}
    return {
        "nfe": float(np.mean(spent["nfe"])) if spent["nfe"] else None,
        "seconds_per_clip": float(np.mean(spent["seconds"])) if spent["seconds"] else None,
        "failures": sum(entry["failure"] is not None for entry in clips),
        "over_refined": sum(over_refined(entry["drift"]).any() for entry in clips if entry["drift"] is not None),
        "clips": clips,
    }


def _losses(family: Mapping[str, Any]) -> list[str]:
    """What could not be judged, and what refinement overdid, in a line each."""
    failed = {row["label"]: row["failures"] for row in family["rows"].values() if row["failures"]}
    lines = [f"{label}: {count} of its videos could not be judged; charged." for label, count in failed.items()]
    for row in family["rows"].values():
        drifts = [np.array(entry["drift"], float) for entry in row["clips"] if entry["drift"] is not None]
        line = warning(drifts)
        lines += [] if line is None else [f"{row['label']}: {line}."]
    if family["discards"]:
        lines.append(f"{len(family['discards'])} clips were discarded: {family['discards'][0]['reason']}")
    return lines


def _provenance(parts: Sequence[Part], resample: Resample, tracker: str) -> dict[str, Any]:
    return {
        "command": " ".join(["worldmodel", *sys.argv[1:]]),
        **{part.title: part.provenance() for part in parts},
        "resample": resample,
        "tracker": tracker,
        "bootstrap_seed": BOOTSTRAP_SEED,
    }
