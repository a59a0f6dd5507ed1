"""Attention: the kernel that suits, or the one that was chosen."""

from __future__ import annotations

import torch
from diffusers import CosmosTransformer3DModel
from diffusers.models.attention_processor import Attention
from diffusers.models.embeddings import apply_rotary_emb
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

SHORT = 200  # tokens


def attend_briefly(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention (B, heads, tokens, D) by two matrix products.

    For under a hundred tokens this is several times faster on a CPU, forwards and backwards,
    than PyTorch's fused kernel, which is made for long sequences.
    """
    weights = torch.softmax(query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5, dim=-1)
    return weights.to(value.dtype) @ value


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention (B, heads, n, D) of queries to keys and values (B, heads, N, D)."""
    if query.device.type == "cpu" and key.shape[2] < SHORT:
        return attend_briefly(query, key, value)
    return scaled_dot_product_attention(query, key, value)


class ShortSequenceAttention:
    """diffusers' attention processor with :func:`attend_briefly`."""

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        image_rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Attention output (B, tokens, D) of hidden states (B, tokens, D) to themselves."""
        query, key, value = (
            project(hidden_states).unflatten(2, (attn.heads, -1)).transpose(1, 2)
            for project in (attn.to_q, attn.to_k, attn.to_v)
        )
        query, key = (
            apply_rotary_emb(norm(x), image_rotary_emb, use_real=True, use_real_unbind_dim=-2)
            for norm, x in ((attn.norm_q, query), (attn.norm_k, key))
        )
        mixed = attend_briefly(query, key, value)
        return attn.to_out[0](mixed.transpose(1, 2).flatten(2))


def use_short_attention(transformer: CosmosTransformer3DModel) -> None:
    """Replace the self-attention of every block."""
    for block in transformer.transformer_blocks:
        block.attn1.set_processor(ShortSequenceAttention())
