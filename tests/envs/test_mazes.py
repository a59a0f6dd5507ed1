"""Mazes: what is drawn, how it is solved, and where its walls stand."""

from collections import Counter

import numpy as np
import pytest

from worldmodel.envs.mazes import Maze, check_maze, distance_field, draw_maze, max_walls, maze_walls, solve
from worldmodel.geometry import crosses

SIZES = [(5, 5), (7, 4), (15, 15)]


def drawn(rows, columns, braid=0.0, seeds=6):
    return [draw_maze(np.random.default_rng(seed), rows, columns, braid) for seed in range(seeds)]


@pytest.mark.parametrize("size", SIZES)
def test_a_perfect_maze_is_a_spanning_tree(size):
    for maze in drawn(*size):
        assert len(maze.passages) == size[0] * size[1] - 1
        check_maze(maze)  # connected


def test_every_perfect_maze_is_equally_likely():
    rng = np.random.default_rng(0)
    count = Counter(draw_maze(rng, 2, 3).passages for _ in range(3000))
    assert len(count) == 15  # spanning trees of the 2 x 3 grid
    squared = sum((got - 200) ** 2 / 200 for got in count.values())
    assert squared < 36.1  # 99.9 % of a chi-squared with 14 degrees of freedom


@pytest.mark.parametrize("size", SIZES)
def test_full_braiding_leaves_no_dead_end(size):
    for maze in drawn(*size, braid=1.0):
        assert maze.dead_ends == []
        check_maze(maze)


def test_braiding_opens_the_share_of_dead_ends_that_is_asked_for():
    for perfect, half in zip(drawn(15, 15), drawn(15, 15, braid=0.5), strict=True):
        assert set(perfect.passages) < set(half.passages)
        keep = round(0.5 * len(perfect.dead_ends))
        assert keep - 1 <= len(half.dead_ends) <= keep  # one passage can open two


def test_a_seed_gives_one_maze_and_another_seed_another():
    assert drawn(8, 8, 0.3) == drawn(8, 8, 0.3)
    assert len({maze.passages for maze in drawn(8, 8)}) == 6


@pytest.mark.parametrize("braid", [0.0, 0.6])
def test_the_field_falls_by_one_towards_the_goal(braid):
    for maze in drawn(9, 7, braid):
        field = distance_field(maze, 11)
        assert np.nonzero(field == 0)[0].tolist() == [11]
        assert all(abs(field[u] - field[v]) <= 1 for u, v in maze.passages)
        for cell in range(63):
            assert cell == 11 or min(field[other] for other in maze.network[cell]) == field[cell] - 1


def test_the_solution_is_as_long_as_the_field_says():
    for maze in drawn(9, 9, 0.5):
        path = solve(maze, 0, 80)
        assert (path[0], path[-1]) == (0, 80)
        assert len(path) - 1 == distance_field(maze, 80)[0]
        assert all((min(step), max(step)) in maze.passages for step in zip(path, path[1:], strict=False))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("braid", [0.0, 1.0])
def test_walls_stand_exactly_where_there_is_no_passage(size, braid):
    rows, columns = size
    for maze in drawn(*size, braid):
        walls, centres = maze_walls(maze, 0.1), maze.centres(0.1)
        assert len(walls) <= max_walls(*size)
        right = [(cell, cell + 1) for cell in range(rows * columns) if (cell + 1) % columns]
        below = [(cell, cell + columns) for cell in range((rows - 1) * columns)]
        pairs = np.array(right + below)
        blocked = crosses(centres[pairs[:, 0]], centres[pairs[:, 1]], walls)
        assert blocked.tolist() == [tuple(pair) not in maze.passages for pair in pairs.tolist()]
        closed = len(pairs) - len(maze.passages)
        assert np.linalg.norm(walls[:, 1] - walls[:, 0], axis=-1).sum() / 0.1 == pytest.approx(
            closed + 2 * (rows + columns)
        )


def test_the_outer_walls_are_closed():
    maze = drawn(5, 5)[0]
    centres = maze.centres(0.1)
    assert crosses(centres, centres * 0 + (0.6, 0.013), maze_walls(maze, 0.1)).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((1, 5), "rows: got 1"), ((5, 26), "columns: got 26"), ((5, 5, 1.5), "braid: got 1.5")],
)
def test_impossible_sizes_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        draw_maze(np.random.default_rng(0), *arguments)


@pytest.mark.parametrize(
    ("passages", "message"),
    [
        (((0, 3),), "expected a pair of neighbouring cells"),
        (((1, 2),), "expected a pair of neighbouring cells"),
        (((1, 0),), "expected a pair of neighbouring cells"),
        (((0, 1), (2, 3)), "passages: got 2 separate parts"),
    ],
)
def test_impossible_passages_are_refused(passages, message):
    with pytest.raises(ValueError, match=message):
        check_maze(Maze(2, 2, passages))
