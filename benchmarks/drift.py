"""How far a rollout of many chunks drifts from MuJoCo, for each way of handing over and with refinement in every chunk.

    python benchmarks/drift.py --scenes 32 --chunks 8

Falls are recorded for as long as the rollout; seeds are those of validation. A cell is the mean over scenes of the
centroid error in a chunk's frames, in pixels; a lost object is charged the picture's diagonal. "found" is the share of
the last chunk's frames in which it is found, "U" the self-disagreement of the last chunk (worldmodel.stopping), and the
interval is of the paired difference to the first row over all frames.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

os.environ.setdefault("MUJOCO_GL", "egl")

import numpy as np
import tyro
from refinement_sweep import VALIDATION_SEED

import worldmodel
from worldmodel.envs.free_fall import FreeFallEnv
from worldmodel.evaluators.free_fall import FreeFallScore, score_free_fall
from worldmodel.evaluators.statistics import paired_difference
from worldmodel.handover import HANDOVERS
from worldmodel.sampling import PredictPerturb
from worldmodel.stopping import StopRule


@dataclass(frozen=True)
class Settings:
    """Settings of the comparison."""

    model: str = "tiny"
    scenes: int = 32
    chunks: int = 8
    handovers: tuple[str, ...] = tuple(HANDOVERS)
    plan: tuple[float, float, int] = (0.05, 0.3, 2)  # t_start, t_end, iterations


def main(settings: Settings) -> None:
    """Print the table."""
    model = worldmodel.load(settings.model)
    chunk = model.recipe.num_frames - 1
    horizon = settings.chunks * chunk
    env = FreeFallEnv(image_size=model.recipe.image_size, num_frames=1 + horizon)
    truths = [env.record(seed=VALIDATION_SEED + number) for number in range(settings.scenes)]
    first = np.stack([truth.video[0] for truth in truths])
    heads = "".join(f"{f'chunk {number + 1}':>9}" for number in range(settings.chunks))
    print(f"{settings.scenes} scenes, {horizon} frames\n{'handover':22}{heads}  found     U   all frames, row - first")
    base: np.ndarray | None = None
    for refine in (None, PredictPerturb(plan=[settings.plan])):
        for name in settings.handovers:
            rolled = model.rollout(
                first,
                seeds=range(len(first)),
                horizon=horizon,
                tail="cut",
                handover=name,
                stop=StopRule(float("inf")),
                refine=refine,
                progress=False,
            )
            scores = [score_free_fall(video, truth) for video, truth in zip(rolled.video, truths, strict=True)]
            assert rolled.uncertainty is not None
            label = name if refine is None else f"{name}, P&P"
            base = report(label, scores, rolled.uncertainty[:, -1], chunk, base)


def report(
    label: str, scores: list[FreeFallScore], disagreement: np.ndarray, chunk: int, base: np.ndarray | None
) -> np.ndarray:
    """Print one row; returns the errors (N,) of the first row."""
    errors = np.stack([score.frame_error_px for score in scores])
    by_chunk = np.nanmean(errors[:, 1:].reshape(len(scores), -1, chunk), axis=(0, 2))
    found = np.mean([score.tracks.detected[-chunk:].mean() for score in scores])
    own = np.nanmean(errors, axis=1)
    cells = "".join(f"{value:9.2f}" for value in by_chunk)
    line = f"{label:22}{cells}  {found:5.2f}  {np.nanmean(disagreement):.3f}"
    if base is not None:
        mean = paired_difference(own, base, np.random.default_rng(0)).mean
        line += f"   {mean.value:+.2f} [{mean.low:+.2f}, {mean.high:+.2f}]"
    print(line, flush=True)
    return own if base is None else base


if __name__ == "__main__":
    main(tyro.cli(Settings))
