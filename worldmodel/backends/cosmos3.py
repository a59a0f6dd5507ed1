"""Cosmos 3 as a canonical denoiser: text, given latent frames, actions of one embodiment, guidance.

seen      clean latents where they are given; the noise level is told on all other frames only;
actions   tokens beside those of the clip, clean at every noise level;
guidance  v_n + s (v - v_n) with s = 1 off, Cosmos 3's convention.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from worldmodel.backends.cosmos3_network import Cosmos3Network, Text

TRAINING_STEPS = 1000  # timesteps go from 0 to this


@dataclass(frozen=True)
class Conditions:
    """What a batch is told beside its given frames.

    Attributes:
        text: read prompt.
        negative: read negative prompt; None where there is no guidance.
        guidance: s of v_n + s (v - v_n).
        fps: frames per second of the clip.
        actions: (B, n, D) embedded actions; both branches of the guidance are told them.
    """

    text: Text
    fps: float
    negative: Text | None = None
    guidance: float = 1.0
    actions: Tensor | None = None

    def __post_init__(self) -> None:
        if (self.guidance != 1.0) != (self.negative is not None):
            raise ValueError(
                f"guidance: got {self.guidance:g} {'without' if self.negative is None else 'with'} a negative prompt, "
                "expected 1 without or another number with one; give both or neither"
            )


class Cosmos3Denoiser:
    """x0 = denoise(x, sigma) for a batch.

    Args:
        network: predicts the velocity.
        given: (B, C, k, H, W) clean latents of the first k latent frames; k may be 0.
        frames: latent frames of the whole clip.
        conditions: what else the batch is told.
    """

    def __init__(self, network: Cosmos3Network, given: Tensor, frames: int, conditions: Conditions) -> None:
        batch, channels, known, height, width = given.shape
        self._network, self._conditions, self._known = network, conditions, known
        self._clean = given.new_zeros(batch, channels, frames, height, width)
        self._clean[:, :, :known] = given
        self.pinned = torch.zeros(batch, 1, frames, height, width, dtype=torch.bool, device=given.device)
        self.pinned[:, :, :known] = True

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """Clean latents (B, C, T, H, W) predicted for x at noise level sigma."""
        told = self._conditions
        texts = [told.text] if told.negative is None else [told.text, told.negative]
        seen, timestep = torch.where(self.pinned, self._clean, x), float(int(sigma * TRAINING_STEPS))
        velocity = self._network(seen, self._known, timestep, texts, told.fps, told.actions).to(x.dtype)
        if told.negative is not None:
            wanted, unwanted = velocity.chunk(2)
            velocity = unwanted + told.guidance * (wanted - unwanted)
        return torch.where(self.pinned, self._clean, x - sigma * velocity)
