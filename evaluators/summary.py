"""From the scores of every clip to the table, the skill and the paired comparisons of one family.

A row is a list of entries ``{"clip": index, "score": {...}, ...}``, one for each clip and sample. The scene is
the unit: clips and samples of one scene are drawn together, and averaged before they are compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

from worldmodel.evaluators.metrics import Metric
from worldmodel.evaluators.statistics import (
    bootstrap_iqm,
    bootstrap_mean,
    bootstrap_median,
    clopper_pearson,
    holm,
    mcnemar,
    paired_difference,
    scenes_for_mcnemar,
    scenes_for_mean_difference,
    skill,
    wilson,
)

Entries = Sequence[Mapping[str, Any]]
ALL_PAIRS = 4  # models up to which each is compared with each, beyond it only with the best
NOTHING = {"value": np.nan, "low": np.nan, "high": np.nan, "n": 0}


@dataclass(frozen=True)
class Roles:
    """Which rows are what: the measured ceiling, what needs no model, and what is judged."""

    ceiling: str
    nulls: tuple[str, ...]
    models: tuple[str, ...]


def summarise(
    rows: Mapping[str, Entries],
    scenes: np.ndarray,
    metrics: Sequence[Metric],
    headline: str,
    roles: Roles,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """All numbers of one family with their 95 % intervals, in printed units.

    Args:
        rows: entries by row.
        scenes: (clips,) label of the scene of each clip.
        metrics: what is tabled; those whose ``better`` is not ``none`` are compared.
        headline: the metric that skill is computed of.
        roles: which rows are what.
        rng: of the bootstraps.

    Returns:
        {"table": {row: {metric: {"value", "low", "high", "n"}}}, "best_null": row, "ranking": [models, best first],
         "skill": {row: {"value", "low", "high", "n"}}, "comparisons": [see ``compare``]}
    """
    decisive = next(metric for metric in metrics if metric.name == headline)
    null = next(iter(rank([name for name in roles.nulls if name in rows], rows, len(scenes), decisive)), None)
    ranking = rank([name for name in roles.models if name in rows], rows, len(scenes), decisive)
    judged = [name for name in rows if name not in (roles.ceiling, null)]
    comparable = [metric for metric in metrics if metric.better != "none"]
    return {
        "table": {name: {m.name: pool(row, scenes, m, rng) for m in metrics} for name, row in rows.items()},
        "best_null": null,
        "ranking": ranking,
        "skill": {name: _skill(rows, name, null, roles.ceiling, scenes, decisive, rng) for name in judged},
        "comparisons": [compare(rows, a, b, scenes, comparable, rng) for a, b in _pairs(roles.models, ranking, null)],
    }


def values(row: Entries, metric: Metric) -> np.ndarray:
    """The metric (entries,) of every entry, as scored; nan where it does not exist."""
    return np.array([entry["score"].get(metric.name) for entry in row], dtype=np.float64)


def by_clip(row: Entries, clips: int, metric: Metric) -> np.ndarray:
    """The metric (clips,) averaged over the samples of each clip that have it, ``zero`` metrics as distance from 0."""
    found = values(row, metric)
    found = np.abs(found) if metric.better == "zero" else found
    exists = np.isfinite(found)
    index = np.array([entry["clip"] for entry in row], dtype=np.int64)[exists]
    count = np.bincount(index, minlength=clips)
    total = np.bincount(index, weights=found[exists], minlength=clips)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def pool(row: Entries, scenes: np.ndarray, metric: Metric, rng: np.random.Generator) -> dict[str, float]:
    """The metric of a row over scenes, with its interval.

    Wilson's interval of a share needs independent clips: where a scene has several, or has samples, scenes are
    drawn instead. A share of 0 or 1 gets Clopper and Pearson's of as many clips as there are scenes.
    """
    found = values(row, metric)
    exists = np.isfinite(found)
    found, scene = found[exists], scenes[[entry["clip"] for entry in row]][exists]
    if not len(found):
        return dict(NOTHING)
    apart = len(np.unique(scene))
    if metric.pooled == "share" and (apart == len(found) or found.mean() in (0.0, 1.0)):
        exact = found.mean() in (0.0, 1.0)
        interval = (clopper_pearson if exact else wilson)(round(found.mean() * apart), apart)
    else:
        draw = bootstrap_median if metric.pooled == "median" else bootstrap_mean
        interval = draw(found, rng, scene)
    return {name: metric.factor * value for name, value in asdict(interval).items()} | {"n": len(found)}


def compare(
    rows: Mapping[str, Entries],
    a: str,
    b: str,
    scenes: np.ndarray,
    metrics: Sequence[Metric],
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Row ``a`` minus row ``b`` over the same scenes, for every metric.

    Returns:
        {"a", "b", "metrics": {name: {"n" scenes, "mean", "median": {"value", "low", "high"}, "hodges_lehmann",
        "test": "wilcoxon" or "mcnemar", "p", "holm_p" over all metrics, "only_a", "only_b"
        (scenes, for McNemar's test), "better": "a", "b" or "open" by the interval of the mean, "scenes_needed"
        to find the mean difference with 80 % power, nan where none is known}}}
    """
    found = {}
    for metric in metrics:
        first, second = (by_clip(rows[name], len(scenes), metric) for name in (a, b))
        exists = np.isfinite(first) | np.isfinite(second)
        if exists.any():
            first, second = charged(first[exists], second[exists], metric)
            found[metric.name] = _compare_one(first, second, scenes[exists], metric, rng)
    for each, p in zip(found.values(), holm([each["p"] for each in found.values()]), strict=True):
        each["holm_p"] = p
    return {"a": a, "b": b, "metrics": found}


def charged(a: np.ndarray, b: np.ndarray, metric: Metric) -> tuple[np.ndarray, np.ndarray]:
    """Both with every missing number replaced by the worst that either has: not to have a number is no excuse."""
    both = np.concatenate([a, b])
    worst = np.nanmin(both) if metric.better == "higher" else np.nanmax(both)
    return np.nan_to_num(a, nan=worst), np.nan_to_num(b, nan=worst)


def _compare_one(
    a: np.ndarray, b: np.ndarray, scenes: np.ndarray, metric: Metric, rng: np.random.Generator
) -> dict[str, Any]:
    d = paired_difference(a, b, rng, scenes)
    result: dict[str, Any] = {"n": d.n, "hodges_lehmann": metric.factor * d.hodges_lehmann}
    for name in ("mean", "median"):
        result[name] = {end: metric.factor * value for end, value in asdict(getattr(d, name)).items()}
    if metric.pooled == "share" and d.n == len(a) and set(np.unique([a, b])) <= {0.0, 1.0}:
        only_a, only_b = int((a > b).sum()), int((b > a).sum())
        result |= {"test": "mcnemar", "p": mcnemar(only_a, only_b), "only_a": only_a, "only_b": only_b}
        result["scenes_needed"] = _needed(scenes_for_mcnemar, only_a=only_a / d.n, only_b=only_b / d.n)
    else:
        scene = np.unique(scenes, return_inverse=True)[1]
        means = np.bincount(scene, weights=a - b) / np.bincount(scene)
        std = float(means.std(ddof=1)) if d.n > 1 else np.nan
        result |= {"test": "wilcoxon", "p": d.wilcoxon_p}
        result["scenes_needed"] = _needed(scenes_for_mean_difference, difference=d.mean.value, std=std)
    higher = metric.better == "higher"
    smaller = "a" if d.mean.high < 0 else "b" if d.mean.low > 0 else "open"
    return result | {"better": {"a": "b", "b": "a"}.get(smaller, "open") if higher else smaller}


def _needed(count: Any, **effect: float) -> float:
    try:
        return float(count(**effect))
    except ValueError:  # no difference, or one that millions of scenes would not show
        return np.nan


def _skill(
    rows: Mapping[str, Entries],
    name: str,
    null: str | None,
    ceiling: str,
    scenes: np.ndarray,
    metric: Metric,
    rng: np.random.Generator,
) -> dict[str, float]:
    """(x_null - x) / (x_null - x_ceiling): IQM over the scenes in which the ceiling is better than the null.

    Of a share it is the ratio of the rates over all scenes, the denominator taken as exact.
    """
    if null is None or ceiling not in rows:
        return dict(NOTHING)
    x, x_null, x_ceiling = (_by_scene(rows[each], scenes, metric) for each in (name, null, ceiling))
    if metric.pooled == "share":
        span = np.nanmean(x_null) - np.nanmean(x_ceiling)
        usable = np.isfinite(x_null - x_ceiling) & bool(span)
        x = np.nan_to_num(x, nan=0.0 if metric.better == "higher" else 1.0)
        found, draw = (x_null - x) / (span or np.nan), bootstrap_mean
    else:
        usable = (x_ceiling > x_null) if metric.better == "higher" else (x_ceiling < x_null)
        x, _ = charged(x, x_null, metric)
        found = np.zeros(len(x))
        if usable.any():
            found[usable] = skill(model=x[usable], null=x_null[usable], ceiling=x_ceiling[usable])
        draw = bootstrap_iqm
    if not usable.any():
        return dict(NOTHING)
    return asdict(draw(found[usable], rng)) | {"n": int(usable.sum())}


def _by_scene(row: Entries, scenes: np.ndarray, metric: Metric) -> np.ndarray:
    """The metric (scenes,) averaged over the clips of each scene that have it."""
    found = by_clip(row, len(scenes), metric)
    exists = np.isfinite(found)
    scene = np.unique(scenes, return_inverse=True)[1]
    count = np.bincount(scene[exists], minlength=scene.max() + 1)
    total = np.bincount(scene[exists], weights=found[exists], minlength=scene.max() + 1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def rank(names: Sequence[str], rows: Mapping[str, Entries], clips: int, metric: Metric) -> list[str]:
    """Rows from the best to the worst mean (median for a pooled median) of a metric, missing numbers charged."""
    if not names:
        return []
    together = np.concatenate([by_clip(rows[name], clips, metric) for name in names])
    each = np.split(charged(together, together, metric)[0], len(names))
    pooled = np.array([np.median(x) if metric.pooled == "median" else x.mean() for x in each])
    order = np.argsort(-pooled if metric.better == "higher" else pooled, kind="stable")
    return [names[index] for index in order]


def _pairs(models: Sequence[str], ranking: Sequence[str], null: str | None) -> list[tuple[str, str]]:
    """Later models against earlier ones, or of many the best against each; then every model against the best null."""
    if len(ranking) <= ALL_PAIRS:
        among = [(b, a) for a, b in combinations([name for name in models if name in ranking], 2)][::-1]
    else:
        among = [(ranking[0], name) for name in models if name in ranking[1:]]
    return among + [(name, null) for name in models if name in ranking and null is not None]
