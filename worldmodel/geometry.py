"""Plane geometry that the simulator and its judges share: segments, and the walls of graphs and mazes.

Positions and lengths are in metres, in the world's x and y.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np

ARENA = 0.96  # m, side of the square around the origin in which graphs and mazes lie
WALL = 0.01  # m, thickness of the walls around nodes and channels
ARC = 16  # straight pieces of wall around a whole node


def lines_of(segments: np.ndarray) -> np.ndarray:
    """Segments (..., S, 2, 2) as what distances are worked out from (..., 5, S).

    That is x and y of a segment's first end, those of the way to its second, and 1 over its length squared; in m.
    """
    # Component by component: NumPy sums over an axis of two numbers ten times slower.
    (ax, ay), (bx, by) = ((segments[..., end, 0], segments[..., end, 1]) for end in (0, 1))
    along_x, along_y = bx - ax, by - ay
    return np.stack([ax, ay, along_x, along_y, 1.0 / np.maximum(along_x**2 + along_y**2, 1e-18)], axis=-2)


def nearest_on_lines(points: np.ndarray, lines: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squared distances (..., S) of points (..., 2) from segments given as :func:`lines_of`, and where on them that is.

    The latter (..., S) goes from 0 at a segment's first end to 1 at its second.
    """
    ax, ay, along_x, along_y, inverse = (lines[..., k, :] for k in range(5))
    aside_x, aside_y = points[..., None, 0] - ax, points[..., None, 1] - ay
    share = np.clip((aside_x * along_x + aside_y * along_y) * inverse, 0.0, 1.0)
    aside_x -= share * along_x
    aside_y -= share * along_y
    return aside_x**2 + aside_y**2, share


def distance_to_segments(points: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """Distances (..., S) in metres of points (..., 2) from segments (..., S, 2, 2), each given by its two ends."""
    return np.sqrt(nearest_on_lines(points, lines_of(segments))[0])


def crosses(start: np.ndarray, end: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """Whether moves from ``start`` (..., 2) straight to ``end`` (..., 2) cross any of the segments (..., S, 2, 2)."""
    one, other = segments[..., 0, :], segments[..., 1, :]
    start, end = start[..., None, :], end[..., None, :]
    changes_side = _side(one, other, start) * _side(one, other, end) < 0.0
    within = _side(start, end, one) * _side(start, end, other) <= 0.0
    return (changes_side & within).any(axis=-1)


def least_angle(node_radius: float, channel_width: float) -> float:
    """Angle in radians that two channels of a node must be apart for their walls not to overlap."""
    return 2.0 * float(np.arcsin(min(1.0, (channel_width + WALL) / (2.0 * node_radius + WALL))))


def channel_walls(centres: np.ndarray, ends: np.ndarray, node_radius: float, channel_width: float) -> np.ndarray:
    """Centre lines (W, 2, 2) in metres of a graph's walls: two along every channel, arcs of short ones around nodes.

    Walls meet end to end, and their inner faces lie on the rims of discs and channels.

    Args:
        centres: (N, 2) m, of the nodes.
        ends: (M, 2) nodes at the ends of the channels.
        node_radius, channel_width: in metres.
    """
    ring, offset = node_radius + WALL / 2.0, (channel_width + WALL) / 2.0
    inset = np.sqrt(ring**2 - offset**2)  # from the centre of a node to the ends of its channels' walls
    half_opening = least_angle(node_radius, channel_width) / 2.0
    walls = []
    openings: list[list[float]] = [[] for _ in centres]
    for u, v in ends:
        a, b = centres[u], centres[v]
        along = (b - a) / np.linalg.norm(b - a)
        across = offset * np.array([-along[1], along[0]])
        walls += [[a + inset * along + side, b - inset * along + side] for side in (across, -across)]
        openings[u].append(float(np.arctan2(*(b - a)[::-1])))
        openings[v].append(float(np.arctan2(*(a - b)[::-1])))
    for centre, angles in zip(centres, map(sorted, openings), strict=True):
        for angle, following in zip(angles, [*angles[1:], angles[0] + 2.0 * np.pi], strict=True):
            gap = following - angle - 2.0 * half_opening
            pieces = int(np.ceil(gap / (2.0 * np.pi / ARC) - 1e-9))
            bends = angle + half_opening + np.linspace(0.0, gap, pieces + 1)
            points = centre + ring * np.stack([np.cos(bends), np.sin(bends)], axis=1)
            walls += [[p, q] for p, q in itertools.pairwise(points)]
    return np.array(walls)


def maze_walls(rows: int, columns: int, passages: Iterable[tuple[int, int]], cell_size: float) -> np.ndarray:
    """Centre lines (W, 2, 2) in metres of a maze's walls, each as long as it runs straight on.

    Cells are numbered row by row from the top left and lie around the origin, row 0 at +y;
    ``passages`` are the pairs of neighbouring cells, the smaller first, with no wall between.
    """
    open_pairs = set(passages)

    def stands(line: int, k: int, across: bool) -> bool:
        """Whether there is wall along the k-th cell of a grid line: horizontal ones if ``across``."""
        if line in (0, rows if across else columns):
            return True
        one = (line - 1) * columns + k if across else k * columns + line - 1
        return (one, one + (columns if across else 1)) not in open_pairs

    walls = []
    for across, lines, length in ((True, rows, columns), (False, columns, rows)):
        for line in range(lines + 1):
            for whole, run in itertools.groupby(range(length), lambda k: stands(line, k, across)):  # noqa: B023  used within the turn
                if whole:
                    cells = list(run)
                    ends = [(line, cells[0]), (line, cells[-1] + 1)]
                    walls.append([(k, row) if across else (row, k) for row, k in ends])
    corners = np.array(walls, np.float64)  # in cells from the top left, as (column, row)
    return cell_size * np.stack([corners[..., 0] - columns / 2.0, rows / 2.0 - corners[..., 1]], axis=-1)


def cell_side(rows: int, columns: int) -> float:
    """Side of a maze's cells in metres, from wall centre to wall centre: the longer side fills the arena."""
    return ARENA / max(rows, columns)


def cell_centres(rows: int, columns: int, cell_size: float) -> np.ndarray:
    """Centres (cells, 2) in metres of a maze's cells, numbered as for :func:`maze_walls`."""
    row, column = np.divmod(np.arange(rows * columns), columns)
    return cell_size * np.stack([column - (columns - 1) / 2.0, (rows - 1) / 2.0 - row], axis=1)


def _side(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Twice the signed area of the triangle a, b, c."""
    ab, ac = b - a, c - a
    return ab[..., 0] * ac[..., 1] - ab[..., 1] * ac[..., 0]
