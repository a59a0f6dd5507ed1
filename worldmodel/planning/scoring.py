"""From candidate actions to costs: imagine under several seeds, reject early, refine the best, weigh the risk."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from worldmodel.counts import check_count
from worldmodel.planning.dynamics import Dynamics, Futures
from worldmodel.planning.objectives import Objective, check_objective, needs_of
from worldmodel.planning.search import Judge, Judged, checked

RISKS = ("mean", "worst", "cvar")


@dataclass(frozen=True)
class Screen:
    """Early rejection: candidates are judged by their latents first, and only the best are decoded.

    Attributes:
        objective: reads ``latents`` only.
        keep: share of the candidates that go on, of each batch, at least one.
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
        refined: so many of the best candidates of an iteration are imagined again with the model's refinement,
            Predict-and-Perturb, which decides what they cost; 0 refines none.
    """

    objective: Objective
    samples: int = 1
    risk: str = "mean"
    screen: Screen | None = None
    refined: int = 0

    def __post_init__(self) -> None:
        needs_of(self.objective)
        check_count("samples", self.samples)
        if self.risk not in RISKS:
            raise ValueError(f"risk: got {self.risk!r}, expected one of {', '.join(RISKS)}; choose one")
        check_count("refined", self.refined, "0 refines none", least=0)

    def check(self, dynamics: Dynamics) -> None:
        """Refuse what a model cannot be asked, before it is asked."""
        check_objective(self.objective, dynamics)
        if self.screen is not None:
            check_objective(self.screen.objective, dynamics, "screen")
        if self.refined and not dynamics.refines:
            raise ValueError(
                f"refined: got {self.refined} for a {type(dynamics).__name__} that refines nothing, expected 0; give "
                "an Imagination its refine plan"
            )


def score(dynamics: Dynamics, start: Any, actions: np.ndarray, scoring: Scoring, *, seed: int) -> np.ndarray:
    """Costs (K,) of candidate actions (K, n, A); inf for those that were rejected early.

    Sample s of every candidate is imagined under seed ``seed + s``, so that candidates differ in their actions alone.

    Raises:
        ValueError: the objective answered with NaN, which names the candidate, or with a wrong shape.
    """
    seeds = np.arange(seed, seed + scoring.samples)
    judge = judging(dynamics, start, scoring, actions.shape[1], seeds)
    costs = judge.plain(actions, np.arange(len(actions))).costs
    return judge.refined_costs(actions, costs, scoring.refined).costs


def judging(dynamics: Dynamics, start: Any, scoring: Scoring, horizon: int, seeds: np.ndarray) -> Judge:
    """What a search asks of candidates of ``horizon`` actions; their samples are imagined under the same seeds (S,)."""
    given = (dynamics, start, scoring, seeds)
    price, refined_price = evaluations_of(dynamics, scoring, horizon)
    refine = partial(_refined, *given) if scoring.refined else None
    return Judge(partial(_plain, *given), price, refine, scoring.refined, refined_price)


def evaluations_of(dynamics: Dynamics, scoring: Scoring, horizon: int) -> tuple[int, int]:
    """Model evaluations that a candidate takes, and those that it takes besides where it is refined, at most."""
    refined = scoring.samples * dynamics.price(horizon, refined=True) if scoring.refined else 0
    return scoring.samples * dynamics.price(horizon), refined


def weighed(costs: np.ndarray, risk: str) -> np.ndarray:
    """Costs (K,) of costs (K, S) of S samples."""
    if risk == "mean":
        return costs.mean(axis=1)
    count = 1 if risk == "worst" else -(-costs.shape[1] // 4)
    return np.sort(costs, axis=1)[:, -count:].mean(axis=1)


def _plain(
    dynamics: Dynamics, start: Any, scoring: Scoring, seeds: np.ndarray, actions: np.ndarray, candidates: np.ndarray
) -> Judged:
    """Costs of candidates, of which the screen has rejected some."""
    futures, rows = _imagined(dynamics, start, actions, seeds, refined=False), np.arange(len(actions))
    if scoring.screen is not None:
        first = _weighed(scoring.screen.objective, futures, scoring, candidates)
        rows = np.sort(np.argsort(first, kind="stable")[: max(1, round(scoring.screen.keep * len(actions)))])
    left = (rows[:, None] * len(seeds) + np.arange(len(seeds))).ravel()
    shown = dynamics.show(start, futures.select(left), needs_of(scoring.objective))
    costs = np.full(len(actions), np.inf)
    costs[rows] = _weighed(scoring.objective, shown, scoring, candidates[rows])
    return Judged(costs, futures.evaluations)


def _refined(
    dynamics: Dynamics, start: Any, scoring: Scoring, seeds: np.ndarray, actions: np.ndarray, candidates: np.ndarray
) -> Judged:
    """Costs of candidates that are imagined with refinement."""
    futures = _imagined(dynamics, start, actions, seeds, refined=True)
    shown = dynamics.show(start, futures, needs_of(scoring.objective))
    return Judged(_weighed(scoring.objective, shown, scoring, candidates), futures.evaluations)


def _imagined(dynamics: Dynamics, start: Any, actions: np.ndarray, seeds: np.ndarray, *, refined: bool) -> Futures:
    """Futures of all samples of a candidate (K S), one candidate after the other."""
    tiled = np.tile(seeds, len(actions))
    return dynamics.imagine(start, np.repeat(actions, len(seeds), axis=0), tiled, refined=refined)


def _weighed(objective: Objective, futures: Futures, scoring: Scoring, candidates: np.ndarray) -> np.ndarray:
    """Costs (K,) of the futures (K S) of the candidates of these indices."""
    costs = checked(objective(futures), np.repeat(candidates, scoring.samples))
    return weighed(costs.reshape(-1, scoring.samples), scoring.risk)
