"""What is read off a true clip or its first frame, kept while clips are held against it: many are, in a row."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar

import numpy as np

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


def once_a_picture(
    read: Callable[[np.ndarray, np.ndarray, tuple[int, ...]], T],
) -> Callable[[np.ndarray, np.ndarray, tuple[int, ...]], T]:
    """``read`` of a picture, its segmentation and labels, with its last result kept for equal ones."""
    last: list[tuple[np.ndarray, np.ndarray, tuple[int, ...], T]] = []

    @functools.wraps(read)
    def kept(picture: np.ndarray, segmentation: np.ndarray, labels: tuple[int, ...]) -> T:
        known = last and labels == last[0][2]
        if not known or not (np.array_equal(picture, last[0][0]) and np.array_equal(segmentation, last[0][1])):
            last[:] = [(picture.copy(), segmentation.copy(), labels, read(picture, segmentation, labels))]
        return last[0][3]

    return kept
