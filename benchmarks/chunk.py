"""How long one chunk takes: first frames encoded, all steps, all frames decoded.

    python benchmarks/chunk.py --model tiny
    python benchmarks/chunk.py --model runs/tiny/pipeline --device cuda --batch-sizes 1 8 64

Medians over repeats after one that is not counted.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

os.environ.setdefault("MUJOCO_GL", "egl")

import numpy as np
import torch
import tyro

import worldmodel
from worldmodel.envs.free_fall import FreeFallEnv


@dataclass(frozen=True)
class Settings:
    """Settings of the measurement."""

    model: str = "tiny"
    device: str | None = None  # a GPU if there is one
    batch_sizes: tuple[int, ...] = (1, 8)
    steps: int | None = None  # the model's own number
    repeats: int = 5


def main(settings: Settings) -> None:
    """Print a line for each batch size."""
    model = worldmodel.load(settings.model, settings.device)
    env = FreeFallEnv(image_size=model.recipe.image_size)
    threads = "" if model.backend.device.type == "cuda" else f", {torch.get_num_threads()} threads"
    print(f"{model.recipe.name} on {model.backend.device}{threads}, {model.recipe.num_frames} frames a chunk")
    print(f"{'batch':>6}{'evaluations':>13}{'seconds':>9}{'least':>8}{'most':>8}")
    for batch in settings.batch_sizes:
        first = np.stack([env.record(seed=1_000_000 + number).video[0] for number in range(batch)])
        seconds = [_seconds(model, first, settings.steps) for _ in range(1 + settings.repeats)][1:]
        steps = model.recipe.steps if settings.steps is None else settings.steps
        print(f"{batch:6d}{steps:13d}{np.median(seconds):9.2f}{min(seconds):8.2f}{max(seconds):8.2f}", flush=True)


def _seconds(model: worldmodel.WorldModel, first: np.ndarray, steps: int | None) -> float:
    began = time.perf_counter()
    model.rollout(first, seeds=range(len(first)), steps=steps, batch_size=len(first), progress=False)
    return time.perf_counter() - began


if __name__ == "__main__":
    main(tyro.cli(Settings))
