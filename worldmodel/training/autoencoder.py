"""Training of the embedded model's video autoencoder (diffusers' ``AutoencoderKLWan``).

Small things matter here: a ball may have twenty pixels of 4096. So the loss weighs pixels of objects and of
whatever moves more, the first stages see crops around them, and to the absolute error its square is added: under the
first alone a thing that is not yet sure to be there is best left out. Training goes from single frames over short
clips to whole clips: a causal autoencoder shares its spatial weights between them, and single frames teach them
fastest. The network is of Wan2.2's kind, with shortcuts around its resampling, and begins at half the picture's size.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLWan
from torch import Tensor

from worldmodel.training.clip_sets import ClipSet
from worldmodel.training.gradients import Gradients
from worldmodel.training.muon import muon_and_adam
from worldmodel.training.precision import autocast, on_gpu
from worldmodel.training.run import Ahead, TrainingRun, cosine_schedule, fingerprint, fingerprint_of
from worldmodel.training.whole_clip import decode_clip, encode_clip

TINY_AUTOENCODER = {
    "base_dim": 32,
    "z_dim": 16,
    "dim_mult": [1, 2, 2],
    "num_res_blocks": 1,
    "temperal_downsample": [True, True],
    "is_residual": True,
    "in_channels": 12,  # colours of 2 x 2 pixels
    "out_channels": 12,
    "patch_size": 2,
}

LOG_STEPS = 50


@dataclass(frozen=True)
class Stage:
    """A stretch of training on clips of one size (frames, then pixels)."""

    frames: int
    height: int
    width: int
    batch: int
    steps: int


@dataclass(frozen=True)
class AutoencoderSettings:
    """A run that makes an embedded autoencoder; by default one for every kind of clip of the curriculum."""

    stages: tuple[Stage, ...] = (
        Stage(frames=1, height=32, width=32, batch=64, steps=1500),
        Stage(frames=9, height=64, width=32, batch=4, steps=3000),
        Stage(frames=17, height=64, width=64, batch=2, steps=2500),
    )
    learning_rate: float = 3e-3  # of Muon; peak, after the warm-up; falls to zero along a cosine
    adam_share: float = 0.5  # of it for AdamW, which trains biases, gains and both ends
    warmup_steps: int = 100
    object_weight: float = 20.0  # extra weight of pixels on or beside objects and what moves
    kl_weight: float = 1e-4  # per latent value
    seed: int = 0


def train_autoencoder(
    sets: Sequence[ClipSet],
    out: Path,
    settings: AutoencoderSettings,
    device: str = "cpu",
    start: AutoencoderKLWan | None = None,
) -> AutoencoderKLWan:
    """Train on clips, as many of one environment as of another; resumes from ``out``.

    Args:
        sets: what is to be seen.
        out: folder of the checkpoint and the log.
        settings: of the run.
        device: torch device.
        start: weights to go on from; new ones if None.
    """
    torch.manual_seed(settings.seed)
    vae = (AutoencoderKLWan(**TINY_AUTOENCODER) if start is None else copy.deepcopy(start)).float().to(device)
    vae.requires_grad_(True)
    _channels_last(vae)
    muon, adam = muon_and_adam(vae, ends=("conv_in", "conv_out"))
    total = sum(stage.steps for stage in settings.stages)
    described = {**_plain(settings), "data": fingerprint(*(each.video for each in sets))}
    described["start"] = "" if start is None else fingerprint_of(start)
    run = TrainingRun(out, "autoencoder", described, total, {"model": vae, "muon": muon, "adam": adam})
    # Compiled once for each stage: shapes that vary within one graph do not compile. On a GPU it takes minutes.
    losses_of = _losses if on_gpu(device) else torch.compile(_losses, dynamic=False)

    def losses(inputs: Sequence[Tensor]) -> list[Tensor]:
        with autocast(device):
            reconstruction, kl = losses_of(vae, *inputs)
        return [reconstruction + settings.kl_weight * kl, reconstruction, kl]

    gradients = Gradients(losses, vae, device)

    def batch(step: int) -> tuple[Tensor, Tensor]:
        return _batch(sets, _stage_at(settings.stages, step), settings, step)

    with Ahead(batch, run.first, total) as batches:
        for step in run.steps():
            stage = _stage_at(settings.stages, step)
            clips, masks = batches(step)
            clips, weight = _weighted(clips.to(device), masks.to(device), settings.object_weight)
            rate = settings.learning_rate * cosine_schedule(step, settings.warmup_steps, total)
            muon.param_groups[0]["lr"], adam.param_groups[0]["lr"] = rate, settings.adam_share * rate
            noise = torch.randn(_latent_shape(vae, clips), generator=torch.Generator().manual_seed(step))
            _, reconstruction, kl = gradients([clips, weight, noise.to(device)])
            torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
            muon.step()
            adam.step()
            if step % LOG_STEPS == 0:
                run.log(step, frames=stage.frames, error=reconstruction.item(), kl=kl.item())
    vae.zero_grad()
    return vae


def _losses(vae: AutoencoderKLWan, clips: Tensor, weight: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted error per value and KL divergence per latent value, both scalars."""
    mean, log_variance = encode_clip(vae, clips).chunk(2, dim=1)
    mean, log_variance = mean.float(), log_variance.float().clamp(-20.0, 10.0)
    restored = decode_clip(vae, mean + torch.exp(0.5 * log_variance) * noise)
    error = (restored.float() - clips).abs()
    reconstruction = (weight * (error + error.square())).sum() / (3.0 * weight.sum())
    kl = 0.5 * (mean**2 + log_variance.exp() - 1.0 - log_variance).mean()
    return reconstruction, kl


def _batch(sets: Sequence[ClipSet], stage: Stage, settings: AutoencoderSettings, step: int) -> tuple[Tensor, Tensor]:
    """Clips (B, T, H, W, 3) uint8 around what matters and where that is (B, T, H, W)."""
    rng = np.random.default_rng((settings.seed, step))
    clips = np.empty((stage.batch, stage.frames, stage.height, stage.width, 3), np.uint8)
    masks = np.empty(clips.shape[:-1], bool)
    envs = sorted({each.env for each in sets})
    for row, env in enumerate(rng.choice(envs, size=stage.batch)):
        own = [each for each in sets if each.env == env]
        chosen = own[rng.integers(len(own))]
        video, mask = chosen.video, chosen.focus
        index = rng.integers(len(video))
        start = rng.integers(video.shape[1] - stage.frames + 1)
        focus = mask[index, rng.integers(start, start + stage.frames)]
        top, left = _crop_corner(focus, stage, rng)
        window = np.s_[index, start : start + stage.frames, top : top + stage.height, left : left + stage.width]
        flip = -1 if rng.random() < 0.5 else 1
        clips[row], masks[row] = video[window][:, :, ::flip], mask[window][:, :, ::flip]
    return torch.from_numpy(clips), torch.from_numpy(masks)


def _weighted(clips: Tensor, masks: Tensor, object_weight: float) -> tuple[Tensor, Tensor]:
    """Clips (B, 3, T, H, W) in [-1, 1] and their pixel weights (B, 1, T, H, W)."""
    x = clips.permute(0, 4, 1, 2, 3).float() / 127.5 - 1.0
    near = F.max_pool3d(masks[:, None].float(), (1, 3, 3), stride=1, padding=(0, 1, 1))
    return x.contiguous(memory_format=torch.channels_last_3d), 1.0 + object_weight * near


def _crop_corner(focus: np.ndarray, stage: Stage, rng: np.random.Generator) -> tuple[int, int]:
    """A random crop that holds the centre of what is marked in a frame (H, W)."""
    corner = []
    for axis, (size, crop) in enumerate(zip(focus.shape, (stage.height, stage.width), strict=True)):
        occupied = np.flatnonzero(focus.any(axis=1 - axis))
        centre = int(occupied.mean()) if len(occupied) else size // 2
        low, high = max(0, centre - crop + 4), min(size - crop, centre - 4)
        corner.append(int(rng.integers(low, high + 1)) if high >= low else int(np.clip(centre, 0, size - crop)))
    return corner[0], corner[1]


def _stage_at(stages: tuple[Stage, ...], step: int) -> Stage:
    for stage in stages:
        if step < stage.steps:
            return stage
        step -= stage.steps
    return stages[-1]


def _latent_shape(vae: AutoencoderKLWan, clips: Tensor) -> tuple[int, ...]:
    batch, _, frames, height, width = clips.shape
    size = vae.config.scale_factor_spatial
    return batch, vae.config.z_dim, 1 + (frames - 1) // 4, height // size, width // size


def _channels_last(vae: AutoencoderKLWan) -> None:
    """Store convolution weights channel-last: bf16 convolutions on CPUs are twice as fast so."""
    for module in vae.modules():
        if isinstance(module, torch.nn.Conv3d):
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last_3d)
        elif isinstance(module, torch.nn.Conv2d):
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)


def _plain(settings: AutoencoderSettings) -> dict:
    """Settings as nested plain containers that a checkpoint can hold and compare."""
    described = dataclasses.asdict(settings)
    described["stages"] = [dataclasses.asdict(stage) for stage in settings.stages]
    return described
