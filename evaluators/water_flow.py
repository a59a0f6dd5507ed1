"""How water spreads over a graph: whether it comes through the channels, whether it jumps, and whether it stays."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from worldmodel.evaluators.water import Parts

SLACK = 1.5  # frames by which a part may fill before the one from which its water comes
SPEED_UP = 3.0  # times its true speed, and two pixels more, that water may flow from frame to frame
LEAST_PIECE = 0.1  # of a disc's pixels: less water that jumps is noise


def fed_discs(
    times: np.ndarray, parts: Parts, edges: Sequence[Sequence[int]], start: int, least: np.ndarray, slack: float
) -> tuple[np.ndarray, dict[int, tuple[int, int]]]:
    """Discs (N,) bool whose water came from the start, and each channel by which it did: (from, to).

    A channel feeds its other disc when it runs from a fed one and all of its pieces fill one
    after the other, and then the disc, each not before the last and the disc not sooner after the
    first than the channel's ``least`` time, by more than ``slack`` seconds. What never fills feeds
    nothing and is not fed.

    Args:
        times: (parts,) s at which each part is filled; inf where never.
        parts: of the graph.
        edges: M pairs of discs.
        start: disc of the well.
        least: (M,) s that water needs through a channel.
        slack: seconds.
    """
    count = parts.count - sum(len(pieces) for pieces in parts.channels)
    fed, ways = np.zeros(count, bool), {}
    fed[start] = True
    grown = True
    while grown:
        grown = False
        for k, ends in enumerate(edges):
            for (u, v), pieces in ((ends, parts.channels[k]), (ends[::-1], parts.channels[k][::-1])):
                if fed[u] and not fed[v] and _flows(times[[u, *pieces, v]], least[k], slack):
                    fed[v], ways[k], grown = True, (u, v), True
    return fed, ways


def _flows(times: np.ndarray, least: float, slack: float) -> bool:
    if not np.isfinite(times).all():
        return False
    return bool((np.diff(times) >= -slack).all()) and bool(times[-1] - times[0] >= least - slack)


def front_speeds(times: np.ndarray, parts: Parts, ways: dict[int, tuple[int, int]]) -> np.ndarray:
    """Speeds (C,) in m/s of the front along the channels that fed a disc, from :func:`fed_discs`."""
    speeds = []
    for k in ways:
        filled, middles = times[parts.channels[k]], parts.middles[k]
        if len(filled) > 1 and filled[0] != filled[-1]:
            speeds.append(abs((middles[-1] - middles[0]) / (filled[-1] - filled[0])))
    return np.array(speeds)


def jumps(wet: np.ndarray, reach: float, least: float) -> np.ndarray:
    """Number (T,) of new pieces of water that are farther than ``reach`` px from all earlier water.

    ``wet`` (T, H, W) bool; pieces of less than ``least`` px are left out.
    """
    counts, earlier = np.zeros(len(wet), np.int64), wet[0].copy()
    for t, frame in enumerate(wet):
        new = frame & ~earlier
        if not new.any():
            continue
        dry = (~earlier).astype(np.uint8)
        distance = cv2.distanceTransform(dry, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) if earlier.any() else np.inf
        _, _, stats, _ = cv2.connectedComponentsWithStats((new & (distance > reach)).astype(np.uint8), connectivity=8)
        counts[t] = int((stats[1:, cv2.CC_STAT_AREA] >= least).sum())
        earlier |= frame
    return counts


def kept_wet(wet: np.ndarray, damp: np.ndarray) -> np.ndarray:
    """Share (T,) of all pixels that were wet up to a frame and have not been dry since; see ``water_masks``."""
    ever, dried = np.zeros(wet.shape[1:], bool), np.zeros(wet.shape[1:], bool)
    shares = np.ones(len(wet))
    for t in range(len(wet)):
        dried |= ever & ~damp[t]
        ever |= wet[t]
        shares[t] = 1.0 - dried.sum() / max(int(ever.sum()), 1)
    return shares


def outside(wet: np.ndarray, floor: np.ndarray, margin: float) -> np.ndarray:
    """Water (T, H, W) bool farther than ``margin`` px from the ``floor`` (H, W) bool."""
    distance = cv2.distanceTransform((~floor).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return wet & (distance > margin)
