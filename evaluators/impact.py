"""When a falling object lands, read off its tracked path."""

from __future__ import annotations

import numpy as np

AFTER = 2.3  # frames after landing that are explained; a second bounce comes soon
TOLERANCE = 0.02  # of the picture's height: a frame this far from the fitted path is not explained
SMALL_FALL = 0.2  # of the whole descent: the same for falls that are small in the picture
MIN_FALL = 0.02  # of the picture's height: what has not fallen this far has not fallen
MIN_JUMP = 0.4  # of the landing speed: what keeps more than the rest of it has not landed
MIN_GAIN = 1.0  # squared tolerances by which landing must explain the path better than going on
STEP = 0.02  # frames between candidate times
REACH = 0.75  # frames by which a refit may move the landing
REFITS = 3  # the frames to explain depend on the landing that they give


def impact_time(path_px: np.ndarray, fps: float, picture_height_px: int) -> float:
    """Time in seconds at which an object dropped from rest first lands; nan if it never does.

    For each candidate time s, the path up to ``AFTER`` frames later is fitted as a fall from
    rest, v0 + a min(t, s)^2 / 2, that ends in rest or in a bounce, a t^2 / 2 + J max(t - s, 0).
    The candidate that explains most frames, sum of 1 - (residual / tolerance)^2, is the landing;
    its time is then the least-squares one for the frames up to it. It counts only if a path that
    never slows down explains the same frames clearly worse.

    Args:
        path_px: (T,) px, downward image coordinate of the centroid; nan where it is lost.
        fps: frames per second.
        picture_height_px: sets the tolerances.
    """
    path = np.asarray(path_px, dtype=np.float64)
    seen = np.isfinite(path)
    if seen.sum() < 4:
        return float("nan")
    path = np.where(seen, path - path[seen][0], 0.0)
    tolerance, min_fall = TOLERANCE * picture_height_px, MIN_FALL * picture_height_px
    if path.max() < min_fall:
        return float("nan")
    when = np.arange(1.0, len(path) - 2.0, STEP)
    window = _window(seen, when)
    misfit = _landing_misfit(path, when, window, min_fall)
    score = window.sum(axis=1) - misfit / min(tolerance, SMALL_FALL * path.max()) ** 2
    if not np.isfinite(score.max(initial=-np.inf)):
        return float("nan")
    landing, gain = when[score.argmax()], -np.inf
    for _ in range(REFITS):
        used = _window(seen, np.array([landing]))
        near = when[np.abs(when - landing) <= REACH]
        misfit = _landing_misfit(path, near, np.tile(used, (len(near), 1)), min_fall)
        landing, gain = near[misfit.argmin()], _going_on_misfit(path, used[0]) - misfit.min()
    return float(landing / fps) if gain >= MIN_GAIN * tolerance**2 else float("nan")


def _window(seen: np.ndarray, when: np.ndarray) -> np.ndarray:
    """Frames (K, T) that each candidate (K,) has to explain, 0 or 1."""
    return (seen & (np.arange(len(seen)) <= when[:, None] + AFTER)).astype(np.float64)


def _landing_misfit(path: np.ndarray, when: np.ndarray, window: np.ndarray, min_fall: float) -> np.ndarray:
    """Smaller of the squared residuals (K,) of a bounce and of rest at each candidate; inf if it is no landing."""
    t, s = np.arange(len(path), dtype=np.float64), when[:, None]
    one = np.ones((len(when), len(t)))
    bounce = np.stack([one, 0.5 * t**2 * one, np.maximum(t - s, 0.0)], axis=2)
    rest = np.stack([one, 0.5 * np.minimum(t, s) ** 2], axis=2)
    enough = ((window * (t > s)).sum(axis=1) >= 2) & ((window * (t <= s)).sum(axis=1) >= 2)
    best = np.full(len(when), np.inf)
    for design in (bounce, rest):
        weights, misfit = _least_squares(path, design, window)
        acceleration = weights[:, 1]
        landed = enough & (0.5 * acceleration * when**2 >= min_fall)
        if design is bounce:
            landed &= -weights[:, 2] >= MIN_JUMP * acceleration * when
        best = np.minimum(best, np.where(landed, misfit, np.inf))
    return best


def _going_on_misfit(path: np.ndarray, window: np.ndarray) -> float:
    """Squared residual of the best path with constant acceleration that never slows its descent."""
    t = np.arange(len(path), dtype=np.float64)
    falling = np.stack([np.ones_like(t), t, 0.5 * t**2], axis=1)[None]
    weights, misfit = _least_squares(path, falling, window[None])
    if weights[0, 2] < 0:
        misfit = _least_squares(path, falling[:, :, :2], window[None])[1]
    return float(misfit[0])


def _least_squares(path: np.ndarray, design: np.ndarray, window: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights (K, P) and squared residuals (K,) of K fits of one path (T,), design (K, T, P), window (K, T)."""
    weighted = design * window[:, :, None]
    normal = np.einsum("ktp,ktq->kpq", weighted, design) + 1e-9 * np.eye(design.shape[2])
    weights = np.linalg.solve(normal, (weighted * path[None, :, None]).sum(axis=1)[..., None])[..., 0]
    residual = np.einsum("ktp,kp->kt", design, weights) - path
    return weights, (window * residual**2).sum(axis=1)
