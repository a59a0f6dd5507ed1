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
from worldmodel.training.card import settings_text, write_card
from worldmodel.training.latents import encode_data, statistics
from worldmodel.training.transformer import TransformerSettings, train_transformer

FLOW_SHIFT = 2.0


@dataclass(frozen=True)
class TinySettings:
    """The run that made the embedded model."""

    autoencoder: AutoencoderSettings = field(default_factory=AutoencoderSettings)
    transformer: TransformerSettings = field(default_factory=TransformerSettings)


def train_tiny(
    video: np.ndarray, mask: np.ndarray, fps: float, out: Path, settings: TinySettings, device: str = "cpu"
) -> Path:
    """Train on clips (N, T, H, W, 3) uint8 with object masks; returns the pipeline folder.

    Every stage resumes from what it left in ``out``.
    """
    out.mkdir(parents=True, exist_ok=True)
    vae = train_autoencoder(video, mask, out, settings.autoencoder, device)
    latents = encode_data(vae, video, out / "latents", device)
    mean, std = statistics(latents)
    vae.register_to_config(latents_mean=mean, latents_std=std)
    scale = (1, -1, 1, 1, 1)
    latents = ((latents - np.reshape(mean, scale)) / np.reshape(std, scale)).astype(np.float16)
    transformer = train_transformer(latents, out, settings.transformer, device)
    recipe = Recipe("tiny", (video.shape[2], video.shape[3]), video.shape[1], fps, steps=20)
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


def train_from_store(data: Path, out: Path, device: str | None = None) -> Path:
    """Train on a truth store written by ``worldmodel collect``; returns the pipeline folder with its card."""
    store = EpisodeStore.open(data, "truth")
    video, mask = read_videos(data), read_masks(data)
    settings = TinySettings()
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    folder = train_tiny(video, mask, store.settings["fps"], out, settings, device)
    write_card(folder, out, _facts(store, len(video), out, settings, device))
    return folder


def _facts(store: EpisodeStore, clips: int, out: Path, settings: TinySettings, device: str) -> dict[str, str]:
    hours = {
        name: torch.load(out / f"{name}.pt", map_location="cpu", weights_only=True)["seconds"] / 3600
        for name in ("autoencoder", "transformer")
    }
    return {
        "data": f"{clips} clips of {store.settings['env']} and their mirror images",
        "device": f"{device} ({torch.cuda.get_device_name() if device == 'cuda' else f'{os.cpu_count()} CPU cores'})",
        "hours": ", ".join(f"{name} {value:.2f}" for name, value in hours.items()),
        "autoencoder settings": settings_text(dataclasses.asdict(settings.autoencoder)),
        "transformer settings": settings_text(dataclasses.asdict(settings.transformer)),
        "weights": "moving average, rounded to bf16",
    }
