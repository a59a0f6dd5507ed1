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

from worldmodel.backends.text import TOKENS, Prompts


class WanPrompts(Prompts):
    """Embeddings (1, 512, D) of prompts."""

    def _encode(self, prompt: str) -> Tensor:
        from transformers import AutoTokenizer, UMT5EncoderModel

        return self._with_encoder(
            UMT5EncoderModel, lambda encoder: encode_prompt(encoder, self._tokenizer(AutoTokenizer), prompt)
        )


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

        for part in ("image_encoder", "image_processor"):
            if not (folder / part).is_dir():
                raise ValueError(f"{folder}: got no {part}, expected it for this network; fetch the pipeline again")
        self._processor = AutoImageProcessor.from_pretrained(folder / "image_processor", local_files_only=True)
        self._encoder = CLIPVisionModel.from_pretrained(
            folder / "image_encoder", local_files_only=True, use_safetensors=True, dtype=dtype
        ).to(device)

    @torch.no_grad()
    def embed(self, frames: np.ndarray) -> Tensor:
        """(B, L, D) of frames (B, H, W, 3) uint8."""
        seen = self._processor(images=list(frames), return_tensors="pt").to(self._encoder.device, self._encoder.dtype)
        return self._encoder(**seen, output_hidden_states=True).hidden_states[-2]
