"""The embedded model from nothing: data to a pipeline folder in the hub's layout."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import diffusers
import numpy as np
import torch
from diffusers import AutoencoderKLWan, CosmosTransformer3DModel, UniPCMultistepScheduler

from worldmodel.backends.cosmos25 import PIPELINE, Recipe
from worldmodel.storage import EpisodeStore, read_masks, read_videos
from worldmodel.training.autoencoder import AutoencoderSettings, train_autoencoder
from worldmodel.training.card import write_card
from worldmodel.training.latents import encode_data, statistics
from worldmodel.training.transformer import TransformerSettings, train_transformer

FLOW_SHIFT = 2.0


@dataclass(frozen=True)
class TinySettings:
    """The run that made the embedded model."""

    autoencoder: AutoencoderSettings = field(default_factory=AutoencoderSettings)
    transformer: TransformerSettings = field(default_factory=TransformerSettings)


def train_from_store(data: Path, out: Path, device: str | None = None, settings: TinySettings | None = None) -> Path:
    """Train on a truth store written by ``worldmodel collect``; returns the pipeline folder with its card.

    Every stage resumes from what it left in ``out``.

    Raises:
        ValueError: the clips do not fit the settings, or ``out`` holds something else.
    """
    settings = settings or TinySettings()
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    store = EpisodeStore.open(data, "truth")
    keys = store.keys()
    if not keys:
        raise ValueError(f"data: got no finished clip in {data}, expected some; run worldmodel collect")
    recipe = _recipe(store, keys[0], settings)
    if out.exists() and any(out.iterdir()) and not (out / "autoencoder.csv").exists():
        raise ValueError(f"out: got {out}, which holds something else, expected a new folder or an unfinished run")
    folder = train_tiny(read_videos(data, keys), read_masks(data, keys), recipe, out, settings, device)
    write_card(folder, out, recipe, _facts(store, keys, out, settings, device))
    return folder


def train_tiny(
    video: np.ndarray, mask: np.ndarray, recipe: Recipe, out: Path, settings: TinySettings, device: str
) -> Path:
    """Train on clips (N, T, H, W, 3) uint8 with object masks (N, T, H, W); returns the pipeline folder."""
    out.mkdir(parents=True, exist_ok=True)
    vae = train_autoencoder(video, mask, out, settings.autoencoder, device)
    latents = encode_data(vae, video, out / "latents", device)
    mean, std = statistics(latents)
    vae.register_to_config(latents_mean=mean, latents_std=std)
    scale = (1, -1, 1, 1, 1)
    latents = ((latents - np.reshape(mean, scale)) / np.reshape(std, scale)).astype(np.float16)
    transformer = train_transformer(latents, out, settings.transformer, device)
    return save_pipeline(out / "pipeline", transformer, vae, recipe)


def save_pipeline(folder: Path, transformer: CosmosTransformer3DModel, vae: AutoencoderKLWan, recipe: Recipe) -> Path:
    """Write a pipeline folder as the hub has it, weights in bf16 safetensors."""
    for part, name in ((transformer, "transformer"), (vae, "vae")):
        rounded = copy.deepcopy(part).cpu().bfloat16()
        for parameter in rounded.parameters():
            parameter.data = parameter.data.contiguous()
        rounded.save_pretrained(folder / name)
    scheduler = UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=FLOW_SHIFT, solver_order=2
    )
    scheduler.save_pretrained(folder / "scheduler")
    index = {
        "_class_name": PIPELINE,
        "_diffusers_version": diffusers.__version__,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "UniPCMultistepScheduler"],
        "text_encoder": [None, None],
        "tokenizer": [None, None],
        "transformer": ["diffusers", "CosmosTransformer3DModel"],
        "vae": ["diffusers", "AutoencoderKLWan"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    (folder / "worldmodel.json").write_text(json.dumps(dataclasses.asdict(recipe), indent=2) + "\n")
    return folder


def _recipe(store: EpisodeStore, key: str, settings: TinySettings) -> Recipe:
    """What the clips are; refuses clips that the training stages cannot be cut from."""
    frames, height, width, _ = store.array(key, "video").data.shape
    longest = max(stage.frames for stage in settings.autoencoder.stages)
    tallest = max(stage.height for stage in settings.autoencoder.stages)
    widest = max(stage.width for stage in settings.autoencoder.stages)
    if frames % 4 != 1 or frames < longest:
        raise ValueError(f"data: got clips of {frames} frames, expected 4n + 1, at least {longest}; collect others")
    if height % 16 or width % 16 or height < tallest or width < widest:
        raise ValueError(
            f"data: got {height} x {width} pixels, expected multiples of 16, at least {tallest} x {widest}; "
            "collect larger ones"
        )
    return Recipe("tiny", (height, width), frames, store.attributes(key)["fps"], steps=20)


def _facts(store: EpisodeStore, keys: list[str], out: Path, settings: TinySettings, device: str) -> dict[str, str]:
    hours = {
        name: torch.load(out / f"{name}.pt", map_location="cpu", weights_only=True)["seconds"] / 3600
        for name in ("autoencoder", "transformer")
    }
    first, last = store.attributes(keys[0])["seed"], store.attributes(keys[-1])["seed"]
    size = f"--image-size {store.settings.get('image_size')}"
    return {
        "data": f"{len(keys)} clips, seeds {first} to {last}, and their mirror images: "
        f"`worldmodel collect --out data --seed {first} --episodes {len(keys)} {size}`",
        "command": "`worldmodel train --data data --out runs/tiny`",
        "device": torch.cuda.get_device_name() if device == "cuda" else f"{os.cpu_count()} CPU cores",
        "hours": ", ".join(f"{name} {value:.2f}" for name, value in hours.items()),
        "versions": f"torch {torch.__version__}, diffusers {diffusers.__version__}",
        "autoencoder settings": f"`{json.dumps(dataclasses.asdict(settings.autoencoder))}`",
        "transformer settings": f"`{json.dumps(dataclasses.asdict(settings.transformer))}`",
    }
