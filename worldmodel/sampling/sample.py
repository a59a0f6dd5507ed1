"""The sampling loop: predict, refine where the plan says so, step."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from worldmodel.noise import KeyedNoise
from worldmodel.sampling.refine import Denoise, Noise, PredictPerturb, predict_perturb
from worldmodel.sampling.schedules import check_sigmas
from worldmodel.sampling.solvers import SOLVERS


@torch.no_grad()
def sample(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sequence[float] | np.ndarray,
    *,
    solver: str = "euler",
    refine: PredictPerturb | None = None,
    noise: Noise | None = None,
    seeds: Sequence[int] | None = None,
    callback: Callable[[dict], None] | None = None,
) -> Tensor:
    """Solve the flow from noise to a clean sample.

    Args:
        denoise: denoise(x, sigma) -> x0, the clean sample predicted for x (B, C, ...). Its
            attribute ``pinned`` (B, 1, ...), if any, marks places that are given.
        x: (B, C, ...) start at noise level sigmas[0].
        sigmas: strictly descending noise levels from at most 1 to 0.
        solver: name of a solver in ``SOLVERS``.
        refine: Predict-and-Perturb plan, or None for the plain solver.
        noise: noise(step, iteration, like) -> Tensor, the only source of fresh noise;
            ``KeyedNoise(seeds)`` if None.
        seeds: (B,) seeds of that default; 0, 1, ... if None.
        callback: called after each step with step, sigma, sigma_next, x (before the step), x0,
            and evaluations (B,) that each sample spent.

    Returns:
        z: (B, C, ...) the clean sample.

    Raises:
        ValueError: an argument is malformed; nothing has been evaluated then.
    """
    levels = check_sigmas(sigmas)
    check_solver(solver)
    _check_start(x)
    iterations = check_refine(refine, levels)
    noise = KeyedNoise(range(len(x)) if seeds is None else seeds) if noise is None else noise
    take_step = SOLVERS[solver]

    for step, (sigma, sigma_next) in enumerate(zip(levels[:-1], levels[1:], strict=True)):
        x0 = denoise(x, sigma)
        if x0.shape != x.shape:
            raise ValueError(
                f"denoise: got x0 of shape {tuple(x0.shape)}, expected {tuple(x.shape)}, that of x; fix it"
            )
        evaluations = torch.ones(len(x), dtype=torch.int64, device=x.device)
        if refine is not None and iterations[step] > 0:
            fresh = _at_step(noise, step)
            x, x0, used = predict_perturb(denoise, x, x0, sigma, iterations[step], refine, fresh)
            evaluations += used
        if callback is not None:
            callback(
                {"step": step, "sigma": sigma, "sigma_next": sigma_next, "x": x, "x0": x0, "evaluations": evaluations}
            )
        x = take_step(x, x0, sigma, sigma_next)
    return x


def check_solver(solver: str) -> None:
    """Refuse an unknown solver with the list of the known ones."""
    if not isinstance(solver, str) or solver not in SOLVERS:
        raise ValueError(f"solver: got {solver!r}, expected one of {', '.join(sorted(SOLVERS))}; choose one")


def check_refine(refine: PredictPerturb | None, sigmas: Sequence[float] | np.ndarray) -> list[int]:
    """Refinement iterations of each step of a schedule, or an error that says what does not fit."""
    if refine is None:
        return [0] * (len(sigmas) - 1)
    if not isinstance(refine, PredictPerturb):
        raise ValueError(f"refine: got {refine!r}, expected a PredictPerturb or None; see worldmodel.sampling")
    return refine.iterations(sigmas)


def _check_start(x: Tensor) -> None:
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.ndim < 2:
        got = f"{x.dtype} of shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"x: got {got}, expected a floating-point tensor (B, C, ...); convert it")
    if not torch.isfinite(x).all():
        raise ValueError("x: got NaN or infinity, expected finite noise; draw it with torch.randn")


def _at_step(noise: Noise, step: int) -> Callable[[int, Tensor], Tensor]:
    def fresh(iteration: int, like: Tensor) -> Tensor:
        drawn = noise(step, iteration, like)
        if drawn.shape != like.shape:
            raise ValueError(f"noise: got shape {tuple(drawn.shape)}, expected {tuple(like.shape)}, that of x; fix it")
        return drawn

    return fresh
