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
        encoded: how many of them, from the first, are made from the last frames; the others are the last latents.
    """

    name: str
    latents: int
    encoded: int

    def frames(self, backend: Backend) -> int:
        """Frames that the given latents stand for."""
        return 1 + (self.latents - 1) * backend.frames_per_latent

    def given(self, backend: Backend, state: State) -> Tensor:
        """Clean latents (B, C, k, H', W') with which the next chunk begins."""
        if state.latents is None or self.encoded == self.latents:
            return backend.encode(state.frames)
        kept = torch.from_numpy(state.latents[:, :, self.encoded :]).to(backend.device)
        if not self.encoded:
            return kept
        begun = 1 + (self.encoded - 1) * backend.frames_per_latent
        return torch.cat([backend.encode(state.frames[:, :begun]), kept], dim=2)

    def keep(self, backend: Backend, video: np.ndarray, latents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of a finished chunk (B, T, H, W, 3), (B, C, T', H', W'), the frames and latents that the next one needs."""
        return video[:, -self.frames(backend) :].copy(), latents[:, :, -self.latents :].copy()


# One frame, as NVIDIA's action-conditioned script hands it over; the last latent, never decoded, which for the
# next chunk stands for one frame; five frames, from which motion can be seen; the same five, the first as a picture and
# the others as their latent, which stands where it stood in its own chunk: behind a first frame, for four.
HANDOVERS = {
    each.name: each
    for each in (
        Handover("frame", 1, encoded=1),
        Handover("latent", 1, encoded=0),
        Handover("frames", 2, encoded=2),
        Handover("mixed", 2, encoded=1),
    )
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
