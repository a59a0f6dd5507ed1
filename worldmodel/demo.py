"""The main job in one call: drop, imagine, refine, score, report."""

from __future__ import annotations

from pathlib import Path

import worldmodel
from worldmodel.collect import collect
from worldmodel.imagine import imagine, reconstruct
from worldmodel.sampling import PredictPerturb
from worldmodel.scoring import evaluate_stores

# Chosen on validation scenes (seeds from 1 000 000), never on the scenes of the report.
REFINE = PredictPerturb(plan=[(0.0, 0.2, 2)], threshold=0.25)


def run_demo(out: Path, *, scenes: int, seed: int, model_name: str = "tiny") -> Path:
    """Write truth, rollouts, results.json and report.html under ``out``; returns the report's path.

    Three rows are sampled from the same first frames and seeds: the plain sampler, the plain
    sampler with as many evaluations as refinement spends, and Predict-and-Perturb. What is
    finished is kept, so an interrupted run goes on where it stopped.
    """
    model = worldmodel.load(model_name)
    recipe = model.recipe
    truth = collect(
        out / "truth",
        episodes=scenes,
        seed=seed,
        image_size=recipe.image_size[0],
        fps=recipe.fps,
        num_frames=recipe.num_frames,
    )
    matched = REFINE.nfe(model.backend.sigmas(recipe.steps))
    rollouts = {
        "autoencoder": reconstruct(model, truth, out / "autoencoder"),
        "base": imagine(model, truth, out / "base", label=f"Euler, {recipe.steps} steps"),
        "euler_matched": imagine(model, truth, out / "euler_matched", steps=matched, label=f"Euler, {matched} steps"),
        "refined": imagine(model, truth, out / "refined", refine=REFINE, label="Predict-and-Perturb"),
    }
    return evaluate_stores(truth.path, {row: store.path for row, store in rollouts.items()}, out)
