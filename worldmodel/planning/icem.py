"""iCEM: the cross-entropy method with coloured noise and a memory (Pinneri et al. 2020, arXiv 2008.06389)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from worldmodel.planning.draws import Draws
from worldmodel.planning.planner import Search, check_counts, check_elites, elites, fitted
from worldmodel.planning.space import shifted


@dataclass(frozen=True)
class ICEM:
    """CEM whose candidates move along smoothly, become fewer, and keep some elites; algorithm 1 of the paper.

    Attributes:
        candidates: tried in the first iteration.
        iterations: of a search.
        elites: to which the Gaussian is fitted.
        std: of the first Gaussian, in knots.
        beta: of the noise's spectrum f^-beta; 0 is white, 2 a random walk.
        decay: by which the candidates become fewer with each iteration, down to twice the elites.
        keep: share of the elites that are tried again, in this search and, shifted, in the next.
        momentum: share of the old mean and std that stays.
    """

    candidates: int = 64
    iterations: int = 4
    elites: int = 8
    std: float = 0.7
    beta: float = 2.0
    decay: float = 1.25
    keep: float = 0.3
    momentum: float = 0.1

    def __post_init__(self) -> None:
        check_counts(self.candidates, self.iterations, self.std)
        check_elites(self.elites, self.candidates)
        if not self.decay >= 1.0 or not 0.0 <= self.keep <= 1.0 or not 0.0 <= self.momentum < 1.0:
            raise ValueError(
                f"decay, keep, momentum: got {self.decay}, {self.keep}, {self.momentum}, expected at least 1, 0 to 1, "
                "and 0 to below 1; change them"
            )

    def propose(self, state: Search, draws: Draws, count: int) -> np.ndarray:
        """Kept elites, the mean, and mean + std eps with coloured eps."""
        fewer = max(min(count, 2 * self.elites), int(count * self.decay**-draws.iteration))
        knots = state.mean + state.std * draws(fewer, state.mean.shape, self.beta)
        knots[0] = state.mean
        kept = state.kept[: fewer - 1]
        knots[1 : 1 + len(kept)] = kept
        return np.clip(knots, -1.0, 1.0)

    def update(self, state: Search, knots: np.ndarray, costs: np.ndarray) -> Search:
        """Fit the Gaussian to the candidates of least cost, and keep the best of them."""
        chosen = knots[elites(costs, self.elites)]
        if len(chosen) == 0:
            return state
        return replace(fitted(state, chosen, self.momentum), kept=chosen[: round(self.keep * self.elites)])

    def following(self, state: Search, knots: int) -> Search:
        """Begin with what is left of the mean and of the kept elites, as widely as the first time."""
        mean, kept = shifted(state.mean, knots), shifted(state.kept, knots)
        return Search(mean, np.full_like(state.std, self.std), kept)
