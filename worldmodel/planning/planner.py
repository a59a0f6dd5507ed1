"""What every planner is: candidates from a state, a new state from their costs. Nothing is kept in a planner itself.

Throughout, K is the number of candidates, M that of knots, A that of numbers of an action, and E that of elites.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from worldmodel.counts import check_count
from worldmodel.planning.draws import Draws
from worldmodel.planning.space import Space


@dataclass(frozen=True)
class Search:
    """What a planner knows between two iterations.

    Attributes:
        mean: (M, A) knots in the middle of what is tried next.
        std: (M, A) their spread.
        kept: (E, M, A) candidates that are tried again; E may be 0.
    """

    mean: np.ndarray
    std: np.ndarray
    kept: np.ndarray


class Planner(Protocol):
    """A way to search; :func:`worldmodel.planning.search.search` is the loop around it.

    Attributes:
        candidates: tried in an iteration.
        iterations: of a search.
        std: spread of the first candidates, in knots.
    """

    candidates: int
    iterations: int
    std: float

    def propose(self, state: Search, draws: Draws, count: int) -> np.ndarray:
        """Knots (count, M, A) to try next."""
        ...

    def update(self, state: Search, knots: np.ndarray, costs: np.ndarray) -> Search:
        """The state after candidates (K, M, A) had costs (K,); inf for those that were rejected."""
        ...

    def following(self, state: Search, knots: int) -> Search:
        """What a search that begins ``knots`` knots later can use of this one."""
        ...


def begin(space: Space, std: float, guess: np.ndarray | None) -> Search:
    """The state before the first iteration, around ``guess`` (horizon, A) in the spec's units or the space's middle."""
    mean = np.zeros(space.shape) if guess is None else space.knots(np.asarray(guess))
    if mean.shape != space.shape:
        raise ValueError(
            f"guess: got shape {mean.shape} of knots, expected those of ({space.horizon}, {space.shape[1]}); pass one"
        )
    return Search(mean, np.full(space.shape, float(std)), np.zeros((0, *space.shape)))


def elites(costs: np.ndarray, count: int) -> np.ndarray:
    """Indices of the ``count`` lowest costs, the lowest first; fewer where fewer are finite."""
    order = np.argsort(costs, kind="stable")[:count]
    return order[np.isfinite(costs[order])]


def fitted(state: Search, chosen: np.ndarray, momentum: float) -> Search:
    """The Gaussian fitted to chosen candidates (E, M, A), E at least 1; a share ``momentum`` of the old one stays."""
    spread = chosen.std(axis=0) if len(chosen) > 1 else state.std
    mean = momentum * state.mean + (1.0 - momentum) * chosen.mean(axis=0)
    return replace(state, mean=mean, std=momentum * state.std + (1.0 - momentum) * spread)


def check_counts(candidates: int, iterations: int, std: float) -> None:
    """Refuse a planner that would try nothing."""
    check_count("candidates", candidates)
    check_count("iterations", iterations)
    if not 0.0 < std < np.inf:
        raise ValueError(f"std: got {std!r}, expected a number above 0, 1 being half of the range; give one")


def check_elites(count: int, candidates: int) -> None:
    """Refuse a number of elites that are not fewer than the candidates, or of which no spread can be taken."""
    if not isinstance(count, int) or not 2 <= count <= candidates:
        raise ValueError(f"elites: got {count!r}, expected 2 to {candidates}, the candidates; change either")
