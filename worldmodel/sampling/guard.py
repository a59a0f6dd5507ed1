"""Over-refinement: tone and saturation that iterations add where there was nothing left to do.

A prediction takes the whole of a guided velocity where a solver takes a step's share of it, and every iteration takes
it again. What the noise of the iterations does differs from place to place; what guidance does is the same in all:

    S      the half of a sample's free places that differ least in the first iteration of a noise level
    shift  = mean_c |sum_levels mean_S(x0_K - x0_0)|                  tone, in latent units
    growth = product_levels rms_S(x0_K) / rms_S(x0_0), minus 1        saturation and contrast

with x0_0 and x0_K the predictions before and after the K iterations of a level. On a guided Gaussian, whose every
iteration multiplies what is settled by the same factor, growth is that of the finished sample over the unrefined one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from worldmodel.sampling.uncertainty import Quantile, below_threshold

SETTLED = Quantile(0.5)


def settled(uncertainty: Tensor, free: Tensor) -> Tensor:
    """The places S (B, 1, ...) bool, from the uncertainty and the free places (B, 1, ...) of a first iteration."""
    return below_threshold(uncertainty, SETTLED, free) & free


def change(before: Tensor, after: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """Mean change (B, C) and log of the growth (B,) of predictions (B, C, ...) in places (B, 1, ...) bool."""
    count = places.flatten(1).sum(dim=1).clamp(min=1)
    shift = torch.where(places, after - before, 0.0).flatten(2).sum(dim=2) / count[:, None]
    sizes = [torch.where(places, x0, 0.0).flatten(1).norm(dim=1).clamp(min=1e-6) for x0 in (before, after)]
    return shift, torch.log(sizes[1] / sizes[0])
