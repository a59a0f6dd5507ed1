"""Places against their definitions, written out in loops."""

import numpy as np
import pytest

from worldmodel.envs.graph_drawing import GraphOptions, draw_graph
from worldmodel.envs.places import NOWHERE, Moves, arrivals, first_visits, legal_moves
from worldmodel.envs.traversal import channel_axes, locate, stays
from worldmodel.geometry import distance_to_segments

PLACES, SEQUENCES, LENGTH = 5, 40, 12


@pytest.fixture
def sequences():
    """Places that are kept for a while, some of them NOWHERE or beyond those that can be visited."""
    rng = np.random.default_rng(0)
    places = rng.integers(NOWHERE, PLACES + 2, (SEQUENCES, LENGTH))
    stays = rng.random((SEQUENCES, LENGTH)) < 0.6
    for step in range(1, LENGTH):
        places[:, step] = np.where(stays[:, step], places[:, step - 1], places[:, step])
    return places


def test_a_first_visit_is_the_first_time_in_a_place_that_was_not_visited_before(sequences):
    times = np.sort(np.random.default_rng(1).random((SEQUENCES, LENGTH)), axis=1)
    before = np.where(np.random.default_rng(2).random((SEQUENCES, PLACES)) < 0.3, -1.0, np.inf)
    expected = before.copy()
    for row in range(SEQUENCES):
        for time, place in zip(times[row], sequences[row], strict=True):
            if 0 <= place < PLACES and np.isinf(expected[row, place]):
                expected[row, place] = time
    given = before.copy()
    arrived = arrivals(sequences, Moves.within(sequences), before)
    np.testing.assert_array_equal(first_visits(arrived, times, before), expected)
    np.testing.assert_array_equal(before, given)
    assert (expected != before).sum() > SEQUENCES


def test_moves_are_legal_if_each_of_them_is(sequences):
    rng = np.random.default_rng(3)
    neighbours = rng.integers(-2, PLACES + 2, (SEQUENCES, PLACES + 2, 6))
    neighbours[neighbours == NOWHERE] = -2
    expected = [
        NOWHERE not in places and all(a == b or b in table[a] for a, b in zip(places[:-1], places[1:], strict=True))
        for places, table in zip(sequences.tolist(), neighbours.tolist(), strict=True)
    ]
    moves = Moves.within(sequences)
    np.testing.assert_array_equal(legal_moves(sequences, moves, neighbours), expected)
    assert 0 < sum(expected) < SEQUENCES


@pytest.mark.parametrize("kind", ["tree", "graph"])
def test_a_point_is_in_the_disc_or_else_the_channel_that_is_near_enough(kind):
    for seed in range(5):
        graph = draw_graph(np.random.default_rng(seed), GraphOptions(kind=kind))
        points = np.random.default_rng(seed).uniform(-0.5, 0.5, (40, 50, 2))
        offset = np.linalg.norm(points[..., None, :] - graph.centres, axis=-1)
        aside = distance_to_segments(points, graph.segments)
        on_channel = np.where(aside.min(-1) <= graph.channel_width / 2, len(graph.nodes) + aside.argmin(-1), NOWHERE)
        expected = np.where(offset.min(-1) <= graph.node_radius, offset.argmin(-1), on_channel)
        channels = channel_axes(graph.segments, graph.channel_width)
        np.testing.assert_array_equal(locate(points, graph.centres, graph.node_radius, channels), expected)
        assert set(np.unique(expected)) == set(range(-1, len(graph.nodes) + len(graph.edges)))


@pytest.mark.parametrize("kind", ["tree", "graph"])
@pytest.mark.parametrize("channel_width", [0.03, 0.05])
def test_a_point_stays_where_it_would_be_found(kind, channel_width):
    """Also where channels meet, and at the rims of discs and channels."""
    for seed in range(3):
        graph = draw_graph(np.random.default_rng(seed), GraphOptions(kind=kind, channel_width=channel_width))
        points = np.random.default_rng(seed).uniform(-0.5, 0.5, (20_000, 1, 2))
        rows, channels = len(points), channel_axes(graph.segments, graph.channel_width)
        found = locate(points, graph.centres, graph.node_radius, channels)[:, 0]
        tables = [np.broadcast_to(table, (rows, *table.shape)) for table in (graph.centres, channels, graph.ends)]
        centres, channels, ends = tables
        for place in range(NOWHERE, len(graph.nodes) + len(graph.edges)):
            whole = np.full(rows, place)
            kept = stays(points, whole, centres, np.full(rows, graph.node_radius), channels, ends)
            np.testing.assert_array_equal(kept, (found == place) & (place != NOWHERE))
            assert kept.any() == (place != NOWHERE)
