"""What the sampling loop costs beside the model, and what refinement costs beside plain sampling.

    python benchmarks/sampling.py

For each batch size of the model: the time of a whole run, the share of it that is spent outside the model (the solver,
the masks, the noise and the checks), and the evaluations and the wall time over those of plain Euler. "cost" is in full
evaluations: where refinement is sparse, a part of one counts as that part. The last table is of a random Cosmos
transformer of 52 M parameters and 1280 tokens, in which a given share of the tokens is uncertain. Times are the best of
several runs. Scenes are free fall, on which the embedded model is certain of most places, as it was trained for; on
pictures of anything else nothing is certain, and sparse refinement costs what dense does.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any, Literal

os.environ.setdefault("MUJOCO_GL", "egl")

import numpy as np
import torch
import tyro
from random_cosmos import LATENTS, Unsettled, random_denoiser
from torch import Tensor

import worldmodel
from worldmodel.envs.free_fall import FreeFallEnv
from worldmodel.noise import KeyedNoise
from worldmodel.sampling import PredictPerturb, Quantile, Record, SparsePredictPerturb, flow_sigmas, sample
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
    "P&P, sparse": {"refine": SparsePredictPerturb(plan=PLAN)},
    "P&P, sparse, halo 1": {"refine": SparsePredictPerturb(plan=PLAN, halo=1)},
    "P&P, sparse, settled 0.25": {"refine": SparsePredictPerturb(plan=PLAN, settled=0.25)},
    "P&P, quantile 0.5": {"refine": PredictPerturb(plan=PLAN, threshold=Quantile(0.5))},
    "P&P, unipc": {"refine": PredictPerturb(plan=PLAN), "solver": "unipc"},
    "Restart": {"refine": Restart(plan=PLAN)},
}

FIRST_SEED = 1_000_000  # of the scenes
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
EVERY = 1e-9  # a threshold below any change
SHARE_RUNS: dict[str, dict[str, Any]] = {
    "euler": {},
    "P&P": {"refine": PredictPerturb(plan=PLAN, threshold=EVERY)},
    "P&P, sparse": {"refine": SparsePredictPerturb(plan=PLAN, threshold=EVERY)},
    "P&P, sparse, settled 0.25": {"refine": SparsePredictPerturb(plan=PLAN, threshold=EVERY, settled=0.25)},
}


@dataclass(frozen=True)
class Settings:
    """Settings of the benchmark."""

    model: str = "tiny"
    device: str | None = None  # a GPU if there is one
    steps: int = 20
    batch_sizes: tuple[int, ...] = (1, 8)
    repeats: int = 2
    clock: Literal["wall", "processor"] = "wall"  # processor where others work on the same cores, with one thread
    uncertain: tuple[float, ...] = (0.05, 0.2, 0.5, 1.0)  # shares of tokens in the random transformer; none skips it
    random_steps: int = 10


class Timed:
    """A denoiser that adds up the seconds spent in it."""

    def __init__(self, denoise: Any, clock: str) -> None:
        self._denoise, self._clock = denoise, CLOCKS[clock]
        self.pinned = denoise.pinned
        self.seconds = 0.0

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """The prediction of the denoiser within."""
        return self._timed(self._denoise, x, sigma)

    def remember(self, x: Tensor, sigma: float) -> tuple[Tensor, Any]:
        """The prediction and the memory of it."""
        return self._timed(self._denoise.remember, x, sigma)

    def partial(self, x: Tensor, sigma: float, places: Tensor, memory: Any) -> tuple[Tensor, Tensor]:
        """The prediction at some places."""
        return self._timed(self._denoise.partial, x, sigma, places, memory)

    def _timed(self, call: Any, x: Tensor, *more: Any) -> Any:
        _finish(x)
        started = self._clock()
        answer = call(x, *more)
        _finish(x)
        self.seconds += self._clock() - started
        return answer


@dataclass(frozen=True)
class Timing:
    """One run."""

    seconds: float
    seconds_in_model: float
    nfe: float  # mean over the batch
    cost: float  # the same, parts of evaluations counted as parts

    @property
    def overhead(self) -> float:
        """Time outside the model over the time inside."""
        return self.seconds / self.seconds_in_model - 1.0


def main(settings: Settings) -> None:
    """Print the tables."""
    model = worldmodel.load(settings.model, settings.device)
    sigmas, env = model.backend.sigmas(settings.steps), FreeFallEnv(image_size=model.recipe.image_size)
    for batch in settings.batch_sizes:
        given = model.backend.encode(np.stack([env.record(seed=FIRST_SEED + row).video[:1] for row in range(batch)]))
        x = KeyedNoise(range(batch)).initial(given.new_empty(batch, *model.backend.latent_shape))
        denoise = model.backend.denoiser(given)
        timings = {name: best_of(settings, denoise, x, sigmas, options) for name, options in RUNS.items()}
        report(f"{settings.model} on {x.device}, {settings.steps} steps, batch {batch}", timings)
    random = random_denoiser(1, str(model.backend.device)) if settings.uncertain else None
    for share in settings.uncertain:
        denoise, sigmas = Unsettled(random, share), flow_sigmas(settings.random_steps)
        x = KeyedNoise([0]).initial(torch.empty(1, *LATENTS, device=denoise.pinned.device))
        timings = {name: best_of(settings, denoise, x, sigmas, options) for name, options in SHARE_RUNS.items()}
        report(f"random transformer on {x.device}, {settings.random_steps} steps, {share:.0%} uncertain", timings)


def report(title: str, timings: dict[str, Timing]) -> None:
    """Print one table."""
    base = timings["euler"]
    print(f"\n{title}")
    columns = f"{'outside the model':>18} {'cost / euler':>13} {'time / euler':>13}"
    print(f"{'run':26} {'NFE':>6} {'cost':>6} {'s':>8} {columns}")
    for name, timing in timings.items():
        print(
            f"{name:26} {timing.nfe:6.1f} {timing.cost:6.1f} {timing.seconds:8.3f} {timing.overhead:17.2%} "
            f"{timing.cost / base.nfe:13.2f} {timing.seconds / base.seconds:13.2f}",
            flush=True,
        )


def best_of(settings: Settings, denoise: Any, x: Tensor, sigmas: np.ndarray, options: dict[str, Any]) -> Timing:
    """The fastest of several runs, after one that is not timed, in which the evaluations are counted."""
    record = Record()
    sample(denoise, x, sigmas, callback=record, **options)
    assert record.nfe is not None and record.effective_nfe is not None
    runs = (timed(settings.clock, denoise, x, sigmas, options) for _ in range(settings.repeats))
    seconds, seconds_in_model = min(runs)
    return Timing(seconds, seconds_in_model, float(record.nfe.mean()), float(record.effective_nfe.mean()))


def timed(clock: str, denoise: Any, x: Tensor, sigmas: np.ndarray, options: dict[str, Any]) -> tuple[float, float]:
    """Seconds of one run, and those of them that were spent in the model."""
    inner = Timed(denoise, clock)
    _finish(x)
    started = CLOCKS[clock]()
    z = sample(inner, x, sigmas, **options)
    _finish(z)
    return CLOCKS[clock]() - started, inner.seconds


def _finish(x: Tensor) -> None:
    if x.is_cuda:
        torch.cuda.synchronize(x.device)


if __name__ == "__main__":
    main(tyro.cli(Settings))
