"""The ``worldmodel`` command."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import tyro

# Before anything imports transformers: no chatter about optional packages.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

Plan = tuple[tuple[float, float, int], ...]


def demo(
    out: Path = Path("runs/demo"),
    scenes: int = 64,
    seed: int = 2_000_000,
    model: str = "tiny",
) -> None:
    """Drop objects in MuJoCo and in a world model, refine, compare, and write a report.

    Args:
        out: where truth, rollouts, results.json and report.html go.
        scenes: held-out scenes to drop.
        seed: seed of the first scene; training used seeds from 0.
        model: "tiny" or a pipeline folder.
    """
    from worldmodel.demo import run_demo

    print(f"report: {run_demo(out, scenes=scenes, seed=seed, model_name=model)}")


def collect(
    out: Path,
    episodes: int = 128,
    seed: int = 0,
    image_size: int = 64,
    fps: float = 16.0,
    num_frames: int = 17,
    workers: int | None = None,
) -> None:
    """Record seeded free-fall clips with full ground truth.

    Args:
        out: folder of the zarr store; an unfinished one is continued.
        episodes: number of clips.
        seed: seed of the first clip; the others follow.
        image_size: height and width in pixels.
        fps: frames per second.
        num_frames: frames of a clip.
        workers: processes; one for each core by default.
    """
    from worldmodel.collect import collect as run

    store = run(
        out, episodes=episodes, seed=seed, image_size=image_size, fps=fps, num_frames=num_frames, workers=workers
    )
    print(f"truth: {store.path}")


def rollout(
    truth: Path,
    out: Path,
    model: str = "tiny",
    steps: int | None = None,
    solver: str = "euler",
    plan: Plan = (),
    threshold: float = 0.25,
    seed: int = 0,
    batch_size: int = 32,
) -> None:
    """Imagine what follows the first frame of every recorded clip.

    Args:
        truth: a store written by ``worldmodel collect``.
        out: folder of the rollout store; an unfinished one is continued.
        model: "tiny" or a pipeline folder.
        steps: sampling steps; the model's default if not given.
        solver: how to step from noise level to noise level.
        plan: Predict-and-Perturb windows: t_start t_end iterations, repeated; none for the plain solver.
        threshold: uncertainty below which a place is kept.
        seed: added to the seed of every clip.
        batch_size: clips denoised at once.
    """
    import worldmodel
    from worldmodel.imagine import imagine
    from worldmodel.sampling import PredictPerturb
    from worldmodel.storage import EpisodeStore

    refine = PredictPerturb(plan=plan, threshold=threshold) if plan else None
    store = imagine(
        worldmodel.load(model),
        EpisodeStore.open(truth, "truth"),
        out,
        steps=steps,
        solver=solver,
        refine=refine,
        seed=seed,
        batch_size=batch_size,
    )
    print(f"rollouts: {store.path}")


def evaluate(
    truth: Path,
    out: Path,
    base: Path,
    refined: Path,
    matched: Path | None = None,
    autoencoder: Path | None = None,
) -> None:
    """Score rollouts against MuJoCo and write results.json and report.html.

    Args:
        truth: a store written by ``worldmodel collect``.
        out: folder of the results.
        base: rollouts of the plain sampler, written by ``worldmodel rollout`` from that truth.
        refined: rollouts with Predict-and-Perturb.
        matched: plain rollouts with as many model evaluations as the refined ones.
        autoencoder: the truth encoded and decoded, as ``worldmodel demo`` stores it.
    """
    from worldmodel.scoring import evaluate_stores

    rows = {"autoencoder": autoencoder, "base": base, "euler_matched": matched, "refined": refined}
    print(f"report: {evaluate_stores(truth, {row: path for row, path in rows.items() if path}, out)}")


def train(
    data: Path,
    out: Path,
    device: str | None = None,
) -> None:
    """Train the embedded model from nothing on collected clips.

    Args:
        data: a store written by ``worldmodel collect``.
        out: folder of checkpoints, logs and the finished pipeline; an unfinished run is continued.
        device: torch device; a CUDA device if there is one, by default.
    """
    from worldmodel.training.tiny import train_from_store

    print(f"pipeline: {train_from_store(data, out, device)}")


def doctor() -> None:
    """Print versions, devices, renderer and weights, and what to install for what is missing."""
    from worldmodel.doctor import main as run

    raise SystemExit(run())


def main() -> None:
    """Entry point: errors of use are one line, an interrupt is not a traceback."""
    try:
        tyro.extras.subcommand_cli_from_dict(
            {
                "demo": demo,
                "collect": collect,
                "rollout": rollout,
                "evaluate": evaluate,
                "train": train,
                "doctor": doctor,
            },
            prog="worldmodel",
            description="Roll out video world models, refine them at test time, and check them against MuJoCo.",
        )
    except (ValueError, OSError) as error:
        sys.exit(f"worldmodel: {error}")
    except ModuleNotFoundError as error:
        sys.exit(f"worldmodel: {error}, expected it for this command; {_install(error.name or '')}")
    except KeyboardInterrupt:
        sys.exit("worldmodel: interrupted; what was finished is kept, run the same command to go on")


def _install(module: str) -> str:
    """What to run when a package is missing."""
    from worldmodel.doctor import PACKAGES, install_command

    extras = [extra for extra, packages in PACKAGES.items() if extra and module.split(".")[0] in dict(packages)]
    return f"run: {install_command(extras[0])}" if extras else "run: worldmodel doctor"


if __name__ == "__main__":
    main()
