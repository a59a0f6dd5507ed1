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

    def to(self, number: int) -> Moves:
        """Only those to one of the first ``number`` places."""
        chosen = (self.place >= 0) & (self.place < number)
        return Moves(self.row[chosen], self.step[chosen], self.origin[chosen], self.place[chosen])


def first_visits(moves: Moves, times: np.ndarray, visit_time: np.ndarray) -> np.ndarray:
    """Times (n, P) in seconds at which each of the first P places was first visited, inf where it was not.

    Args:
        moves: from n sequences of S positions, each of which began where the one before had ended.
        times: (n, S) s, of the positions.
        visit_time: (n, P) of what came before.
    """
    moves = moves.to(visit_time.shape[1])
    if not len(moves):
        return visit_time
    earliest = visit_time.copy()
    np.minimum.at(earliest, (moves.row, moves.place), times[moves.row, moves.step])
    return earliest


def legal_moves(places: np.ndarray, moves: Moves, neighbours: np.ndarray) -> np.ndarray:
    """Whether n sequences of S places only stay or go on to one of the ``neighbours`` (n, P, K) of each of P places.

    Returns (n,) bool. ``NOWHERE`` is illegal; a place with fewer neighbours than K has others below -1.
    """
    legal = places[:, 0] != NOWHERE
    reachable = neighbours[moves.row, moves.origin] == moves.place[:, None]
    legal[moves.row[(moves.place == NOWHERE) | ~reachable.any(axis=1)]] = False
    return legal
