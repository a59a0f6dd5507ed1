"""Noise that depends on (seed, chunk, step, iteration, fork) and on nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

Lineage = tuple[tuple[int, int], ...]  # forks (index from 1, chunk at which they were made), the first one first

INITIAL = -1  # the step under which the noise that starts a sample is drawn


def check_seeds(seeds: Sequence[int] | np.ndarray) -> np.ndarray:
    """Seeds as (B,) int64, or an error that says what is wrong with them."""
    expected = "one integer from 0 to 2**63 - 1 for each sample"
    try:
        array = np.asarray(list(seeds))
    except (TypeError, ValueError):
        raise ValueError(f"seeds: got {seeds!r}, expected {expected}; pass a list such as range(4)") from None
    if array.size == 0:
        return np.zeros(0, np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(f"seeds: got {array.dtype} of shape {array.shape}, expected {expected}; convert them")
    if array.min() < 0 or array.max() > np.iinfo(np.int64).max:
        raise ValueError(f"seeds: got {array.min()} to {array.max()}, expected {expected}; draw them again")
    return array.astype(np.int64)


class KeyedNoise:
    """Standard normal noise for a batch, one independent stream for each key.

    A sample's noise is the same to the bit whatever its batch, order, device or resume point; no two
    (seed, chunk, step, iteration, fork) share a stream. It is counter-based (Philox) and drawn on the
    CPU, because a GPU's logarithm and cosine round differently.

    Args:
        seeds: (B,) non-negative integers, one for each sample.
        chunk: index of the chunk within a longer rollout.
        fork: index of the continuation, where one sample is continued in several ways; 0 is the sample's own.
        lineages: in place of ``fork``, for each sample the forks (index, chunk) that led to it, see
            :meth:`worldmodel.state.State.fork`.
    """

    def __init__(
        self,
        seeds: Sequence[int] | np.ndarray,
        chunk: int = 0,
        fork: int = 0,
        lineages: Sequence[Lineage] | None = None,
    ) -> None:
        self.seeds = check_seeds(seeds).tolist()
        self.chunk = _check_index("chunk", chunk)
        own: Lineage = ((_check_index("fork", fork), 0),) if fork else ()
        self.lineages = [own] * len(self.seeds) if lineages is None else list(lineages)
        if len(self.lineages) != len(self.seeds):
            raise ValueError(
                f"lineages: got {len(self.lineages)}, expected {len(self.seeds)}, one for each seed; fix it"
            )

    def __call__(self, step: int, iteration: int, like: Tensor) -> Tensor:
        """Noise shaped like ``like`` (B, ...), drawn on the CPU and moved to its device."""
        if len(like) != len(self.seeds):
            raise ValueError(f"noise: got a batch of {len(like)}, expected {len(self.seeds)}, one sample for each seed")
        shape = tuple(like.shape[1:])
        samples = [
            self._draw([seed, self.chunk, step - INITIAL, iteration], lineage, shape)
            for seed, lineage in zip(self.seeds, self.lineages, strict=True)
        ]
        return torch.from_numpy(np.stack(samples)).to(like.device, like.dtype)

    def initial(self, like: Tensor) -> Tensor:
        """The noise that a sample starts from, shaped like ``like`` (B, ...)."""
        return self(INITIAL, 0, like)

    @staticmethod
    def _draw(key: list[int], lineage: Lineage, shape: tuple[int, ...]) -> np.ndarray:
        # Two words a fork, so that a key with forks is of another length than one with a seed of two words.
        words = key + [word for fork in lineage for word in fork]
        generator = np.random.Generator(np.random.Philox(np.random.SeedSequence(words)))
        return generator.standard_normal(shape, dtype=np.float32)


def _check_index(name: str, index: int) -> int:
    if not isinstance(index, int | np.integer) or isinstance(index, bool) or not 0 <= index < 2**32:
        raise ValueError(f"{name}: got {index!r}, expected a whole number from 0 to 2**32 - 1; count from 0")
    return int(index)
