"""What JSON has no kind for."""

from __future__ import annotations

from typing import Any


def tuples(value: Any) -> Any:
    """The value with tuples, such as ranges, where JSON has lists, at any depth."""
    return tuple(map(tuples, value)) if isinstance(value, list | tuple) else value
