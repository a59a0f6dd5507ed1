"""Places joined by openings, and whether moves between them are legal.

A place is a node or channel of a graph, or a cell of a maze.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NOWHERE = -1  # the place of a point outside of all places


@dataclass(frozen=True)
class Moves:
    """The K changes of place in n sequences of places, sequence by sequence and in the order of time."""

    row: np.ndarray  # (K,) sequence
    step: np.ndarray  # (K,) first position at the new place
    origin: np.ndarray  # (K,) place before
    place: np.ndarray  # (K,) new place

    @classmethod
    def within(cls, places: np.ndarray) -> Moves:
        """Those in places (n, S)."""
        row, before = np.nonzero(places[:, 1:] != places[:, :-1])
        return cls(row, before + 1, places[row, before], places[row, before + 1])

    def __len__(self) -> int:
        return len(self.row)


def arrivals(places: np.ndarray, moves: Moves, visit_time: np.ndarray) -> Moves:
    """Of n sequences the moves to one of the first P places, and their beginnings where none had been before.

    Args:
        places: (n, S).
        moves: those in ``places``.
        visit_time: (n, P) s, inf for places that had not been visited.
    """
    number, begun = visit_time.shape[1], places[:, 0]
    inside = (moves.place >= 0) & (moves.place < number)
    came = Moves(moves.row[inside], moves.step[inside], moves.origin[inside], moves.place[inside])
    first = np.isinf(visit_time[np.arange(len(begun)), np.clip(begun, 0, number - 1)])
    row = np.nonzero(first & (begun >= 0) & (begun < number))[0]
    if not len(row):
        return came
    beginnings = (row, np.zeros_like(row), begun[row], begun[row])
    return Moves(
        *(np.append(*pair) for pair in zip(beginnings, (came.row, came.step, came.origin, came.place), strict=True))
    )


def first_visits(arrived: Moves, times: np.ndarray, visit_time: np.ndarray) -> np.ndarray:
    """Times (n, P) in seconds at which each of P places was first visited, inf where it was not.

    Args:
        arrived: :func:`arrivals` in n sequences of S positions.
        times: (n, S) s, of the positions.
        visit_time: (n, P) of what came before.
    """
    if not len(arrived):
        return visit_time
    earliest = visit_time.copy()
    np.minimum.at(earliest, (arrived.row, arrived.place), times[arrived.row, arrived.step])
    return earliest


def legal_moves(places: np.ndarray, moves: Moves, neighbours: np.ndarray) -> np.ndarray:
    """Whether n sequences of S places only stay or go on to one of the ``neighbours`` (n, P, K) of each of P places.

    Returns (n,) bool. ``NOWHERE`` is illegal; a place with fewer neighbours than K has others below -1.
    """
    legal = places[:, 0] != NOWHERE
    reachable = neighbours[moves.row, moves.origin] == moves.place[:, None]
    legal[moves.row[(moves.place == NOWHERE) | ~reachable.any(axis=1)]] = False
    return legal
