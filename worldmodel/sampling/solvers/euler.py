"""Euler's method on the flow dx/dsigma = v = (x - x0) / sigma."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from worldmodel.sampling.solvers.step import Solver, StepContext


def euler_step(x: Tensor, x0: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """x + (sigma_next - sigma) v, written so that sigma_next = 0 gives x0 exactly."""
    ratio = sigma_next / sigma
    return ratio * x + (1.0 - ratio) * x0


@dataclass(frozen=True)
class Euler(Solver):
    """First order, one evaluation a step; the same as DDIM and as DPM-Solver++(1)."""

    name = "euler"

    def __call__(self, x: Tensor, x0: Tensor, at: StepContext, history: Any) -> tuple[Tensor, None]:
        return euler_step(x, x0, at.sigma, at.sigma_next), None
