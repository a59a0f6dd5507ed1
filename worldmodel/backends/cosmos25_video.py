"""Predict2.5 as a canonical denoiser: text, any number of given latent frames, actions, guidance.

    seen      clean latents where they are given, and a mask channel that says so;
    sigma     of given frames a small constant of their own where the checkpoint was trained so, else that of all;
    guidance  v + g (v - v_negative), NVIDIA's convention: g = 0 is off, and g is the usual scale less 1.

The stock pipeline steers given frames by the noise of the start and so leaves a share 1 - sigma_0 of it in them
(0.5 % on the Karras grid); here they are exact. All other frames are the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from worldmodel.backends.cosmos25_network import ActionEmbedding, CosmosNetwork, Text


@dataclass(frozen=True)
class Conditions:
    """What a batch is told beside its given frames.

    Attributes:
        text: read prompt.
        negative: read negative prompt; None where there is no guidance.
        guidance: g of v + g (v - v_negative), 0 without.
        given_sigma: noise level that the network is told for given frames; negative: that of all others.
        actions: embedded actions; both branches of the guidance are told them.
    """

    text: Text
    negative: Text | None = None
    guidance: float = 0.0
    given_sigma: float = 1e-4
    actions: ActionEmbedding | None = None

    def __post_init__(self) -> None:
        if (self.guidance > 0) != (self.negative is not None):
            raise ValueError(
                f"guidance: got {self.guidance:g} {'without' if self.negative is None else 'with'} a negative prompt, "
                "expected 0 without or more than 0 with one; give both or neither"
            )


class VideoDenoiser:
    """x0 = denoise(x, sigma) for a batch.

    Args:
        network: predicts the velocity.
        given: (B, C, k, H, W) clean latents of the first k latent frames; k may be 0.
        frames: latent frames of the whole clip.
        conditions: what else the batch is told.
    """

    def __init__(self, network: CosmosNetwork, given: Tensor, frames: int, conditions: Conditions) -> None:
        batch, channels, known, height, width = given.shape
        self._network, self._conditions = network, conditions
        self._clean = given.new_zeros(batch, channels, frames, height, width)
        self._clean[:, :, :known] = given
        self.pinned = torch.zeros(batch, 1, frames, height, width, dtype=torch.bool, device=given.device)
        self.pinned[:, :, :known] = True
        self._known = known
        told = conditions
        self._text, self._actions = told.text, told.actions
        if told.negative is not None:
            self._text = told.text.beside(told.negative, batch)
            self._actions = None if told.actions is None else told.actions.twice()

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """Clean latents (B, C, T, H, W) predicted for x at noise level sigma."""
        hidden = torch.cat([torch.where(self.pinned, self._clean, x), self.pinned.to(x.dtype)], dim=1)
        return torch.where(self.pinned, self._clean, x - sigma * self._velocity(hidden, sigma))

    def _velocity(self, hidden: Tensor, sigma: float) -> Tensor:
        """Guided velocity; both branches of the guidance in one forward pass."""
        guidance, sigmas = self._conditions.guidance, self._sigmas(hidden, sigma)
        if guidance == 0:
            return self._network(hidden, sigmas, self._text, self._actions).to(hidden.dtype)
        hidden, sigmas = torch.cat([hidden, hidden]), torch.cat([sigmas, sigmas])
        told, negative = self._network(hidden, sigmas, self._text, self._actions).to(hidden.dtype).chunk(2)
        return told + guidance * (told - negative)

    def _sigmas(self, hidden: Tensor, sigma: float) -> Tensor:
        """(B, 1), or (B, T) where given frames have a noise level of their own."""
        batch, frames = len(hidden), hidden.shape[2]
        own = self._known > 0 and self._conditions.given_sigma >= 0
        sigmas = hidden.new_full((batch, frames if own else 1), sigma, dtype=torch.float32)
        if own:
            sigmas[:, : self._known] = self._conditions.given_sigma
        return sigmas
