"""The loop of every planner: propose, evaluate, update; with a budget, and a refusal of costs that are none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tqdm.auto import tqdm

from worldmodel.planning.budget import Budget, Meter
from worldmodel.planning.draws import Draws
from worldmodel.planning.planner import Planner, Search, begin
from worldmodel.planning.space import Space
from worldmodel.progress import hidden_unless

Evaluate = Callable[[np.ndarray], np.ndarray]  # from actions (K, n, A) to costs (K,); inf rejects a candidate


@dataclass(frozen=True)
class Plan:
    """What a search found.

    Attributes:
        actions: (n, A) of the candidate of least cost, in the spec's units.
        cost: its cost; inf where every candidate was rejected.
        state: of the planner, from which the next search of a control loop can begin.
        costs: (iterations, 3) least, mean and greatest finite cost of each iteration; nan where there was none.
        candidates: that were evaluated.
        evaluations: of the model that they took.
        seconds: of wall clock.
        complete: whether all iterations were made; False where the budget ended the search.
    """

    actions: np.ndarray
    cost: float
    state: Search
    costs: np.ndarray
    candidates: int
    evaluations: int
    seconds: float
    complete: bool


def search(
    planner: Planner,
    space: Space,
    evaluate: Evaluate,
    *,
    seed: int,
    step: int = 0,
    start: Search | None = None,
    guess: np.ndarray | None = None,
    budget: Budget = Budget(),  # noqa: B008  # frozen
    price: int = 1,
    batch_size: int | None = None,
    progress: bool = False,
) -> Plan:
    """Search for the actions of least cost.

    Args:
        planner: how.
        space: where.
        evaluate: costs (K,) of actions (K, n, A).
        seed: of the search's noise.
        step: index of the search in a control loop; the noise depends on it too.
        start: state to begin with, such as ``planner.following(...)`` of the plan before.
        guess: (n, A) actions to begin around, in place of ``start``.
        budget: when to stop.
        price: model evaluations that one candidate takes.
        batch_size: candidates evaluated at once, between two looks at the clock; all of an iteration by default.
        progress: show a bar of candidates.

    Raises:
        ValueError: an argument is malformed, or the budget is too small for one candidate; nothing has been evaluated
            then. Or the costs are NaN or of a wrong shape.
    """
    budget.check(price)
    if start is not None and guess is not None:
        raise ValueError("guess: got one beside a start, expected one of the two; drop one")
    state = begin(space, planner.std, guess) if start is None else start
    if state.mean.shape != space.shape:
        raise ValueError(f"start: got knots {state.mean.shape}, expected {space.shape}; it belongs to another space")
    meter, best, least, history, tried, complete = Meter(budget, price), state.mean, np.inf, [], 0, True
    with tqdm(total=planner.iterations * planner.candidates, desc="plan", **hidden_unless(progress)) as bar:
        for iteration in range(planner.iterations):
            count = meter.affordable(planner.candidates)
            if count < 1 or (tried and not meter.in_time()):
                complete = False
                break
            knots = planner.propose(state, Draws(seed, step, iteration), count)
            costs = _evaluated(evaluate, space.actions(knots), meter, batch_size, bar.update)
            knots, tried = knots[: len(costs)], tried + len(costs)
            state = planner.update(state, knots, costs)
            history.append(_summary(costs))
            if costs.min() < least:
                best, least = knots[costs.argmin()], float(costs.min())
            complete = complete and count == planner.candidates
    return Plan(space.actions(best), least, state, np.array(history), tried, meter.evaluations, meter.seconds, complete)


def _evaluated(
    evaluate: Evaluate, actions: np.ndarray, meter: Meter, batch_size: int | None, advance: Callable[[int], object]
) -> np.ndarray:
    """Costs of as many candidates as there is time for, at least one batch."""
    size, costs = batch_size or len(actions), []
    for first in range(0, len(actions), size):
        if first and not meter.in_time():
            break
        batch, began = actions[first : first + size], meter.seconds
        costs.append(checked(evaluate(batch), len(batch), first))
        meter.evaluations += meter.price * len(batch)
        meter.longest = max(meter.longest, meter.seconds - began)
        advance(len(batch))
    return np.concatenate(costs)


def checked(costs: np.ndarray, count: int, first: int = 0) -> np.ndarray:
    """Costs (count,) as float64, or a refusal that names the candidate.

    Raises:
        ValueError: another shape, or NaN or minus infinity.
    """
    values = np.asarray(costs, np.float64)
    if values.shape != (count,):
        raise ValueError(f"objective: got costs of shape {values.shape}, expected ({count},), one for each candidate")
    bad = np.isnan(values) | (values == -np.inf)
    if bad.any():
        index = int(bad.argmax())
        raise ValueError(
            f"objective: got a cost of {values[index]} for candidate {first + index}, expected a number, or inf to "
            "reject it; look at what it imagines"
        )
    return values


def _summary(costs: np.ndarray) -> tuple[float, float, float]:
    finite = costs[np.isfinite(costs)]
    return (finite.min(), finite.mean(), finite.max()) if len(finite) else (np.nan, np.nan, np.nan)
