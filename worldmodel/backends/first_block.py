"""Evaluations that reuse what the later blocks of a transformer added, where the first block has hardly changed.

Lossy. Of every sample for itself: what it becomes does not depend on its batch. See ``benchmarks/lossy.py``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class FirstBlock:
    """What one trajectory remembers of its last whole evaluations.

    Args:
        threshold: change of what the first block adds, relative to what it added in the sample's last whole
            evaluation, below which the later blocks are not evaluated.
        samples: B; branches of guidance lie one after the other, and go together.

    Attributes:
        skipped: share of the evaluations of samples, since the start, that ended with the first block.
    """

    def __init__(self, threshold: float, samples: int) -> None:
        self._threshold, self._samples = threshold, samples
        self._added: Tensor | None = None  # by the first block, in the last whole evaluation of each
        self._rest: Tensor | None = None  # by all later ones
        self._count, self._whole = 0, 0

    @property
    def skipped(self) -> float:
        """See the class."""
        return 1.0 - self._whole / max(1, self._count)

    def __call__(self, tokens: Tensor, first: Tensor, later: Callable[[Tensor | None], Tensor]) -> Tensor:
        """Tokens (G B, ...) after all blocks.

        Args:
            tokens, first: before and after the first block.
            later: evaluates the later blocks for rows (n,) of the batch, or with None for all, from ``first``.
        """
        added = first - tokens
        stale = self._stale(added)
        self._count += len(stale)
        self._whole += int(stale.sum())
        if self._rest is None or self._added is None or bool(stale.all()):
            self._added, self._rest = added, later(None) - first
            return first + self._rest
        rows = stale.repeat(len(first) // self._samples).nonzero().flatten()
        if len(rows):
            self._added[rows], self._rest[rows] = added[rows], later(rows) - first[rows]
        return first + self._rest

    def _stale(self, added: Tensor) -> Tensor:
        """(B,) bool: samples whose later blocks must be evaluated."""
        if self._added is None or self._added.shape != added.shape:
            self._added = self._rest = None
            return torch.ones(self._samples, dtype=torch.bool, device=added.device)
        change, before = ((each.flatten(1).abs().mean(dim=1)) for each in (added - self._added, self._added))
        return (change >= self._threshold * before).view(-1, self._samples).any(dim=0)
