"""When water that spreads from one node at constant speed fills the nodes and channels of a graph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from worldmodel.envs.graphs import ChannelGraph


@dataclass(frozen=True)
class FillTimes:
    """Seconds after the water leaves the centre of the start.

    A front that comes to a node's centre goes on into all of its other channels and spreads over
    the disc at the same speed. The start's disc is a full well from the beginning. The two fronts
    in a channel of a cycle meet where both arrive at the same time.
    """

    node_arrival: np.ndarray  # (N,) s, at the centre: graph distance / speed
    node_filled: np.ndarray  # (N,) s, the whole disc
    edge_arrival: np.ndarray  # (M,) s, at the nearer end
    edge_filled: np.ndarray  # (M,) s, the whole channel


def fill_times(graph: ChannelGraph, start: int, speed: float) -> FillTimes:
    """Times of a flood from node ``start`` at ``speed`` m/s."""
    arrival = graph.distances[start] / speed
    filled = arrival + graph.node_radius / speed
    filled[start] = 0.0
    ends = arrival[graph.ends]
    return FillTimes(arrival, filled, ends.min(axis=1), (ends.sum(axis=1) + graph.lengths / speed) / 2.0)


def front_limits(graph: ChannelGraph, start: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where :func:`fronts` begin and end, in metres of way from the start.

    Returns:
        (N,) way to where a disc begins to fill, (M, 2) way to the two ends of a channel, and
        (M, 2) length of a channel that is filled from either end.
    """
    discs = graph.distances[start].copy()
    discs[start] = -graph.node_radius
    ends = graph.distances[start][graph.ends]
    return discs, ends, (graph.lengths[:, None] + ends[:, ::-1] - ends) / 2.0


def fronts(
    way: np.ndarray, discs: np.ndarray, ends: np.ndarray, limits: np.ndarray, node_radius: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How far the water is after a way (...) of speed x time: radii (..., N) of discs, lengths (..., M, 2) from ends.

    The other arguments are those of :func:`front_limits`, in metres; all broadcast against ``way``.
    """
    way, node_radius = np.asarray(way)[..., None], np.asarray(node_radius)[..., None]
    return np.clip(way - discs, 0.0, node_radius), np.clip(way[..., None] - ends, 0.0, limits)
