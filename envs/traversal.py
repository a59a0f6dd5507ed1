"""Graphs of discs and channels seen from above, to be traversed by a ball or flooded by water.

``GraphTraversalEnv(task="agent")`` is :class:`~worldmodel.envs.visiting.AgentTraversal`,
``GraphTraversalEnv(task="flood")`` is :class:`~worldmodel.envs.flood.FloodTraversal`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import mujoco
import numpy as np

from worldmodel.counts import is_whole
from worldmodel.envs.ball import DRIVEN
from worldmodel.envs.family import Family
from worldmodel.envs.graph_drawing import GraphOptions, draw_graph
from worldmodel.envs.graphs import LARGEST_TOUR, ChannelGraph, check_graph
from worldmodel.envs.options import Limits, check_name, check_numbers, expect
from worldmodel.envs.overhead import CAMERA, PIXEL, add_bar, add_disc, add_unused, floor_points, stage
from worldmodel.envs.places import NOWHERE
from worldmodel.envs.scene_env import SceneEnv
from worldmodel.envs.scene_vector_env import SceneVectorEnv
from worldmodel.geometry import ARENA
from worldmodel.truth import Camera

GROUND = (0.02, 0.02, 0.02)
CHANNEL = (0.45, 0.29, 0.16)  # brown
WATER = (0.12, 0.28, 0.88)  # blue, also the start's disc
GOALS = {
    "green": (0.12, 0.62, 0.18),
    "yellow": (0.92, 0.78, 0.08),
    "magenta": (0.80, 0.14, 0.68),
    "cyan": (0.1, 0.7, 0.75),
}
TASKS = ("agent", "flood")


@dataclass(frozen=True)
class GraphScene:
    """A graph and the node where everything starts. Metres, world frame, x right and y up in the picture."""

    nodes: tuple[tuple[float, float], ...]  # centres
    edges: tuple[tuple[int, int], ...]  # pairs of node indices, the smaller first
    start: int
    node_radius: float
    channel_width: float

    @cached_property
    def graph(self) -> ChannelGraph:
        """The graph for geometry and distances."""
        return ChannelGraph(self.nodes, self.edges, self.node_radius, self.channel_width)


@dataclass(frozen=True)
class VisitScene(GraphScene):
    """A ball in the channels, and the nodes that it is to visit."""

    goals: tuple[int, ...]
    ordered: bool  # whether the goals are to be visited in the given order
    ball_radius: float
    max_speed: float  # m/s along x and along y
    friction: float  # Coulomb coefficient between ball and walls


@dataclass(frozen=True)
class FloodScene(GraphScene):
    """Water that flows from the start."""

    flood_speed: float  # m/s


@dataclass(frozen=True)
class TraversalSampler(GraphOptions):
    """What is drawn: the graph (:class:`~worldmodel.envs.graph_drawing.GraphOptions`) and what is to be done in it.

    Attributes:
        task: ``agent`` or ``flood``.
        goal: of the agent: one ``node``, a ``sequence`` of nodes in given order, or ``all`` nodes.
        sequence_length: number of nodes in a ``sequence``.
        ball_radius: in metres.
        max_speed: of the ball, in m/s along x and along y.
        friction: between the ball and the walls.
        flood_speed: of the water, in m/s.
    """

    task: str = "agent"
    goal: str = "node"
    sequence_length: int = 3
    ball_radius: float = 0.025
    max_speed: float = 0.6
    friction: float = 0.2
    flood_speed: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        least, most = self.node_range
        check_name("task", self.task, TASKS)
        check_name("goal", self.goal, ("node", "sequence", "all"))
        widest = self.channel_width / 2.0 if self.task == "agent" else ARENA
        ball = {"ball_radius": Limits(PIXEL / 2.0, widest, "m", below=True), **DRIVEN}
        check_numbers(self, {**ball, "flood_speed": Limits(0.0, unit="m/s", above=True)})
        longest = min(len(GOALS), least - 1) if self.goal == "sequence" else len(GOALS)
        fits = is_whole(self.sequence_length) and 1 <= self.sequence_length <= longest
        expect(fits, "sequence_length", self.sequence_length, f"1 to {longest} with {least} or more nodes")
        if self.goal == "all" and self.kind == "graph":
            expect(most <= LARGEST_TOUR + 1, "nodes", self.nodes, f"at most {LARGEST_TOUR + 1} to visit all of a graph")

    def __call__(self, rng: np.random.Generator) -> GraphScene:
        graph = draw_graph(rng, self)
        start = int(rng.integers(len(graph.nodes)))
        fixed = (graph.nodes, graph.edges, start, self.node_radius, self.channel_width)
        if self.task == "flood":
            return FloodScene(*fixed, self.flood_speed)
        goals = self._draw_goals(rng, graph, start)
        return VisitScene(*fixed, goals, self.goal != "all", self.ball_radius, self.max_speed, self.friction)

    def _draw_goals(self, rng: np.random.Generator, graph: ChannelGraph, start: int) -> tuple[int, ...]:
        others = [node for node in range(len(graph.nodes)) if node != start]
        if self.goal == "all":
            return tuple(others)
        if self.goal == "sequence":
            return tuple(int(node) for node in rng.permutation(others)[: self.sequence_length])
        distant = [node for node in others if node not in graph.network[start]]
        return (int(rng.choice(distant or others)),)


class GraphTraversal(Family):
    """What both tasks share: the graph, its picture and its label images; an instance is of the task's family."""

    id = "worldmodel/GraphTraversal-v0"
    sampler_type = TraversalSampler
    camera = CAMERA
    num_frames = 97

    task_option: ClassVar[str]  # the value of ``task`` for which a subclass stands

    def __new__(cls, sampler: TraversalSampler | None = None, **ranges: Any) -> GraphTraversal:
        """The family of the task that is asked for."""
        from worldmodel.envs.flood import FloodTraversal
        from worldmodel.envs.visiting import AgentTraversal

        if cls is not GraphTraversal:
            return super().__new__(cls)
        task = ranges.get("task", getattr(sampler, "task", "agent"))
        check_name("task", task, TASKS)
        return super().__new__(FloodTraversal if task == "flood" else AgentTraversal)

    def __init__(self, sampler: TraversalSampler | None = None, **ranges: Any) -> None:
        super().__init__(sampler, **{**ranges, "task": self.task_option})

    @property
    def max_nodes(self) -> int:
        """Nodes that a scene may have; signals have an entry for each."""
        return self.sampler.node_range[1]

    @property
    def max_edges(self) -> int:
        """Channels that a scene may have; signals have an entry for each."""
        return self.sampler.max_edges

    def check(self, scene: Any) -> None:
        """Refuse graphs that cannot be laid out or are larger than what the environment was made for."""
        check_graph(scene.graph)
        for name, limit in (("nodes", self.max_nodes), ("edges", self.max_edges)):
            got = len(getattr(scene, name))
            expect(got <= limit, name, got, f"at most the {limit} of this environment's options")
        degree = max(degree for _, degree in scene.graph.network.degree)
        expect(degree <= self.sampler.max_degree, "max_degree", degree, f"at most {self.sampler.max_degree} channels")
        expect(0 <= scene.start < len(scene.nodes), "start", scene.start, "the index of a node")

    def draw(
        self, scene: GraphScene, marks: dict[int, tuple[float, float, float]], bodies: str, more: str = ""
    ) -> mujoco.MjSpec:
        """The graph painted on black ground, with some nodes in colours of their own."""
        spec = stage(GROUND, bodies, more)
        for k in range(self.max_edges):
            if k < len(scene.edges):
                add_bar(spec.worldbody, f"edge {k}", scene.graph.segments[k], scene.channel_width, CHANNEL, layer=1)
            else:
                add_unused(spec.worldbody, f"edge {k}", mujoco.mjtGeom.mjGEOM_BOX)
        for k in range(self.max_nodes):
            if k < len(scene.nodes):
                colour = marks.get(k, CHANNEL)
                add_disc(spec.worldbody, f"node {k}", scene.graph.centres[k], scene.node_radius, colour, layer=2)
            else:
                add_unused(spec.worldbody, f"node {k}", mujoco.mjtGeom.mjGEOM_CYLINDER)
        return spec

    def maps(self, scene: GraphScene, camera: Camera) -> dict[str, np.ndarray]:
        """``node`` and ``edge`` (H, W): index + 1 of the node or channel under a pixel's centre, else 0."""
        graph = scene.graph
        channels = channel_axes(graph.segments, scene.channel_width)
        places = locate(floor_points(camera), graph.centres, scene.node_radius, channels)
        count = len(graph.nodes)
        node = np.where((places != NOWHERE) & (places < count), places + 1, 0)
        edge = np.where(places >= count, places - count + 1, 0)
        return {"node": node.astype(np.uint16), "edge": edge.astype(np.uint16)}


def channel_axes(segments: np.ndarray, width: float) -> np.ndarray:
    """Of channels (M, 2, 2) along segments, two affine functions of x and y that are -1 to 1 within each (2, 3, M).

    The first goes along the channel, the second across it; each is its first number times x, plus its second times y,
    minus its third.
    """
    middle, along = segments.mean(axis=1), segments[:, 1] - segments[:, 0]
    length = np.linalg.norm(along, axis=1, keepdims=True)
    axes = [2.0 * along / length**2, 2.0 / width * np.stack([-along[:, 1], along[:, 0]], axis=1) / length]
    return np.stack([np.column_stack([axis, (axis * middle).sum(axis=1)]).T for axis in axes])


def locate(points: np.ndarray, centres: np.ndarray, node_radius: Any, channels: np.ndarray) -> np.ndarray:
    """Places (..., T) of points (..., T, 2): a node's index, the number of nodes + a channel's index, or ``NOWHERE``.

    ``centres`` (..., N, 2), ``node_radius`` and ``channels`` (..., 2, 3, M), as :func:`channel_axes` gives them,
    broadcast against the points. No two discs overlap, and they go before channels; of channels it is the one whose
    centre line is nearest, in widths.
    """
    x, y = points[..., None, :, 0], points[..., None, :, 1]
    in_disc = (x - centres[..., 0, None]) ** 2 + (y - centres[..., 1, None]) ** 2 <= node_radius**2
    along, aside = (np.abs(_along(channels[..., axis, :, :], x, y)) for axis in (0, 1))
    aside[along > 1.0] = np.inf
    channel = np.where(aside.min(axis=-2) <= 1.0, centres.shape[-2] + aside.argmin(axis=-2), NOWHERE)
    return np.where(in_disc.any(axis=-2), in_disc.argmax(axis=-2), channel)


def stays(
    points: np.ndarray,
    place: np.ndarray,
    centres: np.ndarray,
    node_radius: np.ndarray,
    channels: np.ndarray,
    ends: np.ndarray,
) -> np.ndarray:
    """Whether all points of a row lie in the row's place (n,), as :func:`locate` would find it.

    A point within a channel and outside of the discs at its ends is in no other place, if channels overlap within discs
    only, as those of a graph that can be laid out do.

    Args:
        points: (n, T, 2) m.
        place: (n,), ``NOWHERE`` included.
        centres, node_radius: (n, N, 2) and (n,) m.
        channels: (n, 2, 3, M) of :func:`channel_axes`.
        ends: (n, M, 2) nodes at the channels' ends.
    """
    x, y = points[..., 0], points[..., 1]
    rows, count = np.arange(len(points)), centres.shape[1]
    in_node, channel = place < count, np.maximum(place - count, 0)

    def in_disc(node: np.ndarray) -> np.ndarray:
        centre = centres[rows, node]
        return (x - centre[:, :1]) ** 2 + (y - centre[:, 1:]) ** 2 <= node_radius[:, None] ** 2

    one, other = ends[rows, channel].T
    in_one = in_disc(np.where(in_node, place, one))
    axes = channels[rows, :, :, channel]
    sides = (np.abs(axes[:, k, :1] * x + axes[:, k, 1:2] * y - axes[:, k, 2:]) <= 1.0 for k in (0, 1))
    in_channel = np.logical_and(*sides) & ~in_one & ~in_disc(other)
    return (place != NOWHERE) & np.where(in_node[:, None], in_one, in_channel).all(axis=1)


def _along(axis: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    of_x, of_y, less = (axis[..., number, :, None] for number in range(3))
    return of_x * x + of_y * y - less


class GraphTraversalEnv(SceneEnv):
    """A ball to be driven through channels, or a flood to be watched, as the option ``task`` says.

    Options: the fields of :class:`TraversalSampler`.
    """

    family_type = GraphTraversal


class GraphTraversalVectorEnv(SceneVectorEnv):
    """Many graphs at once."""

    family_type = GraphTraversal
