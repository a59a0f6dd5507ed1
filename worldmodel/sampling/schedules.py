"""Noise levels sigma from (at most) 1 to 0, for x = (1 - sigma) z + sigma eps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from worldmodel.counts import check_count


def flow_sigmas(steps: int, shift: float = 1.0) -> np.ndarray:
    """Noise levels (steps + 1,) from 1 to 0: shift s / (1 + (shift - 1) s) on a uniform grid s.

    ``shift`` above 1 spends more steps at high noise (Esser et al. 2024, eq. 23).
    """
    _check_steps(steps)
    if not 0 < shift < np.inf:
        raise ValueError(f"shift: got {shift}, expected a finite number above 0; 1 is the uniform grid")
    s = np.linspace(1.0, 0.0, steps + 1)
    return shift * s / (1.0 + (shift - 1.0) * s)


def karras_sigmas(steps: int, sigma_min: float = 0.01, sigma_max: float = 200.0, rho: float = 7.0) -> np.ndarray:
    """Noise levels (steps + 1,) of Cosmos-Predict2.5: a Karras grid k, as k / (1 + k), then 0.

    ``sigma_min`` and ``sigma_max`` are ratios of noise to data (Karras et al. 2022, eq. 5).
    """
    _check_steps(steps)
    if not 0 < sigma_min < sigma_max:
        raise ValueError(f"sigma_min, sigma_max: got {sigma_min}, {sigma_max}, expected 0 < sigma_min < sigma_max")
    ramp = np.linspace(0.0, 1.0, steps)
    k = (sigma_max ** (1 / rho) + ramp * (sigma_min ** (1 / rho) - sigma_max ** (1 / rho))) ** rho
    return np.append(k / (1.0 + k), 0.0)


def check_sigmas(sigmas: Sequence[float] | np.ndarray) -> list[float]:
    """The noise levels as floats, or an error that says what is wrong with them."""
    try:
        levels = [float(sigma) for sigma in ([None] if isinstance(sigmas, str) else sigmas)]
    except (TypeError, ValueError):
        raise ValueError(f"sigmas: got {sigmas!r}, expected a list of numbers; try flow_sigmas(20)") from None
    if len(levels) < 2:
        raise ValueError(f"sigmas: got {len(levels)} values, expected at least 2; end with 0")
    if not np.isfinite(levels).all():
        raise ValueError("sigmas: got NaN or infinity, expected finite values; try flow_sigmas(20)")
    if levels[0] > 1.0 or levels[-1] != 0.0:
        raise ValueError(
            f"sigmas: got {levels[0]:g} to {levels[-1]:g}, expected at most 1 to exactly 0; try flow_sigmas(20)"
        )
    for index, (high, low) in enumerate(zip(levels, levels[1:], strict=False)):
        if not high > low:
            raise ValueError(
                f"sigmas: got {low:g} after {high:g} at index {index + 1}, expected strictly descending "
                "values; sort them and drop repeats"
            )
    return levels


def _check_steps(steps: int) -> None:
    check_count("steps", steps, "20 is a good start")
