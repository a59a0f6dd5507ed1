"""Ancestral sampling with a dial: eta = 0 is the ODE (Euler), eta = 1 the full reverse SDE.

DDIM (Song et al., arXiv 2010.02502), Eq. 12 and 16, for alpha = 1 - sigma. With eps_hat = (x - alpha x0) / sigma,

    s^2 = sigma'^2 (1 - (alpha sigma' / alpha' sigma)^2)              variance of q(x' | x, x0)
    x'  = alpha' x0 + sqrt(sigma'^2 - eta^2 s^2) eps_hat + eta s eps

eta = 1 is SDE-DPM-Solver++(1) of arXiv 2211.01095.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

from torch import Tensor

from worldmodel.sampling.plan import is_number
from worldmodel.sampling.solvers.euler import euler_step
from worldmodel.sampling.solvers.step import Solver, StepContext


def sde_step(x: Tensor, x0: Tensor, sigma: float, sigma_next: float, eps: Tensor, eta: float = 1.0) -> Tensor:
    """One step with fresh noise eps; at sigma_next = 0 it gives x0 exactly."""
    alpha, alpha_next = 1.0 - sigma, 1.0 - sigma_next
    s = sigma_next * sqrt(1.0 - (alpha * sigma_next / (alpha_next * sigma)) ** 2)
    eps_hat = (x - alpha * x0) / sigma
    return alpha_next * x0 + sqrt(sigma_next**2 - (eta * s) ** 2) * eps_hat + eta * s * eps


@dataclass(frozen=True)
class SDE(Solver):
    """First order, one evaluation a step.

    Args:
        eta: how much of the noise is fresh in each step, from 0 (none) to 1 (ancestral).
    """

    eta: float = 1.0
    name = "sde"

    def __post_init__(self) -> None:
        if not (is_number(self.eta) and 0 <= self.eta <= 1):
            raise ValueError(f"eta: got {self.eta!r}, expected 0 (the ODE) to 1 (ancestral); 1 is the default")

    @property
    def stochastic(self) -> bool:
        return self.eta > 0

    def __call__(self, x: Tensor, x0: Tensor, at: StepContext, history: Any) -> tuple[Tensor, None]:
        if not self.stochastic or at.sigma_next == 0.0:
            return euler_step(x, x0, at.sigma, at.sigma_next), None
        return sde_step(x, x0, at.sigma, at.sigma_next, at.noise(x), self.eta), None
