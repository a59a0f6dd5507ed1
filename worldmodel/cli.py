"""The ``worldmodel`` command."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

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
    env: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="ENV")] = "free-fall",
    episodes: int = 128,
    seed: int = 0,
    policy: str = "",
    options: tuple[str, ...] = (),
    image_size: int = 64,
    fps: float | None = None,
    num_frames: int | None = None,
    depth: bool = False,
    workers: int | None = None,
) -> None:
    """Record seeded clips of an environment with full ground truth.

    Args:
        out: folder of the zarr store; an unfinished one is continued.
        env: free-fall, grasp, graph-traversal, maze, room, or a Gymnasium id.
        episodes: number of clips.
        seed: seed of the first scene; the others follow.
        policy: name of a scripted policy, or several with commas between: every scene is played under each;
            the environment's first policy if not given.
        options: ranges of the scenes as key=value with JSON values, such as gravity=[1,10].
        image_size: height and width in pixels.
        fps: frames per second; the environment's default if not given.
        num_frames: frames of a clip; the environment's default if not given.
        depth: record depth images too.
        workers: processes; one for each core by default.
    """
    from worldmodel.collect import collect as run

    store = run(
        out,
        env,
        episodes=episodes,
        seed=seed,
        image_size=image_size,
        fps=fps,
        num_frames=num_frames,
        policies=[name.strip() for name in policy.split(",")] if policy else (),
        options=parse_options(options),
        depth=depth,
        workers=workers,
    )
    print(f"truth: {store.path}")


def parse_options(pairs: Sequence[str]) -> dict[str, Any]:
    """``["gravity=[1,10]", "layout=wide"]`` as a dictionary; a bare word is text."""
    options: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise ValueError(f"options: got {pair!r}, expected key=value; correct it")
        try:
            options[name] = json.loads(value)
        except ValueError:
            if not value.replace("-", "_").isidentifier():
                raise ValueError(f"options: got {pair!r}, expected a JSON value after the '='; quote it") from None
            options[name] = value
    return options


def show(
    path: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="PATH")],
    out: Path | None = None,
    episodes: int = 8,
    columns: int = 6,
    across: int = 1,
    overwrite: bool = False,
) -> None:
    """Draw the episodes of a store, of truth or rollouts, as a contact sheet (.png) or a video (.mp4).

    Args:
        path: folder of the store.
        out: picture to write, NAME.png or NAME.mp4; PATH.png by default.
        episodes: how many of them, from the first.
        columns: frames of an episode in a contact sheet.
        across: episodes side by side in a contact sheet.
        overwrite: replace an existing file.
    """
    from worldmodel.show import show as run

    print(f"picture: {run(path, out, episodes=episodes, columns=columns, across=across, overwrite=overwrite)}")


def rollout(
    truth: Path,
    out: Path,
    model: str = "tiny",
    steps: int | None = None,
    solver: str = "euler",
    plan: Plan = (),
    threshold: float = 0.25,
    horizon: int | None = None,
    tail: Literal["refuse", "cut"] = "refuse",
    handover: Literal["frame", "frames", "latent"] = "frame",
    stop_limit: float | None = None,
    told: bool = True,
    prompt: str | None = None,
    guidance: float | None = None,
    conditions: tuple[str, ...] = (),
    device: str | None = None,
    guardrail: Literal["nvidia", "none"] = "nvidia",
    memory: tuple[Literal["slicing", "tiling", "offload", "fp8"], ...] = (),
    seed: int = 0,
    batch_size: int = 32,
) -> None:
    """Imagine what follows the first frame of every recorded clip.

    Args:
        truth: a store written by ``worldmodel collect``.
        out: folder of the rollout store; an unfinished one is continued.
        model: "tiny", a pipeline folder, or a repository of the hub such as nvidia/Cosmos-Predict2.5-2B.
        steps: sampling steps; the model's default if not given.
        solver: how to step from noise level to noise level.
        plan: Predict-and-Perturb windows: t_start t_end iterations, repeated; none for the plain solver.
        threshold: uncertainty below which a place is kept.
        horizon: frames to imagine, chunk after chunk; one chunk if not given. The clips must be one frame longer.
        tail: cut imagines a last chunk that the horizon does not fill whole, and drops what is beyond.
        handover: what a chunk gives to the next: its last frame, its last five frames, or its last latent.
        stop_limit: self-disagreement in latent units with which a rollout ends; inf only measures it.
        told: tell a model that takes actions those of the clips, where they have any.
        prompt: what to imagine, of models that read one.
        guidance: how far to steer towards the prompt, in the model's own convention; 0 is off.
        conditions: what else the model is told, as key=value with JSON values, such as image_size=[256,320]
            num_frames=13; the options of its backend's ``conditioned``.
        device: torch device; a CUDA device if there is one, by default.
        guardrail: of NVIDIA's models; none goes without, where the licence allows that, and the rollouts record it.
        memory: how a released model is made to fit.
        seed: added to the seed of every clip.
        batch_size: clips denoised at once.
    """
    import worldmodel
    from worldmodel.backends.running import Running
    from worldmodel.imagine import imagine, range_lines
    from worldmodel.over_refinement import warning
    from worldmodel.sampling import PredictPerturb
    from worldmodel.stopping import StopRule
    from worldmodel.storage import EpisodeStore

    refine = PredictPerturb(plan=plan, threshold=threshold) if plan else None
    clips, options = EpisodeStore.open(truth, "truth"), parse_options(conditions)
    options |= {k: v for k, v in {"prompt": prompt, "guidance": guidance}.items() if v is not None}
    loaded = worldmodel.load(model, device, guardrail=guardrail, running=Running(memory=memory))
    loaded = loaded.conditioned(**options) if options else loaded
    if told:
        print("".join(f"{line}\n" for line in range_lines(loaded, clips)), end="")
    store = imagine(
        loaded,
        clips,
        out,
        steps=steps,
        solver=solver,
        refine=refine,
        horizon=horizon,
        tail=tail,
        handover=handover,
        stop=None if stop_limit is None else StopRule(stop_limit),
        told=told,
        seed=seed,
        batch_size=batch_size,
    )
    refined = [key for key in store.keys() if "drift" in store.attributes(key)["arrays"]]  # noqa: SIM118  no dict
    line = warning([store.array(key, "drift").data for key in refined])
    if line is not None:
        print(f"warning: {line}", file=sys.stderr)
    print(f"rollouts: {store.path}")


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


def parse_rows(pairs: Sequence[str]) -> dict[str, list[Path]]:
    """``["a=x", "b=y", "a=z"]`` as the paths of each name."""
    rows: dict[str, list[Path]] = {}
    for pair in pairs:
        name, _, path = pair.partition("=")
        if not name or not path:
            raise ValueError(f"rows: got {pair!r}, expected name=PATH; name what is to be judged")
        rows.setdefault(name, []).append(Path(path))
    return rows


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


def curriculum(out: Path, share: float = 1.0, image_size: int = 64, workers: int | None = None) -> None:
    """Record all that the embedded model is trained on, a store for each kind of clip.

    Args:
        out: folder of the stores; unfinished ones are continued.
        share: of the clips, above 0 and up to 1.
        image_size: height and width in pixels.
        workers: processes; one for each core by default.
    """
    from worldmodel.training.curriculum import collect_all

    print(f"data: {collect_all(out, share=share, image_size=image_size, workers=workers)}")


def train(
    data: Path,
    out: Path,
    device: str | None = None,
    start: Path | None = None,
    effort: float = 1.0,
    schedule: Literal["cpu", "gpu"] | None = None,
    retrain_autoencoder: bool = False,
    further: bool = False,
    often: Sequence[str] = (),
    steps: int | None = None,
    batch: int | None = None,
    learning_rate: float | None = None,
    lora_rank: int = 0,
    prompt: str | None = None,
    resize: bool = False,
    camera: str | None = None,
) -> None:
    """Train a world model of the embedded kind from nothing, or fine-tune any pipeline on clips of your own.

    Args:
        data: a store written by ``worldmodel collect``, a folder of such stores, or, to fine-tune, a LeRobot dataset
            (v3.0).
        out: folder of checkpoints, logs and the finished pipeline; an unfinished run is continued.
        device: torch device; a CUDA device if there is one, by default.
        start: pipeline folder to fine-tune; from nothing if not given.
        effort: share of the steps of the run that makes a model of the embedded kind; not of fine-tuning.
        schedule: which run that is: gpu made the embedded model, in minutes of an H100; cpu has a tenth of its samples
            for the transformer, in hours of two cores. That of the device if not given; not of fine-tuning.
        retrain_autoencoder: go on with the autoencoder as well, as far as ``effort`` says; embedded kind only.
        further: go on with the transformer in the way that made it, instead of fine-tuning; embedded kind only.
        often: environments whose clips are drawn more often than others', as name=times; of ``further`` alone.
        steps: updates; 1000 of fine-tuning, 6000 of ``further``.
        batch: clips of an update, over all GPUs of ``accelerate launch``; 16 or 64.
        learning_rate: peak; 0.0001 or 0.001.
        lora_rank: of LoRA adapters; 0 trains every weight. This and the options below are of fine-tuning alone.
        prompt: of all clips, for models that read one.
        resize: scale a LeRobot dataset's pictures to the model's size.
        camera: of a LeRobot dataset; its first if not given.
    """
    from worldmodel.training.finetune import FinetuneSettings, finetune_from_folder
    from worldmodel.training.further import SETTINGS, train_further
    from worldmodel.training.tiny import ON_CPU, ON_GPU, train_from_stores, usual_settings

    named = {"steps": steps, "batch": batch, "learning_rate": learning_rate}
    given: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    if further and start is None:
        raise ValueError("further: got it without start, expected the folder of a model to go on with; give --start")
    if start is None or retrain_autoencoder:
        settings = usual_settings(device) if schedule is None else {"cpu": ON_CPU, "gpu": ON_GPU}[schedule]
        folder = train_from_stores(data, out, device, settings.scaled(effort), start)
    elif further:
        settings_of_run = dataclasses.replace(SETTINGS, **given)
        folder = train_further(data, start, out, device, settings_of_run, often=parse_options(often))
    else:
        tuning = FinetuneSettings(**given, lora_rank=lora_rank)
        told: dict[str, Any] = {"prompt": prompt, "resize": resize, "camera": camera}
        folder = finetune_from_folder(data, start, out, device, tuning, **told)
    print(f"pipeline: {folder}")


def doctor(
    model: str | None = None, env: str | None = None, scenes: int = 4, out: Path = Path("runs/sweep.png")
) -> None:
    """Print what this machine can run and what to install; with a model, whether it moves what it is told to move.

    Args:
        model: "tiny" or a pipeline folder; holds every number of an action at both ends, in MuJoCo and in the model.
        env: whose actions; the first environment whose actions the model takes, if not given.
        scenes: first frames to do so from.
        out: picture of MuJoCo and model side by side.
    """
    if model is None:
        from worldmodel.doctor import main as run

        raise SystemExit(run())
    if out.suffix.lower() != ".png":
        raise ValueError(f"out: got {str(out)!r}, expected a name that ends in .png; rename it")
    import worldmodel
    from worldmodel.sweep import action_sweep, draw_sweep, find_env, sweep_lines

    loaded = worldmodel.load(model)
    sweep = action_sweep(loaded, find_env(loaded, env), range(scenes))
    print("\n".join(sweep_lines(sweep)))
    out.parent.mkdir(parents=True, exist_ok=True)
    print(f"picture: {draw_sweep(sweep, out)}")


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
        steps: sampling steps; the model's default if not given.
        options: ranges of the scenes as key=value with JSON values, such as nodes=[4,6]; those not given are as in
            the scenes that the model was trained on.
        batch_size: episodes imagined at once.
    """
    import importlib

    import worldmodel
    from worldmodel import ranking
    from worldmodel.collect import environment_id
    from worldmodel.sampling import PredictPerturb

    module, _, function = policies.partition(":")
    makers = (
        getattr(importlib.import_module(module), function)() if policies else ranking.graded(skills or ranking.SKILLS)
    )
    rows: dict[str, dict[str, Any]] = {model: {"steps": steps}}
    if plan:
        rows[f"{model}, refined"] = {"steps": steps, "refine": PredictPerturb(plan=plan, threshold=threshold)}
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
    print("\n".join(ranking.lines(summary)))
    print(f"ranking: {ranking.save(outcomes, summary, out)}")


def main() -> None:
    """Entry point: errors of use are one line, an interrupt is not a traceback."""
    try:
        tyro.extras.subcommand_cli_from_dict(
            {
                "demo": demo,
                "collect": collect,
                "show": show,
                "rollout": rollout,
                "evaluate": evaluate,
                "certify": certify,
                "rank": rank,
                "curriculum": curriculum,
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
