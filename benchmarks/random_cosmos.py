"""A Cosmos transformer of random weights, large enough that tokens are what it costs."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import CosmosTransformer3DModel
from torch import Tensor

from worldmodel.backends.cosmos25 import CosmosDenoiser, skip_empty_prompt

LATENTS = (16, 4, 32, 40)  # (C, T, H, W) of 13 frames of 256 x 320: 1280 tokens


def random_denoiser(batch: int, device: str, heads: int = 10, layers: int = 8) -> CosmosDenoiser:
    """The denoiser of clips with one given latent frame; 47 M parameters by default."""
    torch.manual_seed(0)
    network = CosmosTransformer3DModel(
        in_channels=17,
        out_channels=16,
        num_attention_heads=heads,
        attention_head_dim=64,
        num_layers=layers,
        text_embed_dim=16,
        adaln_lora_dim=64,
        max_size=(8, 64, 64),
        rope_scale=(1.0, 1.0, 1.0),
        concat_padding_mask=False,
        extra_pos_embed_type=None,
    )
    skip_empty_prompt(network)
    channels, frames, height, width = LATENTS
    given = torch.randn(batch, channels, 1, height, width, device=device)
    return CosmosDenoiser(network.to(device).eval().requires_grad_(False), given, frames)


class Unsettled:
    """A denoiser whose predictions change in a share of its free tokens only: 0 is predicted for the others.

    The changing tokens are the topmost rows of every free frame, and the network is evaluated as ever, so that the
    time is that of a model with as many uncertain tokens, whatever its weights are.
    """

    def __init__(self, denoise: Any, share: float) -> None:
        self._denoise, self.pinned = denoise, denoise.pinned
        rows = self.pinned.shape[-2]
        self._changing = torch.zeros_like(self.pinned)
        self._changing[..., : 2 * round(share * rows / 2), :] = True
        self._changing |= self.pinned

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """The prediction (B, C, T, H, W)."""
        return torch.where(self._changing, self._denoise(x, sigma), 0.0)

    def remember(self, x: Tensor, sigma: float) -> tuple[Tensor, Any]:
        """The prediction and the memory of it."""
        x0, memory = self._denoise.remember(x, sigma)
        return torch.where(self._changing, x0, 0.0), memory

    def partial(self, x: Tensor, sigma: float, places: Tensor, memory: Any) -> tuple[Tensor, Tensor]:
        """The prediction at some places."""
        x0, computed = self._denoise.partial(x, sigma, places, memory)
        return torch.where(self._changing, x0, 0.0), computed
