"""One evaluation of a Predict2.5 transformer, with all that the steps of a sample have in common made once.

It is diffusers' forward pass, rearranged without changing its result:

    the prompt      projected once, and its keys and values made once a block, not once a step;
    rotation        tables made once for each shape;
    modulation      a row for each latent frame, not for each token;
    actions         embedded once, and added where NVIDIA's network adds them: to the sinusoid of the timestep
                    before its norm, and to the low-rank modulation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import CosmosTransformer3DModel
from diffusers.models.attention_processor import Attention
from diffusers.models.transformers.transformer_cosmos import CosmosAdaLayerNormZero, CosmosTransformerBlock
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from worldmodel.backends.attention import attend
from worldmodel.backends.cosmos_tokens import rotated, unpatched
from worldmodel.backends.first_block import FirstBlock
from worldmodel.backends.graphs import Recorded
from worldmodel.backends.linear import feed_forward, linear, projected
from worldmodel.backends.running import Running, check_hooks, compiled


@dataclass(frozen=True)
class Text:
    """What the blocks attend to: of every block keys and values (B or 1, heads, S, D), after the keys' norm."""

    keys: list[Tensor]
    values: list[Tensor]

    def beside(self, other: Text, batch: int) -> Text:
        """Both, each for a batch, one after the other."""
        return Text(*(_beside(own, others, batch) for own, others in zip(self._parts, other._parts, strict=True)))

    @property
    def _parts(self) -> tuple[list[Tensor], list[Tensor]]:
        return self.keys, self.values


@dataclass(frozen=True)
class ActionEmbedding:
    """What actions add: to the sinusoid (B, T or 1, D), and to the modulation (B, T or 1, 3 D)."""

    sinusoid: Tensor
    modulation: Tensor

    def twice(self) -> ActionEmbedding:
        """For both branches of the guidance."""
        return ActionEmbedding(*(torch.cat([each, each]) for each in (self.sinusoid, self.modulation)))


class CosmosNetwork:
    """velocity = network(hidden, sigma, text, actions).

    Args:
        transformer: without image context or learned positions, as all of Predict2.5 are.
        running: how it is run.
    """

    def __init__(self, transformer: CosmosTransformer3DModel, running: Running | None = None) -> None:
        config = transformer.config
        if config.img_context_dim_in or config.extra_pos_embed_type:
            raise ValueError(
                "transformer: got one with image context or learned positions, expected a Predict2.5, which has neither"
            )
        check_hooks(transformer)
        self.transformer, self.running = transformer, running or Running()
        self._block = compiled(_block, self.running)
        self._recorded = Recorded(self._evaluated) if self.running.cuda_graphs else None
        self._rotations: dict[tuple[torch.Size, torch.device], tuple[Tensor, Tensor]] = {}

    def read(self, prompt: Tensor) -> Text:
        """Keys and values of prompt embeddings (B, S, W), as the text encoder makes them."""
        prompt = prompt.to(self.transformer.dtype)
        if self.transformer.config.use_crossattn_projection:
            prompt = projected(self.transformer.crossattn_proj, prompt)
        attentions = [block.attn2 for block in self.transformer.transformer_blocks]
        return Text(
            [each.norm_k(_heads(linear(each.to_k, prompt), each.heads)) for each in attentions],
            [_heads(linear(each.to_v, prompt), each.heads) for each in attentions],
        )

    def __call__(
        self,
        hidden: Tensor,
        sigma: Tensor,
        text: Text | None,
        actions: ActionEmbedding | None = None,
        cache: FirstBlock | None = None,
    ) -> Tensor:
        """Velocity (B, C, T, H, W).

        Args:
            hidden: (B, C + 1, T, H, W) noisy latents, clean where given, and the mask that says where.
            sigma: (B, 1), or (B, T) for a noise level of each latent frame, float32.
            text: for a batch of B, or of 1 for all; None is a prompt of zeros, attention to which adds exactly nothing.
            actions: for a batch of B; None adds nothing.
            cache: of the trajectory, if it has one.
        """
        rotation = self.rotation(hidden)
        if self._recorded is None:
            return self._evaluate(hidden, sigma, rotation, text, actions, cache)
        parts = [] if text is None else [*text.keys, *text.values]
        none = hidden.new_empty(0)
        embedded = [none, none] if actions is None else [actions.sinusoid, actions.modulation]
        return self._recorded([hidden, sigma, *rotation, *embedded, *parts])

    def rotation(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Tables (N, D) of cosines and sines for the tokens of latents (B, C, T, H, W), made once for each shape."""
        shape = hidden.shape[2:], hidden.device
        if shape not in self._rotations:
            self._rotations = {shape: self.transformer.rope(hidden)}
        return self._rotations[shape]

    def _evaluated(self, parts: list[Tensor]) -> Tensor:
        """The same of a list: hidden, sigma, rotation, actions or two empty tensors, and a text's keys and values."""
        hidden, sigma, cos, sin, sinusoid, modulation, *told = parts
        text = Text(told[: len(told) // 2], told[len(told) // 2 :]) if told else None
        actions = ActionEmbedding(sinusoid, modulation) if sinusoid.numel() else None
        return self._evaluate(hidden, sigma, (cos, sin), text, actions, None)

    def _evaluate(
        self,
        hidden: Tensor,
        sigma: Tensor,
        rotation: tuple[Tensor, Tensor],
        text: Text | None,
        actions: ActionEmbedding | None,
        cache: FirstBlock | None,
    ) -> Tensor:
        network, config = self.transformer, self.transformer.config
        size = hidden.shape[2:]
        if config.concat_padding_mask:  # nothing is padded
            hidden = torch.cat([hidden, torch.zeros_like(hidden[:, :1])], dim=1)
        tokens = network.patch_embed(hidden.to(network.dtype)).flatten(2, 3)  # (B, T', H' W', D)
        lora, embedded = embed_time(network, sigma, actions)
        blocks, kernel = range(len(network.transformer_blocks)), self.running.attention

        def through(some: range, tokens: Tensor, rows: Tensor | None = None) -> Tensor:
            """Tokens after some of the blocks; of all samples, or of those of ``tokens`` in these rows of the batch."""
            own = [lora, embedded] if rows is None else [_rows(lora, rows), _rows(embedded, rows)]
            for index in some:
                told = None if text is None else (text.keys[index], text.values[index])
                if told is not None and rows is not None:
                    told = _rows(told[0], rows), _rows(told[1], rows)
                tokens = self._block(network.transformer_blocks[index], tokens, *own, rotation, told, kernel)
            return tokens

        if cache is None:
            tokens = through(blocks, tokens)
        else:
            first = through(blocks[:1], tokens)
            tokens = cache(
                tokens, first, lambda rows: through(blocks[1:], first if rows is None else first[rows], rows)
            )
        (normed,) = _modulated(network.norm_out, tokens, embedded, lora)
        return unpatched(linear(network.proj_out, normed).flatten(1, 2), size, config.patch_size)


def _block(
    block: CosmosTransformerBlock,
    tokens: Tensor,
    lora: Tensor,
    embedded: Tensor,
    rotation: tuple[Tensor, Tensor],
    told: tuple[Tensor, Tensor] | None,
    kernel: str | None,
) -> Tensor:
    """Tokens (B, T, P, D) after a block; ``told`` are its keys and values of the text."""
    normed, gate = _modulated(block.norm1, tokens, embedded, lora)
    tokens = torch.addcmul(tokens, gate, _to_itself(block.attn1, normed, rotation, kernel))
    if told is not None:
        normed, gate = _modulated(block.norm2, tokens, embedded, lora)
        tokens = torch.addcmul(tokens, gate, attend_to_text(block.attn2, normed, *told, kernel))
    normed, gate = _modulated(block.norm3, tokens, embedded, lora)
    return torch.addcmul(tokens, gate, feed_forward(block.ff, normed))


def _rows(x: Tensor, rows: Tensor) -> Tensor:
    """Those rows of what is for a batch, all of what is for 1."""
    return x if len(x) == 1 else x[rows]


def embed_time(
    network: CosmosTransformer3DModel, sigma: Tensor, actions: ActionEmbedding | None
) -> tuple[Tensor, Tensor]:
    """Low-rank modulation (B, T' or 1, 1, 3 D) and embedded timestep (B, T' or 1, 1, D)."""
    time = network.time_embed
    # In the precision of the weights, not of autocast: bf16 cannot tell neighbouring sigmas apart.
    sinusoid = time.time_proj(sigma.flatten()).to(network.dtype).unflatten(0, sigma.shape)
    lora = time.t_embedder(sinusoid)
    if actions is not None:
        sinusoid = sinusoid + actions.sinusoid
        lora = lora + actions.modulation
    return lora[:, :, None], time.norm(sinusoid)[:, :, None]


def _modulated(norm: CosmosAdaLayerNormZero, tokens: Tensor, embedded: Tensor, lora: Tensor) -> tuple[Tensor, ...]:
    """Normalised tokens (B, T, P, D), shifted and scaled frame by frame; and the gate (B, T or 1, 1, D), if any."""
    own = linear(norm.linear_2, linear(norm.linear_1, norm.activation(embedded)))
    shift, scale, *gate = (own + lora[..., : own.shape[-1]]).split(tokens.shape[-1], dim=-1)
    return torch.addcmul(shift, norm.norm(tokens), 1 + scale), *gate


def _to_itself(
    attention: Attention, tokens: Tensor, rotation: tuple[Tensor, Tensor], kernel: str | None = None
) -> Tensor:
    """Self-attention over all tokens (B, T, P, D)."""
    flat = tokens.flatten(1, 2)
    query, key, value = (
        _heads(linear(project, flat), attention.heads) for project in (attention.to_q, attention.to_k, attention.to_v)
    )
    query, key = (rotated(norm(x), rotation) for norm, x in ((attention.norm_q, query), (attention.norm_k, key)))
    return _merged(attention, attend(query, key, value, kernel), tokens)


def attend_to_text(
    attention: Attention, tokens: Tensor, keys: Tensor, values: Tensor, kernel: str | None = None
) -> Tensor:
    """Attention of tokens (B, T, P, D) to the keys and values of a prompt."""
    query = attention.norm_q(_heads(linear(attention.to_q, tokens.flatten(1, 2)), attention.heads))
    shape = (len(tokens), -1, -1, -1)
    keys, values = keys.expand(shape), values.expand(shape)
    mixed = scaled_dot_product_attention(query, keys, values) if kernel is None else attend(query, keys, values, kernel)
    return _merged(attention, mixed, tokens)


def _heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _merged(attention: Attention, mixed: Tensor, like: Tensor) -> Tensor:
    return linear(attention.to_out[0], mixed.transpose(1, 2).flatten(2)).view_as(like)


def _beside(own: list[Tensor], others: list[Tensor], batch: int) -> list[Tensor]:
    shape = (batch, -1, -1, -1)
    return [torch.cat([a.expand(shape), b.expand(shape)]) for a, b in zip(own, others, strict=True)]
