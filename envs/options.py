"""Refusing options and scenes that cannot be, in one form."""

from __future__ import annotations

from typing import Any

import numpy as np


def expect(holds: bool, name: str, got: object, expected: str) -> None:
    """Raise ValueError unless a condition on an option or a scene holds."""
    if not holds:
        raise ValueError(f"{name}: got {got}, expected {expected}; change it in the scene or its options")


def least_and_most(name: str, value: Any) -> tuple[int, int]:
    """The range that a whole number or a pair of them stands for."""
    pair = (value, value) if np.ndim(value) == 0 else tuple(value)
    whole = len(pair) == 2 and all(isinstance(each, (int, np.integer)) for each in pair)
    expect(whole and pair[0] <= pair[1], name, value, "a whole number or a pair of them (least, most)")
    return int(pair[0]), int(pair[1])
