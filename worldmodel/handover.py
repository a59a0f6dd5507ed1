"""What one chunk hands to the next: pixels that are encoded again, or the latents as they are.

A causal video autoencoder packs the first frame into the first latent and every further four into
one more, so k latents are 1 + 4 (k - 1) frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from worldmodel.backends.protocol import Backend
from worldmodel.state import State


@dataclass(frozen=True)
class Handover:
    """How a chunk begins.

    Attributes:
        name: in ``HANDOVERS``.
        latents: latent frames given to the next chunk.
        encode: whether they are made from the last frames; otherwise they are the last latents.
    """

    name: str
    latents: int
    encode: bool

    def frames(self, backend: Backend) -> int:
        """Frames that the given latents stand for."""
        return 1 + (self.latents - 1) * backend.frames_per_latent

    def given(self, backend: Backend, state: State) -> Tensor:
        """Clean latents (B, C, k, H', W') with which the next chunk begins."""
        if self.encode or state.latents is None:
            return backend.encode(state.frames)
        return torch.from_numpy(state.latents).to(backend.device)

    def keep(self, backend: Backend, video: np.ndarray, latents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of a finished chunk (B, T, H, W, 3), (B, C, T', H', W'), the frames and latents that the next one needs."""
        return video[:, -self.frames(backend) :].copy(), latents[:, :, -self.latents :].copy()


# One frame, as NVIDIA's action-conditioned script hands it over; the last latent, never decoded, which for the
# next chunk stands for one frame; five frames, from which motion can be seen.
HANDOVERS = {
    each.name: each for each in (Handover("frame", 1, True), Handover("latent", 1, False), Handover("frames", 2, True))
}


def as_handover(name: str | Handover) -> Handover:
    """The handover of that name.

    Raises:
        ValueError: there is none.
    """
    if isinstance(name, Handover):
        return name
    if name not in HANDOVERS:
        raise ValueError(f"handover: got {name!r}, expected one of {', '.join(HANDOVERS)}; choose one")
    return HANDOVERS[name]
