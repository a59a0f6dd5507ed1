"""The model card beside the weights, written from what the training run left behind."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any


def loss_curve(log: Path, columns: int, points: int = 12) -> list[list[float]]:
    """About ``points`` evenly spaced rows of a training log, the last one included."""
    rows = [[float(value) for value in row[:columns]] for row in csv.reader(log.open())]
    chosen = sorted({round(i * (len(rows) - 1) / (points - 1)) for i in range(points)}) if rows else []
    return [rows[i] for i in chosen]


def write_card(folder: Path, out: Path, facts: dict[str, Any]) -> None:
    """README.md in the pipeline ``folder`` from the logs in ``out`` and the given facts."""
    lines = [
        "# tiny: the embedded world model",
        "",
        "Imagines what happens after the first frame of a `worldmodel/FreeFall-v0` scene: "
        "17 frames of 64 x 64 pixels at 16 frames a second. It knows dropped boxes, spheres, cylinders and "
        "capsules on one floor under one camera, and nothing else.",
        "",
        "An `AutoencoderKLWan` (4 x 8 x 8) and a `CosmosTransformer3DModel`, in the folder layout of "
        "Cosmos-Predict2.5; first-frame-conditioned flow matching, sigma as the timestep, no text, no guidance.",
        "",
        "## Training",
        "",
        *(f"- {name}: {value}" for name, value in facts.items()),
        "",
        *_table("Autoencoder", ("step", "frames", "weighted L1", "KL"), loss_curve(out / "autoencoder.csv", 4)),
        *_table("Transformer", ("step", "loss", "seconds"), loss_curve(out / "transformer.csv", 3)),
    ]
    (folder / "README.md").write_text("\n".join(lines) + "\n")


def settings_text(settings: dict[str, Any]) -> str:
    """Settings as one line of JSON for the card."""
    return f"`{json.dumps(settings)}`"


def _table(title: str, header: tuple[str, ...], rows: list[list[float]]) -> list[str]:
    body = [f"| {' | '.join(f'{value:g}' for value in row)} |" for row in rows]
    return [f"### {title}", "", f"| {' | '.join(header)} |", f"|{'---|' * len(header)}", *body, ""]
