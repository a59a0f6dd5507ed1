"""The main job in one call: drop, imagine, refine, score, report."""

from __future__ import annotations

from pathlib import Path

import worldmodel
from worldmodel.collect import collect, episode_name
from worldmodel.imagine import imagine, reconstruct
from worldmodel.sampling import PredictPerturb
from worldmodel.scoring import check_results_folder, evaluate_stores

# Chosen on validation scenes by benchmarks/refinement_sweep.py, never on the scenes of the report.
REFINE = PredictPerturb(plan=[(0.05, 0.3, 2)], threshold=0.25)


def run_demo(out: Path, *, scenes: int, seed: int, model_name: str = "tiny") -> Path:
    """Write truth, rollouts, results.json and report.html under ``out``; returns the report's path.

    Three rows are sampled from the same first frames and seeds: the plain sampler, the plain
    sampler with as many evaluations as refinement spends, and Predict-and-Perturb. What is
    finished is kept, so an interrupted run goes on where it stopped.

    Raises:
        ValueError: the model does not load, or ``out`` holds something else.
    """
    _check_folder(out)
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
    keys = [episode_name(number) for number in range(seed, seed + scenes)]
    matched = REFINE.nfe(model.backend.sigmas(recipe.steps))
    names = {"base": f"Euler, {recipe.steps} steps", "euler_matched": f"Euler, {matched} steps"}
    rollouts = {
        "autoencoder": reconstruct(model, truth, out / "autoencoder", keys=keys),
        "base": imagine(model, truth, out / "base", keys=keys, label=names["base"]),
        "euler_matched": imagine(
            model, truth, out / "euler_matched", keys=keys, steps=matched, label=names["euler_matched"]
        ),
        "refined": imagine(model, truth, out / "refined", keys=keys, refine=REFINE, label="Predict-and-Perturb"),
    }
    return evaluate_stores(truth.path, {row: store.path for row, store in rollouts.items()}, out, keys)


def _check_folder(out: Path) -> None:
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / "truth").is_dir())):
        raise ValueError(f"out: got {out}, which holds something else, expected a new folder or one of an earlier demo")
    check_results_folder(out)
