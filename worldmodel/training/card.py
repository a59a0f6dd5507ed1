"""The model card beside the weights, written from what the training run left behind."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import diffusers
import torch

from worldmodel.backends.checksum import CARD, weights_hash
from worldmodel.backends.pipeline_folder import weight_files
from worldmodel.backends.recipe import Recipe
from worldmodel.training.clip_sets import ClipSet
from worldmodel.training.precision import on_gpu

ROWS = 12  # of a loss table


def write_card(folder: Path, out: Path, recipe: Recipe, facts: Mapping[str, str]) -> None:
    """README.md of a model of the embedded kind in ``folder``, from the logs in ``out`` and the given facts."""
    config = json.loads((folder / "vae" / "config.json").read_text())
    time, space = config["scale_factor_temporal"], config["scale_factor_spatial"]
    about = [
        f"# {recipe.name}: a world model of the embedded kind",
        "",
        f"{_shown(recipe)}. It knows what it was trained on, see below, and nothing else.",
        "",
        f"An `AutoencoderKLWan` ({time} x {space} x {space}) and a `CosmosTransformer3DModel` in the folder layout of "
        "Cosmos-Predict2.5: first-frame-conditioned flow matching, a condition mask channel, sigma as the timestep, "
        "no text. Weights are a moving average, rounded to bf16.",
    ]
    tables = [
        *_table("Autoencoder", ("step", "frames", "weighted error", "KL"), out / "autoencoder.csv"),
        *_table("Transformer", ("step", "loss"), out / "transformer.csv"),
    ]
    _write(folder, about, facts, tables)


def write_tuned_card(folder: Path, out: Path, recipe: Recipe, facts: Mapping[str, str]) -> None:
    """README.md of a fine-tuned pipeline in ``folder``, from the log in ``out`` and the given facts."""
    about = [
        f"# {recipe.name}, fine-tuned",
        "",
        f"{_shown(recipe)}. Its transformer was trained further on the clips below; all else is as it began.",
    ]
    _write(folder, about, facts, _table("Transformer", ("step", "loss"), out / "finetune.csv"))


def _write(folder: Path, about: Sequence[str], facts: Mapping[str, str], tables: Sequence[str]) -> None:
    listed = {"weights": f"SHA-256 `{_hash(folder)}`", **facts}
    lines = [*about, "", "## Training", "", *(f"- {name}: {value}" for name, value in listed.items()), "", *tables]
    (folder / CARD).write_text("\n".join(lines).rstrip() + "\n")


def described_clips(sets: Sequence[ClipSet]) -> str:
    """Which clips, how many, how long, and how many of them succeed."""
    return "; ".join(
        f"{each.name}: {len(each)} clips of {each.video.shape[1]} frames ({each.env}{_seeds(each)}{_ends(each)})"
        for each in sets
    )


def circumstances(out: Path, runs: Sequence[str], device: str) -> dict[str, str]:
    """Facts of a card: where the named runs in ``out`` were made, in which time and with what."""
    hours = {name: _seconds(out / f"{name}.pt") / 3600 for name in runs}
    return {
        "device": torch.cuda.get_device_name(device) if on_gpu(device) else f"{os.cpu_count()} cores ({device})",
        "hours": ", ".join(f"{name} {value:.2f}" for name, value in hours.items()),
        "versions": f"torch {torch.__version__}, diffusers {diffusers.__version__}",
    }


def _seconds(checkpoint: Path) -> float:
    """How long a run took; its weights, of which there may be many, stay on the disk."""
    return torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)["seconds"]


def _seeds(clips: ClipSet) -> str:
    first, last = clips.seeds
    return "" if first is None else f", seeds {first} to {last}"


def _ends(clips: ClipSet) -> str:
    return "" if clips.success is None else f", {int(clips.success.sum())} succeed"


def _shown(recipe: Recipe) -> str:
    height, width = recipe.image_size
    return (
        f"Imagines what follows a first frame: {recipe.num_frames} frames of {height} x {width} pixels at "
        f"{recipe.fps:g} frames a second{_told(recipe)}"
    )


def _hash(folder: Path) -> str:
    return weights_hash(weight_files(folder, "transformer") + weight_files(folder, "vae"))


def _told(recipe: Recipe) -> str:
    names = [f"{domain.name} ({', '.join(domain.spec.names)})" for domain in recipe.domains]
    return f", told the actions of {' or '.join(names)}" if names else ""


def _table(title: str, header: tuple[str, ...], log: Path) -> list[str]:
    if not log.exists():  # the autoencoder was not trained
        return []
    with log.open() as handle:
        rows = list(csv.reader(handle))
    chosen = sorted({round(i * (len(rows) - 1) / (ROWS - 1)) for i in range(ROWS)}) if rows else []
    body = [f"| {' | '.join(rows[i][: len(header)])} |" for i in chosen]
    return [f"### {title}", "", f"| {' | '.join(header)} |", f"|{'---|' * len(header)}", *body, ""]
