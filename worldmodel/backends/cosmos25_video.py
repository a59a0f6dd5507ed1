"""Predict2.5 as a canonical denoiser: text, any number of given latent frames, actions, guidance.

    seen      clean latents where they are given, and a mask channel that says so;
    sigma     of given frames a small constant of their own where the checkpoint was trained so, else that of all;
    guidance  v + g (v - v_negative), NVIDIA's convention: g = 0 is off, and g is the usual scale less 1.

The stock pipeline steers given frames by the noise of the start and so leaves a share 1 - sigma_0 of it in them
(0.5 % on the Karras grid); here they are exact. All other frames are the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from worldmodel.backends.cosmos25_branches import BranchedDenoiser
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


class VideoDenoiser(BranchedDenoiser):
    """x0 = denoise(x, sigma) for a batch.

    Args:
        network: predicts the velocity.
        given: (B, C, k, H, W) clean latents of the first k latent frames; k may be 0.
        frames: latent frames of the whole clip.
        conditions: what else the batch is told.
    """

    def __init__(self, network: CosmosNetwork, given: Tensor, frames: int, conditions: Conditions) -> None:
        super().__init__(network, given, frames)
        self._conditions = conditions
        self._text, self._actions = conditions.text, conditions.actions
        if conditions.negative is not None:
            self._text = conditions.text.beside(conditions.negative, len(given))
            self._actions = None if conditions.actions is None else conditions.actions.twice()

    def _branches(self, x: Tensor) -> list[Tensor]:
        told = self._told(x)
        return [told] if self._conditions.negative is None else [told, told]

    def _steered(self, velocities: list[Tensor]) -> Tensor:
        told, *negative = velocities
        return told + self._conditions.guidance * (told - negative[0]) if negative else told

    def _sigmas(self, x: Tensor, sigma: float) -> Tensor:
        """(B, 1), or (B, T) where given frames have a noise level of their own."""
        if self._known == 0 or self._conditions.given_sigma < 0:
            return super()._sigmas(x, sigma)
        sigmas = super()._sigmas(x, sigma).repeat(1, x.shape[2])
        sigmas[:, : self._known] = self._conditions.given_sigma
        return sigmas
