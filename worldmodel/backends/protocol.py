"""What a family of models must offer to be rolled out; see ``worldmodel.backends.families`` for those that do."""

from __future__ import annotations

from typing import Any, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from worldmodel.actions import ActionSpec
from worldmodel.backends.recipe import Recipe
from worldmodel.sampling.denoiser import Denoise


class Backend(Protocol):
    """One loaded model: pixels and actions in, a denoiser out."""

    recipe: Recipe
    weights_hash: str
    device: torch.device
    from_text: bool  # whether it imagines without given frames

    @property
    def action_spec(self) -> ActionSpec | None:
        """Of the actions it takes; None: it takes none, or was not told whose."""
        ...

    @property
    def frames_per_latent(self) -> int:
        """Frames that every latent frame after the first stands for."""
        ...

    @property
    def latent_shape(self) -> tuple[int, int, int, int]:
        """(C, T, H, W) of one clip's latents."""
        ...

    def sigmas(self, steps: int) -> np.ndarray:
        """The model's own schedule (steps + 1,)."""
        ...

    def encode(self, video: np.ndarray) -> Tensor:
        """Normalised latents (B, C, T', H', W') of a video (B, T, H, W, 3) uint8."""
        ...

    def decode(self, latents: Tensor) -> np.ndarray:
        """Video (B, T, H, W, 3) uint8 of normalised latents."""
        ...

    def denoiser(self, given: Tensor, actions: np.ndarray | None = None, frames: np.ndarray | None = None) -> Denoise:
        """Denoiser of clips that begin with the given latents (B, C, k, H, W).

        Args:
            given: with k = 0 where a model imagines from text alone.
            actions: (B, n, A), one for each frame after the given ones; None: none are known.
            frames: (B, F, H, W, 3) uint8, the given frames, for models that see more of them than their latents.
        """
        ...

    def conditioned(self, **options: Any) -> Self:
        """The same weights told something else: a prompt, another size; or a refusal."""
        ...

    def check_memory(self, batch: int, sparse: bool = False) -> None:
        """Refuse a batch of rollouts that does not fit, refined in part or not, saying what does."""
        ...

    def provenance(self) -> dict[str, Any]:
        """What a rollout depends on beside the weights, JSON-ready."""
        ...
