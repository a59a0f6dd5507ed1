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

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from worldmodel.sampling.denoiser import Denoise
from worldmodel.sampling.langevin import keeping_temperature, perturb
from worldmodel.sampling.plan import Planned, is_number
from worldmodel.sampling.uncertainty import (
    ACCUMULATE,
    Quantile,
    accumulate,
    below_threshold,
    check_threshold,
    disagreement,
)

KEEP_VARIANCE = "keep_variance"
Watch = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class PredictPerturb(Planned):
    """When and how to refine.

    Args:
        plan: windows (t_start, t_end, iterations) in paper time t = 1 - sigma. A step at t is
            refined ``iterations`` times if t_start <= t < t_end; windows must not overlap.
        threshold: tau; a place is certain when its predictions differ by less, as the mean
            over channels of absolute differences in latent units. 0 freezes nothing: plain,
            unmasked P&P. ``Quantile(q)`` makes the most certain share q of each sample certain.
        accumulate: how masks of one noise level add up: "certain" (once certain, always
            certain, as released), "uncertain" (once uncertain, always uncertain, as the
            paper's listing is reported) or None (each iteration for itself).
        stop_fraction: a sample stops refining when more than this share of its places is
            certain; None never stops.
        steps: windows (first, last, iterations) of 0-based step indices, both inclusive, in
            place of ``plan``; see :meth:`from_steps`.
        step_size: h of :mod:`worldmodel.sampling.langevin`, above 0 and below 2; the paper's is 1.
        temperature: T of the same; the paper's is 0.5, higher keeps more variety. "keep_variance"
            takes the T that keeps the right variance on data of standard deviation ``data_std``.
        data_std: standard deviation of the clean latents, for "keep_variance" only; about 1 when normalised.
    """

    threshold: float | Quantile = 0.25
    accumulate: str | None = "certain"
    stop_fraction: float | None = 0.999
    step_size: float = 1.0
    temperature: float | str = 0.5
    data_std: float = 1.0
    stochastic: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_threshold(self.threshold)
        if self.accumulate not in ACCUMULATE:
            raise ValueError(f"accumulate: got {self.accumulate!r}, expected 'certain', 'uncertain' or None; see Args")
        if self.stop_fraction is not None and not (is_number(self.stop_fraction) and 0 <= self.stop_fraction <= 1):
            raise ValueError(f"stop_fraction: got {self.stop_fraction!r}, expected 0 to 1, or None to never stop")
        if not (is_number(self.step_size) and 0 < self.step_size < 2):
            raise ValueError(f"step_size: got {self.step_size!r}, expected above 0 and below 2; 1 is the paper's")
        if self.temperature != KEEP_VARIANCE and not (is_number(self.temperature) and float(self.temperature) >= 0):
            raise ValueError(
                f"temperature: got {self.temperature!r}, expected at least 0, or {KEEP_VARIANCE!r}; 0.5 is the paper's"
            )
        if not (is_number(self.data_std) and self.data_std > 0):
            raise ValueError(f"data_std: got {self.data_std!r}, expected above 0; 1 suits normalised latents")

    def temperature_at(self, sigma: float) -> float:
        """The temperature T at one noise level."""
        if self.temperature == KEEP_VARIANCE:
            return keeping_temperature(sigma, self.data_std, self.step_size)
        return float(self.temperature)

    def __call__(
        self,
        denoise: Denoise,
        x: Tensor,
        x0: Tensor,
        sigma: float,
        iterations: int,
        noise: Callable[[int, Tensor], Tensor],
        watch: Watch | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See :func:`predict_perturb`."""
        return predict_perturb(denoise, x, x0, sigma, iterations, self, noise, watch)


def predict_perturb(
    denoise: Denoise,
    x: Tensor,
    x0: Tensor,
    sigma: float,
    iterations: int,
    refine: PredictPerturb,
    noise: Callable[[int, Tensor], Tensor],
    watch: Watch | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Refine (x, x0) at one noise level; every sample of the batch on its own.

    Args:
        x: (B, C, ...) sample at ``sigma``; x0: the model's prediction for it.
        noise: noise(iteration, like) draws the perturbation of iteration 1, 2, ...
        watch: called in each iteration with iteration, x0 (B, C, ...), the prediction before it,
            uncertainty (B, 1, ...), certain (B, 1, ...) bool, free (B, 1, ...) bool, the places that
            are not pinned, and active (B,) bool, the samples that had not stopped before it.

    Returns:
        the refined x and x0, and (B,) int64 evaluations each sample used.
    """
    chain = Chain.start(x, x0, sigma, getattr(denoise, "pinned", None))
    while chain.iteration < iterations and chain.goes_on(refine):
        perturbed = chain.perturbed(refine, noise)
        chain = chain.merged(refine, perturbed, denoise(perturbed, sigma), watch)
    return chain.x, chain.x0, chain.used


@dataclass(frozen=True)
class Chain:
    """Where Predict-and-Perturb stands at one noise level, between two evaluations.

    For loops that cannot call the model themselves; :func:`predict_perturb` is the one that can.
    """

    x: Tensor  # (B, C, ...) sample at sigma
    x0: Tensor  # (B, C, ...) the model's prediction for it
    sigma: float
    free: Tensor  # (B, 1, ...) bool: places that are not pinned
    total: Tensor  # (B,) float32: how many; -inf for none, which have all settled
    active: Tensor  # (B,) bool: samples that have not stopped
    used: Tensor  # (B,) int64: evaluations of each sample beyond the first
    iteration: int = 0  # iterations made
    certain: Tensor | None = None  # (B, 1, ...) bool: the mask of the last one

    @classmethod
    def start(cls, x: Tensor, x0: Tensor, sigma: float, pinned: Tensor | None = None) -> Chain:
        """The chain after the first prediction; ``pinned`` bool expands to (B, 1, ...)."""
        free = torch.ones_like(x0[:, :1], dtype=torch.bool) if pinned is None else ~pinned.expand_as(x0[:, :1])
        active = torch.ones(len(x), dtype=torch.bool, device=x.device)
        total = free.flatten(1).sum(dim=1).float()
        total = total.masked_fill_(total == 0, -torch.inf)
        return cls(x, x0, sigma, free, total, active, torch.zeros_like(active, dtype=torch.int64))

    def goes_on(self, refine: PredictPerturb) -> bool:
        """Whether a sample has not stopped."""
        return refine.stop_fraction is None or bool(self.active.any())

    def perturbed(self, refine: PredictPerturb, noise: Callable[[int, Tensor], Tensor]) -> Tensor:
        """The sample (B, C, ...) that the next iteration evaluates."""
        eps = noise(self.iteration + 1, self.x)
        return perturb(self.x, self.x0, self.sigma, eps, refine.step_size, refine.temperature_at(self.sigma))

    def merged(
        self,
        refine: PredictPerturb,
        perturbed: Tensor,
        predicted: Tensor,
        watch: Watch | None = None,
        uncertainty: Tensor | None = None,
    ) -> Chain:
        """The chain after the model's prediction for the perturbed sample.

        ``uncertainty`` (B, 1, ...) is the disagreement of that prediction with the one before, unless given.
        """
        uncertainty = disagreement(predicted, self.x0) if uncertainty is None else uncertainty
        certain = below_threshold(uncertainty, refine.threshold, self.free)
        certain = accumulate(refine.accumulate, certain, self.certain)
        k = self.iteration + 1
        if watch is not None:
            found = {"uncertainty": uncertainty, "certain": certain, "free": self.free, "active": self.active}
            watch({"iteration": k, "x0": self.x0, **found})
        keep = certain | ~self.active.view(-1, *[1] * (certain.ndim - 1))
        active = self.active
        if refine.stop_fraction is not None:
            settled = torch.count_nonzero(certain & self.free, dim=tuple(range(1, certain.ndim)))
            active = active & (settled <= refine.stop_fraction * self.total)
        x, x0 = torch.where(keep, self.x, perturbed), torch.where(keep, self.x0, predicted)
        return replace(self, x=x, x0=x0, active=active, used=self.used + self.active, iteration=k, certain=certain)
