"""Some more training of an embedded model's transformer, in the way that made it; the autoencoder stays.

What distinguishes it from fine-tuning (``finetune.py``, any model): Muon, a moving average, weight on what moves, and
samples that are told less than there is, so that guidance and moving starts go on working.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Set
from pathlib import Path

from worldmodel.backends.cosmos25 import Cosmos25Backend
from worldmodel.backends.running import usual_device
from worldmodel.training.card import circumstances, described_clips, write_card
from worldmodel.training.clip_sets import read_clip_sets
from worldmodel.training.finetune import fitted
from worldmodel.training.latents import encoded_windows, normalised
from worldmodel.training.precision import fast_on_gpus
from worldmodel.training.run import prepare_folder
from worldmodel.training.start import local_folder
from worldmodel.training.tiny import save_pipeline
from worldmodel.training.transformer import ACTION_DIM, TransformerSettings, new_transformer, train_transformer

SETTINGS = TransformerSettings(steps=6000, learning_rate=1e-3, warmup_steps=100, seed=1)


def train_further(
    data: Path,
    start: str | Path,
    out: Path,
    device: str | None = None,
    settings: TransformerSettings = SETTINGS,
    *,
    often: Mapping[str, float] | None = None,
    stride: int = 8,
) -> Path:
    """Go on with an embedded model on recorded clips; returns the pipeline folder. Resumes from what is in ``out``.

    Args:
        data: a store written by ``worldmodel collect``, or a folder of them.
        start: "tiny", or another pipeline of the embedded kind, as :func:`worldmodel.load` takes it.
        out: folder of latents, checkpoint, log and the finished pipeline with its card.
        device: torch device; a CUDA device if there is one, by default.
        settings: of the run.
        often: environments whose clips are drawn more often than others', and how many times as often.
        stride: frames between the beginnings of the chunks that a longer clip is cut into.

    Raises:
        ValueError: ``start`` is not of the embedded kind, the clips are none that it takes, an environment in ``often``
            is none of theirs, or ``out`` holds something else.
    """
    device = device or usual_device()
    backend = Cosmos25Backend.from_folder(local_folder(start))
    sets = read_clip_sets(data)
    recipe = fitted(backend, sets).recipe
    _check_often(often or {}, {each.env for each in sets})
    new_transformer(backend.transformer)  # refuses what is not of its kind before anything is written
    prepare_folder(out, "latents")
    vae = backend.codec.vae
    with fast_on_gpus(device):
        windows = encoded_windows(
            vae,
            sets,
            out / "latents",
            recipe.domains,
            ACTION_DIM,
            device,
            frames=recipe.num_frames,
            stride=stride,
            often=often,
        )
        latents = normalised(windows.latents, vae.config["latents_mean"], vae.config["latents_std"])
        windows = dataclasses.replace(windows, latents=latents)
        transformer = train_transformer(windows, out, settings, device, backend.transformer)
    folder = save_pipeline(out / "pipeline", transformer, vae, recipe)
    facts = {
        "began with": f"{Path(start).name}, SHA-256 `{backend.weights_hash}`",
        "data": described_clips(sets),
        "drawn more often": ", ".join(f"{env} {times:g} times" for env, times in (often or {}).items()) or "nothing",
        **circumstances(out, ("transformer",), device),
        "transformer settings": f"`{json.dumps(dataclasses.asdict(settings))}`",
        "chunks": f"{recipe.num_frames} frames, one every {stride} frames of a clip",
    }
    write_card(folder, out, recipe, facts)
    return folder


def _check_often(often: Mapping[str, float], envs: Set[str]) -> None:
    for env, times in often.items():
        if env not in envs:
            raise ValueError(f"often: got {env}, expected one of {', '.join(sorted(envs))}; choose one")
        if isinstance(times, bool) or not isinstance(times, int | float) or not 0.0 < times < float("inf"):
            raise ValueError(f"often: got {times!r} for {env}, expected a number above 0; say how many times as often")
