"""Fine-tuning of any loaded world model on recorded clips: all weights of its transformer, or LoRA.

Every backend is a denoiser x0 = D(x, sigma), so one loss serves them all. With x = (1 - sigma) z + sigma eps the
velocity that D stands for is (x - x0) / sigma, its target eps - z, and their difference (z - x0) / sigma: flow matching
is the squared error of the prediction over sigma squared, on what was not given. The autoencoder, the text encoder and
what the transformer makes of a prompt (read once, without gradients) stay as they are.

Each step takes several noise levels, one for each part of the batch, as a denoiser takes one at a time. On several GPUs
(``accelerate launch``) every process takes its share of those rows, and gradients are averaged: the result is that of
one process, up to rounding.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from worldmodel.actions import ActionSpec
from worldmodel.backends.checksum import CARD
from worldmodel.backends.cosmos25_released import ReleasedCosmos25
from worldmodel.backends.domains import check_room, differences
from worldmodel.backends.protocol import Backend
from worldmodel.counts import check_count
from worldmodel.model import load
from worldmodel.training.card import circumstances, described_clips, write_tuned_card
from worldmodel.training.clip_sets import ClipSet, cameras_of, domains_of, read_clip_sets, scenes_of
from worldmodel.training.latents import Stretch, encode_sets
from worldmodel.training.lerobot import is_lerobot, read_lerobot
from worldmodel.training.run import TrainingRun, cosine_schedule, fingerprint, prepare_folder
from worldmodel.training.start import local_folder

LOG_STEPS = 10
UNHEEDED = ("negative_prompt", "guidance", "guidance_2")  # conditions that have no part in training
ADAPTED = ("attn", ".ff", "ffn", "mlp")  # linear layers of blocks with one of these in their names get LoRA


@dataclass(frozen=True)
class FinetuneSettings:
    """One run.

    Attributes:
        steps: updates of the weights.
        batch: clips of one update, over all processes; a multiple of ``levels``.
        levels: noise levels of one update.
        learning_rate: peak, after the warm-up; falls to zero along a cosine.
        warmup_steps: of the learning rate.
        weight_decay: of AdamW.
        lora_rank: of the adapters; 0 trains every weight of the transformer.
        sigma_shift: noise levels are shift u / (1 + (shift - 1) u) of uniform u.
        untold: share of parts of the batch that are not told their actions.
        stride: frames between the beginnings of the chunks that a longer clip is cut into.
        seed: of batches and new weights.
    """

    steps: int = 1000
    batch: int = 16
    levels: int = 4
    learning_rate: float = 1e-4
    warmup_steps: int = 50
    weight_decay: float = 0.01
    lora_rank: int = 0
    sigma_shift: float = 2.0
    untold: float = 0.1
    stride: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "levels", "warmup_steps", "stride"):
            check_count(name, getattr(self, name))
        if self.batch % self.levels:
            raise ValueError(f"batch: got {self.batch}, expected a multiple of the {self.levels} levels; change one")
        if self.lora_rank < 0:
            raise ValueError(f"lora_rank: got {self.lora_rank}, expected at least 0; 0 trains every weight")


def finetune_from_folder(
    data: Path,
    start: str | Path,
    out: Path,
    device: str | None = None,
    settings: FinetuneSettings | None = None,
    *,
    prompt: str | None = None,
    resize: bool = False,
    camera: str | None = None,
    conditions: Mapping[str, Any] | None = None,
) -> Path:
    """Fine-tune the pipeline ``start`` on a store, a folder of stores or a LeRobot dataset; see :func:`finetune`.

    Args:
        data: where the clips are.
        start: "tiny", a pipeline folder or a repository of the hub, as :func:`worldmodel.load` takes it.
        out: folder of everything that is written.
        device: torch device; what accelerate chooses if None.
        settings: of the run.
        prompt: of all clips, for models that read one; the model's default if None.
        resize: scale a LeRobot dataset's pictures to the model's size.
        camera: of a LeRobot dataset; its first if None.
        conditions: what else a released model is told, such as ``image_size``, ``num_frames`` or ``fps``: options of
            its backend's ``conditioned``. Size, length and rate that are not given are those of the clips; the size
            that a LeRobot dataset must have, or is scaled to, is the model's own then.

    Raises:
        ValueError: ``start`` is no pipeline, a condition is none that it heeds in training, or as :func:`finetune`.
    """
    if (resize or camera is not None) and not is_lerobot(data):
        raise ValueError(
            f"resize, camera: got {resize}, {camera!r} for stores in {data}, expected neither, which are of LeRobot "
            "datasets; leave them out"
        )
    settings = settings or FinetuneSettings()
    device = device or str(Accelerator().device)
    conditions = {**(conditions or {}), **({} if prompt is None else {"prompt": prompt})}
    folder = local_folder(start)
    # Nothing is shown to anybody in training.
    backend = load(start, device, dtype=torch.float32, guardrail="none").backend
    only_transformer(backend)
    _check_conditions(backend, conditions)
    backend = backend.conditioned(**conditions) if conditions else backend
    recipe = backend.recipe
    if is_lerobot(data):
        clips = read_lerobot(
            data,
            frames=recipe.num_frames,
            stride=settings.stride,
            image_size=recipe.image_size,
            fps=None if _reads_prompt(backend) and "fps" not in conditions else recipe.fps,
            resize=resize,
            camera=camera,
        )
        sets = [clips]
    else:
        sets = read_clip_sets(data)
    if _reads_prompt(backend):
        backend = _sized_like(backend, sets, conditions)
    return finetune(backend, folder, sets, out, settings)


def finetune(
    backend: Backend, start: Path, sets: Sequence[ClipSet], out: Path, settings: FinetuneSettings | None = None
) -> Path:
    """Train on the clips and write ``out/pipeline``, a copy of ``start`` with the new transformer and a card; resumes.

    Args:
        backend: loaded from ``start``.
        start: pipeline folder.
        sets: clips of the model's size and rate; their actions are left out where the model takes none.
        out: folder of latents, checkpoint, log, pipeline and, of LoRA, the adapter by itself in ``out/lora``. Action
            embedders are trained in full and no part of the adapter: where there are some, take the pipeline.
        settings: of the run.

    Raises:
        ValueError: the clips or their actions are none that the model takes, or ``out`` holds something else.
    """
    settings, accelerator = settings or FinetuneSettings(), Accelerator()
    transformer = only_transformer(backend)
    backend = fitted(backend, sets)
    prepare_folder(out, "latents")
    with accelerator.main_process_first():
        stretches = encode_sets(
            lambda clips: backend.encode(clips).cpu().numpy().astype(np.float16),
            backend.weights_hash,
            sets,
            out / "latents",
            frames=backend.recipe.num_frames,
            stride=settings.stride,
        )
    if backend.action_spec is None and not backend.recipe.domains:
        if accelerator.is_main_process and any(each.spec is not None for each in sets):
            print(f"{backend.recipe.name} takes no actions: it is trained on the pictures of the clips alone")
        stretches = [dataclasses.replace(each, actions=None, spec=None) for each in stretches]
    torch.manual_seed(settings.seed)
    trained = _made_trainable(transformer, settings)
    _train(backend, stretches, trained, out, settings, accelerator)
    if accelerator.is_main_process:
        _save(backend, transformer, start, out, settings, _facts(backend, sets, out, settings))
    accelerator.wait_for_everyone()
    return out / "pipeline"


def _train(
    backend: Backend,
    stretches: list[Stretch],
    trained: Trained,
    out: Path,
    settings: FinetuneSettings,
    accelerator: Accelerator,
) -> None:
    """The loop over steps; every process sees its rows of each part of the batch."""
    optimizer = torch.optim.AdamW(trained.parameters, lr=1.0, betas=(0.9, 0.99), weight_decay=settings.weight_decay)
    described = {**dataclasses.asdict(settings), "model": backend.weights_hash}
    described["data"] = fingerprint(*(each.latents for each in stretches))
    parts = {"model": trained, "optimizer": optimizer}
    run = TrainingRun(out, "finetune", described, settings.steps, parts, main=accelerator.is_main_process)
    for step in run.steps():
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * cosine_schedule(step, settings.warmup_steps, settings.steps)
        losses = []
        for level in range(settings.levels):
            part = training_part(stretches, settings, step, level)
            own = part.rows(accelerator.process_index, accelerator.num_processes)
            # A mean over levels, each a mean over its rows, whoever has them.
            share = len(own.latents) / len(part.latents) / settings.levels
            loss = denoising_loss(backend, own) * share if len(own.latents) else torch.zeros(())
            if loss.requires_grad:
                loss.backward()
            losses.append(accelerator.reduce(loss.detach().to(backend.device), "sum").item())
        for parameter in trained.parameters if accelerator.num_processes > 1 else ():
            grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            parameter.grad = accelerator.reduce(grad, "sum")
        nn.utils.clip_grad_norm_(trained.parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % LOG_STEPS == 0:
            run.log(step, loss=float(np.sum(losses)))


@dataclass(frozen=True)
class Part:
    """The rows of one batch that share a noise level: clips of one set, and what the model is told of them.

    Attributes:
        latents: (b, C, T', H', W') clean.
        eps: like ``latents``, noise.
        frames: (b, 1, H, W, 3) uint8, the given first frame.
        actions: (b, T - 1, A) or None.
        spec: of the actions.
        sigma: noise level.
    """

    latents: Tensor
    eps: Tensor
    frames: np.ndarray
    actions: np.ndarray | None
    spec: ActionSpec | None
    sigma: float

    def rows(self, first: int, step: int) -> Part:
        """Every ``step``-th row from the ``first`` on."""
        chosen = slice(first, None, step)
        actions = None if self.actions is None else self.actions[chosen]
        return dataclasses.replace(
            self, latents=self.latents[chosen], eps=self.eps[chosen], frames=self.frames[chosen], actions=actions
        )


def training_part(stretches: Sequence[Stretch], settings: FinetuneSettings, step: int, level: int) -> Part:
    """One part of the batch of one step; the same for the same step and level."""
    rng = np.random.default_rng((settings.seed, step, level))
    sizes = np.array([len(each.latents) for each in stretches])
    chosen = stretches[rng.choice(len(stretches), p=sizes / sizes.sum())]
    rows = rng.integers(len(chosen.latents), size=settings.batch // settings.levels)
    # Stratified: this level's noise lies in its own part of [0, 1].
    u = (level + rng.random()) / settings.levels
    sigma = settings.sigma_shift * u / (1.0 + (settings.sigma_shift - 1.0) * u)
    latents = torch.from_numpy(chosen.latents[rows]).float()
    eps = torch.from_numpy(rng.standard_normal(latents.shape, dtype=np.float32))
    told = chosen.actions is not None and rng.random() >= settings.untold
    actions = chosen.actions[rows] if told and chosen.actions is not None else None
    return Part(latents, eps, chosen.video[rows, :1], actions, chosen.spec, max(sigma, 1e-3))


def denoising_loss(backend: Backend, part: Part) -> Tensor:
    """Mean squared velocity error of a backend on what was not given, first frames given where it takes them."""
    told = backend
    if part.actions is not None and backend.recipe.domains:
        told = backend.conditioned(domain=part.spec)
    z, eps = part.latents.to(backend.device), part.eps.to(backend.device)
    # A network made for text alone (Wan T2V) is given no frame.
    takes = getattr(getattr(backend, "kind", None), "given_latents", (1,))
    known = 1 if 1 in takes else 0
    denoise = told.denoiser(z[:, :, :known], part.actions, part.frames[:, :known])
    x0 = denoise((1.0 - part.sigma) * z + part.sigma * eps, part.sigma)
    pinned = getattr(denoise, "pinned", None)
    free = torch.ones_like(z) if pinned is None else (~pinned).expand_as(z)
    return (((z - x0.float()) / part.sigma).square() * free).sum() / free.sum()


class Trained:
    """The weights that training changes, by name."""

    def __init__(self, module: nn.Module) -> None:
        self._named = {name: each for name, each in module.named_parameters() if each.requires_grad}

    @property
    def parameters(self) -> list[nn.Parameter]:
        """In the order of their names' appearance."""
        return list(self._named.values())

    def state_dict(self) -> dict[str, Any]:
        """Their values."""
        return {name: each.detach().clone() for name, each in self._named.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put them back."""
        with torch.no_grad():
            for name, each in self._named.items():
                each.copy_(state[name])


def only_transformer(backend: Backend) -> Any:
    """The one network of a backend.

    Raises:
        ValueError: it has two, of which each would need its own noise levels.
    """
    networks = getattr(backend, "transformers", None) or [getattr(backend, "transformer")]  # noqa: B009  no attribute of the protocol
    if len(networks) > 1:
        raise ValueError(
            f"start: got {backend.recipe.name} with two experts, expected a model with one transformer; fine-tune "
            "another"
        )
    return networks[0]


def _reads_prompt(backend: Backend) -> bool:
    """Whether it is a released model, which takes clips of any size, length and rate."""
    return "prompt" in inspect.signature(backend.conditioned).parameters


def _check_conditions(backend: Backend, conditions: Mapping[str, Any]) -> None:
    """Refuse what a model does not heed in training; its own ``conditioned`` refuses what it never does."""
    released = _reads_prompt(backend)
    refused = [name for name in conditions if not released or name in UNHEEDED]
    if refused:
        expected = "none of them, as training goes without guidance" if released else "none, as clips say all there is"
        raise ValueError(
            f"conditions: got {', '.join(refused)} for {backend.recipe.name}, expected {expected}; leave them out"
        )


def _sized_like(backend: Backend, sets: Sequence[ClipSet], conditions: Mapping[str, Any]) -> Backend:
    """A released model told the clips' size, length and rate where the conditions do not say them."""
    frames = min(backend.recipe.num_frames, *(each.video.shape[1] for each in sets))
    height, width = sets[0].video.shape[2:4]
    chunk = 1 + (frames - 1) // backend.frames_per_latent * backend.frames_per_latent
    backend = backend.conditioned(**{"image_size": (height, width), "num_frames": chunk, **conditions})
    if "fps" not in conditions:
        backend.recipe = dataclasses.replace(backend.recipe, fps=sets[0].fps)
    return backend


def fitted(backend: Backend, sets: Sequence[ClipSet]) -> Backend:
    """The backend as it is to be told the sets' actions, guidance off; refuses clips that are not its own."""
    recipe = backend.recipe
    for each in sets:
        got = each.video.shape[2:4], each.fps
        if got != (recipe.image_size, recipe.fps) or each.video.shape[1] < recipe.num_frames:
            raise ValueError(
                f"data: got clips of {each.video.shape[1]} frames of {got[0]} pixels at {got[1]} frames/s in "
                f"{each.name}, expected at least {recipe.num_frames} of {recipe.image_size} at {recipe.fps}; collect "
                "such clips, or load the model with others in view: conditioned(image_size=..., num_frames=...)"
            )
    specs = [each.spec for each in sets if each.spec is not None]
    if recipe.domains:
        room = only_transformer(backend).config.action_dim
        domains = domains_of(sets, recipe.domains, room)
        check_room(domains, room)
        backend.recipe = dataclasses.replace(recipe, domains=domains)
    elif specs and backend.action_spec is not None:
        different = [phrase for spec in specs for phrase in differences(backend.action_spec, spec)]
        if different:
            raise ValueError(f"data: got actions with {different[0]}; convert them to those of {recipe.name}")
    if recipe.domains or recipe.cameras:  # of the embedded kind
        scenes, cameras = scenes_of(sets, recipe.scenes), cameras_of(sets, recipe.cameras)
        backend.recipe = dataclasses.replace(backend.recipe, scenes=scenes, cameras=cameras)
    if not _reads_prompt(backend):
        return backend
    # Conventions differ: 0 would leave the negative prompt alone in Cosmos 3.
    return backend.conditioned(guidance=0.0 if isinstance(backend, ReleasedCosmos25) else 1.0)


def _made_trainable(transformer: nn.Module, settings: FinetuneSettings) -> Trained:
    """Mark what is trained: everything, or new adapters and the action embedders."""
    if settings.lora_rank == 0:
        transformer.requires_grad_(True)
        return Trained(transformer)
    from peft import LoraConfig

    names = [
        name
        for name, each in transformer.named_modules()
        if isinstance(each, nn.Linear) and re.search(r"\.\d+\.", name) and any(part in name for part in ADAPTED)
    ]
    config = LoraConfig(r=settings.lora_rank, lora_alpha=settings.lora_rank, target_modules=names)
    transformer.add_adapter(config)  # type: ignore[operator]  # diffusers' PeftAdapterMixin
    for name, parameter in transformer.named_parameters():
        if name.startswith("action_embedder"):
            parameter.requires_grad_(True)
    return Trained(transformer)


def _facts(backend: Backend, sets: Sequence[ClipSet], out: Path, settings: FinetuneSettings) -> dict[str, str]:
    """What the card says beside the weights and the losses."""
    prompt = backend.provenance().get("prompt")
    return {
        "began with": f"{backend.recipe.name}, SHA-256 `{backend.weights_hash}`",
        "data": described_clips(sets),
        **({"prompt": json.dumps(prompt)} if prompt else {}),
        **circumstances(out, ("finetune",), str(backend.device)),
        "settings": f"`{json.dumps(dataclasses.asdict(settings))}`",
        "chunks": f"{backend.recipe.num_frames} frames, one every {settings.stride} frames of a clip",
    }


def _save(
    backend: Backend, transformer: Any, start: Path, out: Path, settings: FinetuneSettings, facts: Mapping[str, str]
) -> None:
    """The pipeline folder with the new transformer and its card, put into place whole."""
    folder, partial = out / "pipeline", out / "pipeline.partial"
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(start, partial, ignore=shutil.ignore_patterns("transformer", CARD))
    if settings.lora_rank > 0:
        transformer.save_lora_adapter(out / "lora")
        transformer.fuse_lora()
        transformer.unload_lora()
    transformer.requires_grad_(False).save_pretrained(partial / "transformer")
    if backend.recipe.domains or backend.recipe.cameras or _reads_prompt(backend):
        (partial / "worldmodel.json").write_text(json.dumps(backend.recipe.to_json(), indent=2) + "\n")
    write_tuned_card(partial, out, backend.recipe, facts)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
