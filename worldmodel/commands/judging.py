"""Commands that judge something: videos, metrics, policies, an installation, and all of it in a demo."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from worldmodel.commands.arguments import Plan, parse_options, parse_rows, refinement
from worldmodel.counts import check_count


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


def evaluate(
    truth: Path,
    out: Path,
    rows: tuple[str, ...] = (),
    base: Path | None = None,
    refined: Path | None = None,
    matched: Path | None = None,
    autoencoder: Path | None = None,
    resample: Literal["no", "nearest"] = "no",
    size_prior: tuple[float, float] | None = None,
    tracker: str = "colour",
    lpips: bool = False,
    dino: str | None = None,
    judge: str | None = None,
    judge_model: str = "",
    judge_prices: tuple[float, float] | None = None,
    rubric: str | None = None,
) -> None:
    """Score videos against MuJoCo and write results.json, report.html and plots.

    Args:
        truth: a store written by ``worldmodel collect``, or a folder of such stores.
        out: folder of the results.
        rows: what to judge, as name=PATH: a rollout store, a folder of KEY.mp4 files, or an .npy or .npz of
            (N, T, H, W, 3) uint8. A name given again adds a sample of every clip. If truth is a folder of
            stores, PATH is a folder with the same names in it.
        base: rollouts of the plain sampler, written by ``worldmodel rollout`` from that truth.
        refined: rollouts with Predict-and-Perturb.
        matched: plain rollouts with as many model evaluations as the refined ones.
        autoencoder: the truth encoded and decoded, as ``worldmodel demo`` stores it.
        resample: nearest makes videos of another rate or size fit: every true frame takes the video's nearest
            in time, pictures are scaled.
        size_prior: smallest and largest size, as scale, that a first frame of a fall leaves open; with several
            samples of every clip their landing times are scored against it.
        tracker: what follows falling objects, items and balls: colour (a ball by a matched filter), flow (DIS),
            points (Lucas-Kanade), or sam2:FOLDER.
        lpips: add LPIPS as a side column; needs the lpips package and its weights.
        dino: hub name or folder of a DINO vision transformer, such as facebook/dino-vitb16, for a side column.
        judge: base URL of an OpenAI-compatible endpoint whose verdicts are a side column; its key, if it needs one, is
            taken from WORLDMODEL_JUDGE_KEY. The command fails with 3 if questions stay without an answer.
        judge_model: the name that the endpoint knows the judge by.
        judge_prices: USD for a million prompt and completion tokens.
        rubric: robot, physics_standards, five_points, or a JSON file of questions; by the family if not given.
    """
    from worldmodel.evaluators.endpoint import Endpoint
    from worldmodel.scoring import evaluate_stores
    from worldmodel.side_columns import open_side_columns

    given = {"autoencoder": autoencoder, "base": base, "euler_matched": matched, "refined": refined}
    paths = parse_rows([f"{name}={path}" for name, path in given.items() if path] + list(rows))
    endpoint = None
    if judge is not None:
        prompt_usd, completion_usd = judge_prices or (None, None)
        key = os.environ.get("WORLDMODEL_JUDGE_KEY")
        endpoint = Endpoint(judge, judge_model, key, prompt_usd=prompt_usd, completion_usd=completion_usd)
    side = open_side_columns(lpips=lpips, dino=dino, endpoint=endpoint, rubric=rubric)
    report = evaluate_stores(truth, paths, out, resample=resample, size_prior=size_prior, side=side, tracker=tracker)
    print(f"report: {report}")
    if exit_code := json.loads((out / "results.json").read_text())["exit_code"]:
        print("worldmodel: a side column has gaps; all other numbers stand", file=sys.stderr)
        raise SystemExit(exit_code)


def certify(
    out: Path = Path("runs/certificate"),
    families: tuple[str, ...] = (),
    scenes: int = 100,
    image_size: int = 64,
    json: Path | None = None,
    workers: int | None = None,
) -> None:
    """Check on clips of known worth that every metric ranks them as it declares; fails if one does not.

    Args:
        out: folder of the clips, the scores and the certificate; an interrupted run is continued.
        families: "free fall", "gripper fall", "several falls", "grasp", "graph agent", "graph flood", "maze", "room",
            "laws of falls"; all if not given.
        scenes: how many a family; up to four times as many are drawn until numbers that few have are in as many.
        image_size: height and width in pixels.
        json: also write the certificate's JSON here.
        workers: processes; one for each core by default.
    """
    from worldmodel.certify import run_certify

    document, page = run_certify(
        out, families=families, scenes=scenes, image_size=image_size, copy=json, workers=workers
    )
    print(f"certificate: {page}")
    failed = sum(not each["holds"] for each in document["declarations"])
    if failed:
        raise SystemExit(f"worldmodel: {failed} of {len(document['declarations'])} declarations do not hold")


def rank(
    env: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="ENV")] = "graph-traversal",
    model: str = "tiny",
    out: Path = Path("runs/rank.json"),
    scenes: int = 20,
    seed: int = 3_000_000,
    skills: tuple[float, ...] = (),
    policies: str = "",
    num_frames: int | None = None,
    plan: Plan = (),
    threshold: float = 0.25,
    quantile: float | None = None,
    temperature: float = 0.5,
    steps: int | None = None,
    options: tuple[str, ...] = (),
    batch_size: int = 64,
) -> None:
    """Rank policies in a world model and in MuJoCo, from the same starts, and say how well the two agree.

    Args:
        env: graph-traversal, maze, grasp, or a Gymnasium id.
        model: "tiny" or a pipeline folder that takes the environment's actions.
        out: JSON file of all episodes and what they say.
        scenes: starts, in each of which every policy is played.
        seed: of the first start; training used seeds below.
        skills: of the scripted policies, 0 to 1; seven of them if not given.
        policies: module:function that returns your own policies by name, as ``worldmodel.ranking.graded`` does.
        num_frames: frames of an episode; the environment's default if not given.
        plan: Predict-and-Perturb windows, whose effect is a row of its own: t_start t_end iterations, repeated.
        threshold: uncertainty below which a place is kept.
        quantile: share of the places that is kept, in place of a threshold.
        temperature: of the noise that refinement draws; 0 draws none.
        steps: sampling steps; the model's default if not given.
        options: ranges of the scenes as key=value with JSON values, such as nodes=[4,6]; those not given are as in
            the scenes that the model was trained on.
        batch_size: episodes imagined at once.
    """
    import importlib

    import worldmodel
    from worldmodel import ranking
    from worldmodel.collect import environment_id

    if out.is_dir():
        raise ValueError(f"out: got the folder {str(out)!r}, expected a file; add a name such as rank.json")
    module, _, function = policies.partition(":")
    if policies and not (module and function):
        raise ValueError(f"policies: got {policies!r}, expected module:function; name both")
    makers = (
        getattr(importlib.import_module(module), function)() if policies else ranking.graded(skills or ranking.SKILLS)
    )
    rows: dict[str, dict[str, Any]] = {model: {"steps": steps}}
    if plan:
        refine = refinement(plan, threshold, quantile, temperature)
        rows[f"{model}, refined"] = {"steps": steps, "refine": refine}
    outcomes = ranking.rank(
        worldmodel.load(model),
        environment_id(env),
        makers,
        scenes=scenes,
        seed=seed,
        num_frames=num_frames,
        rows=rows,
        batch_size=batch_size,
        options=parse_options(options),
    )
    summary = ranking.summarise(outcomes)
    saved = ranking.save(outcomes, summary, out)
    print("\n".join(ranking.lines(summary)))
    print(f"ranking: {saved}")


def doctor(
    model: str | None = None, env: str | None = None, scenes: int = 4, out: Path = Path("runs/sweep.png")
) -> None:
    """Print what this machine can run and what to install; with a model, whether it moves what it is told to move.

    Args:
        model: "tiny" or a pipeline folder; holds every number of an action at both ends, in MuJoCo and in the model.
            The command fails if one moves the wrong way.
        env: whose actions; one environment for each robot that the model knows, if not given.
        scenes: first frames to do so from, in each environment.
        out: picture of MuJoCo and model side by side.
    """
    if model is None:
        from worldmodel.doctor import main as run

        raise SystemExit(run())
    if out.suffix.lower() != ".png":
        raise ValueError(f"out: got {str(out)!r}, expected a name that ends in .png; rename it")
    check_count("scenes", scenes)
    import worldmodel
    from worldmodel.sweep import action_sweep, draw_sweep, find_envs, sweep_lines, unseen, wrong_ways

    loaded = worldmodel.load(model)
    sweeps = []
    for each in find_envs(loaded, env):
        sweeps.append(action_sweep(loaded, each, range(scenes)))
        print("\n".join(sweep_lines(sweeps[-1])))
        each.close()
    for robot in unseen(loaded, sweeps) if env is None else ():
        print(f"{robot}: not held, no environment known here has its actions; name one: --env")
    out.parent.mkdir(parents=True, exist_ok=True)
    print(f"picture: {draw_sweep(sweeps, out)}")
    if wrong := wrong_ways(sweeps):
        raise SystemExit(f"worldmodel: {loaded.recipe.name} moves the wrong way by {', '.join(wrong)}")
