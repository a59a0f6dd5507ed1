"""Successes of a family: judged against MuJoCo's, and among several attempts at each clip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from worldmodel.evaluators.metrics import Metric
from worldmodel.evaluators.statistics import bootstrap_mean, confusion, pass_at_k

Entries = Sequence[Mapping[str, Any]]
RATES = ("judged_rate", "true_rate", "sensitivity", "specificity", "false_success")


def outcomes(rows: Mapping[str, Entries], judged: str) -> dict[str, Any]:
    """Confusion of each row's number ``judged`` with ``true_success``, where the scores hold both.

    The row of the true video is the judge against the simulator, the others are models against it. A video that
    could not be judged is no success.

    Returns:
        {row: {"tp", "fp", "fn", "tn", "mcc", "bias_p", and each of ``RATES`` as {"value", "low", "high"}}}
    """
    found = {}
    for name, row in rows.items():
        known = [entry["score"] for entry in row if entry["score"].get("true_success") is not None]
        if known and all(judged in score for score in known):
            verdicts, truth = (np.array([bool(score[name]) for score in known]) for name in (judged, "true_success"))
            counts = confusion(judged=verdicts, truth=truth)
            rates = {rate: asdict(getattr(counts, rate)) for rate in RATES}
            found[name] = {**asdict(counts), **rates, "mcc": counts.mcc, "bias_p": counts.bias_p}
    return found


def passes(
    rows: Mapping[str, Entries], scenes: np.ndarray, metric: Metric, rng: np.random.Generator
) -> dict[str, dict[str, Any]]:
    """Unbiased pass@1 and pass@n of a yes-or-no metric of which more is better, for rows with n >= 2 samples a clip.

    Returns:
        {row: {"n", "pass": {k: {"value", "low", "high"}}}}, means over clips; scenes are drawn for the interval.
    """
    if metric.pooled != "share" or metric.better != "higher":
        return {}
    found = {}
    for name, row in rows.items():
        successes = [[bool(e["score"].get(metric.name)) for e in row if e["clip"] == c] for c in range(len(scenes))]
        n = min(map(len, successes))
        if n >= 2:
            chances = {
                k: np.array([pass_at_k(successes=sum(each), n=len(each), k=k) for each in successes]) for k in (1, n)
            }
            each = {str(k): asdict(bootstrap_mean(chance, rng, scenes)) for k, chance in chances.items()}
            found[name] = {"n": n, "pass": each}
    return found
