"""One evaluation of a Cosmos 3 transformer for a batch, with its text read once.

Two streams run through the same layers: text attends to text before it, and what is generated (patches of the clip,
then a token for each action) attends to all of it and to the text. So the text's keys and values depend on nothing
that is generated: they are made once, where diffusers makes them at every step. Its forward pass takes one sample;
here a batch shares a text, and both branches of the guidance go through the layers side by side, each attending to a
text of its own length. The result is the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import Cosmos3OmniTransformer
from diffusers.pipelines.cosmos.pipeline_cosmos3_omni import get_3d_mrope_ids_text_tokens, get_3d_mrope_ids_vae_tokens
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from worldmodel.backends.attention import attend
from worldmodel.backends.cosmos_tokens import rotated
from worldmodel.backends.running import Running, check_hooks, compiled

FRAMES_PER_LATENT = 4


@dataclass(frozen=True)
class Text:
    """What generated tokens attend to: of every layer keys, rotated, and values (1, heads, S, D)."""

    keys: list[Tensor]
    values: list[Tensor]

    def __len__(self) -> int:
        return self.keys[0].shape[2]


class Cosmos3Network:
    """velocity = network(latents, known, timestep, texts, fps, actions).

    Args:
        transformer: of any size, with or without actions.
        running: how it is run.
    """

    def __init__(self, transformer: Cosmos3OmniTransformer, running: Running | None = None) -> None:
        check_hooks(transformer)
        self.transformer, self.running = transformer, running or Running()
        self._layer = compiled(_layer, self.running)
        self._rotations: dict[tuple[Any, ...], tuple[Tensor, Tensor]] = {}

    @torch.no_grad()
    def read(self, ids: list[int]) -> Text:
        """Keys and values of a text of S tokens."""
        network = self.transformer
        device = network.embed_tokens.weight.device
        hidden = network.embed_tokens(torch.tensor([ids], device=device))
        positions, _ = get_3d_mrope_ids_text_tokens(len(ids), 0, network.config.enable_fps_modulation)
        rotation = self._table(positions.to(device), hidden)
        keys, values = [], []
        for layer in network.layers:
            attention, normed = layer.self_attn, layer.input_layernorm(hidden)
            query, key, value = (
                _heads(attention, project(normed)) for project in (attention.to_q, attention.to_k, attention.to_v)
            )
            query, key = attention.norm_q(query), attention.norm_k(key)
            seen = key if attention.k_norm_und_for_gen is None else attention.k_norm_und_for_gen(key)
            keys.append(rotated(seen, rotation))
            values.append(value)
            if layer is network.layers[-1]:
                break  # nothing reads what it makes of the text
            mixed = scaled_dot_product_attention(
                rotated(query, rotation), rotated(key, rotation), value, is_causal=True, enable_gqa=True
            )
            hidden = hidden + attention.to_out(_merged(mixed))
            hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
        return Text(keys, values)

    def embed_actions(self, actions: Tensor, domain: int) -> Tensor:
        """Tokens (B, n, D) of actions (B, n, A), A at most the network's ``action_dim``, of one embodiment domain."""
        network, project = self.transformer, self.transformer.action_proj_in
        index = torch.tensor([domain], device=actions.device)
        weight = project.fc(index).view(project.input_size, project.output_size)
        padded = pad(actions, (0, project.input_size - actions.shape[-1])).to(network.dtype)
        return padded @ weight.to(network.dtype) + (project.bias(index) + network.action_modality_embed).to(
            network.dtype
        )

    def __call__(
        self, latents: Tensor, known: int, timestep: float, texts: list[Text], fps: float, actions: Tensor | None = None
    ) -> Tensor:
        """Velocity (G B, C, T, H, W) for each of G texts, 0 on known frames.

        Args:
            latents: (B, C, T, H, W), clean on the first ``known`` latent frames.
            timestep: of all other frames, in [0, 1000].
            fps: frames per second of the clip.
            actions: (B, n, D) from :meth:`embed_actions`, one for each frame after the first; None tells none.
        """
        network, patch = self.transformer, self.transformer.config.latent_patch_size
        rows, grid = _patched(latents.to(network.dtype), patch)
        tokens = network.proj_in(rows)
        place = grid[1] * grid[2]  # tokens of a latent frame
        free = tokens[:, known * place :] + self._embedded(timestep, tokens)
        tokens = torch.cat([tokens[:, : known * place], free, *([] if actions is None else [actions])], dim=1)
        rotation = self._rotation(grid, tokens, texts, fps, 0 if actions is None else actions.shape[1])
        batch, tokens = len(tokens), tokens.repeat(len(texts), 1, 1)
        for index, layer in enumerate(network.layers):
            memories = [(text.keys[index], text.values[index]) for text in texts]
            tokens = self._layer(layer, tokens, rotation, memories, batch, self.running.attention)
        count = grid[0] * place
        out = network.proj_out(network.norm_moe_gen(tokens[:, known * place : count]))
        velocity = _unpatched(pad(out, (0, 0, known * place, 0)), grid, patch)
        return velocity[..., : latents.shape[3], : latents.shape[4]]

    def _embedded(self, timestep: float, like: Tensor) -> Tensor:
        """(1, D) of a noise level."""
        network = self.transformer
        scaled = torch.full((1,), timestep, device=like.device) * network.config.timestep_scale
        dtype = next(network.time_embedder.parameters()).dtype
        return network.time_embedder(network.time_proj(scaled).to(dtype)).to(like.dtype)

    def _rotation(
        self, grid: tuple[int, int, int], tokens: Tensor, texts: list[Text], fps: float, actions: int
    ) -> tuple[Tensor, Tensor]:
        """Tables (G B, 1, N, D) of cosines and sines: where a clip lies depends on the length of the text before it."""
        lengths = tuple(len(text) for text in texts)
        key = grid, lengths, fps, actions, len(tokens), tokens.device, tokens.dtype
        if key not in self._rotations:
            tables = [
                self._table(self._positions(grid, length, fps, actions).to(tokens.device), tokens) for length in lengths
            ]
            cos, sin = (torch.cat(each)[:, None] for each in zip(*tables, strict=True))
            batch = len(tokens)
            self._rotations = {key: (cos.repeat_interleave(batch, 0), sin.repeat_interleave(batch, 0))}
        return self._rotations[key]

    def _positions(self, grid: tuple[int, int, int], text: int, fps: float, actions: int) -> Tensor:
        """(3, N) of frame, row and column of every generated token; an action lies where the frame is it leads to."""
        config = self.transformer.config
        common: dict[str, Any] = {
            "temporal_offset": text + config.unified_3d_mrope_temporal_modality_margin,
            "reset_spatial_indices": config.unified_3d_mrope_reset_spatial_ids,
            "fps": fps if config.enable_fps_modulation else None,
            "base_fps": float(config.base_fps),
        }
        parts = [get_3d_mrope_ids_vae_tokens(*grid, temporal_compression_factor=FRAMES_PER_LATENT, **common)[0]]
        if actions:
            common |= {"base_temporal_compression_factor": FRAMES_PER_LATENT, "start_frame_offset": 1}
            parts.append(get_3d_mrope_ids_vae_tokens(actions, 1, 1, temporal_compression_factor=1, **common)[0])
        return torch.cat(parts, dim=1)

    def _table(self, positions: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines (1, N, D) of positions (3, N)."""
        return self.transformer.rotary_emb(positions[:, None], device=like.device, dtype=like.dtype)


def _layer(
    layer: Any,
    tokens: Tensor,
    rotation: tuple[Tensor, Tensor],
    memories: list[tuple[Tensor, Tensor]],
    batch: int,
    kernel: str | None,
) -> Tensor:
    """Generated tokens (G B, N, D) after a layer; ``memories`` are its keys and values of each text."""
    normed = layer.input_layernorm_moe_gen(tokens)
    tokens = tokens + _attend(layer.self_attn, normed, rotation, memories, batch, kernel)
    return tokens + layer.mlp_moe_gen(layer.post_attention_layernorm_moe_gen(tokens))


def _attend(
    attention: Any,
    tokens: Tensor,
    rotation: tuple[Tensor, Tensor],
    memories: list[tuple[Tensor, Tensor]],
    batch: int,
    kernel: str | None,
) -> Tensor:
    """Attention (G B, N, D) of generated tokens to themselves and to the text of their group of B."""
    query, key, value = (
        _heads(attention, project(tokens))
        for project in (attention.add_q_proj, attention.add_k_proj, attention.add_v_proj)
    )
    query, key = (
        rotated(norm(x), rotation) for norm, x in ((attention.norm_added_q, query), (attention.norm_added_k, key))
    )
    mixed = [
        attend(q, _after(text_keys, k), _after(text_values, v), kernel, grouped=True)
        for (text_keys, text_values), q, k, v in zip(
            memories, *(each.split(batch) for each in (query, key, value)), strict=True
        )
    ]
    return attention.to_add_out(_merged(torch.cat(mixed)))


def _after(text: Tensor, own: Tensor) -> Tensor:
    """(B, heads, S + N, D) of (1, heads, S, D) and (B, heads, N, D)."""
    return torch.cat([text.expand(len(own), -1, -1, -1), own], dim=2)


def _heads(attention: Any, x: Tensor) -> Tensor:
    """(B, heads, N, D) of (B, N, heads D)."""
    return x.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)


def _merged(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


def _patched(latents: Tensor, patch: int) -> tuple[Tensor, tuple[int, int, int]]:
    """A row (B, N, p p C) for each token, and the grid (T, H', W') of them; odd sides are filled up with zeros."""
    height, width = latents.shape[3:]
    filled = pad(latents, (0, -width % patch, 0, -height % patch))
    split = filled.unflatten(4, (-1, patch)).unflatten(3, (-1, patch))  # B, C, T, H', p, W', p
    grid = split.shape[2], split.shape[3], split.shape[5]
    return split.permute(0, 2, 3, 5, 4, 6, 1).flatten(4).flatten(1, 3), grid


def _unpatched(rows: Tensor, grid: tuple[int, int, int], patch: int) -> Tensor:
    """Latents (B, C, T, H' p, W' p) of rows (B, N, p p C)."""
    split = rows.unflatten(2, (patch, patch, -1)).unflatten(1, grid)  # B, T, H', W', p, p, C
    return split.permute(0, 6, 1, 2, 4, 3, 5).flatten(5, 6).flatten(3, 4)
