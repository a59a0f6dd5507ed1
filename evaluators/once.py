"""What is read off a true clip or its first frame, kept while clips are held against it: many are, in a row."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from typing import Concatenate, ParamSpec, TypeVar

import numpy as np

from worldmodel.truth import Truth

T = TypeVar("T")
P = ParamSpec("P")


def once_a_truth(read: Callable[Concatenate[Truth, P], T]) -> Callable[Concatenate[Truth, P], T]:
    """``read`` with its last result kept; a truth is never changed, so the same one, read the same way, gives the same.

    What is given beside the truth must compare as equal to itself, as a tracker does.
    """
    last: list[tuple[Truth, Hashable, T]] = []

    @functools.wraps(read)
    def kept(truth: Truth, *args: P.args, **kwargs: P.kwargs) -> T:
        way = (args, tuple(sorted(kwargs.items())))
        if not last or last[0][0] is not truth or last[0][1] != way:
            last[:] = [(truth, way, read(truth, *args, **kwargs))]
        return last[0][2]

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
