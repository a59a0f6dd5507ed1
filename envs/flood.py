"""The flood: water that spreads from one node through all channels at constant speed.

It is Veo 3's graph traversal task (arXiv 2509.20328). Nothing acts, and the water is drawn, not simulated.
"""

from __future__ import annotations

import copy
from dataclasses import asdict
from typing import Any

import mujoco
import numpy as np

from worldmodel.envs.family import Memory, Policy, Readings, Signals
from worldmodel.envs.fill_times import fill_times, front_limits, fronts
from worldmodel.envs.options import expect
from worldmodel.envs.overhead import HIDDEN, LAYER, add_bar, add_disc, add_unused
from worldmodel.envs.traversal import WATER, FloodScene, GraphTraversal

# Without an inertia of its own a body of painted shapes has no centre of mass to report.
_BODY = '<body name="water"><inertial pos="0 0 0" mass="1" diaginertia="1 1 1"/></body>'
_SURFACE = 3 * LAYER  # m, above discs and channels


def _watch(scene: FloodScene, rng: np.random.Generator) -> Policy:
    """The only thing to do."""
    return lambda info: 0


class FloodTraversal(GraphTraversal):
    """Fulfilled once all discs and channels are full."""

    task_option = "flood"
    scene_type = FloodScene
    policies = {"watch": _watch}
    max_timestep = 0.05  # nothing moves
    signals = {
        "node_filled": "share (N,) of each disc's radius under water, from its centre",
        "edge_filled": "share (M,) of each channel's length under water",
        "success": "all discs and channels are full",
    }

    @property
    def objects(self) -> tuple[str, ...]:
        """The water: its pixels are labelled, its pose is that of its well."""
        return ("water",)

    def check(self, scene: FloodScene) -> None:
        """Refuse what :class:`GraphTraversal` refuses, and water that does not flow."""
        super().check(scene)
        expect(0.0 < scene.flood_speed < np.inf, "flood_speed", scene.flood_speed, "finite, m/s above 0")

    def build(self, scene: FloodScene) -> mujoco.MjSpec:
        """The painted graph, and water for every disc and both ends of every channel."""
        spec = self.draw(scene, {scene.start: WATER}, _BODY)
        body, graph = spec.body("water"), scene.graph
        well = graph.centres[scene.start]
        body.pos = (*well, 0.0)
        for k in range(self.max_nodes):
            if k < len(graph.nodes):
                add_disc(body, f"water disc {k}", graph.centres[k] - well, graph.node_radius, WATER, HIDDEN)
            else:
                add_unused(body, f"water disc {k}", mujoco.mjtGeom.mjGEOM_CYLINDER)
        for k in range(self.max_edges):
            for side in (0, 1):
                if k < len(graph.edges):
                    add_bar(body, f"water end {k} {side}", graph.segments[k] - well, graph.channel_width, WATER, HIDDEN)
                else:
                    add_unused(body, f"water end {k} {side}", mujoco.mjtGeom.mjGEOM_BOX)
        return spec

    def memory(self, scene: FloodScene) -> dict[str, Any]:
        """Where the fronts begin and end, filled up to the sizes of this family."""
        discs, ends, limits = front_limits(scene.graph, scene.start)
        times = fill_times(scene.graph, scene.start, scene.flood_speed)
        nodes, edges = self.max_nodes - len(discs), self.max_edges - len(ends)
        return {
            "flood_speed": scene.flood_speed,
            "node_radius": scene.node_radius,
            "discs": np.pad(discs, (0, nodes), constant_values=np.inf),
            "ends": np.pad(ends, ((0, edges), (0, 0)), constant_values=np.inf),
            "limits": np.pad(limits, ((0, edges), (0, 0))),
            "lengths": np.pad(scene.graph.lengths, (0, edges), constant_values=1.0),
            "full": max(times.node_filled.max(), times.edge_filled.max()),
        }

    def measure(self, readings: Readings, memory: Memory) -> Signals:
        """How far the water is."""
        way = memory["flood_speed"] * readings.time
        radii, lengths = fronts(way, *(memory[name] for name in ("discs", "ends", "limits", "node_radius")))
        return {
            "node_filled": radii / memory["node_radius"][:, None],
            "edge_filled": lengths.sum(axis=-1) / memory["lengths"],
            "success": readings.time >= memory["full"] - 1e-9,
        }

    def outcome(self, scene: FloodScene, time: np.ndarray, signals: Signals) -> dict[str, Any]:
        """Success, and the times in seconds at which water comes to nodes and channels and fills them."""
        times = asdict(fill_times(scene.graph, scene.start, scene.flood_speed))
        return {
            "success": bool(signals["success"][-1]),
            **{name: [float(each) for each in value] for name, value in times.items()},
        }

    def painted(self, model: mujoco.MjModel, scene: FloodScene, time: float) -> mujoco.MjModel:
        """The water as it stands ``time`` seconds after it left the start."""
        painted, graph = copy.copy(model), scene.graph
        limits = front_limits(graph, scene.start)
        radii, lengths = fronts(np.array(scene.flood_speed * time), *limits, np.array(scene.node_radius))
        for k in np.nonzero(radii > 0.0)[0]:
            disc = painted.geom(f"water disc {k}")
            disc.pos[2], disc.size[0] = _SURFACE, radii[k]
        for k, side in zip(*np.nonzero(lengths > 0.0), strict=True):
            bar = painted.geom(f"water end {k} {side}")
            share = lengths[k, side] / graph.lengths[k]
            source, end = graph.segments[k, side], graph.segments[k, 1 - side]
            bar.pos[:] = (*(source + share / 2.0 * (end - source) - graph.centres[scene.start]), _SURFACE)
            bar.size[0] = lengths[k, side] / 2.0
        return painted

    def task(self, scene: FloodScene) -> str:
        """Veo 3's prompt."""
        return (
            "Starting from the blue well, an unlimited supply of blue water moves through the connected channel "
            "system without spilling into the black area. Static camera."
        )
