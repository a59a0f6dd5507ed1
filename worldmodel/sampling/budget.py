"""Model evaluations: what a sampler will take, and settings that take a given number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from worldmodel.counts import check_count
from worldmodel.sampling.plan import Levels, Planned, Visit
from worldmodel.sampling.refine import PredictPerturb
from worldmodel.sampling.schedules import check_sigmas
from worldmodel.sampling.solvers import Solver, as_solver


def planned_nfe(sigmas: Levels, solver: str | Solver = "euler", refine: Planned | None = None) -> int:
    """Evaluations that :func:`sample` takes with these arguments when no sample stops early."""
    rule, steps = as_solver(solver), len(sigmas) - 1
    visits = [Visit(step) for step in range(steps)] if refine is None else refine.visits(sigmas)
    inner = 0 if refine is None else sum(refine.cost(visit.iterations) for visit in visits)
    return inner + sum(rule.evaluations(float(sigmas[visit.step + 1])) for visit in visits)


def budget(
    nfe: int,
    schedule: Callable[[int], np.ndarray] | Levels,
    refine: PredictPerturb | None = None,
    solver: str | Solver = "euler",
) -> tuple[np.ndarray, PredictPerturb | None]:
    """Noise levels and a plan that take exactly ``nfe`` evaluations when no sample stops early.

    The steps and the iterations are scaled together, and what is left over goes to iterations in proportion, so the
    plan returned is in step indices. Without iterations to give it to, Heun leaves one evaluation of an even ``nfe``.

    Args:
        nfe: evaluations to spend.
        schedule: steps -> noise levels, such as ``flow_sigmas``; or noise levels, which are kept, and the iterations
            alone are scaled.
        refine: plan in t to scale, or None for the plain solver. Index plans need noise levels: see ``in_time``.
            Restart and FlowMo have no iterations that could be dealt out to single steps.
        solver: as for :func:`sample`.

    Raises:
        ValueError: no number of steps or iterations fits.
    """
    check_count("nfe", nfe, "it counts model evaluations")
    if refine is not None and not isinstance(refine, PredictPerturb):
        raise ValueError(f"refine: got {refine!r}, expected a PredictPerturb or None; for others see planned_nfe")
    if refine is not None and not (refine.plan or refine.steps):
        raise ValueError("refine: got an empty plan, expected windows whose iterations to scale; give None")
    if callable(schedule):
        if refine is not None and refine.steps:
            raise ValueError(
                "refine: got step indices, expected windows in t; convert them with refine.in_time(sigmas)"
            )
        sigmas = _longest(nfe, schedule, refine, solver)
    else:
        sigmas = np.array(check_sigmas(schedule))
    extra = nfe - planned_nfe(sigmas, solver)
    if refine is None:
        if extra < 0:
            raise ValueError(f"nfe: got {nfe}, expected at least the {nfe - extra} of these noise levels; use fewer")
        return sigmas, None
    if extra < 1:
        raise ValueError(f"nfe: got {nfe}, expected more than the {nfe - extra} of the plain solver; raise it")
    iterations = _apportion(extra, refine.iterations(sigmas))
    windows = [(step, step, k) for step, k in enumerate(iterations) if k > 0]
    return sigmas, replace(refine, plan=(), steps=windows)


def _longest(
    nfe: int, schedule: Callable[[int], np.ndarray], refine: PredictPerturb | None, solver: str | Solver
) -> np.ndarray:
    """The schedule with the most steps that stays within the evaluations."""
    for steps in range(nfe, 0, -1):
        sigmas = schedule(steps)
        if planned_nfe(sigmas, solver, refine) <= nfe:
            return sigmas
    raise ValueError(f"nfe: got {nfe}, expected enough for one step and its iterations; raise it")


def _apportion(total: int, weights: list[int]) -> list[int]:
    """Whole numbers in proportion to the weights that add up to the total; the largest remainders are rounded up."""
    shares = [total * weight / sum(weights) for weight in weights]
    whole = [int(share) for share in shares]
    by_remainder = sorted(range(len(shares)), key=lambda index: whole[index] - shares[index])
    for index in by_remainder[: total - sum(whole)]:
        whole[index] += 1
    return whole
