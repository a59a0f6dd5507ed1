"""Where along t Predict-and-Perturb helps: one refined step at a time, held against the truth in latent space.

    python benchmarks/refinement_chains.py

For every step of the schedule one row: t; how much the model disagrees with itself after one perturbation, where the
true clip moves and where it stands still; the share of places that the paper's threshold freezes; and by how much the
finished latents of a clip refined at that step alone are nearer to the encoded true clip than those of the same clip
unrefined, where it moves, in per cent, with a 95 % interval over scenes. Below zero is nearer. Nothing is decoded, so
it is quick, and blind to what a tracker would see. Scenes are those on which benchmarks/refinement_study.py tunes.

The second table asks what a sampler could gain at all. From several seeds of every scene: the error of one sample, how
far samples are from their mean, and the error of that mean, which is the model's and no sampler's (root mean squares in
latent units, where the true clip moves; the first is the hypotenuse of the other two).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

os.environ.setdefault("MUJOCO_GL", "egl")

import numpy as np
import torch
import tyro
from torch import Tensor

import worldmodel
from worldmodel.envs.free_fall import FreeFallEnv
from worldmodel.evaluators.statistics import bootstrap_mean
from worldmodel.noise import KeyedNoise
from worldmodel.sampling import PredictPerturb, Record, sample

TUNING_SEED = 1_500_000
SEED_STRIDE = 100_000_000  # from one noise seed of a scene to its next
PAPER_THRESHOLD = 0.25
MOVING = 0.5  # latent units by which a place of the true clip must differ from its first frame's


@dataclass(frozen=True)
class Settings:
    """Settings of the benchmark."""

    model: str = "tiny"
    scenes: int = 48
    steps: int = 10
    iterations: int = 2
    temperature: float = 0.5
    threshold: float = 0.0  # 0 is unmasked
    seeds: int = 4  # of a scene, for the second table


def main(settings: Settings) -> None:
    """Print both tables."""
    model = worldmodel.load(settings.model)
    backend = model.backend
    env = FreeFallEnv(image_size=model.recipe.image_size)
    videos = np.stack([env.record(seed=TUNING_SEED + number).video for number in range(settings.scenes)])
    true = torch.cat([backend.encode(part) for part in np.split(videos, range(4, len(videos), 4))])
    seeds = range(settings.scenes)
    noise, denoise = KeyedNoise(seeds), backend.denoiser(true[:, :, :1])
    x, sigmas = noise.initial(true), backend.sigmas(settings.steps)
    moving = (true[:, :, 1:] - true[:, :, 1:2]).abs().mean(dim=1) > MOVING  # of the frames that are imagined
    print(settings)
    spread(settings, denoise, true, moving, backend.sigmas)
    base = errors(sample(denoise, x, sigmas, noise=noise), true, moving)
    print(f"\nerror of the unrefined clips, where they move: {base.mean():.3f} latent units")
    print("    t   U moving   U still   certain, %   refined there - unrefined, %")
    for step in range(settings.steps):
        record = Record(maps=True)
        refine = PredictPerturb.from_steps(
            [(step, step, settings.iterations)],
            threshold=settings.threshold,
            temperature=settings.temperature,
            stop_fraction=None,
        )
        z = sample(denoise, x, sigmas, refine=refine, noise=noise, callback=record)
        change = 100.0 * (errors(z, true, moving) / base.mean() - base / base.mean())
        mean = bootstrap_mean(change, np.random.default_rng(0))
        uncertainty = record.iterations[0].map
        assert uncertainty is not None
        there, free = moving.numpy(), uncertainty[:, 1:].astype(np.float32)
        print(
            f"{1 - sigmas[step]:5.2f} {free[there].mean():10.3f} {free[~there].mean():9.3f} "
            f"{100 * (free < PAPER_THRESHOLD).mean():12.1f}   {mean.value:+.2f} [{mean.low:+.2f}, {mean.high:+.2f}]",
            flush=True,
        )


def spread(settings: Settings, denoise: Any, true: Tensor, moving: Tensor, schedule: Any) -> None:
    """Print what of the error is chance and what is the model."""
    steps, refine = settings.steps, PredictPerturb([(0.1, 0.2, settings.iterations)], threshold=0.0)
    runs: dict[str, dict[str, Any]] = {
        f"Euler, {steps // 2} steps": {"sigmas": schedule(steps // 2)},
        f"Euler, {steps} steps": {"sigmas": schedule(steps)},
        f"Euler, {2 * steps} steps": {"sigmas": schedule(2 * steps)},
        f"SDE, {steps} steps": {"sigmas": schedule(steps), "solver": "sde"},
        f"P&P, {steps} steps": {"sigmas": schedule(steps), "refine": refine},
        f"P&P, {steps} steps, T 1": {"sigmas": schedule(steps), "refine": replace(refine, temperature=1.0)},
    }
    print(f"\n{'':22} one sample   from their mean   the mean")
    for name, options in runs.items():
        noises = [KeyedNoise(range(k * SEED_STRIDE, k * SEED_STRIDE + len(true))) for k in range(settings.seeds)]
        z = torch.stack([sample(denoise, noise.initial(true), noise=noise, **options) for noise in noises])
        mean = z.mean(dim=0)
        # Unbiased: a mean of n samples has an n-th of their variance, which is no error of the model.
        chance = root_mean_square((z - mean).square().sum(dim=0) / (settings.seeds - 1), moving)
        one = root_mean_square((z - true).square().mean(dim=0), moving)
        print(f"{name:22} {one:10.3f} {chance:17.3f} {max(one**2 - chance**2, 0.0) ** 0.5:10.3f}", flush=True)


def root_mean_square(squares: Tensor, moving: Tensor) -> float:
    """Root of the mean of squares (B, C, T, H, W) over the imagined frames' places (B, T - 1, H, W)."""
    return float(squares[:, :, 1:].mean(dim=1)[moving].mean().sqrt())


def errors(z: Tensor, true: Tensor, moving: Tensor) -> np.ndarray:
    """Mean absolute error (B,) of latents (B, C, T, H, W) in the imagined frames, in places (B, T - 1, H, W)."""
    error = (z - true)[:, :, 1:].abs().mean(dim=1)
    return ((error * moving).flatten(1).sum(dim=1) / moving.flatten(1).sum(dim=1).clamp(min=1)).numpy()


if __name__ == "__main__":
    main(tyro.cli(Settings))
