"""The agent's task: a ball that is driven through channels to one node, a sequence of nodes, or all nodes."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import mujoco
import numpy as np

from worldmodel.actions import ActionSpec
from worldmodel.envs import ball
from worldmodel.envs.family import Memory, Policy, Readings, Signals
from worldmodel.envs.graphs import channel_walls, route_length, shortest_route
from worldmodel.envs.options import expect
from worldmodel.envs.places import NOWHERE, Moves, arrivals, first_visits, legal_moves
from worldmodel.envs.traversal import GOALS, WATER, GraphTraversal, VisitScene, channel_axes, locate, stays
from worldmodel.geometry import WALL, lines_of, nearest_on_lines

_FAR = 1000.0  # m, where nodes and channels are that do not exist
_LOOKAHEAD = 0.6  # of a node's radius: turns are cut within its disc, and no wall is touched


def _way(scene: VisitScene) -> np.ndarray:
    """Corners (K, 2) in metres of the shortest way that fulfils the task."""
    route = shortest_route(scene.graph, scene.start, scene.goals, scene.ordered)
    return scene.graph.centres[route]


def _follow(scene: VisitScene, points: np.ndarray) -> Policy:
    return ball.follow(points, _LOOKAHEAD * scene.node_radius, scene.max_speed)


def _shortest(scene: VisitScene, rng: np.random.Generator) -> Policy:
    """The shortest way that fulfils the task."""
    return _follow(scene, _way(scene))


def _wrong_branch(scene: VisitScene, rng: np.random.Generator) -> Policy:
    """The longest of the ways to single nodes that do not fulfil the task."""
    routes = [shortest_route(scene.graph, scene.start, [node]) for node in range(len(scene.nodes))]
    wrong = [route for route in routes if not _fulfils(scene, route)]
    return _follow(scene, scene.graph.centres[max(wrong, key=lambda route: route_length(scene.graph, route))])


def _fulfils(scene: VisitScene, route: list[int]) -> bool:
    if not scene.ordered:
        return set(scene.goals) <= set(route)
    following = iter(route)
    return all(goal in following for goal in scene.goals)


class AgentTraversal(GraphTraversal):
    """Fulfilled once the ball's centre has been in the discs of all goals, in their order where there is one."""

    task_option = "agent"
    scene_type = VisitScene
    policies = {
        "shortest": _shortest,
        "straight": lambda scene, rng: ball.head_for(scene.graph.centres[scene.goals[-1]], scene.max_speed),
        "wrong_branch": _wrong_branch,
        "halfway": lambda scene, rng: _follow(scene, ball.first_half(_way(scene))),
        "random": lambda scene, rng: ball.wander(rng, scene.max_speed),
    }
    signals = {
        "node": "index of the node whose disc the ball's centre is in, else -1",
        "edge": "index of the channel that the ball's centre is in, else -1",
        "visited": "nodes (N,) whose disc the ball's centre has been in",
        "visit_time": "s (N,), first time at each node; inf before it",
        "goals_reached": "number of goals visited, in their order where there is one",
        "distance_to_goal": "m along the channels' centre lines to the next (or nearest) goal, 0 after the last",
        "legal": "since the frame before the ball only moved within nodes and channels and through their openings",
        "success": "all goals visited",
        **ball.MOTION,
    }

    @property
    def objects(self) -> tuple[str, ...]:
        """The ball."""
        return ("ball",)

    @property
    def action_spec(self) -> ActionSpec:
        """Velocities in m/s."""
        return ball.velocity_commands(self.sampler.max_speed, self.fps)

    @property
    def observation_spaces(self) -> dict[str, gym.spaces.Box]:
        """``agent_pos``: x, y in metres and their velocities in m/s."""
        return ball.observation_spaces()

    def check(self, scene: VisitScene) -> None:
        """Refuse what :class:`GraphTraversal` refuses, and goals, balls and speeds that cannot be."""
        super().check(scene)
        others = [node for node in range(len(scene.nodes)) if node != scene.start]
        proper = len(scene.goals) > 0 and set(scene.goals) <= set(others) and len(set(scene.goals)) == len(scene.goals)
        expect(proper, "goals", scene.goals, f"different nodes out of {others}")
        few = not scene.ordered or len(scene.goals) <= len(GOALS)
        expect(few, "goals", scene.goals, f"at most {len(GOALS)} in a given order, one a colour")
        ball.check_ball(scene, self.sampler.max_speed, scene.channel_width)

    def build(self, scene: VisitScene) -> mujoco.MjSpec:
        """The painted graph, walls around it and the ball on its start."""
        marks = {scene.start: WATER}
        if scene.ordered:
            marks |= dict(zip(scene.goals, GOALS.values(), strict=False))
        spec = self.draw(scene, marks, ball.BODIES, ball.DRIVE)
        ball.place_ball(spec, scene.graph.centres[scene.start], scene.ball_radius, scene.friction)
        ball.add_walls(spec, channel_walls(scene.graph), WALL, scene.ball_radius, self.sampler.max_walls, visible=False)
        return spec

    def memory(self, scene: VisitScene) -> dict[str, Any]:
        """The graph as arrays, filled up to the sizes of this family, and what has been visited."""
        nodes, edges = self.max_nodes, self.max_edges
        count, graph = len(scene.nodes), scene.graph
        visit_time = np.full(nodes, np.inf)
        visit_time[scene.start] = 0.0
        goals = np.full(nodes, -1)
        goals[: len(scene.goals)] = scene.goals
        distances = np.zeros((nodes, nodes))
        distances[:count, :count] = graph.distances
        values = {
            **ball.motion_memory(
                graph.centres[scene.start], channel_walls(graph), WALL, scene.ball_radius, self.sampler.max_walls
            ),
            "centres": _filled(graph.centres, (nodes, 2)),
            "lines": lines_of(_filled(graph.segments, (edges, 2, 2))),
            "channels": _channels(scene, edges),
            "node_radius": scene.node_radius,
            "distances": distances,
            "ends": np.pad(graph.ends, ((0, edges - len(graph.ends)), (0, 0))),
            "lengths": np.pad(graph.lengths, (0, edges - len(graph.lengths))),
            "neighbours": _neighbours(scene, nodes, edges),
            "goals": goals,
            "goal_count": len(scene.goals),
            "ordered": scene.ordered,
            "goals_reached": 0,
            "visit_time": visit_time,
            "place": int(scene.start),
            "apart": True,  # outside of discs no two channels overlap
        }
        row = {name: np.asarray(value)[None] for name, value in values.items()}
        return {**values, "from_nodes": _from_nodes(row, np.arange(1))[0]}

    def command(self, actions: np.ndarray, memory: Memory, substeps: int) -> dict[str, np.ndarray]:
        """Velocities for both joints."""
        return {"ctrl": actions}

    def measure(self, readings: Readings, memory: Memory) -> Signals:
        """Where the ball has been since the frame before, and what it touched."""
        positions, times = ball.track(readings, memory)
        places = _places(positions, memory)
        moves = Moves.within(places)
        arrived = arrivals(places, moves, memory["visit_time"])
        memory["visit_time"] = first_visits(arrived, times, memory["visit_time"])
        memory["goals_reached"] = _count_goals(arrived, memory)
        if len(arrived):
            memory["from_nodes"] = memory["from_nodes"].copy()
            memory["from_nodes"][arrived.row] = _from_nodes(memory, arrived.row)
        here = places[:, -1]
        return {
            "node": np.where(here < self.max_nodes, here, NOWHERE),
            "edge": np.where(here >= self.max_nodes, here - self.max_nodes, NOWHERE),
            "visited": np.isfinite(memory["visit_time"]),
            "visit_time": memory["visit_time"],
            "goals_reached": memory["goals_reached"],
            "distance_to_goal": _way_to_goal(positions[:, -1], memory),
            "legal": legal_moves(places, moves, memory["neighbours"]),
            "success": memory["goals_reached"] == memory["goal_count"],
            **ball.motion(positions, readings, memory),
        }

    def observe(self, readings: Readings, memory: Memory, signals: Signals) -> dict[str, np.ndarray]:
        """Position and velocity of the ball."""
        return ball.observe(readings)

    def outcome(self, scene: VisitScene, time: np.ndarray, signals: Signals) -> dict[str, Any]:
        """Success, the efficiency of the way, the shortest one, and when each node was first visited (None: never)."""
        route = shortest_route(scene.graph, scene.start, scene.goals, scene.ordered)
        times = signals["visit_time"][-1][: len(scene.nodes)]
        return {
            **ball.efficiency(signals, route_length(scene.graph, route)),
            "shortest_route": [int(node) for node in route],
            "visit_times": [float(each) if np.isfinite(each) else None for each in times],
            "goals_reached": int(signals["goals_reached"][-1]),
        }

    def task(self, scene: VisitScene) -> str:
        """What the ball is to do, as a prompt."""
        names = list(GOALS)[: len(scene.goals)]
        discs = "all other discs" if not scene.ordered else f"the {', then the '.join(names)} disc"
        return (
            f"The red ball rolls from the blue disc through the brown channels to {discs}, "
            "without ever entering the black area. Static camera."
        )


def _filled(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    whole = np.full(shape, _FAR)
    whole[: len(values)] = values
    return whole


def _channels(scene: VisitScene, edges: int) -> np.ndarray:
    """The channels' axes (2, 3, M), filled up with channels that hold no point."""
    whole = np.zeros((2, 3, edges))
    whole[:, 2] = 2.0
    whole[:, :, : len(scene.edges)] = channel_axes(scene.graph.segments, scene.channel_width)
    return whole


def _neighbours(scene: VisitScene, nodes: int, edges: int) -> np.ndarray:
    """Of each place (nodes, then channels) the places (P, K) that it opens to."""
    table = np.full((nodes + edges, max(edges, 2)), -2)
    for node in range(len(scene.nodes)):
        ways = [nodes + k for k, edge in enumerate(scene.edges) if node in edge]
        table[node, : len(ways)] = ways
    table[nodes : nodes + len(scene.edges), :2] = scene.graph.ends
    return table


def _count_goals(arrived: Moves, memory: Memory) -> np.ndarray:
    """Goals visited (n,) after arrivals at nodes."""
    reached = memory["goals_reached"].copy()
    for row, node in zip(arrived.row, arrived.place, strict=True):
        if memory["ordered"][row] and reached[row] < memory["goal_count"][row]:
            reached[row] += node == memory["goals"][row, reached[row]]
    seen = np.isfinite(np.take_along_axis(memory["visit_time"], np.maximum(memory["goals"], 0), axis=1))
    return np.where(memory["ordered"], reached, (seen & (memory["goals"] >= 0)).sum(axis=1))


def _places(positions: np.ndarray, memory: Memory) -> np.ndarray:
    """Places (n, T) of positions (n, T, 2); most balls stay where they were at the frame before."""
    centres, radius, channels, ends = (memory[name] for name in ("centres", "node_radius", "channels", "ends"))
    gone = np.nonzero(~(memory["apart"] & stays(positions, memory["place"], centres, radius, channels, ends)))[0]
    places = np.repeat(memory["place"][:, None], positions.shape[1], axis=1)
    places[gone] = locate(positions[gone], centres[gone], radius[gone, None, None], channels[gone])
    memory["place"] = places[:, -1].copy()
    return places


def _way_to_goal(points: np.ndarray, memory: Memory) -> np.ndarray:
    """Ways (n,) in metres from the nearest points on the channels' centre lines."""
    aside, share = nearest_on_lines(points, memory["lines"])
    rows, edge = np.arange(len(points)), aside.argmin(axis=1)
    ends, length = memory["ends"][rows, edge], memory["lengths"][rows, edge]
    along = share[rows, edge] * length
    ways = np.stack([along, length - along], axis=1) + memory["from_nodes"][rows[:, None], ends]
    return np.where(memory["goals_reached"] < memory["goal_count"], ways.min(axis=1), 0.0)


def _from_nodes(memory: Memory, rows: np.ndarray) -> np.ndarray:
    """Ways (K, N) in metres from the nodes of K rows to the next goal, or to the nearest one left in free order."""
    names = ("goals", "goal_count", "ordered", "goals_reached", "visit_time", "distances")
    goals, count, ordered, reached, visit_time, distances = (memory[name][rows] for name in names)
    index, goals = np.arange(goals.shape[1]), np.maximum(goals, 0)
    left = (index < count[:, None]) & np.where(
        ordered[:, None],
        index == reached[:, None],
        np.isinf(np.take_along_axis(visit_time, goals, axis=1)),
    )
    to_goals = distances[np.arange(len(goals))[:, None], goals]  # (K, G, N)
    return np.where(left[..., None], to_goals, np.inf).min(axis=1)
