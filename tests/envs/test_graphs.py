"""Graph layouts, routes, walls and fill times against closed forms."""

import itertools

import networkx as nx
import numpy as np
import pytest

from worldmodel.envs.fill_times import fill_times, front_limits, fronts
from worldmodel.envs.graph_drawing import LAYOUTS, GraphOptions, draw_graph
from worldmodel.envs.graphs import ChannelGraph, channel_walls, check_graph, route_length, shortest_route
from worldmodel.geometry import ARENA, WALL, crosses, distance_to_segments

PATH = ChannelGraph(((-0.3, 0.0), (0.0, 0.0), (0.2, 0.0)), ((0, 1), (1, 2)))
SQUARE = ChannelGraph(
    ((-0.2, -0.1), (0.2, -0.1), (0.2, 0.1), (-0.2, 0.1)), ((0, 1), (1, 2), (2, 3), (0, 3)), node_radius=0.05
)


def drawn(kind="tree", seeds=12, **options):
    return [draw_graph(np.random.default_rng(seed), GraphOptions(kind=kind, **options)) for seed in range(seeds)]


def depth_inside(graph, points):
    """Metres (...) by which points (..., 2) lie within discs or channels; negative outside."""
    discs = graph.node_radius - np.linalg.norm(points[..., None, :] - graph.centres, axis=-1)
    channels = graph.channel_width / 2 - distance_to_segments(points, graph.segments)
    return np.maximum(discs.max(axis=-1), channels.max(axis=-1))


def test_water_goes_along_a_path_at_its_speed():
    times = fill_times(PATH, 0, speed=0.1)
    np.testing.assert_allclose(times.node_arrival, [0.0, 3.0, 5.0])
    np.testing.assert_allclose(times.node_filled, [0.0, 3.64, 5.64])
    np.testing.assert_allclose(times.edge_arrival, [0.0, 3.0])
    np.testing.assert_allclose(times.edge_filled, [3.0, 5.0])


def test_two_fronts_meet_where_both_come_at_the_same_time():
    times = fill_times(SQUARE, 0, speed=0.2)
    np.testing.assert_allclose(times.node_arrival, [0.0, 2.0, 3.0, 1.0])
    # Both ways round are 0.6 m long, so the far channel is wet from both ends only at its far end.
    np.testing.assert_allclose(times.edge_filled, [2.0, 3.0, 3.0, 1.0])
    lopsided = ChannelGraph(((-0.3, 0.0), (0.3, 0.0), (0.3, 0.3), (-0.3, 0.3)), SQUARE.edges)
    met = fill_times(lopsided, 3, speed=1.0)  # the loop of 1.8 m is closed half way round
    assert met.edge_filled.max() == pytest.approx(0.9)
    way, *limits = 0.9, *front_limits(lopsided, 3)
    _, lengths = fronts(np.array(way), *limits, np.array(lopsided.node_radius))
    np.testing.assert_allclose(lengths.sum(), 1.8)


@pytest.mark.parametrize("kind", ["tree", "graph"])
def test_channels_and_discs_are_full_at_their_fill_times_and_not_before(kind):
    for graph in drawn(kind):
        times, limits = fill_times(graph, 0, 0.5), front_limits(graph, 0)
        clock = np.concatenate([times.edge_filled, times.node_filled])
        for moment, full in ((clock, True), (clock - 1e-3, False)):
            radii, lengths = fronts(0.5 * moment, *limits, np.full(len(clock), graph.node_radius))
            edges = lengths.sum(axis=-1)[: len(graph.edges)].diagonal() / graph.lengths
            discs = radii[len(graph.edges) :].diagonal() / graph.node_radius
            assert ((edges > 1 - 1e-9) == full).all()
            assert ((discs[1:] > 1 - 1e-9) == full).all()
        assert (fronts(np.zeros(1), *limits, np.full(1, graph.node_radius))[0] > 0).tolist() == [
            [node == 0 for node in range(len(graph.nodes))]
        ]


def test_water_never_recedes():
    graph = drawn("graph", 1)[0]
    way = np.linspace(0.0, 3.0, 50)
    radii, lengths = fronts(way, *front_limits(graph, 0), np.full(50, graph.node_radius))
    assert (np.diff(radii, axis=0) >= 0).all()
    assert (np.diff(lengths, axis=0) >= 0).all()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("kind", "more"), [("tree", 0), ("graph", 2)])
def test_drawn_graphs_are_what_was_asked_for(kind, more, layout):
    for graph in drawn(kind, nodes=(4, 9), max_degree=3, layout=layout):
        assert 4 <= len(graph.nodes) <= 9
        assert len(graph.edges) == len(graph.nodes) - 1 + more
        assert nx.is_connected(graph.network)
        assert max(dict(graph.network.degree).values()) <= 3
        check_graph(graph)


def test_a_seed_gives_one_graph_and_another_seed_another():
    assert drawn(seeds=3) == drawn(seeds=3)
    assert len({graph.nodes for graph in drawn(seeds=8)}) == 8


def test_nodes_lie_where_the_layout_says():
    reach = (ARENA - 2 * 0.064) / 2
    for graph in drawn(nodes=7, layout="grid"):
        on_axis = np.abs(graph.centres[:, :, None] - np.array([-reach, 0.0, reach])).min(axis=-1)
        assert on_axis.max() < 1e-12 and len({tuple(node) for node in graph.nodes}) == 7
    for graph in drawn(nodes=7, layout="ring"):
        np.testing.assert_allclose(np.linalg.norm(graph.centres, axis=1), reach)
        apart = np.sort(np.linalg.norm(graph.centres[:, None] - graph.centres, axis=-1), axis=1)
        np.testing.assert_allclose(apart[:, 1:3], 2 * reach * np.sin(np.pi / 7))


@pytest.mark.parametrize(("layout", "nodes"), [("grid", 26), ("ring", 20)])
def test_a_layout_without_room_is_refused(layout, nodes):
    with pytest.raises(ValueError, match=f"nodes: got {nodes} of radius"):
        draw_graph(np.random.default_rng(0), GraphOptions(nodes=nodes, layout=layout))


def test_large_graphs_can_be_drawn_with_small_nodes():
    options = GraphOptions(nodes=27, node_radius=0.035, channel_width=0.03, clearance=0.02)
    graph = draw_graph(np.random.default_rng(0), options)
    check_graph(graph)
    assert len(channel_walls(graph)) <= options.max_walls


@pytest.mark.parametrize("kind", ["tree", "graph"])
def test_walls_line_the_rims_and_never_stand_in_the_way(kind):
    for graph in drawn(kind):
        walls = channel_walls(graph)
        assert len(walls) <= GraphOptions(kind=kind).max_walls
        points = walls[:, :1] + np.linspace(0, 1, 21)[None, :, None] * (walls[:, 1:] - walls[:, :1])
        outside = -depth_inside(graph, points)
        # Arcs are made of straight pieces, which cut a disc's rim by 1.4 mm at most.
        assert outside.min() > WALL / 2 - 1.5e-3
        assert outside.max() < WALL / 2 + 1.5e-3


@pytest.mark.parametrize("kind", ["tree", "graph"])
def test_no_straight_move_leads_out_between_walls(kind):
    rng = np.random.default_rng(0)
    for graph in drawn(kind):
        points = rng.uniform(-0.6, 0.6, size=(4000, 2))
        depth = depth_inside(graph, points)
        inside, outside = points[depth > 0.002], points[depth < -0.012]
        count = min(len(inside), len(outside))
        assert count > 200
        assert crosses(inside[:count], outside[:count], channel_walls(graph)).all()


def test_moves_along_the_channels_cross_no_wall():
    for graph in drawn("graph"):
        assert not crosses(graph.segments[:, 0], graph.segments[:, 1], channel_walls(graph)).any()


@pytest.mark.parametrize("kind", ["tree", "graph"])
def test_the_shortest_tour_is_no_longer_than_any_order(kind):
    for graph in drawn(kind, 4, nodes=6):
        goals = list(range(1, 6))
        length = route_length(graph, shortest_route(graph, 0, goals, ordered=False))
        orders = [route_length(graph, [0, *order]) for order in itertools.permutations(goals)]
        assert length == pytest.approx(min(orders))


def test_the_tour_of_a_tree_walks_all_but_one_branch_twice():
    for graph in drawn(nodes=9):
        tour = shortest_route(graph, 0, list(range(1, 9)), ordered=False)
        assert all(graph.network.has_edge(u, v) for u, v in itertools.pairwise(tour))
        expected = 2 * graph.lengths.sum() - graph.distances[0].max()
        assert route_length(graph, tour) == pytest.approx(expected)


def test_a_sequence_is_visited_in_its_order():
    assert shortest_route(PATH, 0, [2, 1]) == [0, 1, 2, 1]
    assert shortest_route(SQUARE, 0, [2]) in ([0, 1, 2], [0, 3, 2])


def test_what_cannot_be_laid_out_is_refused():
    with pytest.raises(ValueError, match=r"nodes: got 40 of radius 0\.064 m.*ask for fewer nodes"):
        draw_graph(np.random.default_rng(0), GraphOptions(nodes=40))
    with pytest.raises(ValueError, match="with 9 cycles"):
        draw_graph(np.random.default_rng(0), GraphOptions(kind="graph", nodes=5, cycles=9))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "forest"}, "kind: got 'forest'"),
        ({"nodes": 1}, "nodes: got 1"),
        ({"nodes": (9, 5)}, r"nodes: got \(9, 5\), expected a whole number or a pair"),
        ({"nodes": 5.5}, r"nodes: got 5\.5, expected a whole number or a pair"),
        ({"max_degree": 1}, "max_degree: got 1"),
        ({"channel_width": 0.0}, "channel_width: got 0.0"),
        ({"node_radius": 0.02}, "node_radius: got 0.02"),
        ({"clearance": 0.0}, "clearance: got 0.0"),
        ({"cycles": -1}, "cycles: got -1"),
    ],
)
def test_impossible_options_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        GraphOptions(**change)


@pytest.mark.parametrize(
    ("nodes", "edges", "message"),
    [
        (((0.0, 0.0),), (), "nodes: got 1"),
        (((0.0, 0.0), (0.9, 0.0)), ((0, 1),), "expected centres within"),
        (((0.0, 0.0), (0.1, 0.0)), ((0, 1),), "nodes: got two 0.100 m apart"),
        (((0.0, 0.0), (0.3, 0.0)), ((1, 0),), "edges: got"),
        (((0.0, 0.0), (0.3, 0.0)), ((0, 2),), "edges: got"),
        (((0.0, 0.0), (0.3, 0.0)), (), "expected a connected graph"),
        (((-0.3, 0.0), (0.0, 0.05), (0.3, 0.0)), ((0, 1), (0, 2)), "a wall between it and others"),
        (((-0.3, -0.3), (0.3, 0.3), (-0.3, 0.3), (0.3, -0.3)), ((0, 1), (2, 3), (0, 2)), "crosses no other"),
        (((-0.3, 0.0), (0.3, 0.2), (0.3, -0.2)), ((0, 1), (0, 2)), "degrees apart"),
    ],
)
def test_impossible_graphs_are_refused(nodes, edges, message):
    with pytest.raises(ValueError, match=message):
        check_graph(ChannelGraph(nodes, edges))
