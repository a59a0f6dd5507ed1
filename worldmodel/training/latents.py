"""Latents of a data set, encoded once: the transformer never sees pixels."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from worldmodel.training.precision import autocast, on_gpu
from worldmodel.training.run import fingerprint, fingerprint_of
from worldmodel.training.whole_clip import encode_clip

SHARD = 500  # clips in a file; an interrupted run loses at most one
BATCH, GPU_BATCH = 10, 50  # clips that are encoded together
RARE = 0.1  # share of successes or failures below which they do not make half of what is drawn


Encode = Callable[[np.ndarray], np.ndarray]  # clips (B, T, H, W, 3) uint8 -> latents (B, C, T', H', W') float16


@dataclass(frozen=True)
class Stretch:
    """N windows of one set that begin at one frame, plain or mirrored.

    Attributes:
        name: of the set and the frame.
        env: that recorded it.
        latents: (N, C, T', H', W') float16.
        video: (N, T, H, W, 3) uint8.
        focus: (N, T, H, W) bool, objects and whatever else has moved.
        actions: (N, T - 1, A) in units of ``spec``; None where nothing acts.
        spec: of the actions.
        success: (N,) bool, whether the clips that they are cut from end well; None where that is not known.
    """

    name: str
    env: str
    latents: np.ndarray
    video: np.ndarray
    focus: np.ndarray
    actions: np.ndarray | None
    spec: ActionSpec | None
    success: np.ndarray | None = None


@dataclass(frozen=True)
class Windows:
    """Stretches as the embedded kind reads them, all in one.

    Attributes:
        latents: (N, z, T', H', W') float16.
        actions: (N, T - 1, A) float32, the model's numbers; 0 where nothing acts.
        acts: (N,) bool, whether something does.
        focus: (N, T', H', W') bool, which latents have objects, or something that has moved, under them.
        chance: (N,) float64, of being drawn; 1 in all.
    """

    latents: np.ndarray
    actions: np.ndarray
    acts: np.ndarray
    focus: np.ndarray
    chance: np.ndarray


def encode_sets(
    encode: Encode, source: str, sets: Sequence[ClipSet], out: Path, *, frames: int, stride: int, batch: int = BATCH
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
        batch: windows that are encoded together.

    Raises:
        ValueError: ``out`` holds latents of other clips or another autoencoder.
    """
    _check_source(fingerprint(*(each.video for each in sets), np.array((frames, stride))) + source, out)
    cuts = [cut for each in sets for cut in _cuts(each, frames, stride)]
    stretches = []
    with tqdm(total=sum(len(cut.video) for cut in cuts), desc="encoding", unit="clip") as progress:
        for cut in cuts:
            shards = []
            for first in range(0, len(cut.video), SHARD):
                path, clips = out / f"{cut.name}_{first:06d}.npy", cut.video[first : first + SHARD]
                shards.append(_shard(path, clips, encode, batch, progress.update))
            stretches.append(dataclasses.replace(cut, latents=np.concatenate(shards)))
    return stretches


def raw_encoder(vae: AutoencoderKLWan, device: str = "cpu") -> Encode:
    """Latents as the autoencoder makes them, not normalised, from whole clips."""
    vae = vae.to(device).eval()
    moments_of = encode_clip if on_gpu(device) else torch.compile(encode_clip, dynamic=False)

    def encode(clips: np.ndarray) -> np.ndarray:
        with torch.no_grad(), autocast(device):
            mean = moments_of(vae, _pixels(clips, device)).chunk(2, dim=1)[0].float().cpu().numpy()
        # In the order a file has: sums over them, and so the statistics, are then the same after a resume.
        return np.ascontiguousarray(mean, dtype=np.float16)

    return encode


def encoded_windows(
    vae: AutoencoderKLWan,
    sets: Sequence[ClipSet],
    out: Path,
    domains: Sequence[Domain],
    action_dim: int,
    device: str,
    *,
    frames: int,
    stride: int,
    often: Mapping[str, float] | None = None,
) -> Windows:
    """Raw latents of all sets, encoded into ``out`` or found there; see :func:`encode_sets` and :func:`as_windows`."""
    encode, batch = raw_encoder(vae, device), GPU_BATCH if on_gpu(device) else BATCH
    stretches = encode_sets(encode, fingerprint_of(vae), sets, out, frames=frames, stride=stride, batch=batch)
    return as_windows(stretches, domains, action_dim, often)


def as_windows(
    stretches: Sequence[Stretch], domains: Sequence[Domain], action_dim: int, often: Mapping[str, float] | None = None
) -> Windows:
    """All stretches, their actions as numbers of the domains that know them.

    Each environment is drawn as often as another, or ``often[env]`` times as often; of its windows, those of clips that
    succeed together as often as those of clips that fail, unless one kind is less than a tenth.
    """
    actions = []
    for each in stretches:
        if each.actions is None or each.spec is None:
            actions.append(np.zeros((len(each.video), each.video.shape[1] - 1, action_dim), np.float32))
        else:
            actions.append(domain_of(each.spec, domains).numbers(each.actions, action_dim))
    acts = np.concatenate([np.full(len(each.video), each.actions is not None) for each in stretches])
    chance = _chances(stretches, often or {})
    focus = np.concatenate([pooled(each.focus, each.latents.shape[2:]) for each in stretches])
    return Windows(
        np.concatenate([each.latents for each in stretches]),
        np.concatenate(actions),
        acts,
        focus,
        chance / chance.sum(),
    )


def _chances(stretches: Sequence[Stretch], often: Mapping[str, float]) -> np.ndarray:
    """How often each window is to be drawn, up to a factor."""
    sizes: Counter[str] = Counter()
    known: Counter[str] = Counter()  # windows of clips of which it is known how they end
    good: Counter[str] = Counter()
    for each in stretches:
        sizes[each.env] += len(each.video)
        if each.success is not None:
            known[each.env] += len(each.success)
            good[each.env] += int(each.success.sum())
    parts = []
    for each in stretches:
        chance = np.full(len(each.video), often.get(each.env, 1.0) / sizes[each.env])
        if each.success is not None and 0 < good[each.env] < known[each.env]:
            rate = good[each.env] / known[each.env]
            succeeding, failing = _evened(rate), _evened(1.0 - rate)
            total = rate * succeeding + (1.0 - rate) * failing
            chance *= np.where(each.success, succeeding, failing) / total
        parts.append(chance)
    return np.concatenate(parts)


def _evened(rate: float) -> float:
    """Weight of windows that are a share ``rate`` of all, by which they make half of what is drawn; rarer ones less."""
    return 0.5 / max(rate, RARE)


def pooled(focus: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Which latents (N, T', H', W') have a marked pixel under them: the first has one frame, the others all as many.

    Args:
        focus: (N, T, H, W) bool.
        size: T', H' and W'.
    """
    times, height, width = size
    count, frames = focus.shape[:2]
    blocks = focus.reshape(count, frames, height, focus.shape[2] // height, width, focus.shape[3] // width)
    # Rows first: both axes at once take ten times as long.
    cells: np.ndarray = np.any(np.any(blocks, axis=3), axis=4)
    later = cells[:, 1:].reshape(count, times - 1, (frames - 1) // max(1, times - 1), height, width)
    return np.concatenate([cells[:, :1], np.any(later, axis=2)], axis=1)


def statistics(latents: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel of raw latents (N, z, T, H, W)."""
    sample = latents[:: max(1, len(latents) // 2000)].astype(np.float32)
    return sample.mean(axis=(0, 2, 3, 4)).tolist(), sample.std(axis=(0, 2, 3, 4)).tolist()


def normalised(latents: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """Raw latents (N, z, T, H, W) with mean 0 and standard deviation 1 in each channel, float16."""
    shape = (-1, 1, 1, 1)
    shift, spread = np.reshape(mean, shape).astype(np.float32), np.reshape(std, shape).astype(np.float32)
    result = np.empty_like(latents)
    for raw, out in zip(latents, result, strict=True):  # one by one: all of them at once would need twice the memory
        out[:] = (raw - shift) / spread
    return result


def _cuts(each: ClipSet, frames: int, stride: int) -> Iterator[Stretch]:
    """Every stretch of a set, without latents yet."""
    none = np.empty(0, np.float16)
    for start in range(0, each.video.shape[1] - frames + 1, stride):
        name, window = f"{each.name}_{start:04d}", np.s_[:, start : start + frames]
        video, focus = each.video[window], each.focus[window]
        if each.actions is None:
            yield Stretch(name, each.env, none, video, focus, None, each.spec)
            mirrored = video[..., ::-1, :], focus[..., ::-1]
            yield Stretch(f"{name}_mirrored", each.env, none, *mirrored, None, each.spec)
        else:
            actions = each.actions[:, start : start + frames - 1]
            yield Stretch(name, each.env, none, video, focus, actions, each.spec, each.success)


def _shard(path: Path, clips: np.ndarray, encode: Encode, batch: int, advance: Callable[[int], object]) -> np.ndarray:
    if path.exists():
        advance(len(clips))
        return np.load(path)
    parts = []
    for start in range(0, len(clips), batch):
        parts.append(encode(clips[start : start + batch]))
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
