"""Which rows and clips the report shows, and what it calls them."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np

from worldmodel.evaluators.verdict import METHOD, fixed, lower

MOST_ROWS = 5  # shown beside the true video
GALLERY = 10  # failures
MOST_OTHERS = 100  # clips beside the picked ones that can be watched
MOST = 1e9  # larger than the numbers that decide between equals


def focus_row(family: Mapping[str, Any]) -> str:
    """The row that the page follows: the refined one, else the best model, else the first that is no replay."""
    models = family["ranking"]
    return METHOD if METHOD in models else models[0] if models else list(family["rows"])[1]


def shown_rows(family: Mapping[str, Any]) -> list[str]:
    """The true video, and the rows beside it: the models up to ``MOST_ROWS``, the focus among them."""
    focus = focus_row(family)
    models = [name for name, row in family["rows"].items() if row["kind"] == "model"] or [focus]
    kept = models[:MOST_ROWS] if focus in models[:MOST_ROWS] else [*models[: MOST_ROWS - 1], focus]
    return ["truth", *kept]


def pick_scenes(family: Mapping[str, Any]) -> dict[str, int]:
    """Index of the best, the median and the worst clip of the focus row by the headline metric."""
    order = np.argsort(badness(family, focus_row(family)), kind="stable")
    return {"Best": int(order[0]), "Median": int(order[(len(order) - 1) // 2]), "Worst": int(order[-1])}


def pick_failures(family: Mapping[str, Any]) -> list[tuple[int, str]]:
    """The worst clips over all shown models, each with the row that was worst there, worst first."""
    rows = shown_rows(family)[1:]
    table = np.array([badness(family, name) for name in rows])
    order = np.argsort(-table.max(axis=0), kind="stable")[:GALLERY]
    return [(int(clip), rows[int(table[:, clip].argmax())]) for clip in order]


def pick_others(family: Mapping[str, Any]) -> list[int]:
    """The clips that are neither picked nor failures, the focus row's worst first."""
    picked = {*pick_scenes(family).values(), *(clip for clip, _ in pick_failures(family))}
    order = np.argsort(-badness(family, focus_row(family)), kind="stable")
    return [int(clip) for clip in order if int(clip) not in picked][:MOST_OTHERS]


def badness(family: Mapping[str, Any], name: str) -> np.ndarray:
    """How bad the worst sample of each clip is in a row (clips,) by the headline metric; inf if it failed."""
    worst = np.full(len(family["scenes"]), -np.inf)
    for entry in family["rows"][name]["clips"]:
        worst[entry["clip"]] = max(worst[entry["clip"]], _bad(family, entry))
    return worst


def worst_entry(family: Mapping[str, Any], name: str, index: int) -> Mapping[str, Any]:
    """The entry of a clip in a row; of several samples the worst."""
    entries = [entry for entry in family["rows"][name]["clips"] if entry["clip"] == index]
    return max(entries, key=lambda entry: _bad(family, entry))


def describe(scene: Mapping[str, Any]) -> str:
    """A clip in a few words, as text."""
    words = " ".join(str(scene["scene"][key]) for key in ("colour", "shape") if key in scene["scene"])
    seed = scene["key"] if scene["seed"] is None else f"seed {scene['seed']}"
    several = scene["policy"] if scene["policy"] and scene["key"].endswith(scene["policy"]) else None
    return ", ".join(str(part) for part in (words, several, seed) if part)


def short_label(family: Mapping[str, Any], name: str) -> str:
    """What a row is called below its picture."""
    return "MuJoCo" if name == "truth" else family["rows"][name]["label"]


def number(value: float | bool | None, metric: Mapping[str, Any]) -> str:
    """One clip's value of a metric, as printed."""
    if value is None:
        return "–"
    if metric["pooled"] == "share":
        return "yes" if value else "no"
    return fixed(metric["factor"] * value, metric["digits"])


def numbers(family: Mapping[str, Any], entry: Mapping[str, Any], most: int) -> str:
    """The headline metric of an entry and printed ones of other labels, as HTML."""
    shown: dict[str, str] = {}
    for name in (family["headline"], *family["printed"]):
        metric = family["metrics"][name]
        if entry["score"].get(name) is None and name != family["headline"]:
            continue
        value = number(entry["score"].get(name), metric)
        unit = metric["unit"] if metric["pooled"] != "share" and value != "–" else ""
        shown.setdefault(metric["label"], escape(f"{lower(metric['label'])} {value} {unit}".strip()))
    return ", ".join(list(shown.values())[:most])


def _bad(family: Mapping[str, Any], entry: Mapping[str, Any]) -> float:
    """Inf of a failure; of yes-or-no metrics the first printed number decides between equals."""
    metrics, score, name = family["metrics"], entry["score"], family["headline"]
    if score.get(name) is None or entry["failure"]:
        return np.inf
    if metrics[name]["pooled"] != "share":
        return _turned(score[name], metrics[name])
    numbers = [each for each in family["printed"] if metrics[each]["pooled"] != "share" and score.get(each) is not None]
    finer = _turned(score[numbers[0]], metrics[numbers[0]]) if numbers else 0.0
    return MOST * _turned(score[name], metrics[name]) + min(finer, MOST / 2)


def _turned(value: float, metric: Mapping[str, Any]) -> float:
    return -value if metric["better"] == "higher" else abs(value)
