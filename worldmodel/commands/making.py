"""Commands that make something: clips, models, rollouts."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from worldmodel.commands.arguments import Plan, parse_options, refinement


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
    start: str | None = None,
    effort: float = 1.0,
    schedule: Literal["cpu", "gpu"] | None = None,
    retrain_autoencoder: bool = False,
    enlarge: int = 1,
    further: bool = False,
    often: Sequence[str] = (),
    steps: int | None = None,
    batch: int | None = None,
    learning_rate: float | None = None,
    lora_rank: int = 0,
    prompt: str | None = None,
    resize: bool = False,
    camera: str | None = None,
    conditions: tuple[str, ...] = (),
) -> None:
    """Train a world model of the embedded kind from nothing, or fine-tune any pipeline on clips of your own.

    Args:
        data: a store written by ``worldmodel collect``, a folder of such stores, or, to fine-tune, a LeRobot dataset
            (v3.0).
        out: folder of checkpoints, logs and the finished pipeline; an unfinished run is continued.
        device: torch device; a CUDA device if there is one, by default.
        start: what to fine-tune: "tiny", a pipeline folder or a repository of the hub; from nothing if not given.
        effort: share of the steps of the run that makes a model of the embedded kind; not of fine-tuning.
        schedule: which run that is: gpu made the embedded model, in minutes of an H100; cpu has a tenth of its samples
            for the transformer, in hours of two cores. That of the device if not given; not of fine-tuning.
        retrain_autoencoder: go on with the autoencoder as well, as far as ``effort`` says; embedded kind only.
        enlarge: how many times as high and wide the clips are as those of ``start``, whose autoencoder and transformer
            go on from what they know of smaller ones; embedded kind only. A run for a GPU: on a CPU give ``effort``.
        further: go on with the transformer in the way that made it, instead of fine-tuning; embedded kind only.
        often: environments whose clips are drawn more often than others', as maze=3; of ``further`` alone.
        steps: updates; 1000 of fine-tuning, 6000 of ``further``.
        batch: clips of an update, over all GPUs of ``accelerate launch``; 16 or 64.
        learning_rate: peak; 0.0001 or 0.001.
        lora_rank: of LoRA adapters; 0 trains every weight. This and the options below are of fine-tuning alone.
        prompt: of all clips, for models that read one.
        resize: scale a LeRobot dataset's pictures to the model's size.
        camera: of a LeRobot dataset; its first if not given.
        conditions: what else a released model is told, as key=value with JSON values, such as image_size=[256,320]
            num_frames=13; the options of its backend's ``conditioned``.
    """
    from worldmodel.collect import environment_id
    from worldmodel.training.finetune import FinetuneSettings, finetune_from_folder
    from worldmodel.training.further import SETTINGS, train_further
    from worldmodel.training.tiny import ENLARGING, ON_CPU, ON_GPU, train_from_stores, usual_settings

    shape = {"steps": steps, "batch": batch, "learning_rate": learning_rate}
    told: dict[str, Any] = {"prompt": prompt, "resize": resize, "camera": camera, "conditions": conditions}
    tuned = {"lora_rank": lora_rank, **told}
    embedded = {"effort": None if effort == 1.0 else effort, "schedule": schedule}
    if further and start is None:
        raise ValueError("further: got it without start, expected a model to go on with; give --start")
    if further and retrain_autoencoder:
        raise ValueError("further: got it with retrain_autoencoder, expected one of them; leave the other out")
    larger = {"enlarge": None if enlarge == 1 else enlarge}
    if further:
        _refuse_unheeded("go on with a model's transformer", embedded | tuned | larger)
    elif enlarge != 1:
        _refuse_unheeded("enlarge a model", shape | tuned | {"often": often, "schedule": schedule})
    elif start is None or retrain_autoencoder:
        _refuse_unheeded("train a model of the embedded kind", shape | tuned | {"often": often})
    else:
        _refuse_unheeded("fine-tune a pipeline", embedded | {"often": often})
    given: dict[str, Any] = {name: value for name, value in shape.items() if value is not None}
    if enlarge != 1:
        folder = train_from_stores(data, out, device, ENLARGING.scaled(effort), start, enlarge)
    elif start is None or retrain_autoencoder:
        settings = usual_settings(device) if schedule is None else {"cpu": ON_CPU, "gpu": ON_GPU}[schedule]
        folder = train_from_stores(data, out, device, settings.scaled(effort), start)
    elif further:
        more = {environment_id(name): times for name, times in parse_options(often).items()}
        settings_of_run = dataclasses.replace(SETTINGS, **given)
        folder = train_further(data, start, out, device, settings_of_run, often=more)
    else:
        tuning = FinetuneSettings(**given, lora_rank=lora_rank)
        told["conditions"] = parse_options(conditions)
        folder = finetune_from_folder(data, start, out, device, tuning, **told)
    print(f"pipeline: {folder}")


def convert(
    checkpoint: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="CHECKPOINT")],
    base: str,
    out: Path,
    device: str | None = None,
) -> None:
    """Make a pipeline folder of NVIDIA's action-conditioned Cosmos-Predict2.5, one .pt file.

    Args:
        checkpoint: the file, in the hub's nvidia/Cosmos-Predict2.5-2B under robot/action-cond.
        base: the pipeline whose autoencoder it shares, and whose text encoder reads the empty prompt once: a folder, or
            a repository of the hub such as nvidia/Cosmos-Predict2.5-2B.
        out: new folder of the pipeline; conversion.json in it says what became of every weight.
        device: torch device of the text encoder; a CUDA device if there is one, by default.
    """
    from worldmodel.backends.cosmos25_convert import check_paths
    from worldmodel.backends.cosmos25_convert import convert as run
    from worldmodel.training.start import local_folder

    check_paths(checkpoint, out)  # before anything is fetched
    report = run(checkpoint, local_folder(base, "base"), out, device=device)
    print(f"weights: {len(report.renamed)} renamed, {len(report.dropped)} left out, actions by {report.kind}")
    print(f"pipeline: {out}")


def _refuse_unheeded(doing: str, options: Mapping[str, Any]) -> None:
    """Refuse what was given of options that have no part in what is done."""
    given = [name for name, value in options.items() if value]
    if given:
        raise ValueError(
            f"{', '.join(given)}: got what has no part in it when asked to {doing}, expected nothing; leave it out"
        )


def rollout(
    truth: Path,
    out: Path,
    model: str = "tiny",
    steps: int | None = None,
    solver: str = "euler",
    plan: Plan = (),
    threshold: float = 0.25,
    quantile: float | None = None,
    temperature: float = 0.5,
    horizon: int | None = None,
    tail: Literal["refuse", "cut"] = "refuse",
    handover: Literal["frame", "frames", "latent", "mixed"] = "frame",
    stop_limit: float | None = None,
    told: bool = True,
    any_camera: bool = False,
    prompt: str | None = None,
    guidance: float | None = None,
    conditions: tuple[str, ...] = (),
    device: str | None = None,
    revision: str | None = None,
    subfolder: str | None = None,
    guardrail: Literal["nvidia", "none"] = "nvidia",
    memory: tuple[Literal["slicing", "tiling", "offload", "fp8"], ...] = (),
    seed: int = 0,
    batch_size: int = 32,
) -> None:
    """Imagine what follows the first frame of every recorded clip.

    Args:
        truth: a store written by ``worldmodel collect``.
        out: folder of the rollout store; an unfinished one is continued.
        model: "tiny", "tiny-128", a pipeline folder, or a repository of the hub such as nvidia/Cosmos-Predict2.5-2B.
        steps: sampling steps; the model's default if not given.
        solver: how to step from noise level to noise level.
        plan: Predict-and-Perturb windows: t_start t_end iterations, repeated; none for the plain solver.
        threshold: uncertainty below which a place is kept.
        quantile: share of the places that is kept, in place of a threshold.
        temperature: of the noise that refinement draws; 0 draws none.
        horizon: frames to imagine, chunk after chunk; one chunk if not given. The clips must be one frame longer.
        tail: cut imagines a last chunk that the horizon does not fill whole, its last action repeated, and drops what
            is beyond.
        handover: what a chunk gives to the next: its last frame, its last five frames, its last latent, or of the five
            the first as a picture and the others as their latent.
        stop_limit: self-disagreement in latent units with which a rollout ends; inf only measures it.
        told: tell a model that takes actions those of the clips, where they have any.
        any_camera: take clips from another camera than those of the model's training, which are refused otherwise.
        prompt: what to imagine, of models that read one.
        guidance: how far to steer towards the prompt, in the model's own convention; 0 is off.
        conditions: what else the model is told, as key=value with JSON values, such as image_size=[256,320]
            num_frames=13; the options of its backend's ``conditioned``.
        device: torch device; a CUDA device if there is one, by default.
        revision: branch, tag or commit of the repository; the known one by default.
        subfolder: of the repository or the folder, in which the pipeline is.
        guardrail: of NVIDIA's models; none goes without, where the licence allows that, and the rollouts record it.
        memory: how a released model is made to fit.
        seed: added to the seed of every clip.
        batch_size: clips denoised at once.
    """
    import worldmodel
    from worldmodel.backends.running import Running
    from worldmodel.imagine import imagine, range_lines
    from worldmodel.over_refinement import warning
    from worldmodel.stopping import StopRule
    from worldmodel.storage import EpisodeStore

    refine = refinement(plan, threshold, quantile, temperature)
    clips, options = EpisodeStore.open(truth, "truth"), parse_options(conditions)
    options |= {k: v for k, v in {"prompt": prompt, "guidance": guidance}.items() if v is not None}
    loaded = worldmodel.load(
        model, device, revision=revision, subfolder=subfolder, guardrail=guardrail, running=Running(memory=memory)
    )
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
        any_camera=any_camera,
        seed=seed,
        batch_size=batch_size,
    )
    refined = [key for key in store.keys() if "drift" in store.attributes(key)["arrays"]]  # noqa: SIM118  no dict
    line = warning([store.array(key, "drift").data for key in refined])
    if line is not None:
        print(f"warning: {line}", file=sys.stderr)
    print(f"rollouts: {store.path}")
