"""A Predict2.5 denoiser whose branches of guidance go through the network side by side, whole or in part."""

from __future__ import annotations

import torch
from torch import Tensor

from worldmodel.backends import sparse_cosmos
from worldmodel.backends.cosmos25_network import ActionEmbedding, CosmosNetwork, Text
from worldmodel.backends.first_block import FirstBlock


class BranchedDenoiser:
    """x0 = denoise(x, sigma) for a batch; what the branches are is up to its kinds.

    Args:
        network: predicts the velocity.
        given: (B, C, k, H, W) clean latents of the first k latent frames; k may be 0.
        frames: latent frames of the whole clip.

    Attributes:
        pinned: (B, 1, T, H, W) bool, where latents are given.
        cache: of the trajectory, if the network is run with one.
    """

    def __init__(self, network: CosmosNetwork, given: Tensor, frames: int) -> None:
        batch, channels, known, height, width = given.shape
        self._network, self._known = network, known
        self._clean = given.new_zeros(batch, channels, frames, height, width)
        self._clean[:, :, :known] = given
        self.pinned = torch.zeros(batch, 1, frames, height, width, dtype=torch.bool, device=given.device)
        self.pinned[:, :, :known] = True
        threshold = network.running.first_block_cache
        self.cache = FirstBlock(threshold, batch) if threshold > 0 else None
        self._text: Text | None = None  # for all branches
        self._actions: ActionEmbedding | None = None  # for all branches

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """Clean latents (B, C, T, H, W) predicted for x at noise level sigma."""
        told = self._inputs(x, sigma)
        velocity = self._network(told.hidden, told.sigma, told.text, told.actions, self.cache)
        return self._predicted(x, sigma, velocity)

    def remember(self, x: Tensor, sigma: float) -> tuple[Tensor, sparse_cosmos.Memory]:
        """The same, and the memory that :meth:`partial` needs; see :mod:`worldmodel.sampling.sparse`."""
        velocity, memory = sparse_cosmos.remember(self._network.transformer, self._inputs(x, sigma), sigma)
        return self._predicted(x, sigma, velocity), memory

    def partial(self, x: Tensor, sigma: float, places: Tensor, memory: sparse_cosmos.Memory) -> tuple[Tensor, Tensor]:
        """Clean latents at the tokens that hold one of the places (B, 1, T, H, W) bool, and where those are."""
        inputs = self._inputs(x, sigma)
        count = len(inputs.hidden) // len(x)
        velocity, computed = sparse_cosmos.partial(
            self._network.transformer, inputs, sigma, _times(places, count), _times(~self.pinned, count), memory
        )
        return self._predicted(x, sigma, velocity), computed[: len(x)]

    def _branches(self, x: Tensor) -> list[Tensor]:
        """What the network sees in each branch, (B, C + 1, T, H, W)."""
        raise NotImplementedError

    def _steered(self, velocities: list[Tensor]) -> Tensor:
        """Guided velocity (B, C, T, H, W) of those of the branches."""
        raise NotImplementedError

    def _sigmas(self, x: Tensor, sigma: float) -> Tensor:
        """(B, 1), or (B, T) for a noise level of each latent frame."""
        return x.new_full((len(x), 1), sigma, dtype=torch.float32)

    def _told(self, x: Tensor) -> Tensor:
        """Noisy latents, clean where given, and the mask that says where."""
        return torch.cat([torch.where(self.pinned, self._clean, x), self.pinned.to(x.dtype)], dim=1)

    def _inputs(self, x: Tensor, sigma: float) -> sparse_cosmos.Inputs:
        seen = self._branches(x)
        sigmas, hidden = _times(self._sigmas(x, sigma), len(seen)), torch.cat(seen)
        rotation, kernel = self._network.rotation(hidden), self._network.running.attention
        return sparse_cosmos.Inputs(hidden, sigmas, self._text, self._actions, rotation, kernel)

    def _predicted(self, x: Tensor, sigma: float, velocity: Tensor) -> Tensor:
        steered = self._steered(list(velocity.to(x.dtype).split(len(x))))
        return torch.where(self.pinned, self._clean, x - sigma * steered)


def _times(rows: Tensor, count: int) -> Tensor:
    return rows if count == 1 else rows.repeat(count, *[1] * (rows.ndim - 1))
