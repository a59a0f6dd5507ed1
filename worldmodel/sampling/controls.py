"""What Predict-and-Perturb is compared with, each small and with its source.

=========================  =============================================================================
more steps                 ``sample`` on the schedule that :func:`worldmodel.sampling.budget.budget` gives
SDE, ancestral             ``sample(..., solver="sde:eta=0.5")``
P&P without the mask       ``PredictPerturb(..., threshold=0.0)``
Restart                    ``sample(..., refine=Restart(...))``: the NFE of P&P with the same plan
FlowMo                     ``sample(..., refine=FlowMo(...))``: gradients through the denoiser
CFG, CFG-Zero*             ``sample(Guided(...), ...)``, ``sample(CFGZeroStar(...), ...)``
best of N                  :func:`best_of_n`
=========================  =============================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from worldmodel.counts import check_count
from worldmodel.noise import KeyedNoise
from worldmodel.sampling.denoiser import CheckedDenoiser, Denoise
from worldmodel.sampling.plan import Levels, Planned, Visit, is_number
from worldmodel.sampling.sample import sample


@dataclass(frozen=True)
class Restart(Planned):
    """Go back up in noise over each window and solve it again, K times; Xu et al. 2023, arXiv 2306.14878, Sec. 3.

    With sigma_max and sigma_min the noise levels at the ends of a window, an iteration draws from the forward
    process q(x at sigma_max | x at sigma_min), then takes the window's steps again, on the schedule's own levels.

    Args:
        plan, steps: windows as in :class:`worldmodel.sampling.plan.Planned`.
    """

    stochastic: ClassVar[bool] = True

    def visits(self, sigmas: Levels) -> list[Visit]:
        """The steps in order, those of a window K more times."""
        order: list[Visit] = []
        done = 0
        for first, last, iterations in self.ranges(sigmas):
            order += [Visit(step) for step in range(done, last + 1)]
            order += [Visit(step, repeats=k) for k in range(1, iterations + 1) for step in range(first, last + 1)]
            done = last + 1
        return order + [Visit(step) for step in range(done, len(sigmas) - 1)]


@dataclass(frozen=True)
class FlowMo(Planned):
    """Gradient steps on x that even out motion over time; Shaulov et al. 2025, arXiv 2506.01144, Algorithm 1.

    The loss is the largest temporal variance of |v_{f+1} - v_f| (Eq. 2, 3), as the mean over channels (Eq. 7) and
    the maximum over places (Eq. 8); differences with a pinned place take no part. A step is the first of Adam, as in
    the paper's experiments: learning rate 0.005, one iteration in each of the first 12 of 50 steps.
    An iteration is one evaluation with a backward pass; one more evaluation follows the last.

    Args:
        plan, steps: windows as in :class:`worldmodel.sampling.plan.Planned`.
        learning_rate: eta, in latent units.
    """

    learning_rate: float = 0.005
    stochastic: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (is_number(self.learning_rate) and self.learning_rate > 0):
            raise ValueError(f"learning_rate: got {self.learning_rate!r}, expected above 0; 0.005 is the paper's")

    def cost(self, iterations: int) -> int:
        """Evaluations of so many iterations: one more than there are, if any."""
        return iterations + 1 if iterations else 0

    def evaluator(self, denoise: Denoise, x: Tensor, visits: list[Visit]) -> CheckedDenoiser:
        """The denoiser of a trajectory from x, which must be a video."""
        if x.ndim != 5 or x.shape[2] < 3:
            raise ValueError(f"x: got shape {tuple(x.shape)}, expected (B, C, T, H, W) with T of at least 3 for FlowMo")
        return super().evaluator(denoise, x, visits)

    def __call__(
        self,
        denoise: Denoise,
        x: Tensor,
        x0: Tensor,
        sigma: float,
        iterations: int,
        noise: Callable[[int, Tensor], Tensor],
        watch: Callable[[dict[str, Any]], None] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """x after the gradient steps, its prediction, and the evaluations (B,); ``watch`` gets each loss (B,)."""
        pinned = getattr(denoise, "pinned", None)
        for k in range(1, iterations + 1):
            with torch.enable_grad():
                moving = x.detach().requires_grad_()
                predicted = denoise(moving, sigma)
                if not predicted.requires_grad:
                    raise ValueError("denoise: got x0 without a gradient, expected one for FlowMo; take no_grad off it")
                loss = motion_variance((moving - predicted) / sigma, pinned)
                (gradient,) = torch.autograd.grad(loss.sum(), moving)
            x = x - self.learning_rate * gradient / (gradient.abs() + 1e-8)
            if watch is not None:
                watch({"iteration": k, "loss": loss.detach()})
        used = torch.full((len(x),), self.cost(iterations), dtype=torch.int64, device=x.device)
        return x, denoise(x, sigma), used


def motion_variance(v: Tensor, pinned: Tensor | None = None) -> Tensor:
    """FlowMo's loss (B,) of velocities (B, C, T, H, W); ``pinned`` (B, 1, T, H, W) bool."""
    change = v.diff(dim=2).abs()
    free = torch.ones_like(v[:, :1], dtype=torch.bool) if pinned is None else ~pinned.expand_as(v[:, :1])
    weight = (free[:, :, 1:] & free[:, :, :-1]).to(v.dtype)
    weight = weight / weight.sum(dim=2, keepdim=True).clamp(min=1)
    mean = (weight * change).sum(dim=2, keepdim=True)
    variance = (weight * (change - mean) ** 2).sum(dim=2)
    return variance.mean(dim=1).flatten(1).amax(dim=1)


class Guided:
    """Classifier-free guidance, D = D_u + w (D_c - D_u); Ho and Salimans 2022, arXiv 2207.12598.

    Args:
        conditional, unconditional: denoisers D_c and D_u; what D_c pins stays as it has it.
        scale: w; 1 is the conditional denoiser alone.
    """

    def __init__(self, conditional: Denoise, unconditional: Denoise, scale: float) -> None:
        if not is_number(scale):
            raise ValueError(f"scale: got {scale!r}, expected a number; 1 is no guidance")
        self.conditional, self.unconditional, self.scale = conditional, unconditional, scale
        self.pinned: Tensor | None = getattr(conditional, "pinned", None)

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """The guided prediction (B, C, ...)."""
        x0_c, x0_u = self._predictions(x, sigma)
        return self._pinned_to(x0_c, torch.lerp(x0_u, x0_c, self.scale))

    def _predictions(self, x: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        x0_c, x0_u = self.conditional(x, sigma), self.unconditional(x, sigma)
        if x0_u.shape != x0_c.shape:
            raise ValueError(
                f"unconditional: got shape {tuple(x0_u.shape)}, expected {tuple(x0_c.shape)}, as conditional; fix it"
            )
        return x0_c, x0_u

    def _pinned_to(self, given: Tensor, x0: Tensor) -> Tensor:
        return x0 if self.pinned is None else torch.where(self.pinned, given, x0)


class CFGZeroStar(Guided):
    """CFG-Zero*: the unconditional branch rescaled, and no motion in the first steps; Fan et al., arXiv 2503.18886.

    v = s v_u + w (v_c - s v_u) with s = <v_c, v_u> / |v_u|^2 for each sample, over the places that are not pinned.

    Args:
        conditional, unconditional, scale: as for :class:`Guided`.
        zero_from: noise level from which up the velocity is zero; ``sigmas[k - 1]`` zeroes the first k steps,
            inf none. A zeroed evaluation counts, though it calls no network.
    """

    def __init__(
        self, conditional: Denoise, unconditional: Denoise, scale: float, zero_from: float = float("inf")
    ) -> None:
        super().__init__(conditional, unconditional, scale)
        if zero_from != float("inf") and not (is_number(zero_from) and zero_from > 0):
            raise ValueError(f"zero_from: got {zero_from!r}, expected a noise level above 0, or inf; try sigmas[0]")
        self.zero_from = zero_from

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """The guided prediction (B, C, ...); x itself where the velocity is zeroed."""
        if sigma >= self.zero_from:
            return x
        x0_c, x0_u = self._predictions(x, sigma)
        v_c, v_u = x - x0_c, x - x0_u  # times sigma, which cancels
        free = 1.0 if self.pinned is None else (~self.pinned).to(x.dtype)
        dot = (free * v_c * v_u).flatten(1).sum(dim=1)
        s = (dot / (free * v_u * v_u).flatten(1).sum(dim=1).clamp(min=1e-8)).view(-1, *[1] * (x.ndim - 1))
        return self._pinned_to(x0_c, x - torch.lerp(s * v_u, v_c, self.scale))


@dataclass(frozen=True)
class Best:
    """The best of N samples for each of B starts."""

    z: Tensor  # (B, C, ...) the candidates with the highest scores
    scores: Tensor  # (B, N) float, higher is better
    chosen: Tensor  # (B,) int64, index of the best


def best_of_n(
    denoise: Denoise,
    like: Tensor,
    sigmas: Levels,
    n: int,
    score: Callable[[Tensor], Tensor],
    *,
    seeds: Sequence[int] | np.ndarray | None = None,
    **options: Any,
) -> Best:
    """Sample n times from fresh noise and keep the candidate that scores highest, sample by sample.

    It costs n times the evaluations of :func:`sample`, and n calls of ``score``: for matched NFE give each candidate
    ``budget(nfe // n, schedule)``. Candidate 0 is what one call with those seeds gives, a random pick.

    Args:
        denoise, sigmas, options: as for :func:`sample`.
        like: (B, C, ...) tensor of the shape and dtype to sample.
        n: number of candidates, at least 1.
        score: score(z) -> (B,) for samples z (B, C, ...), higher is better.
        seeds: (B,) seeds of the noise; 0, 1, ... if None.
    """
    check_count("n", n, "4 is common")
    seeds = range(len(like)) if seeds is None else seeds
    best, scores = like, torch.empty(len(like), 0, device=like.device)
    for candidate in range(n):
        noise = KeyedNoise(seeds, fork=candidate)
        z = sample(denoise, noise.initial(like), sigmas, noise=noise, **options)
        scores = torch.cat([scores, _checked_scores(score(z), len(like))[:, None]], dim=1)
        better = scores.argmax(dim=1) == candidate
        best = torch.where(better.view(-1, *[1] * (z.ndim - 1)), z, best)
    return Best(best, scores, scores.argmax(dim=1))


def _checked_scores(scores: Tensor, count: int) -> Tensor:
    if not isinstance(scores, Tensor) or scores.shape != (count,) or not torch.isfinite(scores).all():
        got = f"shape {tuple(scores.shape)}" if isinstance(scores, Tensor) else type(scores).__name__
        raise ValueError(f"score: got {got}, expected a finite tensor of shape ({count},), one for each sample; fix it")
    return scores
