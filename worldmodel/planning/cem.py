"""The cross-entropy method (Rubinstein 1999; de Boer et al. 2005) over sequences of actions."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from worldmodel.planning.draws import Draws
from worldmodel.planning.planner import Search, check_counts, check_elites, elites, fitted
from worldmodel.planning.space import shifted


@dataclass(frozen=True)
class CEM:
    """Draw from a Gaussian, and fit it to the elites: mean <- mean of elites, std <- std of elites.

    Attributes:
        candidates: tried in an iteration.
        iterations: of a search.
        elites: to which the Gaussian is fitted.
        std: of the first Gaussian, in knots.
        momentum: share of the old mean and std that stays.
        least_std: below which the spread does not fall.
    """

    candidates: int = 64
    iterations: int = 4
    elites: int = 8
    std: float = 0.7
    momentum: float = 0.1
    least_std: float = 0.05

    def __post_init__(self) -> None:
        check_counts(self.candidates, self.iterations, self.std)
        check_elites(self.elites, self.candidates)
        if not 0.0 <= self.momentum < 1.0:
            raise ValueError(f"momentum: got {self.momentum!r}, expected at least 0 and below 1; give one")

    def propose(self, state: Search, draws: Draws, count: int) -> np.ndarray:
        """mean + std eps, the mean itself first."""
        knots = state.mean + state.std * draws(count, state.mean.shape)
        knots[0] = state.mean
        return np.clip(knots, -1.0, 1.0)

    def update(self, state: Search, knots: np.ndarray, costs: np.ndarray) -> Search:
        """Fit the Gaussian to the candidates of least cost."""
        chosen = knots[elites(costs, self.elites)]
        if len(chosen) == 0:
            return state
        fit = fitted(state, chosen, self.momentum)
        return replace(fit, std=np.maximum(fit.std, self.least_std))

    def following(self, state: Search, knots: int) -> Search:
        """Begin with what is left of the mean, as widely as the first time."""
        mean = shifted(state.mean, knots)
        return Search(mean, np.full_like(state.std, self.std), state.kept)
