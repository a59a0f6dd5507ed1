"""Random graphs laid out in the plane so that channels touch nothing but the nodes they join."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import networkx as nx
import numpy as np

from worldmodel.counts import is_whole
from worldmodel.envs.graphs import ChannelGraph, angle_between, direction, keeps_clear
from worldmodel.envs.options import Limits, check_name, check_numbers, expect, least_and_most
from worldmodel.envs.overhead import PIXEL
from worldmodel.geometry import ARC, ARENA, WALL, crosses

MAX_NODES = 100
TRIES = 200  # layouts drawn before a request is refused
LIMITS = {
    "channel_width": Limits(PIXEL, ARENA, "m", below=True),
    "node_radius": Limits(PIXEL, ARENA / 2.0, "m", below=True),
    "clearance": Limits(WALL, ARENA, "m"),  # walls have a thickness
}


@dataclass(frozen=True)
class GraphOptions:
    """What graphs are drawn; see :func:`draw_graph`."""

    kind: str = "tree"  # or "graph": a tree and ``cycles`` channels more
    layout: str = "scattered"  # or on the points of a square "grid", or around a "ring"
    nodes: int | tuple[int, int] = (5, 9)  # number, or its least and greatest value
    max_degree: int = 4
    cycles: int = 2
    channel_width: float = 0.064  # m
    node_radius: float = 0.064  # m
    clearance: float = 0.03  # m, between the rims of what is not joined

    def __post_init__(self) -> None:
        least, most = self.node_range
        check_name("kind", self.kind, ("tree", "graph"))
        check_name("layout", self.layout, tuple(LAYOUTS))
        expect(least >= 2 and most <= MAX_NODES, "nodes", self.nodes, f"2 to {MAX_NODES}")
        for name, fewest in (("max_degree", 1 if most == 2 else 2), ("cycles", 0)):
            value = getattr(self, name)
            fits = is_whole(value) and bool(fewest <= value <= MAX_NODES)
            expect(fits, name, value, f"a whole number from {fewest} to {MAX_NODES}")
        check_numbers(self, LIMITS)
        expect(
            self.node_radius > self.channel_width / 2.0,
            "node_radius",
            self.node_radius,
            f"more than half the channel_width of {self.channel_width} m",
        )

    @property
    def node_range(self) -> tuple[int, int]:
        """Least and greatest number of nodes."""
        return least_and_most("nodes", self.nodes)

    def edges_of(self, nodes: int) -> int:
        """Number of channels between so many nodes."""
        return nodes - 1 + (self.cycles if self.kind == "graph" else 0)

    @property
    def max_edges(self) -> int:
        """The most channels that a graph can have."""
        return self.edges_of(self.node_range[1])

    @property
    def max_walls(self) -> int:
        """An upper bound on the pieces of wall of a graph."""
        return self.node_range[1] * (ARC + self.max_degree) + 2 * self.max_edges


def draw_graph(rng: np.random.Generator, options: GraphOptions) -> ChannelGraph:
    """A random planar layout whose channels touch nothing but the nodes they join.

    Nodes lie at least two clearances apart, where ``layout`` says. Channels are chosen in random
    order: first Gabriel neighbours (pairs with no third node in the circle between them; their
    channels never cross, Gabriel & Sokal 1969) that join two parts, which makes a tree, then
    ``cycles`` further pairs. What does not work out is drawn anew, the number of nodes included.

    Raises:
        ValueError: no layout was found in ``TRIES`` tries.
    """
    least, most = options.node_range
    reach, spacing = ARENA / 2.0 - options.node_radius, 2.0 * (options.node_radius + options.clearance)
    for _ in range(TRIES):
        count = int(rng.integers(least, most + 1))
        centres = LAYOUTS[options.layout](rng, count, reach, spacing)
        edges = None if centres is None else _choose_edges(rng, centres, options)
        if centres is not None and edges is not None:
            nodes = tuple((float(x), float(y)) for x, y in centres)
            return ChannelGraph(nodes, edges, options.node_radius, options.channel_width)
    cycles = f" with {options.cycles} cycles" if options.kind == "graph" else ""
    raise ValueError(
        f"nodes: got {options.nodes} of radius {options.node_radius} m{cycles}, joined by channels "
        f"{options.channel_width} m wide, expected what can be laid out on {ARENA} m x {ARENA} m (not found in {TRIES} "
        "tries); ask for fewer nodes or cycles, or a smaller node_radius, channel_width or clearance"
    )


def _scattered(rng: np.random.Generator, count: int, reach: float, spacing: float) -> np.ndarray | None:
    """Anywhere; None when there is no room left."""
    centres = np.zeros((0, 2))
    for _ in range(count):
        darts = rng.uniform(-reach, reach, size=(100, 2))
        free = (np.linalg.norm(darts[:, None] - centres, axis=-1) >= spacing).all(axis=1)
        if not free.any():
            return None
        centres = np.vstack([centres, darts[free.argmax()]])
    return centres


def _on_grid(rng: np.random.Generator, count: int, reach: float, spacing: float) -> np.ndarray | None:
    """On some of the points of the smallest square grid that has enough of them."""
    side = math.ceil(math.sqrt(count))
    if 2.0 * reach / (side - 1) < spacing:
        return None
    axis = np.linspace(-reach, reach, side)
    points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    return points[rng.choice(len(points), size=count, replace=False)]


def _on_ring(rng: np.random.Generator, count: int, reach: float, spacing: float) -> np.ndarray | None:
    """Evenly around a circle that fills the arena."""
    if 2.0 * reach * math.sin(math.pi / count) < spacing:
        return None
    turns = 2.0 * math.pi * (np.arange(count) / count + rng.uniform())
    return reach * np.stack([np.cos(turns), np.sin(turns)], axis=1)


LAYOUTS = {"scattered": _scattered, "grid": _on_grid, "ring": _on_ring}  # centres (count, 2), or None without room


def _choose_edges(
    rng: np.random.Generator, centres: np.ndarray, options: GraphOptions
) -> tuple[tuple[int, int], ...] | None:
    """A random tree over the nodes and further channels, or None where that cannot be."""
    bare = ChannelGraph(tuple(map(tuple, centres)), (), options.node_radius, options.channel_width)
    pairs = [pair for pair in itertools.combinations(range(len(centres)), 2) if _may_join(pair, bare, options)]
    pairs = [pairs[i] for i in rng.permutation(len(pairs))]
    gabriel = _gabriel_pairs(centres)
    parts = nx.utils.UnionFind(range(len(centres)))
    chosen: list[tuple[int, int]] = []
    for pair in pairs:
        if pair in gabriel and parts[pair[0]] != parts[pair[1]] and _fits(pair, chosen, bare, options):
            parts.union(*pair)
            chosen.append(pair)
    if len(chosen) < len(centres) - 1:
        return None
    wanted = options.edges_of(len(centres))
    for pair in pairs:
        if len(chosen) < wanted and pair not in chosen and _fits(pair, chosen, bare, options):
            chosen.append(pair)
    return tuple(sorted(chosen)) if len(chosen) == wanted else None


def _gabriel_pairs(centres: np.ndarray) -> set[tuple[int, int]]:
    squared = ((centres[:, None] - centres) ** 2).sum(axis=-1)
    # The angle at k over the pair (i, j) is acute where k lies outside of their circle.
    outside = squared[:, None, :] + squared[None, :, :] > squared[:, :, None] - 1e-12
    return {(i, j) for i, j in itertools.combinations(range(len(centres)), 2) if outside[i, j].all()}


def _may_join(pair: tuple[int, int], bare: ChannelGraph, options: GraphOptions) -> bool:
    others = [k for k in range(len(bare.nodes)) if k not in pair]
    return keeps_clear(bare.centres, *pair, others, bare, options.clearance)


def _fits(pair: tuple[int, int], chosen: list[tuple[int, int]], bare: ChannelGraph, options: GraphOptions) -> bool:
    """Whether a channel crosses no other and both ends have one to spare, in a direction that is free."""
    others = [list(edge) for edge in chosen if not set(pair) & set(edge)]
    if others and crosses(bare.centres[pair[0]], bare.centres[pair[1]], bare.centres[others]):
        return False
    for node, other in (pair, pair[::-1]):
        taken = [v if u == node else u for u, v in chosen if node in (u, v)]
        angles = [angle_between(direction(bare.centres, node, other), direction(bare.centres, node, k)) for k in taken]
        if len(taken) >= options.max_degree or min(angles, default=np.pi) < bare.least_angle:
            return False
    return True
