"""The variable in which exponential integrators take even steps: lambda = log(alpha / sigma), alpha = 1 - sigma.

In it the flow has the solution  x' = (sigma' / sigma) x + alpha' int_0^h e^(tau - h) x0(lambda + tau) dtau,
h = lambda' - lambda, exact in its linear part; a solver only has to approximate x0 between two levels.
"""

from __future__ import annotations

from math import inf, log


def log_snr(sigma: float) -> float:
    """lambda of a noise level; -inf at 1 and inf at 0."""
    if sigma in (0.0, 1.0):
        return inf if sigma == 0.0 else -inf
    return log((1.0 - sigma) / sigma)
