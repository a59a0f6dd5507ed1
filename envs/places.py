"""Places joined by openings, and whether moves between them are legal.

A place is a node or channel of a graph, or a cell of a maze.
"""

from __future__ import annotations

import numpy as np

NOWHERE = -1  # the place of a point outside of all places


def first_visits(inside: np.ndarray, times: np.ndarray, visit_time: np.ndarray) -> np.ndarray:
    """Times (n, P) in seconds at which each of P places was first visited, inf where it was not.

    Args:
        inside: (n, S, P) whether a sequence of S positions was in a place.
        times: (n, S) s, of the positions.
        visit_time: (n, P) of what came before.
    """
    entered = np.take_along_axis(times, inside.argmax(axis=1), axis=1)
    return np.where(inside.any(axis=1) & np.isinf(visit_time), entered, visit_time)


def legal_moves(places: np.ndarray, neighbours: np.ndarray) -> np.ndarray:
    """Whether n sequences of S places only stay or go on to one of the ``neighbours`` (n, P, K) of each of P places.

    Returns (n,) bool. ``NOWHERE`` is illegal; a place with fewer neighbours than K has others below -1.
    """
    now, following = places[:, :-1], places[:, 1:]
    reachable = np.take_along_axis(neighbours, np.maximum(now, 0)[..., None], axis=1)
    moves = (now == following) | (reachable == following[..., None]).any(axis=-1)
    return moves.all(axis=1) & (places != NOWHERE).all(axis=1)
