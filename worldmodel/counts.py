"""Counts that a caller gives: steps, samples, candidates, frames."""

from __future__ import annotations

from typing import TypeGuard

import numpy as np


def is_whole(value: object) -> TypeGuard[int | np.integer]:
    """Whether a value is a whole number, Python's or numpy's."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def check_count(name: str, value: object, advice: str = "give one", least: int = 1) -> None:
    """Refuse what is no whole number, Python's or numpy's, of at least ``least``.

    Args:
        name: of the argument.
        value: as it was given.
        advice: what to do about it.
        least: 1 or 0.

    Raises:
        ValueError: it is another number, or none.
    """
    if not is_whole(value) or value < least:
        raise ValueError(f"{name}: got {value!r}, expected a whole number of at least {least}; {advice}")
