"""Predict-and-Perturb as Langevin dynamics at one noise level, with a step size and a temperature.

With the exact denoiser, t D(x) = x + sigma^2 grad log p_sigma(x) (Tweedie), so one iteration

    x' = (1 - h) x + h t D(x) + sqrt(2 h T) sigma eps
       = x + h sigma^2 grad log p_sigma(x) + sqrt(2 h T) sigma eps

is unadjusted Langevin with step h sigma^2 at temperature T. The paper's t D(x) + sigma eps (Eq. 7) is h = 1 and
T = 1/2: it seeks modes. On data N(0, s^2) let A = t^2 s^2, B = sigma^2 and V = A + B, the right variance of x:

    x' = (1 - h B / V) x + sqrt(2 h T B) eps         settles at variance  T V / (1 - h B / 2V)

which for the paper is V^2 / (2A + B), and is right for T = 1 - h B / 2V: at h = 1, noise sigma sqrt(1 + A / V).
"""

from __future__ import annotations

from math import sqrt

from torch import Tensor


def perturb(x: Tensor, x0: Tensor, sigma: float, eps: Tensor, step_size: float, temperature: float) -> Tensor:
    """One iteration from x and its prediction x0 at the same noise level, with fresh noise eps."""
    t, h = 1.0 - sigma, step_size
    if h == 1.0:  # the paper's, in two passes over memory
        return (t * x0).add_(eps, alpha=sqrt(2.0 * temperature) * sigma)
    return (1.0 - h) * x + h * t * x0 + sqrt(2.0 * h * temperature) * sigma * eps


def stationary_variance(sigma: float, data_std: float, step_size: float = 1.0, temperature: float = 0.5) -> float:
    """Variance that the iteration settles at on data N(0, data_std^2) with the exact denoiser."""
    ratio = _noise_share(sigma, data_std)
    variance = sigma**2 + ((1.0 - sigma) * data_std) ** 2
    return temperature * variance / (1.0 - 0.5 * step_size * ratio)


def keeping_temperature(sigma: float, data_std: float, step_size: float = 1.0) -> float:
    """The temperature at which the iteration keeps the right variance on data N(0, data_std^2)."""
    return 1.0 - 0.5 * step_size * _noise_share(sigma, data_std)


def _noise_share(sigma: float, data_std: float) -> float:
    """B / (A + B): how much of the variance at this level is noise."""
    return sigma**2 / (sigma**2 + ((1.0 - sigma) * data_std) ** 2)
