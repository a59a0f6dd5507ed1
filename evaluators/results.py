"""The results of an evaluation: every per-scene number, and the same as strict JSON.

Schema (``null`` in the file stands for a number that does not exist)::

    {
      "format": 1,
      "clip": {"fps", "frames", "height_px", "width_px", "diagonal_px"},
      "scenes": [{"seed", "impact_time_ms", ...what builds the scene again}],         one a scene
      "rows": {                        truth, autoencoder, base, euler_matched, refined, frozen, linear
        row: {
          "label": "Predict-and-Perturb",
          "nfe": 34,                   mean model evaluations a clip; 0 without a model
          "seconds_per_clip": 0.21,    nan where nothing was sampled
          "scenes": [FreeFallScore.to_dict()]                              one a scene, same order
        }
      },
      "table", "comparisons":          see ``summary.summarise``
      "provenance": {...}              model, weights, settings, versions, command; any JSON
    }
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from worldmodel.evaluators.free_fall import true_impact_time
from worldmodel.evaluators.summary import summarise
from worldmodel.truth import Truth

ROWS = {
    "truth": "MuJoCo through the tracker",
    "autoencoder": "Autoencoder round trip",
    "base": "Base sampler",
    "euler_matched": "Euler, matched evaluations",
    "refined": "Predict-and-Perturb",
    "frozen": "Frozen first frame",
    "linear": "Linear extrapolation",
}
FORMAT = 1


def build_results(
    rows: Mapping[str, Mapping[str, Any]],
    seeds: Sequence[int],
    truths: Sequence[Truth],
    provenance: Mapping[str, Any],
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Put the scored rows (see the module's schema) of the same scenes together and summarise them."""
    if len(seeds) != len(truths) or not truths:
        raise ValueError(f"seeds: got {len(seeds)} for {len(truths)} truths, expected one each; pass the scenes' seeds")
    for name, row in rows.items():
        if name not in ROWS:
            raise ValueError(f"rows: got {name!r}, expected some of {', '.join(ROWS)}; rename the row")
        if len(row["scenes"]) != len(truths):
            raise ValueError(
                f"rows[{name!r}]: got {len(row['scenes'])} scenes, expected {len(truths)}; score every row on all"
            )
    first = truths[0]
    return {
        "format": FORMAT,
        "clip": {
            "fps": first.fps,
            "frames": len(first),
            "height_px": first.camera.height,
            "width_px": first.camera.width,
            "diagonal_px": first.camera.diagonal_px,
        },
        "scenes": [
            {"seed": int(seed), "impact_time_ms": 1000.0 * true_impact_time(truth), **truth.scene}
            for seed, truth in zip(seeds, truths, strict=True)
        ],
        "rows": {name: {"label": ROWS[name], **rows[name]} for name in ROWS if name in rows},
        **summarise({name: rows[name] for name in ROWS if name in rows}, rng),
        "provenance": dict(provenance),
    }


def write_results(path: Path, results: Mapping[str, Any]) -> None:
    """Write strict JSON; the file appears only when it is complete."""
    path = Path(path)
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_text(json.dumps(plain(results), indent=1, allow_nan=False) + "\n")
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
