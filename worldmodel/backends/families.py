"""From a model's name to a loaded backend: which family a folder is of, and who loads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from worldmodel.backends import hub, licences
from worldmodel.backends.cosmos3_released import PIPELINE as COSMOS3
from worldmodel.backends.cosmos3_released import Cosmos3Backend
from worldmodel.backends.cosmos25 import PIPELINE, Cosmos25Backend
from worldmodel.backends.cosmos25_released import ReleasedCosmos25
from worldmodel.backends.pipeline_folder import read_json
from worldmodel.backends.protocol import Backend
from worldmodel.backends.text import Prompts, has_encoder
from worldmodel.backends.wan_released import IMAGE_TO_VIDEO, TEXT_TO_VIDEO, WanBackend
from worldmodel.backends.wan_text import WanPrompts


@dataclass(frozen=True)
class Source:
    """A model as it was asked for."""

    name: str
    folder: Path
    device: str
    dtype: torch.dtype
    guardrail: licences.Guardrails
    fetch_text: Callable[[], object]  # fetches the text encoder, if it is not there


def load_backend(
    name: str,
    device: str,
    *,
    revision: str | None = None,
    subfolder: str | None = None,
    dtype: torch.dtype | None = None,
    guardrail: licences.Guardrails = "nvidia",
) -> Backend:
    """The backend of a pipeline folder, or of a repository of the hub.

    Args:
        name: path of a folder, or owner/name.
        device: torch device.
        revision, subfolder: where in the repository the pipeline is; the known place by default.
        dtype: of the weights; bfloat16 on CUDA and float32 elsewhere by default.
        guardrail: "nvidia", or "none" to go without it, which rollouts record.

    Raises:
        ValueError: no such model, no access, or a file is missing, damaged or of no known family.
    """
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
    return FAMILIES[kind](Source(name, folder, device, dtype, guardrail, fetch))


def _load_cosmos25(source: Source) -> Backend:
    """The embedded kind, told frames alone, or one of NVIDIA's, which reads text."""
    config = read_json(source.folder / "transformer" / "config.json")
    if not config.get("use_crossattn_projection") and not has_encoder(source.folder):
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
    )


def _load_wan(source: Source) -> Backend:
    """Any of Wan's text- and image-to-video pipelines."""
    prompts = WanPrompts(source.folder, source.device, source.dtype, fetch=source.fetch_text)
    licence = licences.state_licence("Wan", source.name)
    return WanBackend.from_folder(source.folder, source.device, source.dtype, prompts, Path(source.name).name, licence)


def _load_cosmos3(source: Source) -> Backend:
    """Any size of Cosmos 3."""
    guardrail = licences.find_guardrail(source.guardrail, source.device)
    licence = licences.state_licence("Cosmos 3", source.name)
    return Cosmos3Backend.from_folder(
        source.folder, source.device, source.dtype, Path(source.name).name, guardrail, licence
    )


FAMILIES: dict[str, Callable[[Source], Backend]] = {
    PIPELINE: _load_cosmos25,
    COSMOS3: _load_cosmos3,
    TEXT_TO_VIDEO: _load_wan,
    IMAGE_TO_VIDEO: _load_wan,
}
