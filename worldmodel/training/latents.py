"""Latents of a data set, encoded once: the transformer never sees pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKLWan
from torch import Tensor
from tqdm.auto import tqdm

from worldmodel.backends.domains import Domain
from worldmodel.training.clip_sets import ClipSet, domain_of
from worldmodel.training.precision import autocast
from worldmodel.training.run import fingerprint, fingerprint_of
from worldmodel.training.whole_clip import encode_clip

SHARD = 500  # clips in a file; an interrupted run loses at most one
BATCH = 10


@dataclass(frozen=True)
class Windows:
    """What the transformer learns from: N stretches of clips.

    Attributes:
        latents: (N, z, T', H/8, W/8) float16, as the autoencoder makes them.
        actions: (N, T - 1, A) float32, the model's numbers; 0 where nothing acts.
        acts: (N,) bool, whether something does.
    """

    latents: np.ndarray
    actions: np.ndarray
    acts: np.ndarray


@dataclass(frozen=True)
class _Part:
    """The windows of one set that begin at one frame."""

    name: str
    video: np.ndarray  # (N, T, H, W, 3)
    actions: np.ndarray  # (N, T - 1, A)
    acts: bool


def encode_sets(
    vae: AutoencoderKLWan,
    sets: Sequence[ClipSet],
    domains: Sequence[Domain],
    out: Path,
    *,
    frames: int,
    stride: int,
    action_dim: int,
    device: str = "cpu",
) -> Windows:
    """Latents of windows of ``frames`` frames that begin every ``stride`` frames of every clip.

    Clips in which nothing acts are encoded mirrored as well: mirroring the picture mirrors the physics. Finished
    shards in ``out`` are kept and reused.

    Raises:
        ValueError: ``out`` holds latents of other clips or another autoencoder.
    """
    _check_source(vae, sets, (frames, stride), out)
    vae = vae.to(device).eval()
    moments_of = torch.compile(encode_clip, dynamic=False)

    def encode(clips: np.ndarray) -> np.ndarray:
        with torch.no_grad(), autocast(device):
            mean = moments_of(vae, _pixels(clips, device)).chunk(2, dim=1)[0].float().cpu().numpy()
        # In the order a file has: sums over them, and so the statistics, are then the same after a resume.
        return np.ascontiguousarray(mean, dtype=np.float16)

    parts = [part for each in sets for part in _parts(each, domains, frames, stride, action_dim)]
    latents = []
    with tqdm(total=sum(len(part.video) for part in parts), desc="encoding", unit="clip") as progress:
        for part in parts:
            for first in range(0, len(part.video), SHARD):
                path = out / f"{part.name}_{first:06d}.npy"
                latents.append(_shard(path, part.video[first : first + SHARD], encode, progress.update))
    acts = np.concatenate([np.full(len(part.video), part.acts) for part in parts])
    return Windows(np.concatenate(latents), np.concatenate([part.actions for part in parts]), acts)


def statistics(latents: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel of raw latents (N, z, T, H, W)."""
    sample = latents[:: max(1, len(latents) // 2000)].astype(np.float32)
    return sample.mean(axis=(0, 2, 3, 4)).tolist(), sample.std(axis=(0, 2, 3, 4)).tolist()


def _parts(each: ClipSet, domains: Sequence[Domain], frames: int, stride: int, action_dim: int) -> Iterator[_Part]:
    domain = domain_of(each, domains)
    for start in range(0, each.video.shape[1] - frames + 1, stride):
        video = each.video[:, start : start + frames]
        name = f"{each.name}_{start:04d}"
        if domain is None or each.actions is None:
            actions = np.zeros((len(video), frames - 1, action_dim), np.float32)
            yield _Part(name, video, actions, acts=False)
            yield _Part(f"{name}_mirrored", video[..., ::-1, :], actions, acts=False)
        else:
            own = each.actions[:, start : start + frames - 1]
            yield _Part(name, video, domain.numbers(own, action_dim), acts=True)


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


def _check_source(vae: AutoencoderKLWan, sets: Sequence[ClipSet], cut: tuple[int, int], out: Path) -> None:
    """Note what ``out`` is made of, or refuse it when it is made of something else."""
    videos = (each.video for each in sets)
    source = fingerprint(*videos, np.array(cut)) + fingerprint_of(vae)
    note = out / "source.txt"
    out.mkdir(parents=True, exist_ok=True)
    if not note.exists() and any(out.iterdir()):
        raise ValueError(f"{out}: got files of unknown origin, expected an empty folder; delete it")
    if note.exists() and note.read_text() != source:
        raise ValueError(f"{out}: got latents of other clips or another autoencoder, expected none; delete the folder")
    note.write_text(source)
