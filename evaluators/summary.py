"""From per-scene scores to the table, the paired comparisons and the sentence above them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from worldmodel.evaluators.statistics import (
    bootstrap_mean,
    bootstrap_median,
    holm,
    mcnemar,
    paired_difference,
    wilson,
)

PAIRS = (
    ("refined", "euler_matched"),
    ("refined", "base"),
    ("euler_matched", "base"),
    ("base", "linear"),
    ("base", "frozen"),
)
COMPARED = ("centroid_error_px", "impact_absolute_error_ms")


@dataclass(frozen=True)
class Metric:
    """A column of the table: which per-scene number, how it is pooled over scenes, how it is printed."""

    key: str  # in the table
    score: str  # of FreeFallScore
    label: str
    unit: str
    pooled: str  # "mean", "median" or "share" of scenes
    factor: float  # from the score's unit to the printed one
    digits: int
    lower_is_better: bool | None  # None: best at 0


OWN_METRICS = (
    Metric("error_diagonal", "centroid_error_diagonal", "Centroid error", "% of diagonal", "median", 100.0, 2, True),
    Metric("error_cm", "centroid_error_cm", "Centroid error", "cm", "median", 1.0, 1, True),
    Metric("error_px", "centroid_error_px", "Centroid error", "px", "mean", 1.0, 2, True),
    Metric("detection", "detection_rate", "Object found", "% of frames", "mean", 100.0, 1, False),
    Metric("impact_ms", "impact_absolute_error_ms", "Landing error", "ms", "median", 1.0, 0, True),
    Metric("impact_bias_ms", "impact_error_ms", "Landing bias", "ms", "mean", 1.0, 0, None),
    Metric("impact_within", "impact_within_2_frames", "Landing ± 2 frames", "% of scenes", "share", 100.0, 1, False),
)
PISA_METRICS = (
    Metric("pisa_l2", "pisa_l2", "PISA L2", "as released", "mean", 1.0, 4, True),
    Metric("pisa_cd", "pisa_cd", "PISA CD", "as released", "mean", 1.0, 4, True),
    Metric("pisa_iou", "pisa_iou", "PISA IoU", "as released", "mean", 1.0, 3, False),
)
METRICS = OWN_METRICS + PISA_METRICS


PRINTED = ("error_diagonal", "error_cm", "detection", "impact_ms", "impact_within")


def summarise(rows: Mapping[str, Mapping[str, Any]], rng: np.random.Generator) -> dict[str, Any]:
    """Table and comparisons of ``rows`` (see ``results.py``), each number with its 95 % interval.

    Returns:
        {"table": {row: {metric key: {"value", "low", "high", "n"}}}, in printed units;
         "comparisons": [{"a", "b", "n", metric: {...paired difference...}, "mcnemar_p", ...}]}
    """
    table = {name: {m.key: _pool(row["scenes"], m, rng) for m in METRICS} for name, row in rows.items()}
    pairs = [(a, b) for a, b in PAIRS if a in rows and b in rows]
    comparisons = [_compare(rows, a, b, rng) for a, b in pairs]
    adjusted = holm([c["centroid_error_px"]["wilcoxon_p"] for c in comparisons])
    for comparison, p in zip(comparisons, adjusted, strict=True):
        comparison["centroid_error_px"]["holm_p"] = p
    return {"table": table, "comparisons": comparisons}


def scores(scenes: list[Mapping[str, Any]], name: str) -> np.ndarray:
    """One score (n,) of every scene; nan where it does not exist."""
    return np.array([scene[name] for scene in scenes], dtype=np.float64)


def headline(results: Mapping[str, Any]) -> tuple[str, str]:
    """A verdict and the numbers behind it: refined against Euler with as many model evaluations.

    The verdict is decided by one number, the mean paired difference of the centroid error:
    better or worse only if its 95 % interval lies on one side of 0.
    """
    found = [c for c in results["comparisons"] if (c["a"], c["b"]) == ("refined", "euler_matched")]
    if not found:
        return "No comparison with matched-NFE Euler in this run.", "Score the rows refined and euler_matched."
    comparison = found[0]
    d, landing = comparison["centroid_error_px"]["mean"], comparison["impact_absolute_error_ms"]["mean"]
    if d["high"] < 0:
        verdict = "Predict-and-Perturb beats Euler at the same number of model evaluations."
    elif d["low"] > 0:
        verdict = "Predict-and-Perturb loses to Euler at the same number of model evaluations."
    else:
        verdict = "Predict-and-Perturb does not beat Euler at the same number of model evaluations."
    nfe = [results["rows"][name]["nfe"] for name in ("refined", "euler_matched")]
    return verdict, (
        f"Refined minus matched-NFE Euler over {comparison['n']} scenes: mean centroid error {_spread(d, 2)} px "
        f"(95 % interval), median {_spread(comparison['centroid_error_px']['median'], 2)} px, "
        f"mean landing error {_spread(landing, 0)} ms, "
        f"with {nfe[0]:.4g} against {nfe[1]:.4g} evaluations a clip. Below zero is better."
    )


def signed(value: float, digits: int | None = None) -> str:
    """A number with its sign, as text for people."""
    text = f"{value:+g}" if digits is None else f"{value:+.{digits}f}"
    if not float(text):
        text = text[1:]
    return text.replace("-", "−")


def _spread(interval: Mapping[str, float], digits: int) -> str:
    value, low, high = (signed(interval[end], digits) for end in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def markdown_table(results: Mapping[str, Any], keys: tuple[str, ...] = PRINTED) -> str:
    """The table of ``results`` as Markdown: a line a row, value and 95 % interval of the given metrics."""
    metrics = [metric for metric in METRICS if metric.key in keys]
    header = ["", "evaluations", *(f"{metric.label.lower()}, {metric.unit}" for metric in metrics)]
    lines = [header, ["---"] * len(header)]
    for name, row in results["table"].items():
        cells = [results["rows"][name]["label"], f"{results['rows'][name]['nfe']:.3g}"]
        lines.append(cells + [_interval_text(row[metric.key], metric.digits) for metric in metrics])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _interval_text(interval: Mapping[str, float], digits: int) -> str:
    if interval["n"] == 0:
        return "–"
    value, low, high = (f"{interval[key]:.{digits}f}" for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def _pool(scenes: list[Mapping[str, Any]], metric: Metric, rng: np.random.Generator) -> dict[str, float]:
    values = scores(scenes, metric.score)
    values = values[np.isfinite(values)]
    if len(values) == 0:
        return {"value": np.nan, "low": np.nan, "high": np.nan, "n": 0}
    if metric.pooled == "share":
        interval = wilson(int(values.sum()), len(values))
    else:
        interval = (bootstrap_mean if metric.pooled == "mean" else bootstrap_median)(values, rng)
    return {name: metric.factor * value for name, value in asdict(interval).items()} | {"n": len(values)}


def _compare(rows: Mapping[str, Mapping[str, Any]], a: str, b: str, rng: np.random.Generator) -> dict[str, Any]:
    first, second = rows[a]["scenes"], rows[b]["scenes"]
    landed_a, landed_b = (scores(scenes, "impact_within_2_frames") > 0 for scenes in (first, second))
    only_a, only_b = int((landed_a & ~landed_b).sum()), int((landed_b & ~landed_a).sum())
    differences = {name: asdict(paired_difference(scores(first, name), scores(second, name), rng)) for name in COMPARED}
    counts = {"impact_within_only_a": only_a, "impact_within_only_b": only_b, "mcnemar_p": mcnemar(only_a, only_b)}
    return {"a": a, "b": b, "n": len(first), **differences, **counts}
