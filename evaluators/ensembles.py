"""Many futures of one scene against the one that came: CRPS and the coverage of central intervals."""

from __future__ import annotations

import numpy as np

from worldmodel.evaluators.intervals import Interval, wilson


def crps(ensemble: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Continuous ranked probability score of an ensemble, E|X - y| - E|X - X'| / 2 (Gneiting and Raftery 2007).

    X and X' run over all m members, so this is the integral of (F_m(x) - [x >= y])^2 and falls with m even for a
    perfect ensemble: compare only ensembles of one size.

    Args:
        ensemble: (..., m) members, in the unit of the result.
        observed: (...) what came.

    Returns:
        (...), at least 0; with m = 1 the absolute error.
    """
    x, y = _check_ensemble(ensemble, observed)
    m = x.shape[-1]
    # Sorted, the double sum over |x_i - x_j| is one sum: x_(i) is the larger of i pairs, the smaller of m - 1 - i.
    spread = np.sort(x, axis=-1) @ (2 * np.arange(m) - m + 1) / m**2
    return np.abs(x - y[..., None]).mean(axis=-1) - spread


def central_coverage(ensemble: np.ndarray, observed: np.ndarray, *, level: float) -> Interval:
    """Share of the n scenes whose truth lies in the central ``level`` of the members, with Wilson's interval.

    Quantile p of m members is their order statistic at (m + 1) p (Weibull), below which one more draw of a calibrated
    ensemble falls with chance p where (m + 1) p is whole. It exists only if m >= 2 / (1 - level) - 1:
    3 members for 50 %, 19 for 90 %.

    Args:
        ensemble: (n, m) members.
        observed: (n,) truth.
        level: in 0..1, as .5 or .9.
    """
    x, y = _check_ensemble(ensemble, observed)
    if y.ndim != 1 or len(y) == 0:
        raise ValueError(f"observed: got shape {y.shape}, expected (n >= 1,); pass one number for each scene")
    if not 0 < level < 1:
        raise ValueError(f"level: got {level}, expected a share between 0 and 1, as 0.9; divide percent by 100")
    tail, m = (1 - level) / 2, x.shape[-1]
    needed = int(np.ceil(round(1 / tail - 1, 9)))
    if m < needed:
        raise ValueError(
            f"ensemble: got {m} members, expected at least {needed} for level {level}; roll out more seeds"
        )
    low, high = np.quantile(x, [tail, 1 - tail], axis=-1, method="weibull")
    return wilson(int(((low <= y) & (y <= high)).sum()), len(y))


def _check_ensemble(ensemble: np.ndarray, observed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(ensemble, dtype=np.float64), np.asarray(observed, dtype=np.float64)
    if x.ndim == 0 or x.shape[-1] == 0 or x.shape[:-1] != y.shape:
        raise ValueError(
            f"ensemble: got shape {x.shape} for observed {y.shape}, expected {y.shape} and a last axis of members; "
            "stack the seeds last"
        )
    for name, array in (("ensemble", x), ("observed", y)):
        if not np.isfinite(array).all():
            bad = int((~np.isfinite(array)).sum())
            raise ValueError(
                f"{name}: got {bad} NaN or infinite values, expected none; charge or drop those scenes first"
            )
    return x, y
