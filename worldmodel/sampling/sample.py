"""The sampling loop: predict, refine where the plan says so, step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from worldmodel.noise import KeyedNoise
from worldmodel.sampling.denoiser import CheckedDenoiser, Denoise
from worldmodel.sampling.forward import noise_up
from worldmodel.sampling.plan import Levels, Planned, Visit
from worldmodel.sampling.schedules import check_sigmas
from worldmodel.sampling.solvers import Solver, StepContext, as_solver

Noise = Callable[[int, int, Tensor], Tensor]


@torch.no_grad()
def sample(
    denoise: Denoise,
    x: Tensor,
    sigmas: Levels,
    *,
    solver: str | Solver = "euler",
    refine: Planned | None = None,
    noise: Noise | None = None,
    seeds: Sequence[int] | np.ndarray | None = None,
    callback: Callable[[dict[str, Any]], None] | None = None,
) -> Tensor:
    """Solve the flow from noise to a clean sample.

    Args:
        denoise: denoise(x, sigma) -> x0, the clean sample predicted for x (B, C, ...), in a tensor of
            its own, as later predictions are compared with it. Its attribute ``pinned`` (B, 1, ...),
            if any, marks places that are given.
        x: (B, C, ...) start at noise level sigmas[0].
        sigmas: strictly descending noise levels from at most 1 to 0.
        solver: name of a solver in ``SOLVERS``, perhaps with settings ("unipc:order=3", "sde:eta=0.5"),
            or one of its classes, set up. A step that refines starts multistep solvers afresh.
        refine: what to do beside the solver's steps: a ``PredictPerturb`` plan, or a method of
            :mod:`worldmodel.sampling.controls`; None for the plain solver.
        noise: noise(step, iteration, like) -> Tensor, the only source of fresh noise and a function of
            its arguments alone; ``KeyedNoise(seeds)`` if None. Solvers draw at iteration 0, refinement from 1.
        seeds: (B,) seeds of that default; 0, 1, ... if None.
        callback: called after each step with step, sigma, sigma_next, x and x0 (from which the step
            was taken), evaluations (B,) that each sample spent on it, and refinement, a list of what
            each iteration found (see :func:`worldmodel.sampling.refine.predict_perturb`).

    Returns:
        z: (B, C, ...) the clean sample.

    Raises:
        ValueError: an argument is malformed; nothing has been evaluated then. Or the denoiser
            answered with another shape or dtype, or with NaN.
    """
    levels = check_sigmas(sigmas)
    take_step = as_solver(solver)
    _check_start(x)
    visits = check_refine(refine, levels)
    evaluate = CheckedDenoiser(denoise, x) if refine is None else refine.evaluator(denoise, x, visits)
    fresh = checked_noise(noise_source(noise, seeds, len(x)), x, _first_draw(visits, refine, take_step))
    history: Any = None
    found: list[dict[str, Any]]
    reached = 0  # index of the noise level of x

    for step, iterations, repeats in visits:
        sigma, sigma_next = levels[step], levels[step + 1]
        if step < reached:
            x, history = noise_up(x, levels[reached], sigma, fresh(step, 2 * repeats - 1, x)), None
        evaluate.step, found = step, []
        x0 = evaluate(x, sigma)
        evaluations = torch.ones(len(x), dtype=torch.int64, device=x.device)
        if refine is not None and iterations > 0:
            watch = None if callback is None else found.append
            x, x0, used = refine(evaluate, x, x0, sigma, iterations, partial(fresh, step), watch)
            evaluations, history = evaluations + used, None
        calls = evaluate.calls
        at = StepContext(sigma, sigma_next, len(levels) - 1 - step, evaluate, partial(fresh, step, 2 * repeats))
        x_next, history = take_step(x, x0, at, history)
        evaluations += evaluate.calls - calls
        if callback is not None:
            callback(
                {
                    "step": step,
                    "sigma": sigma,
                    "sigma_next": sigma_next,
                    "x": x,
                    "x0": x0,
                    "evaluations": evaluations,
                    "refinement": found,
                }
            )
        x, reached, evaluate.before = x_next, step + 1, x0
    return x


def check_solver(solver: str | Solver) -> None:
    """Refuse an unknown solver with the list of the known ones."""
    as_solver(solver)


def check_refine(refine: Planned | None, sigmas: Levels) -> list[Visit]:
    """The steps of a schedule as a plan takes them, or an error that says what does not fit."""
    if refine is None:
        return [Visit(step) for step in range(len(sigmas) - 1)]
    if not isinstance(refine, Planned):
        raise ValueError(f"refine: got {refine!r}, expected PredictPerturb, a method of controls or None; see Args")
    return refine.visits(sigmas)


def _check_start(x: Tensor) -> None:
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.ndim < 2:
        got = f"{x.dtype} of shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"x: got {got}, expected a floating-point tensor (B, C, ...); convert it")
    if not torch.isfinite(x).all():
        raise ValueError("x: got NaN or infinity, expected finite noise; draw it with torch.randn")


def _first_draw(visits: list[Visit], refine: Planned | None, solver: Solver) -> tuple[int, int] | None:
    """Step and iteration of a draw that will certainly be made, or None."""
    for step, iterations, repeats in visits:
        if repeats > 0 or (iterations > 0 and refine is not None and refine.stochastic):
            return step, 1
    return (0, 0) if solver.stochastic and len(visits) > 1 else None


def noise_source(noise: Noise | None, seeds: Sequence[int] | np.ndarray | None, batch: int) -> Noise:
    """The source that ``noise`` and ``seeds`` of :func:`sample` mean for so many samples, or an error."""
    if noise is not None and seeds is not None:
        raise ValueError("seeds: got seeds beside noise, expected one of the two; drop one")
    source = KeyedNoise(range(batch) if seeds is None else seeds) if noise is None else noise
    if not callable(source):
        raise ValueError(
            f"noise: got {source!r}, expected noise(step, iteration, like) -> Tensor; try KeyedNoise(seeds)"
        )
    if isinstance(source, KeyedNoise) and len(source.seeds) != batch:
        raise ValueError(f"seeds: got {len(source.seeds)}, expected {batch}, one for each sample; add or drop")
    return source


def checked_noise(source: Noise, x: Tensor, first: tuple[int, int] | None = None) -> Noise:
    """A source with its draws checked; the first is made at once, so that a malformed source is refused."""

    def fresh(step: int, iteration: int, like: Tensor) -> Tensor:
        drawn = kept.pop((step, iteration), None)
        drawn = source(step, iteration, like) if drawn is None else drawn
        if not isinstance(drawn, Tensor) or drawn.shape != like.shape or drawn.dtype != like.dtype:
            got = f"shape {tuple(drawn.shape)}, {drawn.dtype}" if isinstance(drawn, Tensor) else type(drawn).__name__
            raise ValueError(f"noise: got {got}, expected {tuple(like.shape)}, {like.dtype}, those of x; fix it")
        if not torch.isfinite(drawn.sum()):
            raise ValueError(
                f"noise: got NaN or infinity at step {step}, iteration {iteration}, expected finite values"
            )
        return drawn

    kept: dict[tuple[int, int], Tensor] = {}
    if first is not None:
        kept[first] = fresh(*first, x)
        if not torch.isfinite(kept[first]).all():
            at = f"step {first[0]}"
            raise ValueError(f"noise: got NaN or infinity at {at}, expected finite values; look at its source")
    return fresh
