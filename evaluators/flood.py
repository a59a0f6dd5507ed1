"""Water that fills a graph from a well, judged from its pixels: when it is where, by which way, and what it spills.

What each number means, in which direction it is better and what it must rank is declared in
:mod:`~worldmodel.evaluators.flood_metrics`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import cv2
import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from worldmodel.evaluators.flood_metrics import METRICS
from worldmodel.evaluators.floor_plans import GRAPH, check_clip, check_fields
from worldmodel.evaluators.matting import NEAR
from worldmodel.evaluators.metres import metres_per_pixel
from worldmodel.evaluators.metrics import Evaluator
from worldmodel.evaluators.once import once_a_truth
from worldmodel.evaluators.ranking import kendall_tau_b
from worldmodel.evaluators.registration import Registration, register
from worldmodel.evaluators.structure import MIN_STRUCTURE, floor_mask, structure
from worldmodel.evaluators.water import FULL, HELD, Parts, covered, fill_times, graph_parts, water_masks, wet_shares
from worldmodel.evaluators.water_flow import (
    LEAST_PIECE,
    SLACK,
    SPEED_UP,
    fed_discs,
    front_speeds,
    jumps,
    kept_wet,
    outside,
)
from worldmodel.truth import Truth

__all__ = ["EVALUATOR", "METRICS", "FloodScore", "score_flood"]

MARGIN = 2.0  # px around the graph in which water is not spilt
MAX_SPILL, MIN_KEPT = 0.01, 0.99


@dataclass(frozen=True)
class FloodScore:
    """One imagined flood against the true one.

    Discs and channels that the true water fills by 3 frames before the clip's end are *due*.

    A disc or a piece of channel is filled when half of it is wet, for 3 frames. The well itself,
    which is given, is not scored. Faults are frames with a teleport, with more than 1 % spilt,
    after more than 1 % of the wet pixels has dried, or in which the scene is not kept: not
    registered, or with a structure below 0.95.
    """

    valid: bool  # coverage 1, order 1, and no fault in the whole clip
    valid_any_frame: bool  # coverage 1 and order 1 before the first fault: the clip is valid up to some frame
    valid_last_frame: bool  # valid, and all that is due is wet in the last frame
    true_success: bool  # MuJoCo's: everything is full at the end of the clip
    coverage: float  # share of the due discs and channels that are filled
    coverage_last_frame: float  # share of them that is wet in the last frame
    order: float  # share of the due discs that water came to from the well, through channels that filled end to end
    # The next two are held against MuJoCo, and are no better than what is read off its own video.
    fill_time_error_s: float  # mean over the due discs and channels, against the true; never filled: the clip's length
    water_iou: float  # mean over the frames of the intersection over union of the water with the true
    tau_b: float  # Kendall's, fill times of the due discs against graph distance, at most the true; 0 if all are equal
    spill: float  # most water farther than 2 px from the graph, as a share of the graph's pixels
    teleports: int  # pieces of water that appear farther from all earlier water than it could flow
    monotone: float  # share of the pixels that were ever wet which never dried
    front_speed_m_s: float  # median over the channels through which a disc was filled
    front_speed_cv: float  # standard deviation over mean of the same
    structure: float  # least intersection over union, over the frames, of channels and water with the true frame's
    registered: bool  # every frame: residual of the similarity to the true first frame <= 2 px, scale within 2 %
    camera_moved_px: float  # most that a similarity moves the picture; the water is mapped back. nan: no frame fits
    first_fault_frame: int | None
    node_filled_s: tuple[float, ...]  # (N,) when each disc is filled; inf where never
    edge_filled_s: tuple[float, ...]  # (M,) when the last piece of each channel is

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers and lists; None for times that never come."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        times = ("node_filled_s", "edge_filled_s")
        return values | {name: [t if np.isfinite(t) else None for t in values[name]] for name in times}


@dataclass(frozen=True)
class _Flow:
    """Fill times in seconds, inf where never; the well's is 0."""

    parts: np.ndarray  # (parts,)
    discs: np.ndarray  # (N,)
    channels: np.ndarray  # (M,)


def score_flood(video: np.ndarray, truth: Truth) -> FloodScore:
    """Score ``video`` (T, H, W, 3) uint8, imagined from the first frame of ``truth``, of a flooded graph.

    Raises:
        ValueError: the video does not belong to the truth, or the truth lacks the scene, its maps or its well.
    """
    check_clip(video, truth)
    check_fields(truth.scene, (*GRAPH, "flood_speed"))
    floor_mask(truth)
    parts = _parts(truth)
    registration = _registered(video, truth)
    wet, damp = water_masks(registration.video, truth)
    shares = wet_shares(wet, parts)
    flow = _flow(shares, parts, truth)
    due = _due(parts, truth)
    faults, measured = _faults(registration, wet, damp, parts, truth)
    edges, start = truth.scene["edges"], truth.scene["start"]
    least = _lengths(truth) / (SPEED_UP * truth.scene["flood_speed"])
    fed, ways = fed_discs(flow.parts, parts, edges, start, least, SLACK / truth.fps)
    order = _share(fed, _due_discs(due, truth))
    coverage = _share(*_filled(flow, due, truth))
    wet_at_last = wet_shares(wet[-1:], parts)[0]
    last = _share(*_filled(_times(np.where(wet_at_last >= FULL, 0.0, np.inf), parts, start), due, truth))
    first = int(faults.argmax()) if faults.any() else len(video)
    done = coverage == 1.0 and order == 1.0
    complete = np.searchsorted(truth.time, flow.parts[np.isfinite(due.parts)].max())
    return FloodScore(
        valid=done and not faults.any(),
        valid_any_frame=done and bool(complete < first),
        valid_last_frame=done and not faults.any() and last == 1.0,
        true_success=truth.success,
        coverage=coverage,
        coverage_last_frame=last,
        order=order,
        fill_time_error_s=float(np.maximum(_time_error(flow, due, truth), _true_reading(truth).fill_time_error_s)),
        water_iou=min(_iou(wet[1:], truth.mask[1:]), _true_reading(truth).water_iou),
        tau_b=_tau_b(flow, due, truth),
        **_speeds(flow, parts, ways),
        **measured,
        registered=bool(registration.held[1:].all()),
        camera_moved_px=registration.most_moved_px,
        first_fault_frame=first if faults.any() else None,
        node_filled_s=tuple(flow.discs.tolist()),
        edge_filled_s=tuple(flow.channels.tolist()),
    )


class _Reading(NamedTuple):
    fill_time_error_s: float
    water_iou: float


@once_a_truth
def _true_reading(truth: Truth) -> _Reading:
    """How far what is read off MuJoCo's own video is from MuJoCo; brighter water may be nearer by chance."""
    parts = _parts(truth)
    wet, _ = water_masks(_registered(truth.video, truth).video, truth)
    flow = _flow(wet_shares(wet, parts), parts, truth)
    return _Reading(_time_error(flow, _due(parts, truth), truth), _iou(wet[1:], truth.mask[1:]))


@once_a_truth
def _parts(truth: Truth) -> Parts:
    return graph_parts(truth)


@once_a_truth
def _true_cover(truth: Truth) -> np.ndarray:
    return covered(truth.video, truth)


def _registered(video: np.ndarray, truth: Truth) -> Registration:
    return register(video, truth.video[0], cv2.dilate(truth.mask[0].astype(np.uint8), NEAR) == 0)


def _flow(shares: np.ndarray, parts: Parts, truth: Truth) -> _Flow:
    return _times(fill_times(shares, truth.time), parts, truth.scene["start"])


def _due(parts: Parts, truth: Truth) -> _Flow:
    """The true flood, by MuJoCo's segmentation; what fills at the very end can be missed by a pixel."""
    times = fill_times(wet_shares(truth.mask, parts), truth.time)
    in_time = times <= truth.time[-1] - HELD / truth.fps
    return _times(np.where(in_time, times, np.inf), parts, truth.scene["start"])


def _times(times: np.ndarray, parts: Parts, start: int) -> _Flow:
    times = times.copy()
    times[start] = 0.0
    pieces = [times[pieces] for pieces in parts.channels]
    channels = np.array([each.max() if len(each) else 0.0 for each in pieces])
    return _Flow(times, times[: parts.count - sum(map(len, pieces))], channels)


def _due_discs(due: _Flow, truth: Truth) -> np.ndarray:
    return np.isfinite(due.discs) & (np.arange(len(due.discs)) != truth.scene["start"])


def _filled(flow: _Flow, due: _Flow, truth: Truth) -> tuple[np.ndarray, np.ndarray]:
    """Which discs and channels (N + M,) are filled, and which are due."""
    filled = np.isfinite(np.concatenate([flow.discs, flow.channels]))
    return filled, np.concatenate([_due_discs(due, truth), np.isfinite(due.channels)])


def _share(which: np.ndarray, of: np.ndarray) -> float:
    return float(which[of].mean()) if of.any() else float("nan")


def _time_error(flow: _Flow, due: _Flow, truth: Truth) -> float:
    _, wanted = _filled(flow, due, truth)
    if not wanted.any():
        return float("nan")
    times, true = (np.concatenate([each.discs, each.channels])[wanted] for each in (flow, due))
    return float(np.where(np.isfinite(times), np.abs(times - true), truth.time[-1]).mean())


def _tau_b(flow: _Flow, due: _Flow, truth: Truth) -> float:
    """The video's, at most the true flood's: at equal distances chance decides. A disc that is never filled is last."""
    wanted = _due_discs(due, truth)
    if wanted.sum() < 2:
        return float("nan")
    distances = _distances(truth)[wanted]
    times = [np.minimum(each.discs[wanted], 2.0 * truth.time[-1]) for each in (flow, due)]
    return min(kendall_tau_b(each, distances) if np.ptp(each) > 0.0 else 0.0 for each in times)


def _distances(truth: Truth) -> np.ndarray:
    """Metres (N,) along the channels from the well to each disc."""
    count, ends = len(truth.scene["nodes"]), np.array(truth.scene["edges"])
    graph = csr_array((_lengths(truth), (ends[:, 0], ends[:, 1])), shape=(count, count))
    return np.asarray(dijkstra(graph, directed=False, indices=truth.scene["start"]))


def _lengths(truth: Truth) -> np.ndarray:
    """Metres (M,) of the channels, from centre to centre."""
    centres, ends = np.array(truth.scene["nodes"], np.float64), np.array(truth.scene["edges"])
    return np.asarray(np.linalg.norm(centres[ends[:, 0]] - centres[ends[:, 1]], axis=1))


def _speeds(flow: _Flow, parts: Parts, ways: dict[int, tuple[int, int]]) -> dict[str, Any]:
    speeds = front_speeds(flow.parts, parts, ways)
    if not len(speeds):
        return {"front_speed_m_s": float("nan"), "front_speed_cv": float("nan")}
    return {"front_speed_m_s": float(np.median(speeds)), "front_speed_cv": float(speeds.std() / speeds.mean())}


def _faults(
    registration: Registration, wet: np.ndarray, damp: np.ndarray, parts: Parts, truth: Truth
) -> tuple[np.ndarray, dict[str, Any]]:
    """Frames (T,) bool with a fault, and what was measured for it."""
    pixel = float(metres_per_pixel(truth.camera, np.zeros(3)))
    reach = SPEED_UP * truth.scene["flood_speed"] / truth.fps / pixel + MARGIN
    discs = parts.pixels[: len(truth.scene["nodes"])]
    jumped = jumps(wet, reach, LEAST_PIECE * float(np.median(discs)))
    spilt, kept = outside(wet, parts.floor, MARGIN), kept_wet(wet, damp)
    spill = spilt.sum(axis=(1, 2)) / parts.floor.sum()
    same = structure(covered(registration.video, truth), _true_cover(truth), ignored=wet & ~parts.floor)
    faults = (jumped > 0) | (spill > MAX_SPILL) | (kept < MIN_KEPT) | (same < MIN_STRUCTURE) | ~registration.held
    faults[0] = False
    return faults, {
        "spill": float(spill[1:].max()),
        "teleports": int(jumped[1:].sum()),
        "monotone": float(kept[-1]),
        "structure": float(same[1:].min()),
    }


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    both, either = (a & b).sum(axis=(1, 2)), (a | b).sum(axis=(1, 2))
    return float(np.where(either > 0, both / np.maximum(either, 1), 1.0).mean())


EVALUATOR = Evaluator("worldmodel/GraphTraversal-v0:flood", score_flood, METRICS, "valid")
