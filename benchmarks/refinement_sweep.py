"""Choose the sampler on validation scenes: steps, Predict-and-Perturb windows and thresholds.

    python benchmarks/refinement_sweep.py --scenes 48

Prints a row for each setting: evaluations a clip, centroid error, object found, landing within
two frames, and for refined rows the paired difference of the centroid error to Euler with as
many evaluations. The scenes (seeds from 1 000 000) are not those of the demo.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

os.environ.setdefault("MUJOCO_GL", "egl")

import numpy as np
import tyro

import worldmodel
from worldmodel.envs.free_fall import FreeFallEnv
from worldmodel.evaluators.free_fall import FreeFallScore, score_free_fall
from worldmodel.evaluators.statistics import paired_difference
from worldmodel.sampling import PredictPerturb
from worldmodel.truth import Truth

VALIDATION_SEED = 1_000_000
PLANS = {
    "t < 0.1, K 2": PredictPerturb(plan=[(0.0, 0.1, 2)]),
    "t < 0.2, K 1": PredictPerturb(plan=[(0.0, 0.2, 1)]),
    "t < 0.2, K 2": PredictPerturb(plan=[(0.0, 0.2, 2)]),
    "t < 0.2, K 2, tau 0.1": PredictPerturb(plan=[(0.0, 0.2, 2)], threshold=0.1),
    "t < 0.2, K 2, tau 0": PredictPerturb(plan=[(0.0, 0.2, 2)], threshold=0.0),
    "t < 0.4, K 1": PredictPerturb(plan=[(0.0, 0.4, 1)]),
    "0.05 < t < 0.3, K 2": PredictPerturb(plan=[(0.05, 0.3, 2)]),
}


@dataclass(frozen=True)
class Sweep:
    """Settings of the sweep."""

    model: str = "tiny"
    scenes: int = 48
    steps: tuple[int, ...] = (10, 20)


def main(sweep: Sweep) -> None:
    """Print the table."""
    model = worldmodel.load(sweep.model)
    env = FreeFallEnv(image_size=model.recipe.image_size)
    truths = [env.record(seed=VALIDATION_SEED + number) for number in range(sweep.scenes)]
    print(
        f"{'setting':34} {'NFE':>4} {'px med':>7} {'px mean':>7} {'found':>6} {'land2':>6}   refined - matched, px mean"
    )
    for steps in sweep.steps:
        report(f"Euler {steps}", rollouts(model, truths, steps, None))
        matched: dict[int, list[FreeFallScore]] = {}
        for name, refine in PLANS.items():
            nfe = refine.nfe(model.backend.sigmas(steps))
            if nfe not in matched:
                matched[nfe] = rollouts(model, truths, nfe, None)[1]
                report(f"Euler {nfe}", (float(nfe), matched[nfe]))
            report(f"{steps} steps, {name}", rollouts(model, truths, steps, refine), matched[nfe])


def rollouts(
    model: worldmodel.WorldModel, truths: list[Truth], steps: int, refine: PredictPerturb | None
) -> tuple[float, list[FreeFallScore]]:
    """Mean evaluations and the score of each scene."""
    first = np.stack([truth.video[0] for truth in truths])
    rollout = model.rollout(first, seeds=range(len(truths)), steps=steps, refine=refine, progress=False)
    scores = [score_free_fall(video, truth) for video, truth in zip(rollout.video, truths, strict=True)]
    return float(rollout.nfe.mean()), scores


def report(name: str, outcome: tuple[float, list[FreeFallScore]], matched: list[FreeFallScore] | None = None) -> None:
    """Print one row."""
    nfe, scores = outcome
    error = np.array([score.centroid_error_px for score in scores])
    found = np.mean([score.detection_rate for score in scores])
    landed = np.mean([score.impact_within_2_frames for score in scores])
    line = f"{name:34} {nfe:4.0f} {np.median(error):7.3f} {error.mean():7.3f} {found:6.3f} {landed:6.3f}"
    if matched is not None:
        other = np.array([score.centroid_error_px for score in matched])
        mean = paired_difference(error, other, np.random.default_rng(0)).mean
        line += f"   {mean.value:+.3f} [{mean.low:+.3f}, {mean.high:+.3f}]"
    print(line, flush=True)


if __name__ == "__main__":
    main(tyro.cli(Sweep))
