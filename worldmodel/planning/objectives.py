"""What a plan is to achieve, as costs (K,) of K imagined futures; lower is better, inf rejects a candidate.

An objective is any callable from :class:`~worldmodel.planning.dynamics.Futures` to such costs. Its attribute
``needs`` says what it reads: ``video`` (the default), ``latents`` or ``signals``. So that it is refused before anything
is imagined where it does not fit, it can declare the names of its ``signals`` and, as ``shapes``, those of a frame
of ``video`` (H, W, 3) or of ``latents`` (C, H', W').
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from worldmodel.planning.dynamics import OFFERS, Dynamics, Futures, check_offers

Objective = Callable[[Futures], Any]


def needs_of(objective: Objective) -> frozenset[str]:
    """What of a future an objective reads.

    Raises:
        ValueError: it is not callable, or names what no model has.
    """
    if not callable(objective):
        raise ValueError(f"objective: got {objective!r}, expected a function from Futures to costs (K,); give one")
    needs = frozenset(getattr(objective, "needs", ("video",)))
    if not needs <= set(OFFERS):
        raise ValueError(f"objective: got needs {sorted(needs)}, expected some of {', '.join(OFFERS)}; correct them")
    return needs


def check_objective(objective: Objective, dynamics: Dynamics, who: str = "objective") -> None:
    """Refuse, before any compute, an objective that asks of a model what it does not offer, by all it declares."""
    check_offers(dynamics, needs_of(objective), who)
    for term in _terms(objective):
        names = getattr(term, "signals", ())
        if names:
            _check_names(names, dynamics.signals, who)
        for kind, shape in getattr(term, "shapes", {}).items():
            if kind in dynamics.shapes and tuple(shape) != tuple(dynamics.shapes[kind]):
                raise ValueError(
                    f"{who}: got {kind} of {tuple(shape)}, expected {tuple(dynamics.shapes[kind])}, those of "
                    f"{type(dynamics).__name__}; make the goal of that shape"
                )


@dataclass(frozen=True)
class GoalImage:
    """Mean squared difference to a picture, in grey levels squared over 255^2, at the end of the plan.

    Small things that are not yet where they belong change nothing in it, so both pictures are blurred by each of
    ``blurs`` and the differences added up.

    Attributes:
        goal: (H, W, 3) uint8.
        blurs: standard deviations in pixels; 0 compares the pictures as they are.
    """

    goal: np.ndarray
    blurs: tuple[float, ...] = (0.0, 2.0, 6.0)
    needs = frozenset(("video",))

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The goal's."""
        return {"video": np.shape(self.goal)}

    def __post_init__(self) -> None:
        if np.ndim(self.goal) != 3 or np.shape(self.goal)[-1] != 3 or np.asarray(self.goal).dtype != np.uint8:
            raise ValueError(f"goal: got {np.shape(self.goal)}, expected a picture (H, W, 3) uint8; render one")

    def __call__(self, futures: Futures) -> np.ndarray:
        """Costs (K,)."""
        from scipy.ndimage import gaussian_filter

        assert futures.video is not None
        last = futures.video[:, -1]
        if last.shape[1:] != self.goal.shape:
            raise ValueError(f"goal: got {self.goal.shape}, expected {last.shape[1:]}, as the video; resize it")
        difference = (last.astype(np.float32) - self.goal) / 255.0
        blurred = (gaussian_filter(difference, (0.0, blur, blur, 0.0)) if blur else difference for blur in self.blurs)
        return np.sum([np.square(each).mean(axis=(1, 2, 3)) for each in blurred], axis=0).astype(np.float64)


@dataclass(frozen=True)
class GoalLatent:
    """Mean squared difference of the last latent frame to that of a goal; nothing is decoded for it.

    Attributes:
        goal: (C, H', W') float32, such as ``backend.encode(picture)[0, :, 0]``. The first latent of a clip stands for
            one frame, later ones for several, so encode the goal as the end of a clip where it can be had.
    """

    goal: np.ndarray
    needs = frozenset(("latents",))

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The goal's."""
        return {"latents": np.shape(self.goal)}

    def __call__(self, futures: Futures) -> np.ndarray:
        """Costs (K,)."""
        assert futures.latents is not None
        last = futures.latents[:, :, -1]
        if last.shape[1:] != np.shape(self.goal):
            raise ValueError(f"goal: got {np.shape(self.goal)}, expected {last.shape[1:]}, a latent frame; encode one")
        return np.square(last - self.goal).mean(axis=(1, 2, 3)).astype(np.float64)


@dataclass(frozen=True)
class WayToGoal:
    """The way that is left for a ball at the end of the plan, in metres along corridors or channels.

    Where the goal is reached it is 0, less ``bonus`` for each frame by which that is earlier. Frames before that in
    which the ball was lost, or did what no ball can, cost ``fault`` metres times their share of all.

    Attributes:
        bonus: m for each frame by which the goal is reached earlier.
        fault: m.
    """

    bonus: float = 0.01
    fault: float = 2.0
    needs = frozenset(("signals",))
    signals = ("distance_to_goal", "success", "legal")

    def __call__(self, futures: Futures) -> np.ndarray:
        """Costs (K,) in metres."""
        signals = _signals(futures, self.signals)
        success = signals["success"].astype(bool)
        early = success.shape[1] - success.argmax(axis=1)
        way = np.nan_to_num(signals["distance_to_goal"][:, -1], nan=self.fault)
        before = np.cumsum(success, axis=1) == 0
        # MuJoCo never loses sight of it.
        sound = signals["legal"].astype(bool) & np.asarray(signals.get("found", True), bool)
        faults = (~sound & before).mean(axis=1)
        return np.where(success.any(axis=1), -self.bonus * early, way) + self.fault * faults


@dataclass(frozen=True)
class Lift:
    """Bring the gripper around an item, close it, and lift it: metres that are left, over the last frames.

    Terms: from the grip point to the item's centre; while that is near, how far the fingers are open, and elsewhere
    how far they are closed; the lift that is missing; and in all frames, how far the hand is sent to where it cannot
    go, such as into the table, along which it would be dragged.

    Attributes:
        start: m, world height of the item's centre where it stands.
        height: m, by which it is to be lifted.
        near: m, below which closing pays.
        frames: at the end of the plan, over which the mean is taken.
        strain: weight of the metres between the set-point and the grip point.
    """

    start: float
    height: float = 0.08
    near: float = 0.02
    frames: int = 4
    strain: float = 2.0
    needs = frozenset(("signals",))
    signals = ("gripper_position", "gripper_target", "position", "opening")

    def __call__(self, futures: Futures) -> np.ndarray:
        """Costs (K,) in metres."""
        signals = _signals(futures, self.signals)
        item, grip = signals["position"][:, -self.frames :, 0], signals["gripper_position"][:, -self.frames :]
        opening = signals["opening"][:, -self.frames :]
        away = np.linalg.norm(item - grip, axis=-1)
        # Closed around the item costs up to half of the opening, open elsewhere a little more than that.
        fingers = np.where(away <= self.near, 0.5 * opening, 0.1 - 0.5 * opening)
        missing = np.clip(self.start + self.height - item[..., 2], 0.0, None)
        strain = np.linalg.norm(signals["gripper_target"] - signals["gripper_position"], axis=-1)
        cost = (away + fingers + 2.0 * missing).mean(axis=1) + self.strain * strain.mean(axis=1)
        return np.where(np.isfinite(cost), cost, 1.0)


@dataclass(frozen=True)
class Weighted:
    """A sum of objectives with weights, such as a goal image and a penalty on the size of the actions."""

    terms: tuple[tuple[float, Objective], ...]
    needs: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "needs", frozenset().union(*(needs_of(objective) for _, objective in self.terms)))

    def __call__(self, futures: Futures) -> np.ndarray:
        """Costs (K,)."""
        return np.sum([weight * np.asarray(objective(futures)) for weight, objective in self.terms], axis=0)


def _terms(objective: Objective) -> Iterator[Objective]:
    """The objective, or those that it is a sum of."""
    if not isinstance(objective, Weighted):
        yield objective
        return
    for _, term in objective.terms:
        yield from _terms(term)


def _signals(futures: Futures, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    signals = futures.signals or {}
    _check_names(names, tuple(signals), "objective")
    return {name: signals[name] for name in names}


def _check_names(names: tuple[str, ...], known: tuple[str, ...], who: str) -> None:
    missing = [name for name in names if name not in known]
    if missing:
        raise ValueError(
            f"{who}: got no {', '.join(missing)} among the signals, expected {', '.join(names)}; plan in an "
            "environment of its family, or choose another objective"
        )
