"""Heun's method: an Euler step, then a step with the mean of the velocities at both ends.

Karras et al. 2022, "Elucidating the Design Space of Diffusion-Based Generative Models", Algorithm 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from worldmodel.sampling.denoiser import Denoise
from worldmodel.sampling.solvers.euler import euler_step
from worldmodel.sampling.solvers.step import Solver, StepContext


def heun_step(x: Tensor, x0: Tensor, sigma: float, sigma_next: float, denoise: Denoise) -> Tensor:
    """One step; evaluates the model at sigma_next, except at 0, where the velocity has no meaning."""
    x_next = euler_step(x, x0, sigma, sigma_next)
    if sigma_next == 0.0:
        return x_next
    v = (x - x0) / sigma
    v_next = (x_next - denoise(x_next, sigma_next)) / sigma_next
    return x + (sigma_next - sigma) * 0.5 * (v + v_next)


@dataclass(frozen=True)
class Heun(Solver):
    """Second order, two evaluations a step but one in the last."""

    name = "heun"

    def __call__(self, x: Tensor, x0: Tensor, at: StepContext, history: Any) -> tuple[Tensor, None]:
        return heun_step(x, x0, at.sigma, at.sigma_next, at.denoise), None

    def evaluations(self, sigma_next: float) -> int:
        return 1 if sigma_next == 0.0 else 2
