"""The embedded kind told actions: x0 = denoise(x, sigma), with guidance over actions and over given frames.

A network that was trained with some samples not told their actions, and some not given any frame, can be steered by
either: v + a (v - v_untold) + f (v - v_blind), where v_untold is predicted without the actions and v_blind without the
given frames (classifier-free guidance of two conditions, as Brooks et al. 2023, arXiv 2211.09800, combine them).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from worldmodel.backends.cosmos25_branches import BranchedDenoiser
from worldmodel.backends.cosmos25_network import ActionEmbedding, CosmosNetwork


@dataclass(frozen=True)
class Guidance:
    """How much is made of what a model is told; 0 is off, and each that is on costs an evaluation more.

    Attributes:
        actions: a of v + a (v - v_untold).
        frames: f of v + f (v - v_blind).
    """

    actions: float = 0.0
    frames: float = 0.0

    def __post_init__(self) -> None:
        for name in ("actions", "frames"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or isinstance(value, bool) or not 0.0 <= value < float("inf"):
                raise ValueError(f"{name} guidance: got {value!r}, expected a finite number of at least 0; 0 is off")


class GuidedDenoiser(BranchedDenoiser):
    """A denoiser for a batch whose first latent frames are given.

    Args:
        network: predicts the velocity.
        given: (B, C, k, H, W) clean latents of the first k latent frames.
        frames: latent frames of the whole clip.
        actions: embedded actions; None: nothing is known of them.
        guidance: of both kinds.
    """

    def __init__(
        self,
        network: CosmosNetwork,
        given: Tensor,
        frames: int,
        actions: ActionEmbedding | None,
        guidance: Guidance | None = None,
    ) -> None:
        super().__init__(network, given, frames)
        self._guidance = guidance or Guidance()
        # Without actions there is nothing that guidance could compare with.
        self._steer = self._guidance.actions if actions is not None else 0.0
        self._actions = actions if actions is None else self._for_all_branches(actions)

    def _branches(self, x: Tensor) -> list[Tensor]:
        told = self._told(x)
        seen = [told, told] if self._steer > 0 else [told]
        if self._guidance.frames > 0:
            seen.append(torch.cat([x, torch.zeros_like(x[:, :1])], dim=1))
        return seen

    def _steered(self, velocities: list[Tensor]) -> Tensor:
        velocity, *others = velocities
        steered = velocity
        if self._steer > 0:
            steered = steered + self._steer * (velocity - others.pop(0))
        if self._guidance.frames > 0:
            steered = steered + self._guidance.frames * (velocity - others.pop(0))
        return steered

    def _for_all_branches(self, actions: ActionEmbedding) -> ActionEmbedding:
        """The actions for the branch that is told all, none for the one that is not told them, all for the blind."""

        def stacked(each: Tensor) -> Tensor:
            branches = [each]
            if self._steer > 0:
                branches.append(torch.zeros_like(each))
            if self._guidance.frames > 0:
                branches.append(each)
            return torch.cat(branches)

        return ActionEmbedding(stacked(actions.sinusoid), stacked(actions.modulation))
