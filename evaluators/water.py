"""Which pixels of a clip are water, and when it fills the discs and the pieces of channel of a graph.

N discs and M channels; each channel is cut into pieces about ``PIECE`` px long, K in all, from
the rim of the disc at its first end to that at its second. Discs and pieces together are the
*parts* of the graph, 0 .. N - 1 and N .. N + K - 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from worldmodel.evaluators.matting import NEAR, Matte
from worldmodel.evaluators.metres import metres_per_pixel, on_plane
from worldmodel.evaluators.structure import floor_mask
from worldmodel.truth import Truth

SEED, GROW = 0.7, 0.5  # share of a pixel that starts, and that continues, water
DAMP = 0.25  # share of a pixel below which it has dried
FULL = 0.5  # share of a part that must be wet
HELD = 3  # frames for which it must stay so, or to the end of the clip
PIECE = 2.0  # px
SOLID = 0.75  # share of a pixel that must be graph for its water to count


@dataclass(frozen=True)
class Parts:
    """The parts of a graph in the picture of one camera."""

    floor: np.ndarray  # (H, W) bool, the graph
    labels: np.ndarray  # (H, W) int, part + 1; 0 off the graph and on pixels that are less than ``SOLID`` graph
    channels: tuple[np.ndarray, ...]  # of each channel its pieces, from its first end to its second
    count: int
    pixels: np.ndarray  # (count,) px of each part
    middles: tuple[np.ndarray, ...]  # m, of each channel's pieces: how far along it they lie


def graph_parts(truth: Truth) -> Parts:
    """Discs and pieces of channel from the truth's maps ``node`` and ``edge``; discs cover the ends of channels."""
    node, edge = truth.maps["node"].astype(np.int64), truth.maps["edge"].astype(np.int64)
    centres = np.array(truth.scene["nodes"], np.float64)
    v, u = np.indices(node.shape) + 0.5
    points = on_plane(truth.camera, np.stack([u, v], axis=-1), np.zeros(3), np.array([0.0, 0.0, 1.0]))[..., :2]
    piece = PIECE * float(metres_per_pixel(truth.camera, np.zeros(3)))
    labels, channels, middles, count = node.copy(), [], [], len(centres)
    for k, (a, b) in enumerate(truth.scene["edges"]):
        own = edge == k + 1
        along = (points[own] - centres[a]) @ (centres[b] - centres[a]) / np.linalg.norm(centres[b] - centres[a])
        place, number = _cut(along, piece)
        labels[own] = count + place + 1
        channels.append(count + np.arange(number))
        middles.append(np.array([along[place == i].mean() if (place == i).any() else np.nan for i in range(number)]))
        count += number
    floor = floor_mask(truth)
    labels[covered(truth.video[:1], truth)[0] < SOLID] = 0
    pixels = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    return Parts(floor, labels, tuple(channels), count, pixels, tuple(middles))


def _cut(along: np.ndarray, piece: float) -> tuple[np.ndarray, int]:
    """Index (n,) of the piece that each of n places along a channel is in, and the number of pieces."""
    if not len(along):
        return np.zeros(0, np.int64), 0
    begin, length = float(along.min()), float(np.ptp(along)) + 1e-9
    number = max(1, round(length / piece))
    return np.floor((along - begin) / length * number).astype(np.int64), number


def water_masks(video: np.ndarray, truth: Truth) -> tuple[np.ndarray, np.ndarray]:
    """Which pixels (T, H, W) bool of a registered video are wet, and which are not dry.

    A wet pixel shows the well's colour on at least ``GROW`` of it, and touches one that does so on
    ``SEED``; a pixel is dry below ``DAMP``.
    """
    matte = Matte(*dry_plate(truth))
    wet, damp = np.zeros(video.shape[:3], bool), np.zeros(video.shape[:3], bool)
    for t, frame in enumerate(video):
        shares = matte.shares(frame)
        count, labels = cv2.connectedComponents((shares >= GROW).view(np.uint8), connectivity=8)
        seeded = np.zeros(count, bool)
        seeded[labels[shares >= SEED]] = True
        seeded[0] = False
        wet[t], damp[t] = seeded[labels], shares >= DAMP
    return wet, damp


def wet_shares(wet: np.ndarray, parts: Parts) -> np.ndarray:
    """Share (T, parts) of each part that is under ``wet`` (T, H, W) bool; nan for parts without pixels."""
    counts = np.stack([np.bincount(parts.labels[frame], minlength=parts.count + 1)[1:] for frame in wet])
    return counts / np.where(parts.pixels > 0, parts.pixels, np.nan)


def fill_times(shares: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Seconds (P,) at which shares (T, P) first reach ``FULL`` and hold it for ``HELD`` frames; inf where never.

    Between frames the share is taken to grow evenly.
    """
    full = shares >= FULL
    padded = np.concatenate([full, np.ones((HELD - 1, full.shape[1]), bool)])
    held = np.all([padded[k : k + len(full)] for k in range(HELD)], axis=0)
    first = held.argmax(axis=0)
    columns = np.arange(shares.shape[1])
    before, now = shares[np.maximum(first - 1, 0), columns], shares[first, columns]
    grown = np.where(first > 0, (FULL - before) / np.maximum(now - before, 1e-9), 1.0)
    earlier = time[np.maximum(first - 1, 0)]
    return np.where(held.any(axis=0), earlier + np.clip(grown, 0.0, 1.0) * (time[first] - earlier), np.inf)


def dry_plate(truth: Truth) -> tuple[np.ndarray, np.ndarray]:
    """The first true frame (H, W, 3) float32 with a dry well, and the colour (3,) of the water that was in it."""
    colours = _colours(truth)
    plate, near = truth.video[0].astype(np.float32), _near_well(truth)
    covered = np.clip(_coverage(plate[near][None], colours)[0], 0.0, 1.0)
    plate[near] = colours.ground + covered[:, None] * (colours.channel - colours.ground)
    return plate, colours.water


def covered(video: np.ndarray, truth: Truth) -> np.ndarray:
    """How much of each pixel (T, H, W), in 0..1, is channel or water and not ground."""
    colours = _colours(truth)
    return np.stack([np.clip(_coverage(frame.astype(np.float32), colours), 0.0, 1.0) for frame in video])


class _Colours(NamedTuple):
    ground: np.ndarray  # (3,)
    channel: np.ndarray
    water: np.ndarray


def _colours(truth: Truth) -> _Colours:
    """Medians over the first true frame."""
    frame, near = truth.video[0].astype(np.float32), _near_well(truth)
    core = cv2.erode(truth.mask[0].astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    places = (~floor_mask(truth) & ~near, floor_mask(truth) & ~near, core if core.any() else truth.mask[0])
    return _Colours(*(np.median(frame[place], axis=0) for place in places))


def _near_well(truth: Truth) -> np.ndarray:
    return cv2.dilate(truth.mask[0].astype(np.uint8), NEAR).astype(bool)


def _coverage(image: np.ndarray, colours: _Colours) -> np.ndarray:
    """a + b of pixels (H, W) that mix ground g, water w and channel c: p = g + a (w - g) + b (c - g)."""
    span = np.stack([colours.water - colours.ground, colours.channel - colours.ground], axis=1)
    weights = np.linalg.pinv(span).sum(axis=0).astype(np.float32)
    return cv2.transform(image, weights[None]) - float(weights @ colours.ground)
