"""Graphs laid out in the plane: round nodes joined by straight channels with walls on both sides.

Throughout, N is the number of nodes and M that of edges (channels). Positions and lengths are in
metres; the arena is a square around the origin. A channel's length is that of its centre line,
from node centre to node centre, and graph distances are measured along centre lines.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import networkx as nx
import numpy as np

from worldmodel import geometry
from worldmodel.envs.options import expect
from worldmodel.geometry import ARENA, WALL, crosses, distance_to_segments

LARGEST_TOUR = 12  # nodes to visit for which the shortest tour of a cyclic graph is worked out


@dataclass(frozen=True)
class ChannelGraph:
    """Round nodes in the plane and the straight channels between them."""

    nodes: tuple[tuple[float, float], ...]  # m, centres
    edges: tuple[tuple[int, int], ...]  # pairs of node indices, the smaller first
    node_radius: float = 0.064  # m
    channel_width: float = 0.064  # m

    @cached_property
    def centres(self) -> np.ndarray:
        """Node centres (N, 2) in metres."""
        return np.array(self.nodes, np.float64).reshape(-1, 2)

    @cached_property
    def ends(self) -> np.ndarray:
        """Nodes (M, 2) at the ends of the channels."""
        return np.array(self.edges, np.int64).reshape(-1, 2)

    @cached_property
    def segments(self) -> np.ndarray:
        """Centre lines (M, 2, 2) in metres."""
        return self.centres[self.ends]

    @cached_property
    def lengths(self) -> np.ndarray:
        """Lengths (M,) of the centre lines in metres."""
        return np.linalg.norm(self.segments[:, 1] - self.segments[:, 0], axis=-1)

    @cached_property
    def network(self) -> nx.Graph:
        """The same graph for networkx, with ``length`` on every edge."""
        network = nx.Graph()
        network.add_nodes_from(range(len(self.nodes)))
        for (u, v), length in zip(self.edges, self.lengths, strict=True):
            network.add_edge(u, v, length=float(length))
        return network

    @cached_property
    def distances(self) -> np.ndarray:
        """Graph distances (N, N) in metres."""
        return np.asarray(nx.floyd_warshall_numpy(self.network, range(len(self.nodes)), weight="length"))

    @property
    def least_angle(self) -> float:
        """Angle in radians that two channels of a node must be apart for their walls not to overlap."""
        return geometry.least_angle(self.node_radius, self.channel_width)


def check_graph(graph: ChannelGraph) -> None:
    """Raise ValueError unless the graph is connected and no two of its channels or nodes get in each other's way."""
    count = len(graph.nodes)
    reach = ARENA / 2.0 - graph.node_radius
    expect(count >= 2, "nodes", count, "at least 2")
    expect(graph.channel_width > 0.0, "channel_width", graph.channel_width, "metres above 0")
    expect(graph.node_radius > graph.channel_width / 2.0, "node_radius", graph.node_radius, "more than half a channel")
    expect(bool((np.abs(graph.centres) <= reach + 1e-9).all()), "nodes", graph.nodes, f"centres within {reach:.3f} m")
    proper = all(0 <= u < v < count for u, v in graph.edges) and len(set(graph.edges)) == len(graph.edges)
    expect(proper, "edges", graph.edges, "different pairs of node indices, the smaller first")
    expect(nx.is_connected(graph.network), "edges", graph.edges, "a connected graph")
    apart = np.linalg.norm(graph.centres[:, None] - graph.centres, axis=-1)[~np.eye(count, dtype=bool)].min()
    expect(apart >= 2.0 * graph.node_radius + WALL, "nodes", f"two {apart:.3f} m apart", "a wall between any two")
    for index, (u, v) in enumerate(graph.edges):
        others = [k for k in range(count) if k not in (u, v)]
        expect(keeps_clear(graph.centres, u, v, others, graph, WALL), "edges", (u, v), "a wall between it and others")
        apart_from_all = [k for k, edge in enumerate(graph.edges) if not {u, v} & set(edge)]
        start, end = graph.segments[index]
        crossing = bool(crosses(start, end, graph.segments[apart_from_all]))
        expect(not crossing, "edges", (u, v), "a channel that crosses no other")
    for node in range(count):
        angles = [direction(graph.centres, node, other) for other in graph.network[node]]
        wide = all(angle_between(a, b) >= graph.least_angle - 1e-9 for a, b in itertools.combinations(angles, 2))
        degrees = f"channels at least {np.rad2deg(graph.least_angle):.0f} degrees apart"
        expect(wide, f"nodes[{node}]", graph.nodes[node], degrees)


def shortest_route(graph: ChannelGraph, start: int, goals: Sequence[int], ordered: bool = True) -> list[int]:
    """Nodes of the shortest walk from ``start`` that visits ``goals``, in the given order or in the best one.

    Raises:
        ValueError: the best order is asked for more than ``LARGEST_TOUR`` goals of a graph with cycles.
    """
    order = list(goals) if ordered or len(goals) < 2 else _best_order(graph, start, list(goals))
    route = [start]
    for goal in order:
        route += nx.shortest_path(graph.network, route[-1], goal, weight="length")[1:]
    return route


def route_length(graph: ChannelGraph, route: Sequence[int]) -> float:
    """Length in metres of a walk over nodes along the channels."""
    return float(sum(graph.distances[u, v] for u, v in itertools.pairwise(route)))


def channel_walls(graph: ChannelGraph) -> np.ndarray:
    """Centre lines (W, 2, 2) in metres of the walls; see :func:`worldmodel.geometry.channel_walls`."""
    return geometry.channel_walls(graph.centres, graph.ends, graph.node_radius, graph.channel_width)


def keeps_clear(centres: np.ndarray, u: int, v: int, others: list[int], sizes: ChannelGraph, clearance: float) -> bool:
    """Whether the channel from u to v would leave so many metres to the discs of other nodes."""
    distance = distance_to_segments(centres[others], centres[None, [u, v]])
    return bool((distance >= sizes.node_radius + sizes.channel_width / 2.0 + clearance - 1e-9).all())


def direction(centres: np.ndarray, node: int, other: int) -> float:
    """Angle in radians at which a node sees another."""
    x, y = centres[other] - centres[node]
    return float(np.arctan2(y, x))


def angle_between(a: float, b: float) -> float:
    """Angle in [0, pi] radians between two directions."""
    return float(abs((a - b + np.pi) % (2.0 * np.pi) - np.pi))


def _best_order(graph: ChannelGraph, start: int, goals: list[int]) -> list[int]:
    if nx.is_tree(graph.network) and len(goals) == len(graph.nodes) - 1:
        return _tree_order(graph, start)
    expect(len(goals) <= LARGEST_TOUR, "goals", len(goals), f"at most {LARGEST_TOUR} in any order on a cyclic graph")
    return _held_karp(graph.distances, start, goals)


def _tree_order(graph: ChannelGraph, start: int) -> list[int]:
    """Depth first, the branch of the farthest node last: every channel is walked twice but those that lead there."""
    last = set(nx.shortest_path(graph.network, start, int(graph.distances[start].argmax())))
    order: list[int] = []
    stack = [start]
    while stack:
        node = stack.pop()
        order.append(node)
        following = [each for each in graph.network[node] if each not in order]
        stack += sorted(following, key=lambda each: each not in last)
    return order[1:]


def _held_karp(distances: np.ndarray, start: int, goals: list[int]) -> list[int]:
    """The order in which all goals are visited on the shortest way (Held & Karp 1962)."""
    between = distances[np.ix_(goals, goals)]
    best = {(1 << i, i): (float(distances[start, goal]), -1) for i, goal in enumerate(goals)}
    for visited in range(1, 1 << len(goals)):
        for last in range(len(goals)):
            if visited & (1 << last) and visited != 1 << last:
                before = visited ^ (1 << last)
                best[visited, last] = min(
                    (best[before, k][0] + float(between[k, last]), k) for k in range(len(goals)) if before & (1 << k)
                )
    visited = (1 << len(goals)) - 1
    last = min(range(len(goals)), key=lambda k: best[visited, k][0])
    order: list[int] = []
    while last >= 0:
        order.append(goals[last])
        visited, last = visited ^ (1 << last), best[visited, last][1]
    return order[::-1]
