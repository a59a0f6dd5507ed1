"""Where a model disagrees with itself: the mask that keeps refinement away from settled places.

    U       = mean_c |D(x_k) - D(x_{k-1})|     one value for each (sample, frame, row, column)
    certain = U < tau                          the complement of the paper's mask, Eq. 10

The mean over channels is the L1 norm divided by C. tau is in units of the normalised latent, so one value means
different things for different autoencoders, models and noise levels; a :class:`Quantile` does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from worldmodel.sampling.plan import is_number

ACCUMULATE = ("certain", "uncertain", None)


@dataclass(frozen=True)
class Quantile:
    """A threshold relative to the uncertainties at hand: the share ``q`` of a sample's free places is certain."""

    q: float

    def __post_init__(self) -> None:
        if not (is_number(self.q) and 0 <= self.q <= 1):
            raise ValueError(f"q: got {self.q!r}, expected 0 to 1; 0 freezes nothing")

    def describe(self) -> dict[str, float]:
        """The setting as JSON-ready values."""
        return {"quantile": self.q}


def check_threshold(threshold: float | Quantile) -> None:
    """Refuse a threshold that is neither a Quantile nor a number of at least 0."""
    if isinstance(threshold, Quantile) or threshold == float("inf"):
        return
    if not (is_number(threshold) and threshold >= 0):
        raise ValueError(f"threshold: got {threshold!r}, expected at least 0, or a Quantile; 0 freezes nothing")


def disagreement(x0: Tensor, before: Tensor) -> Tensor:
    """U (B, 1, ...) between two predictions (B, C, ...): the mean over channels of absolute differences."""
    return (x0 - before).abs().mean(dim=1, keepdim=True)


def below_threshold(uncertainty: Tensor, threshold: float | Quantile, free: Tensor) -> Tensor:
    """The certain places (B, 1, ...), each sample by itself; ``free`` (B, 1, ...) bool leaves out the pinned ones.

    At Quantile(q), a place is certain if fewer than q n of its sample's n free places are less uncertain; of places
    equally so, the earlier ones count as less.
    """
    if not isinstance(threshold, Quantile):
        return uncertainty < threshold
    values = torch.where(free, uncertainty, torch.inf).flatten(1)
    rank = values.argsort(dim=1, stable=True).argsort(dim=1, stable=True)
    wanted = threshold.q * free.flatten(1).sum(dim=1, keepdim=True)
    return (rank < wanted).view_as(uncertainty)


def accumulate(rule: str | None, now: Tensor, before: Tensor | None) -> Tensor:
    """The mask of this iteration together with that of the iteration before, if any."""
    if before is None or rule is None:
        return now
    return now | before if rule == "certain" else now & before


def share(mask: Tensor, free: Tensor) -> Tensor:
    """Share (B,) of the free places that are in the mask; 1 where nothing is free."""
    total = free.flatten(1).sum(dim=1)
    return torch.where(total > 0, (mask & free).flatten(1).sum(dim=1) / total.clamp(min=1), 1.0)
