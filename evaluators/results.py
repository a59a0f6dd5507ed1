"""The results of an evaluation: every number of every clip, and the same as strict JSON.

Schema (``null`` stands for a number that does not exist)::

    {
      "format": 2,
      "families": [{
        "family": "worldmodel/FreeFall-v0", "title": "free fall",
        "headline": name of the metric that decides, "printed": [names of the short table's],
        "metrics": {name: {"label", "unit", "pooled", "better", "factor", "digits", "meaning"}},
        "groups": [{"title", "note", "metrics": [names that stand in one table]}],
        "clip": {"fps", "frames", "height_px", "width_px", "diagonal_px"},
        "scenes": [{"key", "seed", "policy", "scene": {what builds it again}, "outcome": {...},
                    "first_frame_sha256"}],             one a clip
        "discards": [{"key", "seed", "reason"}],            clips whose true video cannot be judged: in no number
        "rows": {                                           truth, autoencoder, the models, frozen, linear
          row: {
            "label": "Predict-and-Perturb",
            "kind": "ceiling", "model" or "null",
            "nfe": 34,                   mean model evaluations a clip; 0 without a model, null if unknown
            "seconds_per_clip": 0.21,
            "failures": 1,               videos that could not be judged; they are charged, see ``scoring.py``
            "over_refined": 0,           clips whose settled places refinement changed, see ``over_refinement.py``
            "clips": [{"clip": index in scenes, "sample": 0, "seed", "fps",
                       "sha256": of the video's file, or else of its frames, "failure": null or the reason,
                       "nfe", "seconds", "drift": null or [tone shift, growth] of each chunk, see
                       ``sampling/guard.py``, "tracks": {name: (T, 2) px, what was followed},
                       "score": {every number}}]
          }
        },
        "table", "best_null", "ranking", "skill", "comparisons": see ``summary.summarise``
        "side": see ``side_columns.side_of``; only where it was asked for
        "outcomes", "stages", "policies", "passes": see ``outcomes.py``; {} where there is no such thing
      }],
      "laws": see ``laws.laws``
      "exit_code": 0, or not if a side column that was asked for has gaps
      "provenance": {...}                models, weights, settings, hashes, versions, command
    }
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from worldmodel.evaluators.metrics import Evaluator
from worldmodel.evaluators.outcomes import outcomes, passes, policy_agreement, stage_outcomes
from worldmodel.evaluators.registry import Group
from worldmodel.evaluators.summary import Roles, summarise

FORMAT = 2
CEILING = "truth"
LABELS = {
    "truth": "MuJoCo through the tracker",
    "autoencoder": "Autoencoder round trip",
    "base": "Base sampler",
    "euler_matched": "Euler, matched evaluations",
    "refined": "Predict-and-Perturb",
    "frozen": "Frozen first frame",
    "linear": "Linear extrapolation",
}
NULLS = ("frozen", "linear")
_NUMBERS = re.compile(r"\[[\s\d.,eE+\-nul\[\]]+\]")  # lists of numbers and null, which take one line
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.+-]{0,39}")


def check_row_name(name: str) -> None:
    """Refuse a name that cannot be that of a row of the caller's."""
    if name in (CEILING, *NULLS):
        raise ValueError(f"rows: got {name!r}, which is made from the truth, expected another name; rename it")
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"rows: got {name!r}, expected up to 40 letters, digits, spaces and _ . + -, a letter or digit first; "
            "rename it"
        )


def kind_of(name: str) -> str:
    """``ceiling``, ``null`` or ``model``."""
    return "ceiling" if name in (CEILING, "autoencoder") else "null" if name in NULLS else "model"


def build_family(
    evaluator: Evaluator,
    *,
    title: str,
    printed: Sequence[str],
    groups: Sequence[Group],
    judged: str,
    clip: Mapping[str, Any],
    scenes: Sequence[Mapping[str, Any]],
    discards: Sequence[Mapping[str, Any]],
    rows: Mapping[str, Mapping[str, Any]],
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Put the scored rows of one family (see the module's schema) together and summarise them."""
    for name, row in rows.items():
        lacking = set(range(len(scenes))) - {entry["clip"] for entry in row["clips"]}
        if lacking:
            raise ValueError(
                f"rows[{name!r}]: got no score of {len(lacking)} of {len(scenes)} clips, expected all; score them"
            )
    ordered = {
        name: row for kind in ("ceiling", "model", "null") for name, row in rows.items() if kind_of(name) == kind
    }
    roles = Roles(CEILING, NULLS, tuple(name for name in ordered if kind_of(name) == "model"))
    # Clips of one seed show one scene, under several policies; a clip without a seed is a scene of its own.
    labels = [scene["key"] if scene["seed"] is None else f"seed {scene['seed']}" for scene in scenes]
    numbers = np.unique(labels, return_inverse=True)[1]
    entries = {name: row["clips"] for name, row in ordered.items()}
    told = {evaluator.headline, judged, *printed, *(m.name for m in evaluator.metrics if m.name.startswith("valid_"))}
    passing = [
        metric
        for metric in evaluator.metrics
        if metric.name in told and metric.pooled == "share" and (metric.better == "higher" or metric.name == judged)
    ]
    return plain(
        {
            "family": evaluator.family,
            "title": title,
            "headline": evaluator.headline,
            "printed": list(printed),
            "metrics": {
                metric.name: {key: value for key, value in asdict(metric).items() if key not in ("name", "ranks")}
                for metric in evaluator.metrics
            },
            "groups": [asdict(group) for group in groups],
            "clip": clip,
            "scenes": scenes,
            "discards": discards,
            "rows": {
                name: {"label": LABELS.get(name, name), "kind": kind_of(name), **row} for name, row in ordered.items()
            },
            **summarise(
                entries,
                numbers,
                evaluator.metrics,
                evaluator.headline,
                roles,
                rng,
            ),
            "outcomes": outcomes(entries, judged, numbers, rng),
            "stages": stage_outcomes(entries, numbers, rng),
            "policies": policy_agreement(entries, [scene["policy"] for scene in scenes], judged),
            "passes": passes(entries, numbers, passing, rng),
        }
    )


def build_results(
    families: Sequence[Mapping[str, Any]], provenance: Mapping[str, Any], laws: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """The whole document of one evaluation."""
    exit_code = max((family["side"]["exit_code"] for family in families if "side" in family), default=0)
    return plain(
        {"format": FORMAT, "families": families, "laws": laws, "exit_code": exit_code, "provenance": provenance}
    )


def write_results(path: Path, results: Mapping[str, Any]) -> None:
    """Write strict JSON; the file appears only when it is complete."""
    path = Path(path)
    unfinished = path.with_name(path.name + ".part")
    text = json.dumps(plain(results), indent=1, allow_nan=False)
    unfinished.write_text(_NUMBERS.sub(lambda found: " ".join(found[0].split()), text) + "\n")
    os.replace(unfinished, path)


def plain(value: Any) -> Any:
    """The same as JSON types; numbers that are not finite become None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
