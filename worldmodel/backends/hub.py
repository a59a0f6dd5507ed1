"""Pipelines from the Hugging Face hub: which revision, which parts, and what to do when one cannot be had."""

from __future__ import annotations

import re
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

# Where the diffusers pipeline of a repository is, if not at its head; the first is the default.
REVISIONS = {
    "nvidia/Cosmos-Predict2.5-2B": ("diffusers/base/post-trained", "diffusers/base/pre-trained"),
    "nvidia/Cosmos-Predict2.5-14B": ("diffusers/base/post-trained", "diffusers/base/pre-trained"),
}
PARTS = ("scheduler", "transformer", "transformer_2", "vae", "image_encoder", "image_processor", "text_tokenizer")
TEXT_PARTS = ("text_encoder", "tokenizer")
# Of our own pipelines: how they were trained to be used, embeddings that come with them, the card with their hash.
OURS = ("worldmodel.json", "prompts/*.safetensors", "README.md")
SAFE = ("*.json", "*.safetensors", "*.txt", "*.jinja", "*.model")  # of the files in a part: nothing pickled

_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def is_hub_id(name: str) -> bool:
    """Whether a name may be a repository of the hub: owner/name."""
    return _ID.fullmatch(name) is not None


def fetch(name: str, revision: str | None = None, subfolder: str | None = None, parts: tuple[str, ...] = PARTS) -> Path:
    """The folder of a pipeline, with these parts fetched into the hub's cache.

    Args:
        name: owner/name of the repository.
        revision: branch, tag or commit; the one that has the pipeline by default.
        subfolder: of the repository, in which the pipeline is.
        parts: sub-folders of the pipeline that are needed.

    Raises:
        ValueError: no access, no such repository, revision or folder, or no network and nothing in the cache.
    """
    known = REVISIONS.get(name, ())
    revision = revision or (known[0] if known else None)
    inside = f"{subfolder.strip('/')}/" if subfolder else ""
    inner = ("model_index.json", *OURS, *(f"{part}/{kind}" for part in parts for kind in SAFE))
    wanted = [f"{inside}{each}" for each in inner]
    try:
        snapshot = huggingface_hub.snapshot_download(name, revision=revision, allow_patterns=wanted)
    except Exception as error:
        raise _explained(error, name, revision, known) from None
    folder = Path(snapshot) / inside
    if not (folder / "model_index.json").is_file():
        others = f"; revisions with one are {', '.join(known)}" if known else "; give its revision or subfolder"
        raise ValueError(
            f"{name} at {revision or 'main'}: got no {inside}model_index.json, expected a pipeline{others}"
        )
    return folder


def _explained(error: Exception, name: str, revision: str | None, known: tuple[str, ...]) -> Exception:
    """A refusal that says what to do, for what huggingface_hub raises."""
    page = f"https://huggingface.co/{name}"
    if isinstance(error, GatedRepoError):
        return ValueError(
            f"{name}: got no access, expected an accepted licence; accept it on {page} and run `hf auth login`"
        )
    if isinstance(error, RevisionNotFoundError):
        choice = f"one of {', '.join(known)}" if known else f"a branch, tag or commit of {page}"
        return ValueError(f"revision: got {revision!r}, expected {choice}; correct it")
    if isinstance(error, RepositoryNotFoundError):
        return ValueError(
            f"{name}: got no such repository, or a private one, expected one that you can open; look at {page}, and "
            "run `hf auth login` if it is there"
        )
    if isinstance(error, HFValidationError):
        return ValueError(f"model: got {name!r}, expected owner/name of a repository; correct it")
    # Where there is no cached copy either, the cause is what the hub answered.
    answers = [getattr(each, "response", None) for each in (error, error.__cause__)]
    status = next((each.status_code for each in answers if each is not None), None)
    if status in (401, 403):
        return ValueError(
            f"{name}: got a token that the hub does not take ({status}), expected a valid one that may read this "
            "repository; run `hf auth login`, or correct HF_TOKEN"
        )
    if isinstance(error, LocalEntryNotFoundError | HfHubHTTPError | OSError):
        return ValueError(
            f"{name}: got neither the hub nor a cached copy of {revision or 'main'}, expected one of them; go online, "
            "or pass the path of a downloaded pipeline folder"
        )
    return error
