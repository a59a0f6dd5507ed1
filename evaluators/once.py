"""What is read off a true clip, kept while other clips are held against it: many of one truth are scored in a row."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar

from worldmodel.truth import Truth

T = TypeVar("T")


def once_a_truth(read: Callable[[Truth], T]) -> Callable[[Truth], T]:
    """``read`` with its last result kept; a truth is never changed, so the same one gives the same."""
    last: list[tuple[Truth, T]] = []

    @functools.wraps(read)
    def kept(truth: Truth) -> T:
        if not last or last[0][0] is not truth:
            last[:] = [(truth, read(truth))]
        return last[0][1]

    return kept
