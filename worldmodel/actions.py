"""What the numbers of an action mean: a model, an environment and a data set agree through it or refuse loudly."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class ActionSpec:
    """One action vector of A numbers, given ``control_hz`` times a second.

    Attributes:
        names: of the A numbers.
        units: of the A numbers, after multiplication by ``scale``.
        low, high: bounds of the A numbers as they are passed to ``step``.
        frame: in which they are expressed, such as ``world``.
        control_hz: actions per second.
        scale: units per number: 1 when an action is given in the units themselves.
        gripper: what the gripper's number means at both ends, ``""`` without a gripper.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    frame: str
    control_hz: float
    scale: float = 1.0
    gripper: str = ""

    def __post_init__(self) -> None:
        for name in ("units", "low", "high"):
            if len(getattr(self, name)) != len(self.names):
                raise ValueError(
                    f"{name}: got {len(getattr(self, name))} entries, expected {len(self.names)} "
                    f"({', '.join(self.names)}); give one for each"
                )
        if not self.control_hz > 0 or not self.scale > 0:
            raise ValueError(
                f"control_hz, scale: got {self.control_hz}, {self.scale}, expected numbers above 0; correct them"
            )

    def check(self, actions: Any) -> np.ndarray:
        """``actions`` (..., A) as float64, or a refusal of a wrong width, NaN or a number out of bounds."""
        try:
            given = np.asarray(actions)
            real = given.dtype.kind in "iuf" and not isinstance(actions, np.ma.MaskedArray)
        except (TypeError, ValueError):  # a ragged list
            real = False
        if not real:
            raise ValueError(f"action: got {actions!r}, expected {self._expected()}; pass an array")
        values = given.astype(np.float64)
        if values.shape[-1:] != (len(self.names),):
            raise ValueError(f"action: got shape {values.shape}, expected {self._expected()}; pass one number for each")
        # Boxes are float32: what they draw may lie a rounding beyond the bound.
        bounds = np.array([self.low, self.high])
        slack = 1e-6 * np.abs(np.where(np.isfinite(bounds), bounds, 0.0)).max(axis=0)
        outside = ~(np.isfinite(values) & (values >= bounds[0] - slack) & (values <= bounds[1] + slack))
        if outside.any():
            index = int(np.nonzero(outside.reshape(-1, len(self.names)).any(axis=0))[0][0])
            worst = values[..., index][outside[..., index]].flat[0]
            raise ValueError(
                f"action {self.names[index]}: got {worst:g} {self.units[index]}, expected {self.low[index]:g} to "
                f"{self.high[index]:g} {self.units[index]} in the {self.frame} frame; clip it or convert its unit"
            )
        return values

    def to_json(self) -> dict[str, Any]:
        """Plain values, from which :meth:`from_json` builds it again."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> ActionSpec:
        """The inverse of :meth:`to_json`."""
        fields: dict[str, Any] = {
            k: tuple(value) if isinstance(value, list) else value for k, value in document.items()
        }
        fields.pop("still", None)  # of earlier versions, which filled missing actions with zeros
        return cls(**fields)

    def _expected(self) -> str:
        pairs = zip(self.names, self.units, strict=True)
        return f"{len(self.names)} numbers ({', '.join(f'{name} in {unit}' for name, unit in pairs)})"


def repeated(actions: np.ndarray, count: int) -> np.ndarray:
    """Actions (..., count, A): those given (..., n, A), the last of them repeated where they are fewer.

    Zeros would not do: they are a motion where actions are positions, and open or close a gripper.
    """
    missing = max(0, count - actions.shape[-2])
    return np.concatenate([actions, np.repeat(actions[..., -1:, :], missing, axis=-2)], axis=-2)
