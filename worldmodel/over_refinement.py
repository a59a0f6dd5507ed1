"""When refinement has gone too far, as told by a rollout's ``drift``; see :mod:`worldmodel.sampling.guard`."""

from __future__ import annotations

import numpy as np

SHIFT_LIMIT = 0.25  # latent units
GROWTH_LIMIT = 0.2  # share


def over_refined(drift: np.ndarray) -> np.ndarray:
    """Whether tone shift or growth, the last axis of drift (..., 2), is beyond its limit; not where they are nan."""
    return np.any(np.asarray(drift) > (SHIFT_LIMIT, GROWTH_LIMIT), axis=-1)


def warning(drifts: list[np.ndarray]) -> str | None:
    """One line if refinement went too far in some of the clips, each with its drift (chunks, 2); None otherwise."""
    beyond = [drift for drift in drifts if over_refined(drift).any()]
    if not beyond:
        return None
    shift, growth = np.nanmax(np.concatenate(beyond), axis=0)
    return (
        f"over-refined: in {len(beyond)} of {len(drifts)} clips settled places shifted tone by up to {shift:.2f} "
        f"latent units or grew by up to {100 * growth:.0f} %; mask them (a threshold above 0) or iterate less"
    )
