"""Model predictive path integral control (Williams et al. 2017, arXiv 1707.02342)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from worldmodel.planning.draws import Draws
from worldmodel.planning.planner import Search, check_counts
from worldmodel.planning.space import shifted


@dataclass(frozen=True)
class MPPI:
    """mean <- sum_k w_k u_k with w_k proportional to exp(-(J_k - min J) / lambda).

    Attributes:
        candidates: tried in an iteration.
        iterations: of a search.
        std: of the noise, in knots; it stays.
        temperature: lambda in standard deviations of the candidates' costs, so that their unit does not matter.
        beta: of the noise's spectrum f^-beta; 0 is white.
    """

    candidates: int = 64
    iterations: int = 4
    std: float = 0.4
    temperature: float = 0.2
    beta: float = 0.0

    def __post_init__(self) -> None:
        check_counts(self.candidates, self.iterations, self.std)
        if not 0.0 < self.temperature < np.inf:
            raise ValueError(f"temperature: got {self.temperature!r}, expected a number above 0; 0.2 is the default")

    def propose(self, state: Search, draws: Draws, count: int) -> np.ndarray:
        """mean + std eps, the mean itself first."""
        knots = state.mean + state.std * draws(count, state.mean.shape, self.beta)
        knots[0] = state.mean
        return np.clip(knots, -1.0, 1.0)

    def update(self, state: Search, knots: np.ndarray, costs: np.ndarray) -> Search:
        """The mean under the weights; rejected candidates have none."""
        finite = np.isfinite(costs)
        if not finite.any():
            return state
        excess = costs - costs[finite].min()
        scale = self.temperature * float(costs[finite].std())
        weights = np.exp(-excess / scale) if scale > 0.0 else (excess == 0.0).astype(np.float64)
        mean = np.tensordot(weights / weights.sum(), knots, axes=1)
        return replace(state, mean=mean)

    def following(self, state: Search, knots: int) -> Search:
        """Begin with what is left of the mean."""
        return replace(state, mean=shifted(state.mean, knots))
