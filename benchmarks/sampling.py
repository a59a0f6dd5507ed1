"""What the sampling loop costs beside the model, and what refinement costs beside plain sampling.

    python benchmarks/sampling.py

The first table is the time of a whole run and the share of it that is spent outside the model: the
solver, the masks, the noise and the checks. The second sets Predict-and-Perturb's wall time and
evaluations against plain Euler's. Times are the best of several runs; the scenes are random images,
because the time does not depend on what they show.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import tyro
from torch import Tensor

import worldmodel
from worldmodel.noise import KeyedNoise
from worldmodel.sampling import PredictPerturb, Quantile, Record, sample
from worldmodel.sampling.controls import Restart

PLAN = [(0.05, 0.3, 2)]
RUNS: dict[str, dict[str, Any]] = {
    "euler": {},
    "heun": {"solver": "heun"},
    "unipc": {"solver": "unipc"},
    "unipc:order=3": {"solver": "unipc:order=3"},
    "dpmpp_2m": {"solver": "dpmpp_2m"},
    "sde": {"solver": "sde"},
    "P&P, no mask": {"refine": PredictPerturb(plan=PLAN, threshold=0.0)},
    "P&P, threshold 0.25": {"refine": PredictPerturb(plan=PLAN)},
    "P&P, quantile 0.5": {"refine": PredictPerturb(plan=PLAN, threshold=Quantile(0.5))},
    "P&P, unipc": {"refine": PredictPerturb(plan=PLAN), "solver": "unipc"},
    "Restart": {"refine": Restart(plan=PLAN)},
}


@dataclass(frozen=True)
class Settings:
    """Settings of the benchmark."""

    model: str = "tiny"
    device: str | None = None  # a GPU if there is one
    steps: int = 20
    batch_sizes: tuple[int, ...] = (1, 8)
    repeats: int = 2


class Timed:
    """A denoiser that adds up the seconds spent in it."""

    def __init__(self, denoise: Any) -> None:
        self._denoise = denoise
        self.pinned = denoise.pinned
        self.seconds = 0.0

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """The prediction of the denoiser within."""
        _finish(x)
        started = time.perf_counter()
        x0 = self._denoise(x, sigma)
        _finish(x0)
        self.seconds += time.perf_counter() - started
        return x0


@dataclass(frozen=True)
class Timing:
    """One run."""

    seconds: float
    seconds_in_model: float
    nfe: float  # mean over the batch

    @property
    def overhead(self) -> float:
        """Time outside the model over the time inside."""
        return self.seconds / self.seconds_in_model - 1.0


def main(settings: Settings) -> None:
    """Print both tables."""
    model = worldmodel.load(settings.model, settings.device)
    sigmas = model.backend.sigmas(settings.steps)
    for batch in settings.batch_sizes:
        size = model.recipe.image_size
        images = np.random.default_rng(0).integers(0, 255, (batch, 1, *size, 3), dtype=np.uint8)
        given = model.backend.encode(images)
        x = KeyedNoise(range(batch)).initial(given.new_empty(batch, *model.backend.latent_shape))
        denoise = model.backend.denoiser(given)
        timings = {name: best_of(settings.repeats, denoise, x, sigmas, options) for name, options in RUNS.items()}
        base = timings["euler"]
        print(f"\n{settings.model} on {x.device}, {settings.steps} steps, batch {batch}")
        print(f"{'run':22} {'NFE':>6} {'s':>8} {'outside the model':>18} {'NFE / euler':>12} {'time / euler':>13}")
        for name, timing in timings.items():
            print(
                f"{name:22} {timing.nfe:6.1f} {timing.seconds:8.3f} {timing.overhead:17.2%} "
                f"{timing.nfe / base.nfe:12.2f} {timing.seconds / base.seconds:13.2f}"
            )


def best_of(repeats: int, denoise: Any, x: Tensor, sigmas: np.ndarray, options: dict[str, Any]) -> Timing:
    """The fastest of several runs, after two evaluations that are not timed."""
    sample(denoise, x, sigmas[-3:])
    return min((timed(denoise, x, sigmas, options) for _ in range(repeats)), key=lambda timing: timing.seconds)


def timed(denoise: Any, x: Tensor, sigmas: np.ndarray, options: dict[str, Any]) -> Timing:
    """One run with its record of evaluations."""
    inner, record = Timed(denoise), Record()
    _finish(x)
    started = time.perf_counter()
    z = sample(inner, x, sigmas, callback=record, **options)
    _finish(z)
    seconds = time.perf_counter() - started
    assert record.nfe is not None
    return Timing(seconds, inner.seconds, float(record.nfe.mean()))


def _finish(x: Tensor) -> None:
    if x.is_cuda:
        torch.cuda.synchronize(x.device)


if __name__ == "__main__":
    main(tyro.cli(Settings))
