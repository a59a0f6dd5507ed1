"""From a model's name to a loaded backend: which family a folder is of, and who loads it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import torch

from worldmodel.backends import hub, licences, memory
from worldmodel.backends.cosmos3_released import BASE as RECIPE_OF_COSMOS3
from worldmodel.backends.cosmos3_released import PIPELINE as COSMOS3
from worldmodel.backends.cosmos3_released import Cosmos3Backend
from worldmodel.backends.cosmos25 import PIPELINE, Cosmos25Backend
from worldmodel.backends.cosmos25_released import BASE as RECIPE_OF_COSMOS25
from worldmodel.backends.cosmos25_released import ReleasedCosmos25
from worldmodel.backends.pipeline_folder import read_json
from worldmodel.backends.protocol import Backend
from worldmodel.backends.recipe import Recipe
from worldmodel.backends.running import Running
from worldmodel.backends.text import Prompts, has_encoder
from worldmodel.backends.wan_released import IMAGE_TO_VIDEO, TEXT_TO_VIDEO, Kind, WanBackend
from worldmodel.backends.wan_text import WanPrompts

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """A model as it was asked for."""

    name: str
    folder: Path
    device: str
    dtype: torch.dtype
    guardrail: licences.Guardrails
    running: Running
    fetch_text: Callable[[], object]  # fetches the text encoder, if it is not there


def load_backend(
    name: str,
    device: str,
    *,
    revision: str | None = None,
    subfolder: str | None = None,
    dtype: torch.dtype | None = None,
    guardrail: licences.Guardrails = "nvidia",
    running: Running | None = None,
) -> Backend:
    """The backend of a pipeline folder, or of a repository of the hub.

    Args:
        name: path of a folder, or owner/name.
        device: torch device.
        revision, subfolder: where in the repository the pipeline is; the known place by default.
        dtype: of the weights; bfloat16 on CUDA and float32 elsewhere by default.
        guardrail: "nvidia", or "none" to go without it, which rollouts record.
        running: how a released model is run.

    Raises:
        ValueError: no such model, no access, not enough memory, or a file is missing, damaged or of no known family.
    """
    licences.check_choice(guardrail)
    folder = Path(name)
    if folder.is_dir():
        if revision is not None:
            raise ValueError(
                f"revision: got {revision!r} with a folder, expected it with owner/name only; leave it out"
            )
        folder = folder / (subfolder or "")
        fetch: Callable[[], object] = lambda: None  # noqa: E731
    else:
        folder = hub.fetch(name, revision, subfolder)
        fetch = lambda: hub.fetch(name, revision, subfolder, hub.TEXT_PARTS)  # noqa: E731
    kind = read_json(folder / "model_index.json").get("_class_name")
    if kind not in FAMILIES:
        raise ValueError(f"{folder}: got a {kind}, expected {' or '.join(FAMILIES)}; choose another folder")
    dtype = dtype or (torch.bfloat16 if torch.device(device).type == "cuda" else torch.float32)
    running = _fitting((running or Running()).checked(device), folder, kind, torch.device(device), dtype)
    return FAMILIES[kind](Source(name, folder, device, dtype, guardrail, running, fetch))


def _fitting(running: Running, folder: Path, kind: str, device: torch.device, dtype: torch.dtype) -> Running:
    """The same with the savings that the weights need, or a refusal."""
    of_codec = torch.float32 if kind in (TEXT_TO_VIDEO, IMAGE_TO_VIDEO) else dtype
    weights = memory.weigh(folder, dtype, ("vae",) if of_codec == torch.float32 else ())
    usual = _usual_clip(folder, kind, dtype, of_codec)
    savings = memory.settle_weights(
        weights, device, running.memory, memory.free(device), usual, recorded=running.cuda_graphs
    )
    if running.memory is not None:
        return running
    if savings:
        logger.warning("memory: %s", "; ".join(f"{name}, {memory.SAVINGS[name]}" for name in savings))
    # Those of clips stay open until their number and size are known.
    return running.taking(savings, memory.OF_WEIGHTS)


def _usual_clip(folder: Path, kind: str, dtype: torch.dtype, of_codec: torch.dtype) -> memory.Clip | None:
    """What a clip of the model's recipe takes, with guidance; None of a folder that will be refused."""
    bases = {PIPELINE: RECIPE_OF_COSMOS25, COSMOS3: RECIPE_OF_COSMOS3}
    try:
        network, codec = (read_json(folder / part / "config.json") for part in ("transformer", "vae"))
        recipe = Recipe.of(folder, bases.get(kind) or Kind.read(folder).recipe)
        return memory.clip(network, codec, dtype, recipe, branches=2, codec_dtype=of_codec)
    except (KeyError, TypeError, ValueError):
        return None


def _load_cosmos25(source: Source) -> Backend:
    """The embedded kind, told frames alone, or one of NVIDIA's, which reads text."""
    config = read_json(source.folder / "transformer" / "config.json")
    if not config.get("use_crossattn_projection") and not has_encoder(source.folder):
        source.running.without(*(field.name for field in fields(Running)), model=source.name)
        return Cosmos25Backend.from_folder(source.folder, source.device)
    guardrail = licences.find_guardrail(source.guardrail, source.device)
    return ReleasedCosmos25.from_released(
        source.folder,
        source.device,
        source.dtype,
        Prompts(source.folder, source.device, source.dtype, fetch=source.fetch_text),
        Path(source.name).name,
        guardrail,
        licences.state_licence("Cosmos-Predict2.5", source.name),
        source.running,
    )


def _load_wan(source: Source) -> Backend:
    """Any of Wan's text- and image-to-video pipelines."""
    prompts = WanPrompts(source.folder, source.device, source.dtype, fetch=source.fetch_text)
    licence = licences.state_licence("Wan", source.name)
    return WanBackend.from_folder(
        source.folder, source.device, source.dtype, prompts, Path(source.name).name, licence, source.running
    )


def _load_cosmos3(source: Source) -> Backend:
    """Any size of Cosmos 3."""
    guardrail = licences.find_guardrail(source.guardrail, source.device)
    licence = licences.state_licence("Cosmos 3", source.name)
    running = source.running.without("cuda_graphs", "first_block_cache", model=source.name)
    return Cosmos3Backend.from_folder(
        source.folder, source.device, source.dtype, Path(source.name).name, guardrail, licence, running
    )


FAMILIES: dict[str, Callable[[Source], Backend]] = {
    PIPELINE: _load_cosmos25,
    COSMOS3: _load_cosmos3,
    TEXT_TO_VIDEO: _load_wan,
    IMAGE_TO_VIDEO: _load_wan,
}
