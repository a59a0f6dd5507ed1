"""When to end a rollout: the model no longer agrees with itself about what it has imagined.

A finished chunk z is perturbed once more and predicted again, as in Predict-and-Perturb:

    x = (1 - sigma) z + sigma eps,    U = mean |D(x) - z|

over the places that were not given. What the model knows well it predicts again; where it has
left that, it moves on to something else.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from worldmodel.noise import INITIAL, KeyedNoise
from worldmodel.sampling.denoiser import Denoise
from worldmodel.sampling.uncertainty import disagreement

DRAW = 1  # the iteration under which the noise is drawn, beside that which starts the chunk


@dataclass(frozen=True)
class StopRule:
    """End a rollout with the chunk whose self-disagreement is above ``limit`` or no number; one evaluation a chunk.

    Args:
        limit: U in latent units. Take a high quantile of what the model shows on first chunks of scenes that it
            knows: ``model.rollout(frames, seeds=..., stop=StopRule(inf)).uncertainty``.
        sigma: noise level of the perturbation, above 0 and below 1.
    """

    limit: float
    sigma: float = 0.5

    def __post_init__(self) -> None:
        if not isinstance(self.limit, int | float) or not self.limit >= 0.0:
            raise ValueError(f"limit: got {self.limit!r}, expected a number of at least 0; inf only measures")
        if not isinstance(self.sigma, int | float) or not 0.0 < self.sigma < 1.0:
            raise ValueError(f"sigma: got {self.sigma!r}, expected above 0 and below 1; 0.5 is the default")

    def uncertainty(self, denoise: Denoise, z: Tensor, noise: KeyedNoise) -> Tensor:
        """U (B,) of finished latents z (B, C, T, H, W)."""
        x = (1.0 - self.sigma) * z + self.sigma * noise(INITIAL, DRAW, z)
        pinned = getattr(denoise, "pinned", None)
        free = torch.ones_like(z[:, :1], dtype=torch.bool) if pinned is None else ~pinned.expand_as(z[:, :1])
        change = torch.where(free, disagreement(denoise(x, self.sigma), z), 0.0)
        return change.flatten(1).sum(dim=1) / free.flatten(1).sum(dim=1).clamp(min=1)

    def describe(self) -> dict[str, float | None]:
        """The settings as JSON-ready values; None for an infinite limit."""
        return {"limit": None if self.limit == float("inf") else float(self.limit), "sigma": float(self.sigma)}
