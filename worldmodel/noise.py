"""Noise that depends on (seed, chunk, step, iteration) and on nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

INITIAL = -1  # the step under which the noise that starts a sample is drawn


class KeyedNoise:
    """Standard normal noise for a batch, one independent stream for each key.

    A sample's noise is the same whatever its batch, order, device or resume point, and no two
    (seed, chunk, step, iteration) share a stream.

    Args:
        seeds: (B,) non-negative integers, one for each sample.
        chunk: index of the chunk within a longer rollout.
    """

    def __init__(self, seeds: Sequence[int] | np.ndarray, chunk: int = 0) -> None:
        self.seeds = [int(seed) for seed in seeds]
        if min(self.seeds, default=0) < 0:
            raise ValueError(f"seeds: got {min(self.seeds)}, expected integers of at least 0; drop the sign")
        self.chunk = chunk

    def __call__(self, step: int, iteration: int, like: Tensor) -> Tensor:
        """Noise shaped like ``like`` (B, ...), drawn on the CPU and moved to its device."""
        if len(like) != len(self.seeds):
            raise ValueError(f"noise: got a batch of {len(like)}, expected {len(self.seeds)}, one sample for each seed")
        samples = [self._draw(seed, step, iteration, tuple(like.shape[1:])) for seed in self.seeds]
        return torch.from_numpy(np.stack(samples)).to(like.device, like.dtype)

    def initial(self, like: Tensor) -> Tensor:
        """The noise that a sample starts from, shaped like ``like`` (B, ...)."""
        return self(INITIAL, 0, like)

    def _draw(self, seed: int, step: int, iteration: int, shape: tuple[int, ...]) -> np.ndarray:
        key = np.random.SeedSequence((seed, self.chunk, step - INITIAL, iteration))
        return np.random.Generator(np.random.Philox(key)).standard_normal(shape, dtype=np.float32)
