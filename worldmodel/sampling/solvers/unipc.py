"""UniPC: a multistep predictor (UniP) and a corrector (UniC) that share their model evaluations.

Zhao et al., "UniPC: A Unified Predictor-Corrector Framework", arXiv 2302.04867, in its data-prediction form.
Let m_0 = x0 at the present level and m_k the prediction at a level lambda + r_k h, with D_k = m_k - m_0. Then

    x' = (sigma' / sigma) x + alpha' (1 - e^-h) m_0 + alpha' sum_k c_k D_k / r_k

where c = B(h) a of the paper makes the sum right for every polynomial that the points determine:

    sum_k c_k r_k^(j-1) = j! I_j / h^j,        I_j = int_0^h e^(tau - h) tau^j / j! dtau,        j = 1, 2, ...

UniP takes earlier levels (r_k < 0); UniC repeats the step with the new level as well (r = 1), which raises the
order by one, and needs no evaluation beyond the one that the next step makes anyway. A single point needs c_1 only to
leading order, c_1 = B(h) / 2: there alone the variants bh1, B = h, and bh2, B = 1 - e^-h, differ.

The corrector starts from the sample of the step *before*, so it would undo a change to x: after one, drop the history.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import expm1, factorial, isfinite

import numpy as np
from torch import Tensor

from worldmodel.sampling.solvers.log_snr import log_snr
from worldmodel.sampling.solvers.step import Solver, StepContext

VARIANTS = ("bh1", "bh2")


@dataclass(frozen=True)
class History:
    """The step before, and the predictions at it and before it."""

    x: Tensor  # the sample that the step started from
    levels: tuple[float, ...]  # noise levels, the latest first
    predictions: tuple[Tensor, ...]  # x0 at each of them
    order: int  # order of the step


def unipc_step(
    x: Tensor,
    x0: Tensor,
    sigma: float,
    sigma_next: float,
    history: History | None = None,
    *,
    order: int = 2,
    variant: str = "bh2",
    corrector: bool = True,
) -> tuple[Tensor, History]:
    """Correct x by its own prediction x0, then predict the sample at sigma_next.

    Args:
        x, x0: (B, C, ...) sample at sigma and the model's prediction for it.
        history: what the step before returned, None at the start; it limits the order.
    """
    levels: tuple[float, ...] = (sigma,)
    predictions: tuple[Tensor, ...] = (x0,)
    if history is not None:
        if corrector:
            x = _correct(history, x0, sigma, variant)
        levels, predictions = levels + history.levels[:2], predictions + history.predictions[:2]
    order = min(order, len(levels)) if sigma_next > 0.0 else 1
    x_next = _advance(x, levels[:order], predictions[:order], sigma_next, variant)
    return x_next, History(x, levels, predictions, order)


def _correct(history: History, x0: Tensor, sigma: float, variant: str) -> Tensor:
    """UniC: the step that led to sigma once more, now with the prediction x0 made there."""
    levels, predictions = history.levels[: history.order], history.predictions[: history.order]
    return _advance(history.x, (*levels, sigma), (*predictions, x0), sigma, variant)


def _advance(
    x: Tensor, levels: Sequence[float], predictions: Sequence[Tensor], sigma_next: float, variant: str
) -> Tensor:
    """The step from levels[0] to sigma_next with the predictions at all the levels."""
    start = log_snr(levels[0])
    h = log_snr(sigma_next) - start
    alpha_next = 1.0 - sigma_next
    x_next = (sigma_next / levels[0]) * x - alpha_next * expm1(-h) * predictions[0]
    # A prediction at sigma = 1 (lambda = -inf) is infinitely far away and tells nothing of the slope.
    points = [(level, m) for level, m in zip(levels[1:], predictions[1:], strict=True) if level < 1.0]
    r = [1.0 if level == sigma_next else (log_snr(level) - start) / h for level, _ in points]
    for c_k, r_k, (_, m_k) in zip(_weights(r, h, variant), r, points, strict=True):
        x_next = x_next + (alpha_next * c_k / r_k) * (m_k - predictions[0])
    return x_next


def _weights(r: Sequence[float], h: float, variant: str) -> Sequence[float]:
    """c_k for points at lambda + r_k h."""
    if len(r) < 2:
        # From sigma = 1 the step is infinite, and so is bh1's B; that of bh2 gives the trapezoidal rule in 1 / sigma.
        return [0.5 * (h if variant == "bh1" and isfinite(h) else -expm1(-h))] * len(r)
    integral, moments = -expm1(-h), []
    for j in range(1, len(r) + 1):
        integral = h**j / factorial(j) - integral  # I_j by parts from I_{j-1}
        moments.append(factorial(j) / h**j * integral)
    return np.linalg.solve(np.vander(r, increasing=True).T, moments).tolist()


@dataclass(frozen=True)
class UniPC(Solver):
    """Order ``order``, one more with the corrector; one evaluation a step.

    Args:
        order: of the predictor, 1 to 3; lower in the first steps, and in the last, where x0 changes fastest.
        variant: "bh1" or "bh2".
        corrector: whether to run UniC.
    """

    order: int = 2
    variant: str = "bh2"
    corrector: bool = True
    name = "unipc"

    def __post_init__(self) -> None:
        if not isinstance(self.order, int) or isinstance(self.order, bool) or self.order not in (1, 2, 3):
            raise ValueError(f"order: got {self.order!r}, expected 1, 2 or 3; 2 suits guided models")
        if self.variant not in VARIANTS:
            raise ValueError(f"variant: got {self.variant!r}, expected {' or '.join(VARIANTS)}; bh2 is the default")
        if not isinstance(self.corrector, bool):
            raise ValueError(f"corrector: got {self.corrector!r}, expected True or False; True is the default")

    def __call__(self, x: Tensor, x0: Tensor, at: StepContext, history: History | None) -> tuple[Tensor, History]:
        order = min(self.order, at.steps_left)
        return unipc_step(
            x, x0, at.sigma, at.sigma_next, history, order=order, variant=self.variant, corrector=self.corrector
        )
