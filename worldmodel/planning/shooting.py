"""Random shooting: as many candidates as there is time for, and the best of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from worldmodel.planning.draws import Draws
from worldmodel.planning.planner import Search, check_counts, elites
from worldmodel.planning.space import shifted


@dataclass(frozen=True)
class RandomShooting:
    """Candidates spread evenly over the bounds; every iteration draws new ones.

    Attributes:
        candidates: tried in an iteration.
        iterations: of a search.
        std: only of what a guess is given with; candidates fill the bounds.
    """

    candidates: int = 64
    iterations: int = 4
    std: float = 1.0

    def __post_init__(self) -> None:
        check_counts(self.candidates, self.iterations, self.std)

    def propose(self, state: Search, draws: Draws, count: int) -> np.ndarray:
        """Knots (count, M, A), even in [-1, 1]; the middle of the search first, so that a guess is tried."""
        from scipy.special import ndtr

        knots = 2.0 * ndtr(draws(count, state.mean.shape)) - 1.0
        if draws.iteration == 0:
            knots[0] = state.mean
        return knots

    def update(self, state: Search, knots: np.ndarray, costs: np.ndarray) -> Search:
        """The same search, around the best candidate of the iteration."""
        best = elites(costs, 1)
        return replace(state, mean=knots[best[0]]) if len(best) else state

    def following(self, state: Search, knots: int) -> Search:
        """Begin with what is left of the best."""
        return replace(state, mean=shifted(state.mean, knots))
