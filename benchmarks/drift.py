"""How far a rollout of many chunks drifts from MuJoCo, for each way of handing over and with refinement in every chunk.

    python benchmarks/drift.py --scenes 32 --chunks 8
    python benchmarks/drift.py --task graph-agent       # a ball that aimless actions drive, told to the model

Clips are recorded for as long as the rollout; seeds are those of validation. A cell is the mean over scenes of the
centroid error in a chunk's frames, in pixels; a lost object is charged the picture's diagonal. "found" is the share of
the last chunk's frames in which it is found, "U" the self-disagreement of the last chunk (worldmodel.stopping), and the
interval is of the paired difference to the first row over all frames.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

os.environ.setdefault("MUJOCO_GL", "egl")

import gymnasium as gym
import numpy as np
import torch
import tyro
from bf16 import check_bf16
from refinement_sweep import VALIDATION_SEED

import worldmodel
import worldmodel.envs
from worldmodel.backends.domains import listening
from worldmodel.evaluators.free_fall import score_free_fall
from worldmodel.evaluators.statistics import paired_difference
from worldmodel.evaluators.traversal import score_traversal
from worldmodel.handover import HANDOVERS
from worldmodel.sampling import PredictPerturb, Quantile
from worldmodel.stopping import StopRule
from worldmodel.training.curriculum import LARGE
from worldmodel.truth import Truth


@dataclass(frozen=True)
class Settings:
    """Settings of the comparison."""

    model: str = "tiny"
    task: Literal["free-fall", "graph-agent"] = "free-fall"
    scenes: int = 32
    chunks: int = 8
    handovers: tuple[str, ...] = tuple(HANDOVERS)
    plan: tuple[float, float, int] = (0.05, 0.3, 2)  # t_start, t_end, iterations
    temperature: float = 0.5  # of refinement; the paper's
    quantile: float | None = None  # of each step's uncertainties below which places are kept; 0.25 latent units if None
    bf16: bool = False  # evaluate the model in bf16, where the CPU multiplies it


@dataclass(frozen=True)
class Followed:
    """What is imagined, and where it is found: frames (T,) of errors in pixels, nan where there is none."""

    env: str
    options: dict[str, Any]
    policy: str | None
    errors: Callable[[np.ndarray, Truth], np.ndarray]


def fall_errors(video: np.ndarray, truth: Truth) -> np.ndarray:
    """Errors (T,) in pixels of a fall."""
    return score_free_fall(video, truth).frame_error_px


def ball_errors(video: np.ndarray, truth: Truth) -> np.ndarray:
    """Errors (T,) in pixels of a ball that rolls."""
    away = np.linalg.norm(score_traversal(video, truth).centroid - truth.camera.project(truth.position[:, 0]), axis=1)
    return np.where(np.isnan(away), truth.camera.diagonal_px, away)


TASKS = {
    "free-fall": Followed("worldmodel/FreeFall-v0", {}, None, fall_errors),
    "graph-agent": Followed("worldmodel/GraphTraversal-v0", {"task": "agent", **LARGE}, "random", ball_errors),
}


def main(settings: Settings) -> None:
    """Print the table."""
    check_bf16(settings.bf16)
    model, task = worldmodel.load(settings.model), TASKS[settings.task]
    chunk = model.recipe.num_frames - 1
    horizon = settings.chunks * chunk
    shape = {"image_size": model.recipe.image_size, "num_frames": 1 + horizon}
    env: Any = gym.make(task.env, disable_env_checker=True, **shape, **task.options).unwrapped
    truths = [env.record(seed=VALIDATION_SEED + number, policy=task.policy) for number in range(settings.scenes)]
    listener = listening(model, truths[0].action_spec)
    told = model if listener is None else listener
    actions = None if listener is None else np.stack([truth.actions for truth in truths])
    first = np.stack([truth.video[0] for truth in truths])
    heads = "".join(f"{f'chunk {number + 1}':>9}" for number in range(settings.chunks))
    print(f"{settings.scenes} scenes, {horizon} frames\n{'handover':22}{heads}  found     U   all frames, row - first")
    base: np.ndarray | None = None
    threshold = 0.25 if settings.quantile is None else Quantile(settings.quantile)
    refined = PredictPerturb(plan=[settings.plan], temperature=settings.temperature, threshold=threshold)
    for refine in (None, refined):
        for name in settings.handovers:
            with torch.autocast("cpu", torch.bfloat16, enabled=settings.bf16):
                rolled = told.rollout(
                    first,
                    seeds=range(len(first)),
                    actions=actions,
                    horizon=horizon,
                    tail="cut",
                    handover=name,
                    stop=StopRule(float("inf")),
                    refine=refine,
                    progress=False,
                )
            errors = np.stack([task.errors(video, truth) for video, truth in zip(rolled.video, truths, strict=True)])
            assert rolled.uncertainty is not None
            label = name if refine is None else f"{name}, P&P"
            last = errors[:, -chunk:]
            found = float((last[np.isfinite(last)] < truths[0].camera.diagonal_px).mean())
            base = report(label, errors, found, rolled.uncertainty[:, -1], chunk, base)


def report(
    label: str, errors: np.ndarray, found: float, disagreement: np.ndarray, chunk: int, base: np.ndarray | None
) -> np.ndarray:
    """Print one row; returns the errors (N,) of the first row."""
    by_chunk = np.nanmean(errors[:, 1:].reshape(len(errors), -1, chunk), axis=(0, 2))
    own = np.nanmean(errors[:, 1:], axis=1)
    cells = "".join(f"{value:9.2f}" for value in by_chunk)
    line = f"{label:22}{cells}  {found:5.2f}  {np.nanmean(disagreement):.3f}"
    if base is not None:
        mean = paired_difference(own, base, np.random.default_rng(0)).mean
        line += f"   {mean.value:+.2f} [{mean.low:+.2f}, {mean.high:+.2f}]"
    print(line, flush=True)
    return own if base is None else base


if __name__ == "__main__":
    main(tyro.cli(Settings))
