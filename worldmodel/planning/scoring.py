"""From candidate actions to costs: imagine under several seeds, reject early, refine the best, weigh the risk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from worldmodel.planning.dynamics import Dynamics, Futures, check_offers
from worldmodel.planning.objectives import Objective, needs_of
from worldmodel.planning.search import checked

RISKS = ("mean", "worst", "cvar")


@dataclass(frozen=True)
class Screen:
    """Early rejection: candidates are judged by their latents first, and only the best are decoded.

    Attributes:
        objective: reads ``latents`` only.
        keep: share of the candidates that go on.
    """

    objective: Objective
    keep: float = 0.25

    def __post_init__(self) -> None:
        if needs_of(self.objective) != {"latents"}:
            raise ValueError(
                "screen: got an objective that reads more than latents, expected those; nothing is decoded"
            )
        if not 0.0 < self.keep <= 1.0:
            raise ValueError(f"keep: got {self.keep!r}, expected a share above 0 and up to 1; 0.25 is the default")


@dataclass(frozen=True)
class Scoring:
    """How candidates are judged.

    Attributes:
        objective: costs of futures.
        samples: futures of each candidate, each under noise of its own; the same noise for all candidates.
        risk: how the costs of the samples are weighed: ``mean``, ``worst``, or ``cvar``, the mean of the worst quarter.
        screen: early rejection in latent space, or None.
        refined: so many of the best candidates are imagined again with the model's refinement, Predict-and-Perturb,
            which decides what they cost; 0 refines none.
    """

    objective: Objective
    samples: int = 1
    risk: str = "mean"
    screen: Screen | None = None
    refined: int = 0

    def __post_init__(self) -> None:
        needs_of(self.objective)
        if not isinstance(self.samples, int) or isinstance(self.samples, bool) or self.samples < 1:
            raise ValueError(f"samples: got {self.samples!r}, expected a whole number of at least 1; give one")
        if self.risk not in RISKS:
            raise ValueError(f"risk: got {self.risk!r}, expected one of {', '.join(RISKS)}; choose one")
        if not isinstance(self.refined, int) or isinstance(self.refined, bool) or self.refined < 0:
            raise ValueError(f"refined: got {self.refined!r}, expected a whole number of at least 0; 0 refines none")

    def check(self, dynamics: Dynamics) -> None:
        """Refuse what a model cannot be asked."""
        check_offers(dynamics, needs_of(self.objective), "objective")
        if self.screen is not None:
            check_offers(dynamics, frozenset(("latents",)), "screen")


def score(dynamics: Dynamics, start: Any, actions: np.ndarray, scoring: Scoring, *, seed: int) -> np.ndarray:
    """Costs (K,) of candidate actions (K, n, A); inf for those that were rejected early.

    Sample s of every candidate is imagined under seed ``seed + s``, so that candidates differ in their actions alone.

    Raises:
        ValueError: the objective answered with NaN or a wrong shape, which names the candidate.
    """
    futures = _imagined(dynamics, start, actions, scoring.samples, seed, refined=False)
    alive = np.ones(len(actions), bool)
    if scoring.screen is not None:
        first = weighed(_costs(scoring.screen.objective, futures, scoring.samples), scoring.risk)
        alive[np.argsort(first, kind="stable")[max(1, round(scoring.screen.keep * len(actions))) :]] = False
    costs = np.full(len(actions), np.inf)
    rows = np.flatnonzero(alive)
    costs[rows] = _judged(dynamics, start, futures.select(_repeated(rows, scoring.samples)), scoring)
    if scoring.refined:
        best = np.argsort(costs, kind="stable")[: scoring.refined]
        best = best[np.isfinite(costs[best])]
        if len(best):
            again = _imagined(dynamics, start, actions[best], scoring.samples, seed, refined=True)
            refined = _judged(dynamics, start, again, scoring)
            # The rest keep their place behind: two kinds of cost are not compared.
            offset = max(0.0, float(refined[np.isfinite(refined)].max(initial=-np.inf) - costs[best].max()))
            costs += offset
            costs[best] = refined
    return costs


def evaluations_of(dynamics: Dynamics, scoring: Scoring, horizon: int) -> int:
    """Model evaluations that a candidate takes, without those of refinement."""
    return scoring.samples * dynamics.price(horizon)


def weighed(costs: np.ndarray, risk: str) -> np.ndarray:
    """Costs (K,) of costs (K, S) of S samples."""
    if risk == "mean":
        return costs.mean(axis=1)
    count = 1 if risk == "worst" else -(-costs.shape[1] // 4)
    return np.sort(costs, axis=1)[:, -count:].mean(axis=1)


def _imagined(
    dynamics: Dynamics, start: Any, actions: np.ndarray, samples: int, seed: int, *, refined: bool
) -> Futures:
    seeds = np.tile(np.arange(seed, seed + samples), len(actions))
    return dynamics.imagine(start, np.repeat(actions, samples, axis=0), seeds, refined=refined)


def _judged(dynamics: Dynamics, start: Any, futures: Futures, scoring: Scoring) -> np.ndarray:
    shown = dynamics.show(start, futures, needs_of(scoring.objective))
    return weighed(_costs(scoring.objective, shown, scoring.samples), scoring.risk)


def _costs(objective: Objective, futures: Futures, samples: int) -> np.ndarray:
    return checked(objective(futures), len(futures)).reshape(-1, samples)


def _repeated(rows: np.ndarray, samples: int) -> np.ndarray:
    return (rows[:, None] * samples + np.arange(samples)).ravel()
