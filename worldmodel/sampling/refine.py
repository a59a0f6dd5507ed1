"""Predict-and-Perturb: self-refinement of a flow sample at one noise level.

"Self-Refining Video Sampling", arXiv 2601.18577. With sigma = 1 - t:

    Predict  D(x)    = denoise(x, sigma)                      Eq. 5
    Perturb  R(x0)   = (1 - sigma) x0 + sigma eps             Eq. 6
    P&P      x_k     = R(D(x_{k-1})), K times                 Eq. 7-8
    Mask     certain = mean_c |D(x_k) - D(x_{k-1})| < tau     Eq. 10
    Merge    keep (x, x0) of the iteration before where certain  Eq. 11

The paper merges x0 and the *next* Euler latent. Next is a pointwise function of (x, x0), so
merging those two instead is the same procedure and leaves the step to any solver.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

Denoise = Callable[[Tensor, float], Tensor]
Noise = Callable[[int, int, Tensor], Tensor]
ACCUMULATE = ("certain", "uncertain", None)


@dataclass(frozen=True)
class PredictPerturb:
    """When and how to refine.

    Args:
        plan: windows (t_start, t_end, iterations) in paper time t = 1 - sigma. A step at t is
            refined ``iterations`` times if t_start <= t < t_end; windows must not overlap.
        threshold: tau; a place is certain when its predictions differ by less, as the mean
            over channels of absolute differences in latent units. 0 freezes nothing.
        accumulate: how masks of one noise level add up: "certain" (once certain, always
            certain, as released), "uncertain" (once uncertain, always uncertain, as the
            paper's listing is reported) or None (each iteration for itself).
        stop_fraction: a sample stops refining when more than this share of its places is
            certain; None never stops.
        steps: windows (first, last, iterations) of 0-based step indices, both inclusive, in
            place of ``plan``; see :meth:`from_steps`.
    """

    plan: Sequence[tuple[float, float, int]] = ()
    threshold: float = 0.25
    accumulate: str | None = "certain"
    stop_fraction: float | None = 0.999
    steps: Sequence[tuple[int, int, int]] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "plan", _windows("plan", self.plan, float))
        object.__setattr__(self, "steps", _windows("steps", self.steps, int))
        if self.plan and self.steps:
            raise ValueError("plan: got windows in t and in step indices, expected one of the two; drop one")
        if not (self.threshold == float("inf") or (_is_number(self.threshold) and self.threshold >= 0)):
            raise ValueError(f"threshold: got {self.threshold!r}, expected at least 0; 0 freezes nothing")
        if self.accumulate not in ACCUMULATE:
            raise ValueError(f"accumulate: got {self.accumulate!r}, expected 'certain', 'uncertain' or None; see Args")
        if self.stop_fraction is not None and not (_is_number(self.stop_fraction) and 0 <= self.stop_fraction <= 1):
            raise ValueError(f"stop_fraction: got {self.stop_fraction!r}, expected 0 to 1, or None to never stop")

    @classmethod
    def from_steps(cls, steps: Sequence[tuple[int, int, int]], **options: Any) -> PredictPerturb:
        """A plan of 0-based, inclusive step windows (first, last, iterations), as published."""
        return cls(steps=tuple(steps), **options)

    def iterations(self, sigmas: Sequence[float] | np.ndarray) -> list[int]:
        """Iterations K for each of the len(sigmas) - 1 steps of a schedule."""
        count = len(sigmas) - 1
        planned = [0] * count
        for first, last, k in self.steps:
            if last >= count:
                raise ValueError(f"steps: got window {first}-{last}, expected indices below {count}; use more steps")
            planned[first : last + 1] = [k] * (last + 1 - first)
        # Rounded, so that the end of a half-open window does not hang on the last bit of 1 - sigma.
        times = [round(1.0 - float(sigma), 9) for sigma in sigmas[:-1]]
        for start, end, k in self.plan:
            chosen = [index for index, t in enumerate(times) if start <= t < end]
            if not chosen:
                raise ValueError(
                    f"plan: got window {start:g} to {end:g}, which holds none of the {count} steps; widen it"
                )
            for index in chosen:
                planned[index] = k
        return planned

    def describe(self) -> dict[str, Any]:
        """The settings as JSON-ready values."""
        return {field.name: _listed(getattr(self, field.name)) for field in fields(self)}

    def nfe(self, sigmas: Sequence[float] | np.ndarray) -> int:
        """Model evaluations of a schedule under this plan when no sample stops early."""
        return len(sigmas) - 1 + sum(self.iterations(sigmas))


def predict_perturb(
    denoise: Denoise,
    x: Tensor,
    x0: Tensor,
    sigma: float,
    iterations: int,
    refine: PredictPerturb,
    noise: Callable[[int, Tensor], Tensor],
) -> tuple[Tensor, Tensor, Tensor]:
    """Refine (x, x0) at one noise level; every sample of the batch on its own.

    Args:
        x: (B, C, ...) sample at ``sigma``; x0: the model's prediction for it.
        noise: noise(iteration, like) draws the perturbation of iteration 1, 2, ...

    Returns:
        the refined x and x0, and (B,) int64 evaluations each sample used.
    """
    pinned = getattr(denoise, "pinned", None)
    free = torch.ones_like(x0[:, :1], dtype=torch.bool) if pinned is None else ~pinned.expand_as(x0[:, :1])
    active = torch.ones(len(x), dtype=torch.bool, device=x.device)
    used = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    certain: Tensor | None = None

    for k in range(1, iterations + 1):
        perturbed = (1.0 - sigma) * x0 + sigma * noise(k, x)
        predicted = denoise(perturbed, sigma)
        uncertainty = (predicted - x0).abs().mean(dim=1, keepdim=True)
        certain = _accumulate(refine.accumulate, uncertainty < refine.threshold, certain)
        keep = certain | ~_per_sample(active, certain)
        x, x0 = torch.where(keep, x, perturbed), torch.where(keep, x0, predicted)
        used += active
        if refine.stop_fraction is not None:
            active &= _fraction(certain, free) <= refine.stop_fraction
        if not active.any():
            break
    return x, x0, used


def _accumulate(rule: str | None, now: Tensor, before: Tensor | None) -> Tensor:
    if before is None or rule is None:
        return now
    return now | before if rule == "certain" else now & before


def _fraction(certain: Tensor, free: Tensor) -> Tensor:
    """Share (B,) of the free places that are certain; 1 where nothing is free."""
    total = free.flatten(1).sum(dim=1)
    return torch.where(total > 0, (certain & free).flatten(1).sum(dim=1) / total.clamp(min=1), 1.0)


def _listed(value: Any) -> Any:
    if isinstance(value, tuple):
        return [list(window) for window in value]
    return "inf" if value == float("inf") else value


def _per_sample(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *[1] * (like.ndim - 1))


def _windows(name: str, windows: Any, bound: type) -> tuple[tuple[Any, Any, int], ...]:
    """Windows as sorted tuples of plain numbers, or an error that says what is wrong with them."""
    try:
        rows = sorted((start, end, iterations) for start, end, iterations in windows)
    except (TypeError, ValueError):
        raise ValueError(
            f"{name}: got {windows!r}, expected a list of (start, end, iterations); add brackets"
        ) from None
    return tuple(_window(name, row, bound, rows[index - 1] if index else None) for index, row in enumerate(rows))


def _window(name: str, row: tuple, bound: type, before: tuple | None) -> tuple[Any, Any, int]:
    start, end, iterations = row
    if not all(map(_is_number, row)) or int(iterations) != iterations or iterations < 0:
        raise ValueError(f"{name}: got {row}, expected numbers, and whole iterations of at least 0; correct it")
    whole = bound is int
    if whole and not (start == int(start) and end == int(end) and 0 <= start <= end):
        raise ValueError(
            f"{name}: got window {start:g} to {end:g}, expected step indices, 0 <= first <= last; swap them"
        )
    if not whole and not 0 <= start < end <= 1:
        raise ValueError(f"{name}: got window {start:g} to {end:g}, expected 0 <= start < end <= 1; t is 1 - sigma")
    if before is not None and (start < before[1] or (whole and start == before[1])):
        raise ValueError(
            f"{name}: got windows {before[0]:g} to {before[1]:g} and {start:g} to {end:g}, which overlap; split them"
        )
    return bound(start), bound(end), int(iterations)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and bool(np.isfinite(value))
