"""Some tokens of a Cosmos transformer, evaluated against what it remembers of the others.

An evaluation leaves behind the keys and values of every token in every block. A later one at the same noise level
computes chosen tokens alone: they are the queries; keys and values are their own new ones and the remembered ones of
all others. Every product in which a token takes part is then made for the chosen tokens only, attention included
(chosen queries times all keys), so that n of N tokens cost n / N of a full evaluation, but for the little that is made
once a sample (timestep, prompt). With every token chosen it is the full evaluation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from diffusers import CosmosTransformer3DModel
from diffusers.models.attention_processor import Attention
from diffusers.models.transformers.transformer_cosmos import CosmosAdaLayerNorm, CosmosAdaLayerNormZero
from torch import Tensor

from worldmodel.backends.attention import attend
from worldmodel.backends.cosmos25_network import ActionEmbedding, Text, attend_to_text, embed_time
from worldmodel.backends.cosmos_tokens import patches, rotated, unpatched
from worldmodel.backends.linear import feed_forward, linear


class Chosen:
    """The tokens of a batch that are computed.

    Those of all samples lie in one list, so that a sample costs what it needs; attention alone pads.

    Args:
        mask: (B, N) bool, at least one of them True.

    Attributes:
        rows: (M,) int64, where the chosen tokens lie among the B N of the batch, ascending.
        sample: (M,) int64, whose they are.
    """

    def __init__(self, mask: Tensor) -> None:
        self.batch, self.tokens = mask.shape
        self.rows = mask.flatten().nonzero().flatten()
        self.sample = self.rows // self.tokens
        self._width = int(mask.sum(dim=1).max())
        self._slot = self.sample * self._width + mask.cumsum(dim=1).flatten()[self.rows] - 1
        self._even = len(self.rows) == self.batch * self._width

    def padded(self, tokens: Tensor) -> Tensor:
        """(B, n, ...) of (M, ...): each sample's own, then zeros."""
        if not self._even:
            room = tokens.new_zeros(self.batch * self._width, *tokens.shape[1:])
            tokens = room.index_copy_(0, self._slot, tokens)
        return tokens.unflatten(0, (self.batch, self._width))

    def listed(self, padded: Tensor) -> Tensor:
        """(M, ...) of (B, n, ...)."""
        flat = padded.flatten(0, 1)
        return flat if self._even else flat[self._slot]


@dataclass
class Memory:
    """What an evaluation leaves behind; partial evaluations renew it in place."""

    sigma: float
    keys: list[Tensor]  # of every block (B, N, heads, D), after norm and rotation
    values: list[Tensor]  # of every block (B, N, heads, D)


@dataclass(frozen=True)
class Inputs:
    """What the network is given for a batch, and how it attends."""

    hidden: Tensor  # (B, C + 1, T, H, W) noisy latents, clean where given, and the mask that says where
    sigma: Tensor  # (B, 1), or (B, T) for a noise level of each latent frame
    text: Text | None = None  # for a batch of B, or of 1 for all; None is a prompt of zeros
    actions: ActionEmbedding | None = None  # for a batch of B
    rotation: tuple[Tensor, Tensor] | None = None  # tables (N, D) for the tokens of ``hidden``; made anew if None
    kernel: str | None = None  # of diffusers' attention backends; PyTorch's choice if None


def remember(network: CosmosTransformer3DModel, inputs: Inputs, sigma: float) -> tuple[Tensor, Memory]:
    """Velocity (B, C, T, H, W) of a full evaluation, and its memory."""
    hidden, config = inputs.hidden, network.config
    batch, tokens = len(hidden), patches(hidden, config.patch_size).shape[1]
    shape = batch, tokens, config.num_attention_heads, config.attention_head_dim
    blocks = network.transformer_blocks
    keys, values = ([hidden.new_empty(shape, dtype=network.dtype) for _ in blocks] for _ in range(2))
    memory = Memory(sigma, keys, values)
    every = Chosen(torch.ones(batch, tokens, dtype=torch.bool, device=hidden.device))
    return _velocity(network, inputs, every, memory), memory


def partial(
    network: CosmosTransformer3DModel, inputs: Inputs, sigma: float, places: Tensor, free: Tensor, memory: Memory
) -> tuple[Tensor, Tensor]:
    """Velocity of the tokens that hold one of the places, at the noise level of the memory.

    A sample all of whose free tokens are asked for is evaluated whole, given frames included.

    Args:
        places, free: (B, 1, T, H, W) bool, what is asked for and what is not given.

    Returns:
        velocity (B, C, T, H, W), 0 where it was not computed; computed (B, 1, T, H, W) bool.
    """
    hidden, patch = inputs.hidden, network.config.patch_size
    if memory.sigma != sigma or len(memory.keys[0]) != len(hidden):
        raise ValueError(
            f"memory: got {len(memory.keys[0])} samples at sigma {memory.sigma:g}, expected {len(hidden)} at "
            f"{sigma:g}; call remember first"
        )
    if places.dtype != torch.bool or places.shape != (len(hidden), 1, *hidden.shape[2:]):
        raise ValueError(
            f"places: got {places.dtype} of shape {tuple(places.shape)}, expected torch.bool of shape "
            f"{(len(hidden), 1, *hidden.shape[2:])}; one for each place of x"
        )
    wanted, movable = (patches(mask, patch).any(dim=-1) for mask in (places & free, free))
    wanted = wanted | (wanted == movable).all(dim=1, keepdim=True) & movable.any(dim=1, keepdim=True)
    computed = unpatched(wanted[..., None].expand(-1, -1, math.prod(patch)), hidden.shape[2:], patch)
    if not wanted.any():
        return hidden.new_zeros(len(hidden), network.config.out_channels, *hidden.shape[2:]), computed
    return _velocity(network, inputs, Chosen(wanted), memory), computed


def _velocity(network: CosmosTransformer3DModel, inputs: Inputs, chosen: Chosen, memory: Memory) -> Tensor:
    """Velocity (B, C, T, H, W) at the chosen tokens, 0 at the others; their keys and values go to the memory."""
    hidden, text, patch = inputs.hidden, inputs.text, network.config.patch_size
    if network.config.concat_padding_mask:  # nothing is padded
        hidden = torch.cat([hidden, torch.zeros_like(hidden[:, :1])], dim=1)
    rows = patches(hidden.to(network.dtype), patch).flatten(0, 1)[chosen.rows]
    tokens = linear(network.patch_embed.proj, rows)
    # The noise level's embedding has a row for each sample, or for each latent frame of each.
    temb, embedded = (each.flatten(0, 2) for each in embed_time(network, inputs.sigma, inputs.actions))
    row = chosen.rows // (chosen.batch * chosen.tokens // len(embedded))
    position = chosen.rows % chosen.tokens
    tables = network.rope(hidden) if inputs.rotation is None else inputs.rotation
    cos, sin = (table[position, None] for table in tables)
    for index, block in enumerate(network.transformer_blocks):
        normed, gate = _modulated(block.norm1, tokens, embedded, temb, row)
        keys, values = memory.keys[index], memory.values[index]
        tokens = tokens + gate * _attend(block.attn1, normed, (cos, sin), chosen, keys, values, inputs.kernel)
        if text is not None:
            normed, gate = _modulated(block.norm2, tokens, embedded, temb, row)
            asked = chosen.padded(normed)[:, None]
            told = attend_to_text(block.attn2, asked, text.keys[index], text.values[index], inputs.kernel)
            tokens = tokens + gate * chosen.listed(told[:, 0])
        normed, gate = _modulated(block.norm3, tokens, embedded, temb, row)
        tokens = tokens + gate * feed_forward(block.ff, normed)
    (normed,) = _modulated(network.norm_out, tokens, embedded, temb, row)
    out = linear(network.proj_out, normed)
    velocity = out.new_zeros(chosen.batch * chosen.tokens, out.shape[-1]).index_copy_(0, chosen.rows, out)
    return unpatched(velocity.unflatten(0, (chosen.batch, -1)), hidden.shape[2:], patch)


def _modulated(
    norm: CosmosAdaLayerNormZero | CosmosAdaLayerNorm, tokens: Tensor, embedded: Tensor, temb: Tensor, row: Tensor
) -> tuple[Tensor, ...]:
    """Normalised tokens (M, D), shifted and scaled by their rows of the timestep embedding; and the gate, if any."""
    own = linear(norm.linear_2, linear(norm.linear_1, norm.activation(embedded)))
    table = own + temb[..., : own.shape[-1]]
    shift, scale, *gate = (table if len(table) == 1 else table[row]).split(tokens.shape[-1], dim=-1)
    return torch.addcmul(shift, norm.norm(tokens), 1 + scale), *gate


def _attend(
    attention: Attention,
    tokens: Tensor,
    rotation: tuple[Tensor, Tensor],
    chosen: Chosen,
    keys: Tensor,
    values: Tensor,
    kernel: str | None,
) -> Tensor:
    """Self-attention output (M, D) of the chosen tokens to all; their keys and values are written first."""
    query, key, value = (
        linear(project, tokens).unflatten(-1, (attention.heads, -1))
        for project in (attention.to_q, attention.to_k, attention.to_v)
    )
    query, key = (rotated(norm(x), rotation) for norm, x in ((attention.norm_q, query), (attention.norm_k, key)))
    keys.view(-1, *key.shape[1:]).index_copy_(0, chosen.rows, key)
    values.view(-1, *value.shape[1:]).index_copy_(0, chosen.rows, value)
    query, key, value = (x.transpose(1, 2) for x in (chosen.padded(query), keys, values))
    mixed = attend(query, key, value, kernel).transpose(1, 2)
    return linear(attention.to_out[0], chosen.listed(mixed).flatten(-2))
