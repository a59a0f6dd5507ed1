"""Prompt embeddings: kept on disk, so that the encoder is loaded for a new prompt only, and freed after."""

from __future__ import annotations

import gc
import hashlib
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from worldmodel.backends.memory import settle_encoder
from worldmodel.backends.pipeline_folder import load_component, load_processor, read_json, weight_files

TOKENS = 512
SYSTEM = "You are a helpful assistant who will provide prompts to an image generator."
SHIPPED = "prompts"  # folder of a pipeline with embeddings that come with it


class Prompts:
    """Embeddings (1, S, W) of prompts for one text encoder.

    Args:
        folder: pipeline folder with ``text_encoder`` and ``tokenizer``, or with the embeddings it needs in ``prompts``.
        device: where the encoder runs.
        dtype: in which it runs, and in which embeddings are kept.
        cache: folder of the embeddings; one of the user's by default.
        fetch: called before the encoder is looked for, to fetch what is not there.
    """

    def __init__(
        self,
        folder: Path,
        device: str,
        dtype: torch.dtype,
        cache: Path | None = None,
        fetch: Callable[[], Any] = lambda: None,
    ) -> None:
        self._folder, self._device, self._dtype, self._fetch = folder, device, dtype, fetch
        self._cache = cache or user_cache() / "prompts"
        self._encoder_hash: str | None = None

    def embed(self, prompt: str) -> Tensor:
        """The embedding (1, S, W) of a prompt, on the CPU.

        Raises:
            ValueError: it is not kept anywhere, and there is no encoder.
        """
        shipped = shipped_prompt(self._folder, prompt)
        if shipped is not None:
            return shipped
        path = self._cache / f"{self._key(prompt)}.safetensors"
        if path.is_file():
            return _read(path)
        embedding = self._encode(prompt)
        path.parent.mkdir(parents=True, exist_ok=True)
        keep_prompt(path, prompt, embedding)
        return embedding

    def _key(self, prompt: str) -> str:
        if self._encoder_hash is None:
            self._encoder_hash = encoder_hash(self._folder, self._fetch)
        return hashlib.sha256(f"{self._encoder_hash} {self._dtype} {prompt}".encode()).hexdigest()

    def _encode(self, prompt: str) -> Tensor:
        """The embedding from the encoder."""
        from transformers import Qwen2_5_VLForConditionalGeneration

        return self._with_encoder(
            Qwen2_5_VLForConditionalGeneration, lambda encoder, tokenizer: encode_prompt(encoder, tokenizer, prompt)
        )

    def _with_encoder(self, kind: Any, use: Callable[[Any, Any], Tensor], spare: Collection[str] = ()) -> Tensor:
        """What ``use`` makes of the encoder and its tokenizer; the encoder is gone afterwards."""
        from transformers import AutoTokenizer

        self._fetch()
        refuse_without_encoder(self._folder)
        tokenizer = load_processor(AutoTokenizer, self._folder, "tokenizer")
        weight_files(self._folder, "text_encoder")
        place = settle_encoder(self._folder, torch.device(self._device), self._dtype)
        encoder = load_component(kind, self._folder, "text_encoder", self._dtype, spare).to(place)
        try:
            return use(encoder, tokenizer).cpu()
        finally:
            del encoder
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


@torch.no_grad()
def encode_prompt(encoder: Any, tokenizer: Any, prompt: str) -> Tensor:
    """Embedding (1, 512, layers x width): every hidden layer, of mean 0 and deviation 1 in each token, side by side."""
    conversation = [
        {"role": role, "content": [{"type": "text", "text": text}]}
        for role, text in (("system", SYSTEM), ("user", prompt))
    ]
    tokens = tokenizer.apply_chat_template(
        conversation, tokenize=True, add_generation_prompt=False, add_vision_id=False,
        max_length=TOKENS, truncation=True, padding="max_length",
    )  # fmt: skip
    tokens = tokens if isinstance(tokens, list) else tokens["input_ids"]
    layers = encoder(torch.tensor([tokens], device=encoder.device), output_hidden_states=True).hidden_states[1:]
    scaled = [(each - each.mean(-1, keepdim=True)) / (each.std(-1, keepdim=True) + 1e-8) for each in layers]
    return torch.cat(scaled, dim=-1).to(encoder.dtype)


def encoder_hash(folder: Path, fetch: Callable[[], Any] = lambda: None) -> str:
    """What tells a text encoder from another: its commit in the hub's cache, or the content of its files.

    Raises:
        ValueError: there is none.
    """
    if folder.parent.name == "snapshots":
        return folder.name
    fetch()
    refuse_without_encoder(folder)
    files = [
        file
        for part in ("text_encoder", "tokenizer")
        for file in sorted((folder / part).glob("*"))
        if file.suffix in (".json", ".safetensors", ".txt", ".jinja")
    ]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode())
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def refuse_without_encoder(folder: Path) -> None:
    """Refuse a pipeline folder that has no weights of a text encoder."""
    if not any((folder / "text_encoder").glob("*.safetensors")):
        raise ValueError(
            f"{folder}: got no text_encoder, expected one for a new prompt; fetch it, or keep the embedding in "
            f"{SHIPPED}/ with worldmodel.backends.text.ship_prompt"
        )


def keep_prompt(path: Path, prompt: str, embedding: Tensor) -> None:
    """Write an embedding so that an interrupted write leaves nothing."""
    unfinished = path.with_suffix(f".{os.getpid()}")
    save_file({"embedding": embedding.contiguous()}, unfinished, metadata={"prompt": prompt})
    unfinished.replace(path)


def ship_prompt(folder: Path, prompt: str, embedding: Tensor) -> None:
    """Keep an embedding (1, S, W) in a pipeline folder, which then needs no encoder for that prompt."""
    (folder / SHIPPED).mkdir(exist_ok=True)
    name = hashlib.sha256(prompt.encode()).hexdigest()[:16] if prompt else "empty"
    keep_prompt(folder / SHIPPED / f"{name}.safetensors", prompt, embedding)


def shipped_prompt(folder: Path, prompt: str) -> Tensor | None:
    """The embedding that comes with a pipeline folder, if any."""
    for path in sorted((folder / SHIPPED).glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            if (file.metadata() or {}).get("prompt") == prompt:
                return file.get_tensor("embedding")
    return None


def has_encoder(folder: Path) -> bool:
    """Whether the pipeline's index names a text encoder."""
    return read_json(folder / "model_index.json").get("text_encoder", [None])[0] is not None


def user_cache() -> Path:
    """Where this package keeps what can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "worldmodel"


def _read(path: Path) -> Tensor:
    with safe_open(path, "pt") as file:
        return file.get_tensor("embedding")
