"""What Wan reads: prompts through UMT5, and for Wan2.1 image-to-video the first frame through CLIP."""

from __future__ import annotations

import html
import importlib.util
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from worldmodel.backends.pipeline_folder import load_component, load_processor, weight_files
from worldmodel.backends.text import TOKENS, Prompts

TIED = ("encoder.embed_tokens.weight",)  # the same as shared.weight, which alone the hub's files have
UNSEEN = ("visual_projection.weight",)  # of the whole CLIP, after the layer that is read


class WanPrompts(Prompts):
    """Embeddings (1, 512, D) of prompts."""

    def _encode(self, prompt: str) -> Tensor:
        from transformers import UMT5EncoderModel

        def encode(encoder: Any, tokenizer: Any) -> Tensor:
            encoder.set_input_embeddings(encoder.shared)  # some versions of transformers leave them apart
            return encode_prompt(encoder, tokenizer, prompt)

        return self._with_encoder(UMT5EncoderModel, encode, spare=TIED)


@torch.no_grad()
def encode_prompt(encoder: Any, tokenizer: Any, prompt: str) -> Tensor:
    """Embedding (1, 512, D): the last layer, with zeros beyond the prompt's own tokens."""
    told = tokenizer([clean(prompt)], padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt")
    ids, mask = told.input_ids.to(encoder.device), told.attention_mask.to(encoder.device)
    return encoder(ids, mask).last_hidden_state * mask[..., None]


def clean(prompt: str) -> str:
    """A prompt without HTML entities, mended by ftfy where that is installed, with single spaces."""
    if importlib.util.find_spec("ftfy") is not None:
        import ftfy  # type: ignore[import-not-found, unused-ignore]

        prompt = ftfy.fix_text(prompt)
    return re.sub(r"\s+", " ", html.unescape(html.unescape(prompt))).strip()


class FirstFrames:
    """CLIP's next to last layer of first frames, for networks that attend to it.

    Args:
        folder: pipeline folder with ``image_encoder`` and ``image_processor``.
    """

    def __init__(self, folder: Path, device: str, dtype: torch.dtype) -> None:
        from transformers import AutoImageProcessor, CLIPVisionModel

        self._processor = load_processor(AutoImageProcessor, folder, "image_processor")
        weight_files(folder, "image_encoder")
        self._encoder = load_component(CLIPVisionModel, folder, "image_encoder", dtype, spare=UNSEEN).to(device)

    @torch.no_grad()
    def embed(self, frames: np.ndarray) -> Tensor:
        """(B, L, D) of frames (B, H, W, 3) uint8."""
        seen = self._processor(images=list(frames), return_tensors="pt").to(self._encoder.device, self._encoder.dtype)
        return self._encoder(**seen, output_hidden_states=True).hidden_states[-2]
