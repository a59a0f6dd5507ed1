"""Successes of a family: judged against MuJoCo's, stage by stage, policy by policy, and of several attempts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from worldmodel.evaluators.metrics import Metric
from worldmodel.evaluators.statistics import (
    Interval,
    bootstrap_mean,
    confusion,
    kendall_tau_b,
    mmrv,
    pass_at_k,
    pearson,
    wilson,
)

Entries = Sequence[Mapping[str, Any]]
TRUE = "true_"  # opens the name of what MuJoCo says
RATES = ("judged_rate", "true_rate", "sensitivity", "specificity", "false_success")


def outcomes(
    rows: Mapping[str, Entries], judged: str, scenes: np.ndarray, rng: np.random.Generator
) -> dict[str, dict[str, Any]]:
    """Confusion of each row's number ``judged`` with ``true_success``, where the scores hold both.

    The row of the true video is the judge against the simulator, the others are models against it. A video that
    could not be judged is no success. Rates have Wilson's interval where every entry that counts for them is of
    another scene; otherwise scenes are drawn. The p of the bias needs one outcome a clip: with samples it is nan.

    Args:
        rows: entries by row.
        judged: number of the score.
        scenes: (clips,) label of the scene of each clip.
        rng: of the bootstrap.

    Returns:
        {row: {"tp", "fp", "fn", "tn", "mcc", "bias_p", and each of ``RATES`` as {"value", "low", "high"}}}
    """
    found = {}
    for name, row in rows.items():
        known = [entry for entry in row if entry["score"].get(f"{TRUE}success") is not None]
        if known and all(judged in entry["score"] for entry in known):
            found[name] = _counted(known, judged, f"{TRUE}success", scenes, rng)
    return found


def stage_outcomes(
    rows: Mapping[str, Entries], scenes: np.ndarray, rng: np.random.Generator
) -> dict[str, dict[str, Any]]:
    """The same for every stage that the scores know both of the video and of MuJoCo, as ``lift`` and ``true_lift``.

    Returns:
        {row: {stage: as of a row in ``outcomes``}}
    """
    found: dict[str, dict[str, Any]] = {}
    for name, row in rows.items():
        stages = [key[len(TRUE) :] for key in row[0]["score"] if key.startswith(TRUE) and key != f"{TRUE}success"]
        for stage in stages:
            known = [entry for entry in row if entry["score"].get(TRUE + stage) is not None]
            if known and all(isinstance(entry["score"].get(stage, 0.0), (bool, type(None))) for entry in known):
                found.setdefault(name, {})[stage] = _counted(known, stage, TRUE + stage, scenes, rng)
    return found


def policy_agreement(
    rows: Mapping[str, Entries], policies: Sequence[str | None], judged: str
) -> dict[str, dict[str, Any]]:
    """How a row ranks policies against MuJoCo, by the success rates of the clips played under each.

    Args:
        rows: entries by row.
        policies: of each clip.
        judged: number of the score that says whether the video succeeds.

    Returns:
        {row: {"n" policies, "pearson": {"value", "low", "high"} or None with fewer than 4 or equal rates,
        "kendall_tau_b" or None, "mmrv", "rates": {policy: {"judged", "true", "clips"}}}}; {} with one policy.
    """
    found = {}
    for name, row in rows.items():
        rates = {}
        for policy in dict.fromkeys(filter(None, policies)):
            scores = [entry["score"] for entry in row if policies[entry["clip"]] == policy]
            known = [score for score in scores if score.get("true_success") is not None and judged in score]
            if known:
                shares = {"judged": judged, "true": "true_success"}
                rates[policy] = {
                    key: float(np.mean([bool(score[of]) for score in known])) for key, of in shares.items()
                }
                rates[policy]["clips"] = len(known)
        if len(rates) > 1:
            seen, true = (np.array([rate[key] for rate in rates.values()]) for key in ("judged", "true"))
            differ = np.ptp(seen) > 0 and np.ptp(true) > 0
            found[name] = {
                "n": len(rates),
                "pearson": asdict(pearson(seen, true)) if differ and len(rates) >= 4 else None,
                "kendall_tau_b": kendall_tau_b(seen, true) if differ else None,
                "mmrv": mmrv(predicted=seen, reference=true),
                "rates": rates,
            }
    return found


def passes(
    rows: Mapping[str, Entries], scenes: np.ndarray, metrics: Sequence[Metric], rng: np.random.Generator
) -> dict[str, dict[str, Any]]:
    """Unbiased pass@k of yes-or-no metrics, for rows with n >= 2 samples a clip, k = 1, 2, 4, ... and n.

    Returns:
        {row: {"n", "pass": {metric: {k: {"value", "low", "high"}}}}}, means over clips; scenes are drawn for the
        interval.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, row in rows.items():
        n = min(sum(entry["clip"] == clip for entry in row) for clip in range(len(scenes)))
        for metric in metrics if n >= 2 else ():
            successes = [[bool(e["score"].get(metric.name)) for e in row if e["clip"] == c] for c in range(len(scenes))]
            chances = {
                k: np.array([pass_at_k(successes=sum(each), n=len(each), k=k) for each in successes])
                for k in sorted({n, *(2**power for power in range(n.bit_length()) if 2**power <= n)})
            }
            each = {str(k): asdict(bootstrap_mean(chance, rng, scenes)) for k, chance in chances.items()}
            found.setdefault(name, {"n": n, "pass": {}})["pass"][metric.name] = each
    return found


def _counted(row: Entries, judged: str, true: str, scenes: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    verdicts, truth = (np.array([bool(entry["score"][name]) for entry in row]) for name in (judged, true))
    scene = scenes[[entry["clip"] for entry in row]]
    counts = confusion(judged=verdicts, truth=truth)
    every = np.ones(len(row), bool)
    # In the order of RATES: what is counted, and among which entries.
    parts = ((verdicts, every), (truth, every), (verdicts, truth), (~verdicts, ~truth), (verdicts, ~truth))
    rates = {
        rate: asdict(_rate(values[among], scene[among], rng))
        for rate, (values, among) in zip(RATES, parts, strict=True)
    }
    independent = len({entry["clip"] for entry in row}) == len(row)
    return {**asdict(counts), **rates, "mcc": counts.mcc, "bias_p": counts.bias_p if independent else np.nan}


def _rate(values: np.ndarray, scenes: np.ndarray, rng: np.random.Generator) -> Interval:
    if not len(values):
        return Interval(np.nan, np.nan, np.nan)
    apart, rate = len(np.unique(scenes)), float(values.mean())
    if apart == len(values):
        return wilson(int(values.sum()), len(values))
    if rate in (0.0, 1.0):
        return wilson(round(rate * apart), apart)
    return bootstrap_mean(values.astype(np.float64), rng, scenes)
