"""The forward process of the flow: from a noise level up to a higher one."""

from __future__ import annotations

from math import sqrt

from torch import Tensor


def noise_up(x: Tensor, sigma: float, sigma_up: float, eps: Tensor) -> Tensor:
    """A sample of q(x_up | x) with fresh noise eps: if x = alpha z + sigma e, then x_up = alpha_up z + sigma_up e'."""
    ratio = (1.0 - sigma_up) / (1.0 - sigma)
    return ratio * x + sqrt(sigma_up**2 - (ratio * sigma) ** 2) * eps
