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

from worldmodel.actions import ActionSpec
from worldmodel.backends.domains import Domain
from worldmodel.training.clip_sets import ClipSet, domain_of
from worldmodel.training.precision import autocast
from worldmodel.training.run import fingerprint
from worldmodel.training.whole_clip import encode_clip

SHARD = 500  # clips in a file; an interrupted run loses at most one
BATCH = 10


Encode = Callable[[np.ndarray], np.ndarray]  # clips (B, T, H, W, 3) uint8 -> latents (B, C, T', H', W') float16


@dataclass(frozen=True)
class Stretch:
    """N windows of one set that begin at one frame, plain or mirrored.

    Attributes:
        name: of the set and the frame.
        latents: (N, C, T', H', W') float16.
        video: (N, T, H, W, 3) uint8.
        actions: (N, T - 1, A) in units of ``spec``; None where nothing acts.
        spec: of the actions.
    """

    name: str
    latents: np.ndarray
    video: np.ndarray
    actions: np.ndarray | None
    spec: ActionSpec | None


@dataclass(frozen=True)
class Windows:
    """Stretches as the embedded kind reads them, all in one.

    Attributes:
        latents: (N, z, T', H/8, W/8) float16.
        actions: (N, T - 1, A) float32, the model's numbers; 0 where nothing acts.
        acts: (N,) bool, whether something does.
    """

    latents: np.ndarray
    actions: np.ndarray
    acts: np.ndarray


def encode_sets(
    encode: Encode, source: str, sets: Sequence[ClipSet], out: Path, *, frames: int, stride: int
) -> list[Stretch]:
    """Latents of windows of ``frames`` frames that begin every ``stride`` frames of every clip.

    Clips in which nothing acts are encoded mirrored as well: mirroring the picture mirrors the physics. Finished
    shards in ``out`` are kept and reused.

    Args:
        encode: the autoencoder.
        source: tells one autoencoder from another.
        sets: what to encode.
        out: folder of the shards.
        frames: of a window.
        stride: frames between the beginnings of two windows.

    Raises:
        ValueError: ``out`` holds latents of other clips or another autoencoder.
    """
    _check_source(fingerprint(*(each.video for each in sets), np.array((frames, stride))) + source, out)
    cuts = [cut for each in sets for cut in _cuts(each, frames, stride)]
    stretches = []
    with tqdm(total=sum(len(video) for _, _, video, _ in cuts), desc="encoding", unit="clip") as progress:
        for each, name, video, actions in cuts:
            shards = [
                _shard(out / f"{name}_{first:06d}.npy", video[first : first + SHARD], encode, progress.update)
                for first in range(0, len(video), SHARD)
            ]
            stretches.append(Stretch(name, np.concatenate(shards), video, actions, each.spec))
    return stretches


def raw_encoder(vae: AutoencoderKLWan, device: str = "cpu") -> Encode:
    """Latents as the autoencoder makes them, not normalised, from whole clips."""
    vae = vae.to(device).eval()
    moments_of = torch.compile(encode_clip, dynamic=False)

    def encode(clips: np.ndarray) -> np.ndarray:
        with torch.no_grad(), autocast(device):
            mean = moments_of(vae, _pixels(clips, device)).chunk(2, dim=1)[0].float().cpu().numpy()
        # In the order a file has: sums over them, and so the statistics, are then the same after a resume.
        return np.ascontiguousarray(mean, dtype=np.float16)

    return encode


def as_windows(stretches: Sequence[Stretch], domains: Sequence[Domain], action_dim: int) -> Windows:
    """All stretches, their actions as numbers of the domains that know them."""
    actions = []
    for each in stretches:
        if each.actions is None or each.spec is None:
            actions.append(np.zeros((len(each.video), each.video.shape[1] - 1, action_dim), np.float32))
        else:
            actions.append(domain_of(each.spec, domains).numbers(each.actions, action_dim))
    acts = np.concatenate([np.full(len(each.video), each.actions is not None) for each in stretches])
    return Windows(np.concatenate([each.latents for each in stretches]), np.concatenate(actions), acts)


def statistics(latents: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel of raw latents (N, z, T, H, W)."""
    sample = latents[:: max(1, len(latents) // 2000)].astype(np.float32)
    return sample.mean(axis=(0, 2, 3, 4)).tolist(), sample.std(axis=(0, 2, 3, 4)).tolist()


def _cuts(each: ClipSet, frames: int, stride: int) -> Iterator[tuple[ClipSet, str, np.ndarray, np.ndarray | None]]:
    """Name, video and actions of every window of a set."""
    for start in range(0, each.video.shape[1] - frames + 1, stride):
        name, video = f"{each.name}_{start:04d}", each.video[:, start : start + frames]
        if each.actions is None:
            yield each, name, video, None
            yield each, f"{name}_mirrored", video[..., ::-1, :], None
        else:
            yield each, name, video, each.actions[:, start : start + frames - 1]


def _shard(path: Path, clips: np.ndarray, encode: Encode, advance: Callable[[int], object]) -> np.ndarray:
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


def _check_source(source: str, out: Path) -> None:
    """Note what ``out`` is made of, or refuse it when it is made of something else."""
    note = out / "source.txt"
    out.mkdir(parents=True, exist_ok=True)
    if not note.exists() and any(out.iterdir()):
        raise ValueError(f"{out}: got files of unknown origin, expected an empty folder; delete it")
    if note.exists() and note.read_text() != source:
        raise ValueError(f"{out}: got latents of other clips or another autoencoder, expected none; delete the folder")
    note.write_text(source)
