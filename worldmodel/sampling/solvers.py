"""Solvers: one step from (x, x0) at sigma to the next noise level.

All take the predicted clean sample x0 = denoise(x, sigma); the flow's velocity is
v = dx/dsigma = (x - x0) / sigma.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

Step = Callable[[Tensor, Tensor, float, float], Tensor]


def euler_step(x: Tensor, x0: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """x + (sigma_next - sigma) v, written so that sigma_next = 0 gives x0 exactly."""
    ratio = sigma_next / sigma
    return ratio * x + (1.0 - ratio) * x0


SOLVERS: dict[str, Step] = {"euler": euler_step}
