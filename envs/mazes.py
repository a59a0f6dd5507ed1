"""Mazes on a grid of square cells: drawing, braiding, solving, and where their walls stand.

Cells are numbered row by row from the top left: cell = row * columns + column. A maze is the
set of its passages, pairs of neighbouring cells (the smaller first) with no wall between.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import networkx as nx
import numpy as np

from worldmodel import geometry

MAX_SIDE = 25  # cells


@dataclass(frozen=True)
class Maze:
    """Cells joined by passages."""

    rows: int
    columns: int
    passages: tuple[tuple[int, int], ...]

    @cached_property
    def network(self) -> nx.Graph:
        """Cells and passages for networkx."""
        network = nx.Graph()
        network.add_nodes_from(range(self.rows * self.columns))
        network.add_edges_from(self.passages)
        return network

    @property
    def dead_ends(self) -> list[int]:
        """Cells with a single passage."""
        return [cell for cell, degree in self.network.degree if degree == 1]

    def centres(self, cell_size: float) -> np.ndarray:
        """Centres (cells, 2) of cells of the given side in metres; the maze lies around the origin, row 0 at +y."""
        return geometry.cell_centres(self.rows, self.columns, cell_size)

    def neighbours(self) -> np.ndarray:
        """Cells (cells, 4) that each cell has a passage to, filled up with -1."""
        table = np.full((self.rows * self.columns, 4), -1)
        for cell in range(len(table)):
            joined = sorted(self.network[cell])
            table[cell, : len(joined)] = joined
        return table


def draw_maze(rng: np.random.Generator, rows: int, columns: int, braid: float = 0.0) -> Maze:
    """A perfect maze by Wilson's algorithm, then a share ``braid`` of its dead ends opened.

    Loop-erased random walks make every perfect maze equally likely (Wilson 1996), unlike a depth
    first search, which favours long corridors. A dead end is opened to another one where it can be.
    """
    check_size(rows, columns)
    if not 0.0 <= braid <= 1.0:
        raise ValueError(f"braid: got {braid}, expected 0 to 1, a share of dead ends; choose one in between")
    grid = nx.convert_node_labels_to_integers(nx.grid_2d_graph(rows, columns), ordering="sorted")
    maze = nx.Graph()
    maze.add_node(int(rng.integers(rows * columns)))
    for cell in range(rows * columns):
        if cell not in maze:
            nx.add_path(maze, _loop_erased_walk(rng, grid, cell, maze))
    _open_dead_ends(rng, grid, maze, braid)
    passages = sorted((min(edge), max(edge)) for edge in maze.edges)
    return Maze(rows, columns, tuple((int(u), int(v)) for u, v in passages))


def check_size(rows: int, columns: int) -> None:
    """Raise ValueError for a size that is no maze."""
    for name, value in (("rows", rows), ("columns", columns)):
        if not 2 <= value <= MAX_SIDE:
            raise ValueError(f"{name}: got {value}, expected 2 to {MAX_SIDE} cells; choose a size in between")


def check_maze(maze: Maze) -> None:
    """Raise ValueError unless passages join neighbouring cells and all cells are connected."""
    check_size(maze.rows, maze.columns)
    for u, v in maze.passages:
        beside = v == u + 1 and v % maze.columns != 0
        if not 0 <= u < v < maze.rows * maze.columns or not (beside or v == u + maze.columns):
            raise ValueError(f"passages: got {(u, v)}, expected a pair of neighbouring cells; give the smaller first")
    if not nx.is_connected(maze.network):
        parts = nx.number_connected_components(maze.network)
        raise ValueError(f"passages: got {parts} separate parts, expected a connected maze; join them by passages")


def solve(maze: Maze, start: int, goal: int) -> list[int]:
    """Cells of a shortest path from ``start`` to ``goal``, both included."""
    return [int(cell) for cell in nx.shortest_path(maze.network, start, goal)]


def distance_field(maze: Maze, goal: int) -> np.ndarray:
    """Number of passages (cells,) on the shortest path from each cell to ``goal``."""
    lengths = nx.single_source_shortest_path_length(maze.network, goal)
    return np.array([lengths[cell] for cell in range(maze.rows * maze.columns)])


def max_walls(rows: int, columns: int) -> int:
    """The most straight walls that a connected maze can have, its four sides among them."""
    return (rows - 1) * (columns - 1) + 4


def maze_walls(maze: Maze, cell_size: float) -> np.ndarray:
    """Centre lines (W, 2, 2) in metres of the walls, each as long as it runs straight on."""
    return geometry.maze_walls(maze.rows, maze.columns, maze.passages, cell_size)


def _loop_erased_walk(rng: np.random.Generator, grid: nx.Graph, cell: int, maze: nx.Graph) -> list[int]:
    """A random walk from ``cell`` until it meets the maze, its loops cut out."""
    walk = [cell]
    while walk[-1] not in maze:
        around = list(grid[walk[-1]])
        following = around[int(rng.integers(len(around)))]
        walk = walk[: walk.index(following) + 1] if following in walk else [*walk, following]
    return walk


def _open_dead_ends(rng: np.random.Generator, grid: nx.Graph, maze: nx.Graph, braid: float) -> None:
    dead_ends = sorted(cell for cell, degree in maze.degree if degree == 1)
    keep = round((1.0 - braid) * len(dead_ends))
    left = len(dead_ends)
    for index in rng.permutation(len(dead_ends)):
        cell = dead_ends[index]
        if left <= keep:
            return
        if maze.degree[cell] > 1:
            continue
        closed = [other for other in grid[cell] if not maze.has_edge(cell, other)]
        best = [other for other in closed if maze.degree[other] == 1] or closed
        other = best[int(rng.integers(len(best)))]
        left -= 1 + (maze.degree[other] == 1)
        maze.add_edge(cell, other)
