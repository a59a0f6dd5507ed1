"""Latents of a data set, encoded once: the transformer never sees pixels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKLWan
from torch import Tensor
from tqdm.auto import tqdm

from worldmodel.training.precision import autocast
from worldmodel.training.run import fingerprint
from worldmodel.training.whole_clip import encode_clip

SHARD = 500  # clips in a file; an interrupted run loses at most one
BATCH = 10


def encode_data(vae: AutoencoderKLWan, video: np.ndarray, out: Path, device: str = "cpu") -> np.ndarray:
    """Raw latents (2 N, z, T, H, W) float16 of clips (N, T, H, W, 3) uint8 and their mirror images.

    Mirroring the picture mirrors the physics, so it doubles the data. Finished shards in
    ``out`` are kept and reused.

    Raises:
        ValueError: ``out`` holds latents of other clips or another autoencoder.
    """
    _check_source(vae, video, out)
    vae = vae.to(device).eval()
    moments_of = torch.compile(encode_clip, dynamic=False)

    def encode(clips: np.ndarray) -> np.ndarray:
        with torch.no_grad(), autocast(device):
            mean = moments_of(vae, _pixels(clips, device)).chunk(2, dim=1)[0].float().cpu().numpy()
        # In the order a file has: sums over them, and so the statistics, are then the same after a resume.
        return np.ascontiguousarray(mean, dtype=np.float16)

    shards = []
    with tqdm(total=2 * len(video), desc="encoding", unit="clip") as progress:
        for side, step in (("plain", 1), ("mirrored", -1)):
            for first in range(0, len(video), SHARD):
                clips = video[first : first + SHARD][..., ::step, :]
                shards.append(_shard(out / f"{side}_{first:06d}.npy", clips, encode, progress.update))
    return np.concatenate(shards)


def statistics(latents: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel of raw latents (N, z, T, H, W)."""
    sample = latents[:: max(1, len(latents) // 2000)].astype(np.float32)
    return sample.mean(axis=(0, 2, 3, 4)).tolist(), sample.std(axis=(0, 2, 3, 4)).tolist()


def _shard(
    path: Path, clips: np.ndarray, encode: Callable[[np.ndarray], np.ndarray], advance: Callable[[int], object]
) -> np.ndarray:
    if path.exists():
        advance(len(clips))
        return np.load(path)
    parts = []
    for start in range(0, len(clips), BATCH):
        parts.append(encode(clips[start : start + BATCH]))
        advance(len(parts[-1]))
    latents = np.concatenate(parts)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as handle:
        np.save(handle, latents)
    partial.rename(path)
    return latents


def _pixels(clips: np.ndarray, device: str) -> Tensor:
    """Clips (B, T, H, W, 3) uint8 as (B, 3, T, H, W) in [-1, 1], channels last in memory."""
    x = torch.from_numpy(clips.copy()).to(device).permute(0, 4, 1, 2, 3).float() / 127.5 - 1.0
    return x.contiguous(memory_format=torch.channels_last_3d)


def _check_source(vae: AutoencoderKLWan, video: np.ndarray, out: Path) -> None:
    """Note what ``out`` is made of, or refuse it when it is made of something else."""
    source = fingerprint(video, *(parameter.detach().cpu().numpy() for parameter in vae.parameters()))
    note = out / "source.txt"
    out.mkdir(parents=True, exist_ok=True)
    if not note.exists() and any(out.iterdir()):
        raise ValueError(f"{out}: got files of unknown origin, expected an empty folder; delete it")
    if note.exists() and note.read_text() != source:
        raise ValueError(f"{out}: got latents of other clips or another autoencoder, expected none; delete the folder")
    note.write_text(source)
