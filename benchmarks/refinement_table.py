"""The tables of benchmarks/refinement_study.py: every method, and paired differences with their intervals."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from refinement_methods import Method
from refinement_tasks import TASKS, Task

from worldmodel.evaluators.statistics import (
    Interval,
    bootstrap_mean,
    bootstrap_median,
    holm,
    pair_by_scene_and_seed,
    paired_difference,
)

Entries = Sequence[Mapping[str, Any]]
Clip = tuple[str, str]  # scene; policy and noise seed
MATCHED = "euler"  # the row that all others are held against
REFINED = ("plain", "masked", "tempered", "keep_variance")
PICKS = {
    "candidates": ("Best of N: random pick", lambda entry: 0),
    "candidates_self": ("Best of N: the model's own score", lambda entry: entry["chosen"]),
    "candidates_oracle": ("Best of N: oracle, which knows the truth", lambda entry: int(np.argmin(entry["errors"]))),
}


def mean_errors(found: Mapping[str, Entries], task: str) -> dict[str, float]:
    """Mean error of each method."""
    error = TASKS[task].error
    return {name: float(np.mean([entry["scores"][0][error] for entry in entries])) for name, entries in found.items()}


def write_tables(
    out: Path,
    rows: Mapping[str, Method],
    found: Mapping[str, Entries],
    tuned: Sequence[Method],
    tuning: Mapping[str, Entries],
    settings: Mapping[str, Any],
) -> str:
    """Write results.json and table.md of the task that the settings name; returns the latter's text."""
    task = TASKS[settings["task"]]
    labels, scores, nfe = _rows(rows, found, task)
    errors = mean_errors(tuning, settings["task"])
    refined = min((row for row in REFINED if row in rows), key=lambda row: errors[rows[row].name])
    against_euler = [row for row in labels if row not in (MATCHED, "candidates_oracle")]
    controls = [row for row in labels if row not in (refined, MATCHED, "candidates_oracle")]
    tests = [(row, MATCHED) for row in against_euler] + [(refined, row) for row in controls]
    compared = [_difference(scores[a], scores[b]) for a, b in tests]
    adjusted = holm([each.wilcoxon_p for each in compared])
    differences = {
        f"{a} - {b}": {**asdict(each), "holm_p": p} for (a, b), each, p in zip(tests, compared, adjusted, strict=True)
    }
    document = {
        "settings": settings,
        "scenes": len({scene for scene, _ in scores[MATCHED]}),
        "clips": len(scores[MATCHED]),
        "rows": {
            row: {"label": labels[row], "nfe": nfe[row], "mean": asdict(_mean(scores[row]))}
            | _others(rows, found, row, task)
            for row in labels
        },
        "differences": differences,
        "refined": refined,
        "methods": {row: method.describe() for row, method in rows.items()},
        "tuning": {method.name: errors[method.name] for method in tuned},
    }
    (out / "results.json").write_text(json.dumps(document, indent=1) + "\n")
    tables = _main_table(document, task), _refined_table(document, task), _tuning_table(document, rows, task)
    text = "\n\n".join("\n".join(table) for table in tables)
    (out / "table.md").write_text(text + "\n")
    return text


def _rows(
    rows: Mapping[str, Method], found: Mapping[str, Entries], task: Task
) -> tuple[dict[str, str], dict[str, dict[Clip, float]], dict[str, float]]:
    """Label, error by clip, and mean evaluations of each row."""
    labels, scores, nfe = {}, {}, {}
    for row, method in rows.items():
        for name, (label, _) in PICKS.items() if row == "candidates" else {row: (method.label, None)}.items():
            labels[name], picked = label, _picked(name, found[method.name], task)
            scores[name] = {key: each[task.error] for key, each in picked.items()}
            nfe[name] = float(np.mean([entry["nfe"] for entry in found[method.name]]))
    # A random pick needs neither the other candidates nor a judge.
    nfe["candidates"] = len(rows["candidates"].sigmas) - 1.0
    return labels, scores, nfe


def _picked(row: str, entries: Entries, task: Task) -> dict[Clip, Mapping[str, Any]]:
    picked = {}
    for entry in entries:
        errors = [score[task.error] for score in entry["scores"]]
        chosen = PICKS[row][1]({**entry, "errors": errors}) if row in PICKS else 0
        picked[entry["scene"], f"{entry['policy']} {entry['seed']}"] = entry["scores"][chosen]
    return picked


def _others(rows: Mapping[str, Method], found: Mapping[str, Entries], row: str, task: Task) -> dict[str, Any]:
    """What else is known of a row: the median, shares, the tone's drift and, of falls, the error of every frame."""
    method = rows["candidates" if row in PICKS else row]
    picked = _picked(row, found[method.name], task)
    scores = list(picked.values())
    values = {name: _array(scores, name) for name in scores[0] if name != "frame_error_px"}
    known = {
        "median": asdict(bootstrap_median(values[task.error], _rng(), np.array([scene for scene, _ in picked]))),
        "found": float(np.nanmean(values[task.found[0]])),
        "fine": float(np.nanmean(values[task.fine[0]])),
        **{f"{name}_drift": float(np.nanmean(values[f"{name}_drift"])) for name in ("saturation", "contrast")},
    }
    if "frame_error_px" in scores[0]:
        frames = np.array([[np.nan if v is None else v for v in score["frame_error_px"]] for score in scores], float)
        known["frame_error_px"] = np.round(np.nanmean(frames[:, 1:], axis=0), 3).tolist()
    return known


def _array(scores: Entries, name: str) -> np.ndarray:
    return np.array([np.nan if score[name] is None else score[name] for score in scores], float)


def _mean(scores: Mapping[Clip, float]) -> Interval:
    return bootstrap_mean(np.array(list(scores.values())), _rng(), np.array([scene for scene, _ in scores]))


def _difference(a: Mapping[Clip, float], b: Mapping[Clip, float]) -> Any:
    values, others, clusters = pair_by_scene_and_seed(a, b)
    return paired_difference(values, others, _rng(), clusters)


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)


def _main_table(document: Mapping[str, Any], task: Task) -> list[str]:
    head = ["method", "evaluations", f"{task.label}, {task.unit}, mean", "median", task.found[1], task.fine[1]]
    head += ["saturation drift, levels", f"minus {document['rows'][MATCHED]['label']}, {task.unit}", "Holm p"]
    lines = [f"{document['scenes']} held-out scenes, {document['clips']} clips a row.", "", _line(head)]
    lines.append(_line(["---"] * len(head)))
    for name, row in document["rows"].items():
        difference = document["differences"].get(f"{name} - {MATCHED}")
        cells = [row["label"], f"{row['nfe']:.1f}", _interval(row["mean"]), f"{row['median']['value']:.2f}"]
        cells += [f"{100 * row['found']:.1f}", f"{100 * row['fine']:.1f}", f"{row['saturation_drift']:+.2f}"]
        cells += [_signed(difference["mean"]), _p(difference)] if difference else ["", ""]
        lines.append(_line(cells))
    return lines


def _refined_table(document: Mapping[str, Any], task: Task) -> list[str]:
    refined = document["refined"]
    head = [f"{document['rows'][refined]['label']}, minus", f"{task.unit}, mean", f"{task.unit}, median", "Holm p"]
    lines = [_line(head), _line(["---"] * 4)]
    for name, each in document["differences"].items():
        a, b = name.split(" - ")
        if a == refined:
            label = document["rows"][b]["label"]
            lines.append(_line([label, _signed(each["mean"]), _signed(each["median"]), _p(each)]))
    return lines


def _tuning_table(document: Mapping[str, Any], rows: Mapping[str, Method], task: Task) -> list[str]:
    chosen = {method.name for method in rows.values()}
    lines = [_line(["setting, on tuning scenes", f"{task.label}, {task.unit}, mean"]), _line(["---"] * 2)]
    for name, error in document["tuning"].items():
        lines.append(_line([f"**{name}**" if name in chosen else name, f"{error:.2f}"]))
    return lines


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _interval(each: Mapping[str, float]) -> str:
    return f"{each['value']:.2f} [{each['low']:.2f}, {each['high']:.2f}]"


def _signed(each: Mapping[str, float]) -> str:
    return f"{each['value']:+.2f} [{each['low']:+.2f}, {each['high']:+.2f}]".replace("-", "−")


def _p(difference: Mapping[str, Any]) -> str:
    return f"{difference['holm_p']:.2g}"
