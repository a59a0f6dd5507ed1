"""What becomes of the result when refinement evaluates only where its mask is open.

    python benchmarks/sparse_refinement.py --scenes 48

Every row samples the same validation scenes (seeds from 1 000 000) with the same noise. Cost is in full evaluations a
clip, the latent difference is relative to dense Predict-and-Perturb, |z - z_dense| / |z_dense| as a mean over clips,
and the paired difference of the centroid error is to dense, too. Two rows say how much of a difference is to be
expected of settings that nobody would call worse: dense with other noise after iteration 1, which leaves open what the
certain places show to the uncertain ones, and dense with the iterations after the first left out.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

os.environ.setdefault("MUJOCO_GL", "egl")

import numpy as np
import torch
import tyro
from refinement_sweep import VALIDATION_SEED
from torch import Tensor

import worldmodel
from worldmodel.envs.free_fall import FreeFallEnv
from worldmodel.evaluators.free_fall import score_free_fall
from worldmodel.evaluators.statistics import paired_difference
from worldmodel.noise import KeyedNoise
from worldmodel.sampling import PredictPerturb, Record, SparsePredictPerturb, sample
from worldmodel.truth import Truth


@dataclass(frozen=True)
class Settings:
    """Settings of the comparison."""

    model: str = "tiny"
    device: str | None = None  # a GPU if there is one
    scenes: int = 48
    steps: int = 20
    plan: tuple[float, float, int] = (0.05, 0.3, 2)  # t_start, t_end, iterations
    threshold: float = 0.25
    batch_size: int = 16


@dataclass(frozen=True)
class Outcome:
    """One row: N clips."""

    latents: Tensor  # (N, C, T, H, W)
    nfe: float  # mean over the clips
    cost: float  # the same, parts of evaluations counted as parts
    seconds: float  # sampling alone
    errors: np.ndarray  # (N,) mean centroid error, px


def rows(dense: PredictPerturb) -> dict[str, PredictPerturb | None]:
    """The settings that are compared."""
    start, end, _ = dense.plan[0]
    return {
        "dense": dense,
        "dense, other noise from k = 2": dense,
        "dense, K = 1": replace(dense, plan=[(start, end, 1)]),
        "Euler": None,
        "sparse": SparsePredictPerturb.of(dense),
        "sparse, halo 1": SparsePredictPerturb.of(dense, halo=1),
        "sparse, settled 0.125": SparsePredictPerturb.of(dense, settled=0.125),
        "sparse, settled 0.25": SparsePredictPerturb.of(dense, settled=0.25),
        "sparse, settled 0.5": SparsePredictPerturb.of(dense, settled=0.5),
        "sparse, settled 0.5, halo 1": SparsePredictPerturb.of(dense, settled=0.5, halo=1),
        "sparse, settled 1, halo 1": SparsePredictPerturb.of(dense, settled=1.0, halo=1),
    }


def main(settings: Settings) -> None:
    """Print the table."""
    model = worldmodel.load(settings.model, settings.device)
    env = FreeFallEnv(image_size=model.recipe.image_size)
    truths = [env.record(seed=VALIDATION_SEED + number) for number in range(settings.scenes)]
    print(f"{settings.model}, {settings.steps} steps, plan {settings.plan}, threshold {settings.threshold:g}")
    print(f"{'':30} {'NFE':>6} {'cost':>6} {'s':>7} {'latent difference':>18} {'px mean':>8}   px, row - dense")
    dense: Outcome | None = None
    for name, refine in rows(PredictPerturb(plan=[settings.plan], threshold=settings.threshold)).items():
        outcome = sampled(model, truths, settings, refine, redraw="other noise" in name)
        dense = outcome if dense is None else dense
        apart = (outcome.latents - dense.latents).flatten(1).norm(dim=1) / dense.latents.flatten(1).norm(dim=1)
        mean = paired_difference(outcome.errors, dense.errors, np.random.default_rng(0)).mean
        print(
            f"{name:30} {outcome.nfe:6.2f} {outcome.cost:6.2f} {outcome.seconds:7.1f} {apart.mean():18.4f} "
            f"{outcome.errors.mean():8.3f}   {mean.value:+.3f} [{mean.low:+.3f}, {mean.high:+.3f}]",
            flush=True,
        )


def sampled(
    model: worldmodel.WorldModel, truths: list[Truth], settings: Settings, refine: PredictPerturb | None, redraw: bool
) -> Outcome:
    """Sample and score every scene."""
    backend, latents, nfe, cost, seconds = model.backend, [], [], [], 0.0
    for first in range(0, len(truths), settings.batch_size):
        batch = range(first, min(first + settings.batch_size, len(truths)))
        given = backend.encode(np.stack([truths[number].video[:1] for number in batch]))
        noise, record = KeyedNoise(batch), Record()
        x = noise.initial(given.new_empty(len(batch), *backend.latent_shape))
        source = redrawn(noise, KeyedNoise(batch, fork=1)) if redraw else noise
        started = time.perf_counter()
        z = sample(
            backend.denoiser(given), x, backend.sigmas(settings.steps), refine=refine, noise=source, callback=record
        )
        latents.append(z.cpu())
        seconds += time.perf_counter() - started
        nfe.append(record.nfe)
        cost.append(record.effective_nfe)
    videos = [backend.decode(z.to(backend.device)) for z in latents]
    errors = [score_free_fall(*each).centroid_error_px for each in zip(np.concatenate(videos), truths, strict=True)]
    means = [float(np.concatenate(counts).mean()) for counts in (nfe, cost)]
    return Outcome(torch.cat(latents), *means, seconds, np.array(errors))


def redrawn(noise: KeyedNoise, other: KeyedNoise) -> Callable[[int, int, Tensor], Tensor]:
    """One noise for the solver and iteration 1, another for the iterations after it."""
    return lambda step, iteration, like: (noise if iteration < 2 else other)(step, iteration, like)


if __name__ == "__main__":
    main(tyro.cli(Settings))
