"""DPM-Solver++(2M): an exponential integrator that extrapolates the last two predictions.

Lu et al., "DPM-Solver++", arXiv 2211.01095, Algorithm 2, on the flow alpha = 1 - sigma.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import expm1

from torch import Tensor

from worldmodel.sampling.solvers.log_snr import log_snr
from worldmodel.sampling.solvers.step import Solver, StepContext

Previous = tuple[float, Tensor]  # noise level of the step before and its prediction x0


def dpm_solver_2m_step(
    x: Tensor, x0: Tensor, sigma: float, sigma_next: float, previous: Previous | None = None
) -> tuple[Tensor, Previous]:
    """One step, and what the next one needs of it; first order where there is no previous one, and to sigma = 0."""
    h = log_snr(sigma_next) - log_snr(sigma)
    d = x0
    if previous is not None and sigma_next > 0.0:
        sigma_before, x0_before = previous
        r = (log_snr(sigma) - log_snr(sigma_before)) / h
        d = (1.0 + 0.5 / r) * x0 - (0.5 / r) * x0_before
    return (sigma_next / sigma) * x - (1.0 - sigma_next) * expm1(-h) * d, (sigma, x0)


@dataclass(frozen=True)
class DPMSolver2M(Solver):
    """Second order, one evaluation a step."""

    name = "dpmpp_2m"

    def __call__(self, x: Tensor, x0: Tensor, at: StepContext, history: Previous | None) -> tuple[Tensor, Previous]:
        return dpm_solver_2m_step(x, x0, at.sigma, at.sigma_next, history)
