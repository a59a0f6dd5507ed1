"""Attention: the kernel that suits, or the one that was chosen."""

from __future__ import annotations

import torch
from diffusers import CosmosTransformer3DModel
from diffusers.models.attention_dispatch import AttentionBackendName, dispatch_attention_fn
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


def attend(query: Tensor, key: Tensor, value: Tensor, kernel: str | None = None, grouped: bool = False) -> Tensor:
    """Attention (B, heads, n, D) of queries to keys and values (B, heads or fewer, N, D).

    Args:
        kernel: one of diffusers' attention backends; PyTorch's choice if None.
        grouped: whether several heads share their keys and values.
    """
    if kernel is not None:
        rows = [each.transpose(1, 2) for each in (query, key, value)]
        return dispatch_attention_fn(*rows, enable_gqa=grouped, backend=AttentionBackendName(kernel)).transpose(1, 2)
    if query.device.type == "cpu" and key.shape[2] < SHORT and not grouped:
        return attend_briefly(query, key, value)
    return scaled_dot_product_attention(query, key, value, enable_gqa=grouped)


@torch.no_grad()
def check_kernel(kernel: str, device: torch.device) -> None:
    """Refuse an attention kernel that does not run on a device, or whose results are not those of PyTorch's.

    Raises:
        ValueError: so, or there is none of that name.
    """
    names = [each.value for each in AttentionBackendName]
    if kernel not in names:
        raise ValueError(f"attention: got {kernel!r}, expected one of {', '.join(names)}; choose one")
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, 2, 256, 64, generator=generator).to(device, dtype) for _ in range(3))
    try:
        found = attend(query, key, value, kernel)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"attention: got {kernel!r} on {device}, where it does not run ({reason}), expected one that does; install "
            "what it needs, or leave it out"
        ) from None
    expected = scaled_dot_product_attention(query, key, value)
    error_share = float((found - expected).float().norm() / expected.float().norm())
    if not error_share < 0.05:  # NaN too
        raise ValueError(
            f"attention: got {kernel!r} on {device} with results {error_share:.0%} off PyTorch's, expected less than "
            "5%; leave it out"
        )


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
