"""The embedded model from nothing: data to a pipeline folder in the hub's layout."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import diffusers
from diffusers import AutoencoderKLWan, CosmosTransformer3DModel, UniPCMultistepScheduler

from worldmodel.backends.cosmos25 import PIPELINE, Cosmos25Backend
from worldmodel.backends.domains import check_room
from worldmodel.backends.recipe import Recipe, check_size
from worldmodel.backends.running import usual_device
from worldmodel.counts import check_count
from worldmodel.training.autoencoder import AutoencoderSettings, Stage, train_autoencoder
from worldmodel.training.card import circumstances, described_clips, write_card
from worldmodel.training.clip_sets import ClipSet, cameras_of, domains_of, read_clip_sets, scenes_of
from worldmodel.training.enlarge import enlarged
from worldmodel.training.latents import encoded_windows, normalised, statistics
from worldmodel.training.precision import fast_on_gpus, on_gpu
from worldmodel.training.run import prepare_folder
from worldmodel.training.start import local_folder
from worldmodel.training.transformer import ACTION_DIM, PATCH, TransformerSettings, train_transformer

FLOW_SHIFT = 2.0
PIXELS = 8  # along each side of what a latent of the embedded autoencoder stands for


@dataclass(frozen=True)
class TinySettings:
    """A run that makes a model of the embedded kind; the card of a model says which made it.

    Attributes:
        autoencoder, transformer: settings of the two stages.
        frames: of a chunk, 4n + 1.
        stride: frames between the beginnings of the chunks that a longer clip is cut into.
    """

    autoencoder: AutoencoderSettings = field(default_factory=AutoencoderSettings)
    transformer: TransformerSettings = field(default_factory=TransformerSettings)
    frames: int = 17
    stride: int = 16

    def scaled(self, effort: float) -> TinySettings:
        """The same run with that share of its steps, at least one a stage.

        Raises:
            ValueError: ``effort`` is not above 0.
        """
        if not 0.0 < effort < float("inf"):
            raise ValueError(f"effort: got {effort}, expected a number above 0; 1 is the whole run, 0.1 a tenth of it")

        def share(steps: int) -> int:
            return max(1, round(effort * steps))

        autoencoder, transformer = self.autoencoder, self.transformer
        stages = tuple(dataclasses.replace(stage, steps=share(stage.steps)) for stage in autoencoder.stages)
        autoencoder = dataclasses.replace(
            autoencoder, stages=stages, warmup_steps=min(autoencoder.warmup_steps, share(autoencoder.warmup_steps))
        )
        transformer = dataclasses.replace(
            transformer,
            steps=share(transformer.steps),
            warmup_steps=min(transformer.warmup_steps, share(transformer.warmup_steps)),
        )
        return dataclasses.replace(self, autoencoder=autoencoder, transformer=transformer)

    def enlarged(self, times: int) -> TinySettings:
        """The same run on pictures ``times`` as high and wide, which sees as much of them at once."""
        check_count("enlarge", times)
        stages = tuple(
            dataclasses.replace(stage, height=times * stage.height, width=times * stage.width)
            for stage in self.autoencoder.stages
        )
        return dataclasses.replace(self, autoencoder=dataclasses.replace(self.autoencoder, stages=stages))


def _gpu_stages(single: int, short: int, whole: int) -> tuple[Stage, ...]:
    """Steps with single frames, short and whole clips, in batches that fill a GPU."""
    return (
        Stage(frames=1, height=32, width=32, batch=256, steps=single),
        Stage(frames=9, height=64, width=32, batch=32, steps=short),
        Stage(frames=17, height=64, width=64, batch=16, steps=whole),
    )


# The run that made the embedded model: seven minutes of one H100, half a day of two CPU cores.
ON_GPU = TinySettings(
    AutoencoderSettings(stages=_gpu_stages(450, 850, 2700)),
    TransformerSettings(steps=14700, batch=256),
    stride=8,
)
# An hour and a half of two CPU cores.
ON_CPU = TinySettings()
# Goes on with a model, for larger pictures: minutes of a GPU; with less effort, half an hour of two CPU cores.
ENLARGING = TinySettings(
    AutoencoderSettings(stages=_gpu_stages(200, 300, 900), learning_rate=1.5e-3),
    TransformerSettings(steps=8000, batch=256, learning_rate=1.5e-3, warmup_steps=100, seed=2),
    stride=8,
)


def usual_settings(device: str | None = None) -> TinySettings:
    """The run that suits a torch device; a CUDA device if there is one, by default."""
    return ON_GPU if on_gpu(device or usual_device()) else ON_CPU


def train_from_stores(
    data: Path,
    out: Path,
    device: str | None = None,
    settings: TinySettings | None = None,
    start: str | Path | None = None,
    enlarge: int = 1,
) -> Path:
    """Train on a truth store written by ``worldmodel collect``, or on a folder of them; returns the pipeline folder.

    Every stage resumes from what it left in ``out``.

    Args:
        data: the store or stores.
        out: folder of checkpoints, logs and the finished pipeline with its card.
        device: torch device; a CUDA device if there is one, by default.
        settings: of the run, as for a model that sees 8 x 8 pixels a latent; if None those that suit the device, or
            ``ENLARGING``, which is meant for a GPU.
        start: pipeline to go on from, "tiny" or another of the embedded kind; from nothing if None.
        enlarge: how many times as high and wide the clips are as those of ``start``; its autoencoder then begins as one
            that sees them smaller, and ``settings`` are enlarged as well.

    Raises:
        ValueError: the clips do not fit the settings or the enlarged model, there is nothing to enlarge, or ``out``
            holds something else.
    """
    check_count("enlarge", enlarge)
    settings = settings or (usual_settings(device) if enlarge == 1 else ENLARGING)
    device = device or usual_device()
    if enlarge > 1 and start is None:
        raise ValueError(f"enlarge: got {enlarge} without start, expected a model to enlarge; give one")
    sets = read_clip_sets(data)
    before = None if start is None else Cosmos25Backend.from_folder(local_folder(start))
    known = None if before is None else before.recipe
    if known is not None and enlarge > 1:
        known = _larger(known, sets, enlarge)
    pixels = PIXELS if before is None else enlarge * before.codec.pixels_per_latent
    settings = settings.enlarged(pixels // PIXELS)
    recipe = _recipe(sets, settings, known, pixels)
    prepare_folder(out, "autoencoder.csv")
    folder = train_tiny(sets, recipe, out, settings, device, before, enlarge)
    write_card(folder, out, recipe, _facts(data, sets, start, out, settings, device, enlarge))
    return folder


def train_tiny(
    sets: Sequence[ClipSet],
    recipe: Recipe,
    out: Path,
    settings: TinySettings,
    device: str,
    start: Cosmos25Backend | None = None,
    enlarge: int = 1,
) -> Path:
    """Train on clips; returns the pipeline folder."""
    out.mkdir(parents=True, exist_ok=True)
    with fast_on_gpus(device):
        old = None if start is None else enlarged(start.codec.vae, enlarge)
        vae = train_autoencoder(sets, out, settings.autoencoder, device, old)
        windows = encoded_windows(
            vae,
            sets,
            out / "latents",
            recipe.domains,
            ACTION_DIM,
            device,
            frames=settings.frames,
            stride=settings.stride,
        )
        mean, std = statistics(windows.latents)
        vae.register_to_config(latents_mean=mean, latents_std=std)
        windows = dataclasses.replace(windows, latents=normalised(windows.latents, mean, std))
        before = None if start is None else start.transformer
        transformer = train_transformer(windows, out, settings.transformer, device, before)
        return save_pipeline(out / "pipeline", transformer, vae, recipe)


def save_pipeline(folder: Path, transformer: CosmosTransformer3DModel, vae: AutoencoderKLWan, recipe: Recipe) -> Path:
    """Write a pipeline folder as the hub has it, weights in bf16 safetensors."""
    for part, name in ((transformer, "transformer"), (vae, "vae")):
        rounded = copy.deepcopy(part).cpu().bfloat16()
        for parameter in rounded.parameters():
            parameter.data = parameter.data.contiguous()
        rounded.register_to_config(_name_or_path="")  # not where a part was loaded from on this machine
        rounded.save_pretrained(folder / name)
    scheduler = UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=FLOW_SHIFT, solver_order=2
    )
    scheduler.save_pretrained(folder / "scheduler")
    index = {
        "_class_name": PIPELINE,
        "_diffusers_version": diffusers.__version__,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "UniPCMultistepScheduler"],
        "text_encoder": [None, None],
        "tokenizer": [None, None],
        "transformer": ["diffusers", "CosmosTransformer3DModel"],
        "vae": ["diffusers", "AutoencoderKLWan"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    (folder / "worldmodel.json").write_text(json.dumps(recipe.to_json(), indent=2) + "\n")
    return folder


def _recipe(sets: Sequence[ClipSet], settings: TinySettings, known: Recipe | None, pixels: int) -> Recipe:
    """What the clips are; refuses clips that the training stages cannot be cut from, or no latents of ``pixels``."""
    token = pixels * PATCH
    longest = max(settings.frames, *(stage.frames for stage in settings.autoencoder.stages))
    tallest = max(stage.height for stage in settings.autoencoder.stages)
    widest = max(stage.width for stage in settings.autoencoder.stages)
    sizes, rates = {each.video.shape[2:4] for each in sets}, {each.fps for each in sets}
    if len(sizes) > 1 or len(rates) > 1:
        raise ValueError(
            f"data: got clips of {sorted(sizes)} pixels at {sorted(rates)} frames/s, expected one size and one rate; "
            "collect them alike"
        )
    for each in sets:
        if each.video.shape[1] < longest:
            raise ValueError(
                f"data: got clips of {each.video.shape[1]} frames in {each.name}, expected at least {longest}; "
                "collect longer ones"
            )
    ((height, width),), (fps,) = sizes, rates
    if height % token or width % token or height < tallest or width < widest:
        raise ValueError(
            f"data: got {height} x {width} pixels, expected multiples of {token}, at least {tallest} x {widest}; "
            "collect larger ones"
        )
    check_size((height, width), settings.frames, token)
    domains = domains_of(sets, () if known is None else known.domains, ACTION_DIM)
    scenes = scenes_of(sets, None if known is None else known.scenes)
    cameras = cameras_of(sets, None if known is None else known.cameras)
    check_room(domains, ACTION_DIM)
    return Recipe(
        "tiny" if known is None else known.name,
        (height, width),
        settings.frames,
        fps,
        steps=20,
        domains=domains,
        scenes=scenes,
        cameras=cameras,
    )


def _larger(known: Recipe, sets: Sequence[ClipSet], times: int) -> Recipe:
    """The recipe of an enlarged model, under a name of its own; refuses clips that are not as much larger."""
    height, width = times * known.image_size[0], times * known.image_size[1]
    for each in sets:
        if each.video.shape[2:4] != (height, width):
            raise ValueError(
                f"enlarge: got {times} for a model of {known.image_size[0]} x {known.image_size[1]} pixels and clips "
                f"of {each.video.shape[2]} x {each.video.shape[3]} in {each.name}, expected {height} x {width}; "
                "collect such clips"
            )
    return dataclasses.replace(known, name=f"{known.name}-{height}", image_size=(height, width))


def _facts(
    data: Path,
    sets: Sequence[ClipSet],
    start: str | Path | None,
    out: Path,
    settings: TinySettings,
    device: str,
    enlarge: int,
) -> dict[str, str]:
    command = f"worldmodel train --data {data.name} --out {out.name}"
    command += {ON_CPU: " --schedule cpu", ON_GPU: " --schedule gpu"}.get(settings, "")
    command += "" if start is None else f" --start {Path(start).name}"
    command += "" if enlarge == 1 else f" --enlarge {enlarge}"
    return {
        "data": described_clips(sets),
        "command": f"`{command}`",
        **circumstances(out, ("autoencoder", "transformer"), device),
        "autoencoder settings": f"`{json.dumps(dataclasses.asdict(settings.autoencoder))}`",
        "transformer settings": f"`{json.dumps(dataclasses.asdict(settings.transformer))}`",
        "chunks": f"{settings.frames} frames, one every {settings.stride} frames of a clip",
    }
