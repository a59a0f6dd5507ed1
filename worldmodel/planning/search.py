"""The loop of every planner: propose, evaluate, update; with a budget, and a refusal of costs that are none."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tqdm.auto import tqdm

from worldmodel.counts import check_count
from worldmodel.planning.budget import Budget, Meter
from worldmodel.planning.draws import Draws
from worldmodel.planning.planner import Planner, Search, begin, elites
from worldmodel.planning.space import Space
from worldmodel.progress import hidden_unless

Evaluate = Callable[[np.ndarray], np.ndarray]  # from actions (K, n, A) to costs (K,); inf rejects a candidate


@dataclass(frozen=True)
class Judged:
    """Costs (K,) of candidates, and the evaluations of the model that they took together."""

    costs: np.ndarray
    evaluations: int


@dataclass(frozen=True)
class Judge:
    """How candidates are judged, and what that takes; the best of an iteration can be refined, which decides.

    Attributes:
        plain: of actions (K, n, A) and the indices (K,) of their candidates in the iteration.
        price: evaluations that a candidate takes.
        refine: the same of the best, or None.
        refined: how many of an iteration are refined.
        refined_price: evaluations that each of them takes besides, at most.
    """

    plain: Callable[[np.ndarray, np.ndarray], Judged]
    price: int
    refine: Callable[[np.ndarray, np.ndarray], Judged] | None = None
    refined: int = 0
    refined_price: int = 0

    @classmethod
    def of(cls, evaluate: Evaluate, price: int) -> Judge:
        """A function of actions alone, each candidate of which takes ``price`` evaluations."""
        return cls(lambda actions, _: Judged(evaluate(actions), price * len(actions)), price)

    def refined_costs(self, actions: np.ndarray, costs: np.ndarray, count: int) -> Judged:
        """Costs (K,) of all candidates of an iteration after the ``count`` best were refined."""
        best = elites(costs, count)
        if self.refine is None or len(best) == 0:
            return Judged(costs, 0)
        again = self.refine(actions[best], best)
        refined = checked(again.costs, best)
        # The rest keep their place behind: two kinds of cost are not compared.
        most = float(refined[np.isfinite(refined)].max(initial=-np.inf))
        costs = costs + max(0.0, most - costs[best].max())
        costs[best] = refined
        return Judged(costs, again.evaluations)


@dataclass(frozen=True)
class Plan:
    """What a search found.

    Attributes:
        actions: (n, A) of the candidate of least cost, in the spec's units.
        cost: its cost; inf where every candidate was rejected.
        state: of the planner, from which the next search of a control loop can begin.
        costs: (iterations, 3) least, mean and greatest finite cost of each iteration; nan where there was none.
        candidates: that were evaluated.
        evaluations: of the model that they took, refinement included.
        seconds: of wall clock.
        complete: whether all iterations were made with all their candidates; False where the budget cut them short.
        pace: seconds that an evaluation took, for the search that follows.
    """

    actions: np.ndarray
    cost: float
    state: Search
    costs: np.ndarray
    candidates: int
    evaluations: int
    seconds: float
    complete: bool
    pace: float | None


def search(
    planner: Planner,
    space: Space,
    evaluate: Evaluate | Judge,
    *,
    seed: int,
    step: int = 0,
    start: Search | None = None,
    guess: np.ndarray | None = None,
    budget: Budget = Budget(),  # noqa: B008  # frozen
    price: int = 1,
    batch_size: int | None = None,
    pace: float | None = None,
    spent: float = 0.0,
    clock: Callable[[], float] = time.monotonic,
    progress: bool = False,
) -> Plan:
    """Search for the actions of least cost.

    Args:
        planner: how.
        space: where.
        evaluate: costs (K,) of actions (K, n, A); or a :class:`Judge`, which knows its prices.
        seed: of the search's noise.
        step: index of the search in a control loop; the noise depends on it too.
        start: state to begin with, such as ``planner.following(...)`` of the plan before.
        guess: (n, A) actions to begin around, in place of ``start``.
        budget: when to stop.
        price: model evaluations that one candidate takes where ``evaluate`` is a function.
        batch_size: candidates evaluated at once; all of an iteration by default. Under a deadline never more than fill
            half of the time that is left, and one where nothing is known of how long it takes.
        pace: ``Plan.pace`` of the search before.
        spent: seconds of the budget that are taken by something else, before or after.
        clock: in seconds.
        progress: show a bar of candidates.

    Raises:
        ValueError: an argument is malformed, or the budget is too small for one candidate; nothing has been evaluated
            then. Or the costs are NaN or of a wrong shape.
    """
    judge = evaluate if isinstance(evaluate, Judge) else Judge.of(evaluate, price)
    budget.check(judge.price + judge.refined_price)
    check_batch_size(batch_size)
    if start is not None and guess is not None:
        raise ValueError("guess: got one beside a start, expected one of the two; drop one")
    state = begin(space, planner.std, guess) if start is None else start
    if state.mean.shape != space.shape:
        raise ValueError(f"start: got knots {state.mean.shape}, expected {space.shape}; it belongs to another space")
    meter = Meter(budget, judge.price, judge.refined, judge.refined_price, pace, spent, clock)
    best, least, history, tried, complete = state.mean, np.inf, [], 0, True
    with tqdm(total=planner.iterations * planner.candidates, desc="plan", **hidden_unless(progress)) as bar:
        for iteration in range(planner.iterations):
            count = meter.affordable(planner.candidates)
            if count < 1 or (tried and meter.in_time(1) < 1):
                complete = False
                break
            knots = planner.propose(state, Draws(seed, step, iteration), count)
            costs = _judged(judge, space.actions(knots), meter, batch_size, bar.update)
            complete = complete and count == planner.candidates and len(costs) == len(knots)
            knots, tried = knots[: len(costs)], tried + len(costs)
            state = planner.update(state, knots, costs)
            history.append(_summary(costs))
            if costs.min() < least:
                best, least = knots[costs.argmin()], float(costs.min())
    spending = (tried, meter.evaluations, meter.seconds, complete, meter.pace)
    return Plan(space.actions(best), least, state, np.array(history), *spending)


def check_batch_size(batch_size: int | None) -> None:
    """Refuse batches of no candidates."""
    if batch_size is not None:
        check_count("batch_size", batch_size, "None takes all of an iteration")


def _judged(
    judge: Judge, actions: np.ndarray, meter: Meter, batch_size: int | None, advance: Callable[[int], object]
) -> np.ndarray:
    """Costs of as many candidates as there is time for, at least one, the best of them refined."""
    costs, tried = np.zeros(0), 0
    while tried < len(actions) and (tried == 0 or meter.in_time(1, tried)):
        left = len(actions) - tried
        # Half of what there is time for, so that a batch that is slower than those before ends in time too.
        size = min(batch_size or left, left, max(1, meter.in_time(2 * left, tried) // 2))
        rows, began = np.arange(tried, tried + size), meter.seconds
        judged = judge.plain(actions[rows], rows)
        costs = np.append(costs, checked(judged.costs, rows))
        meter.pay(judged.evaluations, meter.seconds - began)
        tried += size
        advance(size)
    began = meter.seconds
    refined = judge.refined_costs(actions[:tried], costs, meter.refinable())
    if refined.evaluations:
        meter.pay(refined.evaluations, meter.seconds - began)
    return refined.costs


def checked(costs: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Costs (K,) as float64 of the candidates of indices (K,), or a refusal that names one of them.

    Raises:
        ValueError: another shape, or NaN or minus infinity.
    """
    values = np.asarray(costs, np.float64)
    if values.shape != (len(candidates),):
        raise ValueError(
            f"objective: got costs of shape {values.shape}, expected ({len(candidates)},), one for each future of "
            f"candidates {candidates.min()} to {candidates.max()}; return as many"
        )
    bad = np.isnan(values) | (values == -np.inf)
    if bad.any():
        index = int(bad.argmax())
        raise ValueError(
            f"objective: got a cost of {values[index]} for candidate {candidates[index]}, expected a number, or inf to "
            "reject it; look at what it imagines"
        )
    return values


def _summary(costs: np.ndarray) -> tuple[float, float, float]:
    finite = costs[np.isfinite(costs)]
    return (finite.min(), finite.mean(), finite.max()) if len(finite) else (np.nan, np.nan, np.nan)
