"""Denoisers whose flows are known in closed form, and one that is anything but."""

from __future__ import annotations

import torch
from torch import Tensor

SHAPE = (4, 4, 3, 5, 6)  # B == C on purpose: a mask merged along the wrong axis would still fit


def start(shape: tuple[int, ...] = SHAPE, seed: int = 1, dtype: torch.dtype = torch.float32) -> Tensor:
    """Standard normal noise, always the same."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


class RandomDenoiser:
    """A fixed nonlinear function of (x, sigma) whose predictions differ in size from place to place."""

    def __init__(self, channels: int = 4, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.mix = torch.randn(channels, channels, generator=generator)
        self.calls = 0

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        self.calls += 1
        mixed = torch.tanh(torch.einsum("cd,bd...->bc...", self.mix, x) / (1.0 + sigma))
        return mixed * torch.linspace(0.02, 1.0, x.shape[-1])


class Mixture:
    """The exact denoiser of data from a mixture of Gaussians, the same in every place.

    With one component, that of a Gaussian.
    """

    def __init__(self, means: tuple[float, ...], stds: tuple[float, ...], weights: tuple[float, ...]) -> None:
        self.means, self.stds, self.weights = (
            torch.tensor(values, dtype=torch.float64) for values in (means, stds, weights)
        )

    def _marginal(self, sigma: float) -> tuple[Tensor, Tensor]:
        """Mean and variance of each component of x at a noise level."""
        t = 1.0 - sigma
        return t * self.means, (t * self.stds) ** 2 + sigma**2

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        mean, variance = self._marginal(sigma)
        away = x.double()[..., None] - mean
        odds = (self.weights.log() - 0.5 * variance.log() - 0.5 * away**2 / variance).softmax(dim=-1)
        posterior = self.means + (1.0 - sigma) * self.stds**2 / variance * away
        return (odds * posterior).sum(dim=-1).to(x.dtype)

    def cdf(self, x: Tensor, sigma: float) -> Tensor:
        """Distribution function of x at a noise level."""
        mean, variance = self._marginal(sigma)
        return (self.weights * torch.special.ndtr((x[..., None] - mean) / variance.sqrt())).sum(dim=-1)

    def flow(self, x: Tensor, sigma: float, sigma_next: float) -> Tensor:
        """The exact flow: in one dimension it keeps every point's quantile."""
        wanted = self.cdf(x, sigma)
        low, high = torch.full_like(x, -20.0), torch.full_like(x, 20.0)
        for _ in range(70):
            middle = 0.5 * (low + high)
            below = self.cdf(middle, sigma_next) < wanted
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return 0.5 * (low + high)


GAUSSIAN = Mixture((0.3,), (0.5,), (1.0,))
TWO_MODES = Mixture((-1.0, 0.7), (0.4, 0.3), (0.4, 0.6))
