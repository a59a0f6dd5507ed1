"""What an action-conditioned model of several robots knows of each: whose actions mean what, and how large they were.

A model reads vectors of one width. Each domain has numbers of its own in them, the others are 0, so the model is told
which robot moves by which numbers do.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from worldmodel.actions import ActionSpec


@dataclass(frozen=True)
class Domain:
    """One robot, or one kind of it.

    Attributes:
        name: by which ``model.conditioned(domain=...)`` knows it.
        spec: of its actions.
        slots: which of the model's numbers its A numbers are.
        usual: least and greatest (1 % and 99 %) of each of the A numbers in the training data, in units of the spec.
    """

    name: str
    spec: ActionSpec
    slots: tuple[int, ...]
    usual: tuple[tuple[float, float], ...]

    def numbers(self, actions: np.ndarray, width: int) -> np.ndarray:
        """What the model reads of actions (..., A): (..., width) float32, the bounds of the spec at -1 and 1."""
        low, high = np.asarray(self.spec.low), np.asarray(self.spec.high)
        read = np.zeros((*actions.shape[:-1], width), np.float32)
        read[..., list(self.slots)] = 2.0 * (actions - low) / (high - low) - 1.0
        return read

    def to_json(self) -> dict[str, Any]:
        """Plain values, from which :meth:`from_json` builds it again."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Domain:
        """The inverse of :meth:`to_json`."""
        usual = tuple((float(low), float(high)) for low, high in document["usual"])
        return cls(document["name"], ActionSpec.from_json(document["spec"]), tuple(document["slots"]), usual)


def check_bounds(spec: ActionSpec) -> None:
    """Refuse a spec whose numbers cannot be brought to -1 and 1."""
    if not (np.isfinite(spec.low) & np.isfinite(spec.high) & (np.asarray(spec.high) > np.asarray(spec.low))).all():
        raise ValueError(
            f"action_spec: got bounds {spec.low} to {spec.high}, expected finite ones with room between them; "
            "rescale the actions, e.g. with gymnasium.wrappers.RescaleAction"
        )


def check_room(domains: Sequence[Domain], width: int) -> None:
    """Refuse robots whose numbers together are more than a network reads."""
    used = sum(len(domain.slots) for domain in domains)
    if used > width:
        raise ValueError(
            f"data: got {used} numbers of actions of {', '.join(domain.name for domain in domains)}, expected up to "
            f"{width} in all; train on fewer robots"
        )


def choose(domains: Iterable[Domain], wanted: str | ActionSpec) -> Domain:
    """The domain of a name, or the one whose actions mean what those of a spec do.

    Raises:
        ValueError: there is none; says what differs from the nearest.
    """
    known = {domain.name: domain for domain in domains}
    if isinstance(wanted, str):
        if wanted not in known:
            raise ValueError(f"domain: got {wanted!r}, expected one of {', '.join(known)}; choose one of them")
        return known[wanted]
    for domain in known.values():
        if not differences(domain.spec, wanted):
            return domain
    nearest = min(known.values(), key=lambda domain: len(differences(domain.spec, wanted)), default=None)
    if nearest is None:
        raise ValueError("action_spec: got one for a model without actions, expected None; load another model")
    raise ValueError(
        f"action_spec: got {'; '.join(differences(nearest.spec, wanted))}; the model knows {', '.join(known)}; "
        "convert the actions or train on this robot's data"
    )


def matched(model: Any, spec: ActionSpec | None) -> Any:
    """The model with actions that mean what those of a spec do; any model with actions where there is no spec.

    Raises:
        ValueError: it takes no actions, or others.
    """
    own = model.backend.action_spec
    if own is not None and (spec is None or not differences(own, spec)):
        return model
    if spec is not None and model.recipe.domains:
        return model.conditioned(domain=spec)
    if own is None:
        raise ValueError(
            f"model: got {model.recipe.name}, which takes no actions, expected one that does; load another, or train "
            "one on this robot's data"
        )
    assert spec is not None
    raise ValueError(
        f"model: got actions of {model.recipe.name} that differ from those given: "
        f"{'; '.join(differences(own, spec))}; convert them, or load a model of this robot"
    )


def listening(model: Any, spec: ActionSpec | None) -> Any:
    """The model that is told actions of a spec, or None where there are none or it takes none.

    Raises:
        ValueError: it takes others.
    """
    takes = model.recipe.domains or model.backend.action_spec is not None
    return matched(model, spec) if spec is not None and takes else None


def differences(expected: ActionSpec, got: ActionSpec) -> list[str]:
    """What of a spec is not as expected, a phrase each; bounds may be narrower."""
    phrases = [
        f"{field} {getattr(got, field)!r} where {getattr(expected, field)!r} is expected"
        for field in ("names", "units", "frame", "control_hz", "scale", "gripper")
        if getattr(got, field) != getattr(expected, field)
    ]
    if got.names != expected.names:
        return phrases
    for name, low, high, least, most in zip(got.names, got.low, got.high, expected.low, expected.high, strict=True):
        if low < least or high > most:
            phrases.append(f"{name} from {low:g} to {high:g} where {least:g} to {most:g} was trained")
    return phrases


def unusual(domain: Domain, actions: np.ndarray) -> dict[str, float]:
    """Share of actions (..., A) outside the range that most of the training data had, for each number by name."""
    flat = actions.reshape(-1, len(domain.spec.names))
    if not len(flat):
        raise ValueError("actions: got none, expected at least one; there is no range of nothing")
    low, high = np.asarray(domain.usual).T
    # A number that touches the range is in it: commands are often exactly at their bounds.
    slack = 1e-6 * np.maximum(np.abs(low), np.abs(high))
    outside = (flat < low - slack) | (flat > high + slack)
    return dict(zip(domain.spec.names, outside.mean(axis=0).tolist(), strict=True))
