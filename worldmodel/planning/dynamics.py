"""What a planner needs of a model: futures of candidate actions. A world model offers it, and so does MuJoCo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from worldmodel.actions import ActionSpec

OFFERS = ("video", "latents", "signals")


@dataclass(frozen=True)
class Futures:
    """What K candidates of n actions lead to.

    Attributes:
        actions: (K, n, A) in the units of the model's spec.
        video: (K, n, H, W, 3) uint8, a frame after each action; None where it was not asked for.
        latents: (K, C, T', H', W') float32 of the last chunk; None of models without.
        signals: name to (K, n, ...), what is known after each action, named as the signals of the environment's
            family; true of MuJoCo, read off the pixels of a world model; None where there is no such reading.
        after: what the model keeps of K candidates, to show or continue them; ``after.select(rows)`` takes some.
        evaluations: of the model, over all candidates.
    """

    actions: np.ndarray
    video: np.ndarray | None
    latents: np.ndarray | None
    signals: dict[str, np.ndarray] | None
    after: Any
    evaluations: int

    def __len__(self) -> int:
        return len(self.actions)

    def select(self, rows: np.ndarray) -> Futures:
        """The candidates of these rows, in their order; ``evaluations`` stay those of all."""
        signals = None if self.signals is None else {name: value[rows] for name, value in self.signals.items()}
        video = None if self.video is None else self.video[rows]
        latents = None if self.latents is None else self.latents[rows]
        after = self.after.select(rows)
        return replace(self, actions=self.actions[rows], video=video, latents=latents, signals=signals, after=after)


class Dynamics(Protocol):
    """A model to plan with.

    Attributes:
        action_spec: of its actions.
        offers: of ``OFFERS``, what :meth:`show` can fill in.
        refines: whether :meth:`imagine` can refine.
    """

    action_spec: ActionSpec
    offers: frozenset[str]
    refines: bool

    @property
    def signals(self) -> tuple[str, ...]:
        """Names of the signals that :meth:`show` fills in."""
        ...

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Of one frame of what is offered: ``video`` (H, W, 3), ``latents`` (C, H', W')."""
        ...

    def price(self, n: int, *, refined: bool = False) -> int:
        """Evaluations that one candidate of n actions takes, at most."""
        ...

    def start(self, observation: Mapping[str, np.ndarray], seed: int) -> Any:
        """The state from which candidates begin, of what is seen now."""
        ...

    def imagine(self, start: Any, actions: np.ndarray, seeds: np.ndarray, *, refined: bool = False) -> Futures:
        """What actions (K, n, A) lead to under the noise of seeds (K,); nothing is decoded yet."""
        ...

    def show(self, start: Any, futures: Futures, wanted: frozenset[str]) -> Futures:
        """The same futures with what is wanted of ``offers``."""
        ...


def check_offers(dynamics: Dynamics, wanted: frozenset[str], who: str) -> None:
    """Refuse, before any compute, an objective that needs what a model cannot give."""
    missing = sorted(wanted - dynamics.offers)
    if missing:
        raise ValueError(
            f"{who}: got a need for {', '.join(missing)}, expected one of {', '.join(sorted(dynamics.offers))}, what "
            f"{type(dynamics).__name__} offers; choose another objective, or give the model a readout"
        )


def check_one_goal(readout: Any) -> None:
    """Refuse a scene of several goals where each plan begins a new reading, which knows of none that was reached."""
    goals = getattr(getattr(readout, "scene", None), "goals", ())
    if len(goals) > 1:
        raise ValueError(
            f"scene: got {len(goals)} goals, expected one; a picture does not tell which were reached before, so each "
            "plan would go back to the first. Plan in a Simulator, which remembers, or to one goal"
        )
