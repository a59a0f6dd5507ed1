"""What a planner searches: knots in [-1, 1] that stand for the actions of a horizon."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from worldmodel.actions import ActionSpec
from worldmodel.counts import check_count


@dataclass(frozen=True)
class Space:
    """``horizon`` actions of A numbers, held for ``block`` actions each: M = horizon / block knots.

    A knot is in [-1, 1], whose ends are the bounds of the spec.

    Attributes:
        spec: meaning and bounds of an action.
        horizon: actions of a plan.
        block: actions that a knot stands for.
    """

    spec: ActionSpec
    horizon: int
    block: int = 1

    def __post_init__(self) -> None:
        for name in ("horizon", "block"):
            check_count(name, getattr(self, name))
        if self.horizon % self.block:
            raise ValueError(
                f"block: got {self.block} for a horizon of {self.horizon} actions, expected a divisor; change either"
            )
        if not np.isfinite([self.spec.low, self.spec.high]).all():
            raise ValueError(
                f"action_spec: got bounds {self.spec.low} to {self.spec.high}, expected finite ones; replace them"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """(M, A) of one candidate's knots."""
        return self.horizon // self.block, len(self.spec.names)

    def actions(self, knots: np.ndarray) -> np.ndarray:
        """Actions (..., horizon, A) in the spec's units of knots (..., M, A), which are clipped to [-1, 1]."""
        low, high = np.array(self.spec.low), np.array(self.spec.high)
        values = low + (np.clip(knots, -1.0, 1.0) + 1.0) / 2.0 * (high - low)
        return np.repeat(np.clip(values, low, high), self.block, axis=-2)

    def knots(self, actions: np.ndarray) -> np.ndarray:
        """Knots (..., M, A) of actions (..., horizon, A), the mean of each block; inverse of :meth:`actions`.

        Raises:
            ValueError: actions of another shape, or out of the spec's bounds.
        """
        actions = self.spec.check(actions)
        if actions.shape[-2:-1] != (self.horizon,):
            raise ValueError(
                f"actions: got shape {actions.shape}, expected (..., {self.horizon}, {self.shape[1]}); add or drop some"
            )
        means = actions.reshape(*actions.shape[:-2], self.shape[0], self.block, self.shape[1]).mean(axis=-2)
        low, high = np.array(self.spec.low), np.array(self.spec.high)
        return np.clip(2.0 * (means - low) / np.where(high > low, high - low, 1.0) - 1.0, -1.0, 1.0)


def shifted(knots: np.ndarray, by: int) -> np.ndarray:
    """Knots (..., M, A) of what is left of a plan after its first ``by`` knots, the last one held to its end."""
    count = knots.shape[-2]
    return knots[..., np.minimum(np.arange(count) + by, count - 1), :]
