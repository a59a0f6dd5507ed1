"""Families of results from chosen numbers, without any video."""

from __future__ import annotations

import numpy as np

from worldmodel.evaluators.metrics import Evaluator, Metric
from worldmodel.evaluators.registry import Group
from worldmodel.evaluators.results import build_family

ERROR = Metric("error_px", "Error", "px", "mean", "lower", "distance")
FOUND = Metric("found", "Found", "% of clips", "share", "higher", "whether it was found", factor=100.0, digits=1)
BIAS = Metric("bias_ms", "Bias", "ms", "median", "zero", "signed error", digits=0)
COUNT = Metric("count", "Count", "", "mean", "none", "describes")
METRICS = (ERROR, FOUND, BIAS, COUNT)
EVALUATOR = Evaluator("made/Family-v0", lambda video, truth: None, METRICS, "error_px")
GROUPS = (Group("", "", ("error_px", "found")), Group("More", "a note", ("bias_ms", "count")))


def entries(samples=1, failures=(), **values):
    """Entries of a row from one list of numbers a metric, clip by clip with ``samples`` of each."""
    length = len(next(iter(values.values())))
    return [
        {
            "clip": i // samples,
            "sample": i % samples,
            "seed": i,
            "sha256": None,
            "nfe": 20,
            "seconds": 0.5,
            "failure": "it ends early" if i in failures else None,
            "score": {metric.name: None for metric in METRICS} | {name: numbers[i] for name, numbers in values.items()},
        }
        for i in range(length)
    ]


def family(rows, *, seeds=None, title="made", discards=(), groups=GROUPS):
    """Results of a family from the entries of each row; ``seeds`` of the clips, all different by default."""
    clips = max(entry["clip"] for row in rows.values() for entry in row) + 1
    seeds = range(clips) if seeds is None else seeds
    return build_family(
        EVALUATOR,
        title=title,
        printed=("error_px", "found"),
        groups=groups,
        judged="",
        clip={"fps": 16.0, "frames": 17, "height_px": 64, "width_px": 64, "diagonal_px": 90.5},
        scenes=[
            {"key": f"clip{i}", "seed": seed, "policy": None, "scene": {}, "outcome": {}}
            for i, seed in enumerate(seeds)
        ],
        discards=discards,
        rows={
            name: {
                "nfe": None if name == "foreign" else 20.0,
                "seconds_per_clip": None,
                "failures": sum(entry["failure"] is not None for entry in row),
                "clips": row,
            }
            for name, row in rows.items()
        },
        rng=np.random.default_rng(0),
    )


def around(value, n=12, spread=0.2):
    """n numbers evenly around a value."""
    return (value + spread * np.linspace(-1, 1, n)).tolist()
