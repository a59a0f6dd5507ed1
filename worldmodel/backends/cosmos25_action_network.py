"""The action-conditioned Predict2.5: a Cosmos transformer with two action embedders.

NVIDIA has two such networks, told apart by the width of what the embedders read:

    chunk    the actions of one latent frame (4 x 7 = 28), an embedding for each; none for the first latent frame,
             which no action led to, and none where latents are given.
    global   all actions of the clip (12 x 7 = 84), one embedding for all latent frames, the given ones too.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from diffusers import CosmosTransformer3DModel
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from worldmodel.backends.cosmos25_network import ActionEmbedding

ACTIONS_PER_LATENT = 4  # as many as frames
ACTION_DIM = 7
CHUNK_ACTIONS = 12  # of a clip of 13 frames

Kind = Literal["chunk", "global"]


class ActionEmbedder(nn.Module):
    """fc2(gelu(fc1(actions))), with the GELU of the tanh formula."""

    def __init__(self, width: int, hidden: int, out: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, out)

    def forward(self, actions: Tensor) -> Tensor:
        """(..., out) of (..., width)."""
        return self.fc2(nn.functional.gelu(self.fc1(actions), approximate="tanh"))


class ActionCosmosTransformer3DModel(CosmosTransformer3DModel):
    """diffusers' transformer and the action embedders; actions enter through :meth:`embed_actions`.

    Args:
        action_width: numbers that the embedders read at once, which tells the kind.
        action_dim: numbers of one action.
        others: as those of :class:`diffusers.CosmosTransformer3DModel`, with Predict2.5-2B's defaults.
    """

    @register_to_config
    def __init__(
        self,
        in_channels: int = 17,
        out_channels: int = 16,
        num_attention_heads: int = 16,
        attention_head_dim: int = 128,
        num_layers: int = 28,
        mlp_ratio: float = 4.0,
        text_embed_dim: int = 1024,
        adaln_lora_dim: int = 256,
        max_size: tuple[int, int, int] = (128, 240, 240),
        patch_size: tuple[int, int, int] = (1, 2, 2),
        rope_scale: tuple[float, float, float] = (1.0, 3.0, 3.0),
        concat_padding_mask: bool = True,
        extra_pos_embed_type: str | None = None,
        use_crossattn_projection: bool = True,
        crossattn_proj_in_channels: int = 100352,
        encoder_hidden_states_channels: int = 1024,
        controlnet_block_every_n: int | None = None,
        img_context_dim_in: int | None = None,
        img_context_num_tokens: int = 256,
        img_context_dim_out: int = 2048,
        action_width: int = ACTIONS_PER_LATENT * ACTION_DIM,
        action_dim: int = ACTION_DIM,
    ) -> None:
        action_kind(action_width, action_dim)
        super().__init__(
            in_channels=in_channels,
            out_channels=out_channels,
            num_attention_heads=num_attention_heads,
            attention_head_dim=attention_head_dim,
            num_layers=num_layers,
            mlp_ratio=mlp_ratio,
            text_embed_dim=text_embed_dim,
            adaln_lora_dim=adaln_lora_dim,
            max_size=max_size,
            patch_size=patch_size,
            rope_scale=rope_scale,
            concat_padding_mask=concat_padding_mask,
            extra_pos_embed_type=extra_pos_embed_type,
            use_crossattn_projection=use_crossattn_projection,
            crossattn_proj_in_channels=crossattn_proj_in_channels,
            encoder_hidden_states_channels=encoder_hidden_states_channels,
            controlnet_block_every_n=controlnet_block_every_n,
            img_context_dim_in=img_context_dim_in,
            img_context_num_tokens=img_context_num_tokens,
            img_context_dim_out=img_context_dim_out,
        )
        width = num_attention_heads * attention_head_dim
        self.action_embedder_B_D = ActionEmbedder(action_width, 4 * width, width)
        self.action_embedder_B_3D = ActionEmbedder(action_width, 4 * width, 3 * width)

    def embed_actions(self, actions: Tensor, given: int) -> ActionEmbedding:
        """What actions (B, T - 1, A) of a clip of T frames add, of which the first ``given`` latent frames are given.

        Raises:
            ValueError: the actions are not those of such a clip.
        """
        kind = action_kind(self.config.action_width, self.config.action_dim)
        batch, count, dim = actions.shape
        whole = self.config.action_width // dim if kind == "global" else ACTIONS_PER_LATENT
        if dim != self.config.action_dim or count % whole or (kind == "global" and count != whole):
            expected = f"{whole}" if kind == "global" else f"a multiple of {whole}"
            raise ValueError(
                f"actions: got {count} of {dim} numbers, expected {expected} of {self.config.action_dim}; "
                "pass one for each frame after the first"
            )
        read = actions.to(self.dtype).reshape(batch, count // whole, self.config.action_width)
        embedded = [self.action_embedder_B_D(read), self.action_embedder_B_3D(read)]
        if kind == "chunk":
            embedded = [torch.cat([torch.zeros_like(each[:, :1]), each], dim=1) for each in embedded]
            for each in embedded:
                each[:, :given] = 0.0
        return ActionEmbedding(*embedded)


def action_kind(width: int, action_dim: int = ACTION_DIM) -> Kind:
    """Which network reads actions of that width.

    Raises:
        ValueError: none does.
    """
    kinds: dict[int, Kind] = {ACTIONS_PER_LATENT * action_dim: "chunk", CHUNK_ACTIONS * action_dim: "global"}
    if width not in kinds:
        raise ValueError(
            f"action_width: got {width}, expected {ACTIONS_PER_LATENT} actions (a chunk network) or {CHUNK_ACTIONS} "
            f"(a global one) of {action_dim} numbers; choose another checkpoint"
        )
    return kinds[width]


def transformer_class(config: dict[str, Any]) -> type[CosmosTransformer3DModel]:
    """The class of a transformer with that config.json."""
    return ActionCosmosTransformer3DModel if "action_width" in config else CosmosTransformer3DModel
