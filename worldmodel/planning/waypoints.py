"""Plans of a hand as points that it passes, in place of displacements held for a while.

A displacement at random, held for a quarter of a second, carries a hand a decimetre away, and a walk of such steps
slams what is in its way: few of them are worth imagining. Points in a box around the task are, and each candidate moves
straight from one to the next, as scripted and learned policies do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from worldmodel.actions import ActionSpec
from worldmodel.planning.space import Space

METRE = "m"


@dataclass(frozen=True)
class Workspace:
    """A box in which a hand is to move.

    Attributes:
        low, high: m, corners (D,) in the world frame.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]

    def __post_init__(self) -> None:
        try:
            low, high = np.asarray(self.low, np.float64), np.asarray(self.high, np.float64)
            sound = low.shape == high.shape and low.ndim == 1 and len(low) > 0
            sound = sound and bool((low < high).all() and np.isfinite([low, high]).all())
        except (TypeError, ValueError):
            sound = False
        if not sound:
            raise ValueError(
                f"workspace: got corners {self.low} and {self.high}, expected as many finite numbers of each, the "
                "lower ones first; correct them"
            )

    def check(self, spec: ActionSpec) -> None:
        """Refuse actions that do not begin with displacements, named dx and so on, in metres along the box's axes."""
        moved = len(self.low)
        named = all(name.startswith("d") for name in spec.names[:moved]) and len(spec.names) >= moved
        both_ways = all(low < 0.0 < high for low, high in zip(spec.low[:moved], spec.high[:moved], strict=True))
        metres = spec.units[:moved] == (METRE,) * moved and spec.scale == 1.0 and spec.frame == "world"
        if not (named and both_ways and metres):
            told = ", ".join(f"{name} in {unit}" for name, unit in zip(spec.names, spec.units, strict=True))
            raise ValueError(
                f"workspace: got {moved} axes for actions of {told} in the {spec.frame} frame, expected displacements "
                "in metres of the world to begin with; search held actions instead"
            )

    def place(self, observation: Mapping[str, Any]) -> tuple[float, ...]:
        """Where (D,) m an observation has the hand: the first numbers of its ``agent_pos``."""
        told = observation.get("agent_pos")
        if told is None or np.ndim(told) != 1 or len(told) < len(self.low):
            raise ValueError(
                f"observation: got {', '.join(observation)}, expected agent_pos ({len(self.low)} numbers or more): "
                "where the hand is, from where waypoints begin"
            )
        return tuple(np.asarray(told, np.float64)[: len(self.low)].tolist())


@dataclass(frozen=True)
class Waypoints(Space):
    """Like :class:`Space`, but a knot is a point to be at when its block ends, and the action's other numbers.

    A point is reached in equal steps, or as nearly as the bounds of a step allow; the next block begins from where
    that leads. Knots of -1 and 1 are the ends of the workspace. It is the commands that pass the points: a hand that
    something has stopped lags behind them, and a plan that begins where such a hand is comes out as much short.

    Attributes:
        workspace: where the points are.
        at: m, the point (D,) from which the plan begins.
    """

    workspace: Workspace | None = None
    at: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.workspace is None or len(self.at) != len(self.workspace.low) or not np.isfinite(self.at).all():
            raise ValueError(
                f"at: got {self.at} for the workspace {self.workspace}, expected a finite number for each of its axes"
            )
        self.workspace.check(self.spec)

    def actions(self, knots: np.ndarray) -> np.ndarray:
        """Actions (..., horizon, A) that pass the points of knots (..., M, A), which are clipped to [-1, 1]."""
        held, points = super().actions(knots), self._points(np.clip(knots, -1.0, 1.0))
        place = np.broadcast_to(np.asarray(self.at, np.float64), points[..., 0, :].shape)
        low, high = (np.array(bound[: len(self.at)]) for bound in (self.spec.low, self.spec.high))
        for action in range(self.horizon):
            left = self.block - action % self.block
            step = np.clip((points[..., action // self.block, :] - place) / left, low, high)
            held[..., action, : len(self.at)], place = step, place + step
        return held

    def knots(self, actions: np.ndarray) -> np.ndarray:
        """Knots (..., M, A) whose points are where actions (..., horizon, A) lead; means of their other numbers.

        Points outside of the workspace are moved to its walls.
        """
        found = super().knots(actions)
        moved = np.cumsum(np.asarray(actions, np.float64)[..., : len(self.at)], axis=-2) + np.asarray(self.at)
        middle, half = self._middle_and_half()
        found[..., : len(self.at)] = np.clip((moved[..., self.block - 1 :: self.block, :] - middle) / half, -1.0, 1.0)
        return found

    def _points(self, knots: np.ndarray) -> np.ndarray:
        """Points (..., M, D) in metres."""
        middle, half = self._middle_and_half()
        return middle + half * knots[..., : len(self.at)]

    def _middle_and_half(self) -> tuple[np.ndarray, np.ndarray]:
        assert self.workspace is not None
        low, high = np.array(self.workspace.low), np.array(self.workspace.high)
        return (low + high) / 2.0, (high - low) / 2.0


def space_for(
    spec: ActionSpec, horizon: int, block: int, workspace: Workspace | None, observation: Mapping[str, Any]
) -> Space:
    """Where plans from an observation are searched: waypoints in a workspace, or held actions without one."""
    if workspace is None:
        return Space(spec, horizon, block)
    return Waypoints(spec, horizon, block, workspace, workspace.place(observation))
