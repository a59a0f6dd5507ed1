"""What the lossy ways to run a model change, and what they save, on the weights of the embedded model.

    python benchmarks/lossy.py --scenes 16

Every row samples the same scenes with the same noise. The change is that of the latents, |z - z_exact| / |z_exact|, as
a mean over clips, and of the centroid error of the falling object, px; both beside other noise, which says how much
another sample of the same model differs. Seconds are CPU seconds of all threads.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

os.environ.setdefault("MUJOCO_GL", "egl")

import numpy as np
import torch
import tyro
from refinement_sweep import VALIDATION_SEED

import worldmodel
from worldmodel.backends.cosmos25_guided import GuidedDenoiser
from worldmodel.backends.cosmos25_network import CosmosNetwork
from worldmodel.backends.running import Running
from worldmodel.envs.free_fall import FreeFallEnv
from worldmodel.evaluators.free_fall import score_free_fall
from worldmodel.evaluators.statistics import paired_difference
from worldmodel.noise import KeyedNoise
from worldmodel.sampling import sample

ROWS = {
    "exact": Running(),
    "other noise": Running(),
    "first block 0.02": Running(first_block_cache=0.02),
    "first block 0.05": Running(first_block_cache=0.05),
    "first block 0.1": Running(first_block_cache=0.1),
    "first block 0.2": Running(first_block_cache=0.2),
    "fp8": Running(memory=("fp8",)),
}


@dataclass(frozen=True)
class Settings:
    """Settings of the comparison."""

    scenes: int = 16
    steps: int = 35


@torch.no_grad()
def main(settings: Settings) -> None:
    """Print the table."""
    env = FreeFallEnv(image_size=worldmodel.load("tiny", "cpu").recipe.image_size)
    truths = [env.record(seed=VALIDATION_SEED + number) for number in range(settings.scenes)]
    print(f"tiny, {settings.scenes} scenes, {settings.steps} steps")
    print(f"{'':20} {'skipped':>8} {'CPU s':>7} {'latents':>8} {'px mean':>8}   px, row - exact")
    exact = errors_exact = None
    for name, running in ROWS.items():
        backend = worldmodel.load("tiny", "cpu").backend  # anew: 8-bit weights are not undone
        given = backend.encode(np.stack([truth.video[:1] for truth in truths]))
        network = CosmosNetwork(running.place(backend.transformer, "cpu"), running)
        denoise = GuidedDenoiser(network, given, backend.latent_shape[1], None)
        noise = KeyedNoise(range(settings.scenes), fork=1 if name == "other noise" else 0)
        x, started = noise.initial(given.new_empty(settings.scenes, *backend.latent_shape)), time.process_time()
        z = sample(denoise, x, backend.sigmas(settings.steps), noise=noise)
        seconds = time.process_time() - started
        errors = np.array(
            [score_free_fall(*each).centroid_error_px for each in zip(backend.decode(z), truths, strict=True)]
        )
        exact, errors_exact = (z, errors) if exact is None else (exact, errors_exact)
        apart = ((z - exact).flatten(1).norm(dim=1) / exact.flatten(1).norm(dim=1)).mean()
        mean = paired_difference(errors, errors_exact, np.random.default_rng(0)).mean
        skipped = 0.0 if denoise.cache is None else denoise.cache.skipped
        print(
            f"{name:20} {skipped:8.0%} {seconds:7.1f} {apart:8.4f} {errors.mean():8.3f}   "
            f"{mean.value:+.3f} [{mean.low:+.3f}, {mean.high:+.3f}]",
            flush=True,
        )


if __name__ == "__main__":
    main(tyro.cli(Settings))
