"""One tracker for true and imagined video: uniformly coloured objects before a static camera.

It needs no weights: a colour learned from the first frame, regions with hysteresis, sub-pixel
centroids, and a decision whether the object is there at all. For objects without a colour of
their own see :mod:`~worldmodel.evaluators.flow_tracking`, which returns the same :class:`Tracks`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import cv2
import numpy as np

from worldmodel.evaluators.checks import check_mask, check_video
from worldmodel.evaluators.colours import GROW, SEED, Appearance, empty_scene, learn, membership, unshade
from worldmodel.evaluators.once import once_a_picture, once_a_truth
from worldmodel.evaluators.same_colour import Expectation, Region, divide
from worldmodel.truth import Truth

MIN_AREA = 0.25  # of the first frame's soft area: below, the object is lost
MAX_AREA = 4.0  # of the first frame's soft area: above, colour has flooded the picture
FOLLOWED = 0.9  # of the true frames that show an object: a tracker that loses more of them cannot judge it
SAME_HUE = np.cos(np.deg2rad(20.0))  # objects of nearer hues are told apart by place
LONG = 1.2  # longest over shortest spread: below, no direction can be seen


@dataclass(frozen=True)
class Tracks:
    """One object over T frames; pixel (row i, column j) is centred at (u, v) = (j + 0.5, i + 0.5)."""

    centroid: np.ndarray  # (T, 2) px, (u, v) of the visible part; nan where lost
    detected: np.ndarray  # (T,) bool
    area: np.ndarray  # (T,) px, sum of memberships; 0 where lost
    box: np.ndarray  # (T, 4) px, (u0, v0, u1, v1) outer edges; nan where lost
    angle: np.ndarray  # (T,) rad in (-pi/2, pi/2], long axis from +u towards +v; nan where lost or round
    mask: np.ndarray  # (T, H, W) bool, membership of at least one half; empty where lost

    def __len__(self) -> int:
        return len(self.detected)


class Tracker(Protocol):
    """What every tracker is: from a video and the objects of its first frame to their tracks."""

    def __call__(
        self,
        video: np.ndarray,
        segmentation: np.ndarray,
        first_frame: np.ndarray | None = None,
        labels: Sequence[int] | None = None,
    ) -> tuple[Tracks, ...]:
        """See :func:`track_objects`."""


@once_a_truth
def true_detections(truth: Truth, tracker: Tracker) -> np.ndarray:
    """Frames (T,) bool of the true video in which a tracker finds *the* object."""
    return tracker(truth.video, truth.segmentation[0], truth.video[0], [1])[0].detected


def check_followed(found: np.ndarray, shown: np.ndarray) -> None:
    """Refuse to judge with a tracker that loses what the true clip shows: a frozen video would be found, and win.

    Args:
        found, shown: (T,) bool, frames of the true video in which the object is tracked, and can be seen.
    """
    share = float(found[shown].mean()) if shown.any() else 1.0
    if share < FOLLOWED:
        raise ValueError(
            f"tracker: got the object in {share:.0%} of the frames of the true video that show it, expected at least "
            f"{FOLLOWED:.0%}; choose another tracker"
        )


class Soft(NamedTuple):
    """An object in one frame: memberships (h, w) in 0..1 of a part of the picture, and where that part begins."""

    row: int
    column: int
    share: np.ndarray


def track(video: np.ndarray, first_mask: np.ndarray, first_frame: np.ndarray | None = None) -> Tracks:
    """Follow an object through a video, by the colour it has in a first frame.

    Args:
        video: (T, H, W, 3) uint8, true or imagined.
        first_mask: (H, W) bool, the object in the first frame.
        first_frame: (H, W, 3) uint8, the picture the mask belongs to; frame 0 of the video when
            left out. Imagined videos should give the true one, their own may have lost the object.
    """
    first = check_first("first_mask", video, first_mask, first_frame)
    looks = learn(first, first_mask, empty_scene(first, first_mask), "first_mask")
    return _follow(video, [_Group(first, looks, [first_mask])])[0][0]


def track_objects(
    video: np.ndarray,
    segmentation: np.ndarray,
    first_frame: np.ndarray | None = None,
    labels: Sequence[int] | None = None,
) -> tuple[Tracks, ...]:
    """Follow several objects: by their colours, and among those of one colour by where they were last.

    Objects of one colour that touch are parted half-way between where they are expected.

    Args:
        video: (T, H, W, 3) uint8.
        segmentation: (H, W) integers, the labels of the objects in the first frame, 0 elsewhere.
        first_frame: as in :func:`track`.
        labels: which objects to follow, in the order of the result; all by default. The others are
            only kept out of the background: give coloured ones too if they can be mistaken.

    Raises:
        ValueError: a label without pixels, or an object without a colour of its own.
    """
    labels = check_labels(segmentation, labels)
    covered = np.asarray(segmentation) > 0
    first = check_first("segmentation", video, covered, first_frame)
    same, appearances = _learned(first, np.asarray(segmentation), tuple(labels))
    masks = [np.asarray(segmentation == label) for label in labels]
    groups = [
        _Group(first, looks, [masks[i] for i in members]) for members, looks in zip(same, appearances, strict=True)
    ]
    found: dict[int, Tracks] = {}
    for members, tracks in zip(same, _follow(video, groups), strict=True):
        found |= zip(members, tracks, strict=True)
    return tuple(found[i] for i in range(len(labels)))


def colour_regions(video: np.ndarray, first_mask: np.ndarray, first_frame: np.ndarray | None = None) -> np.ndarray:
    """All pixels (T, H, W) bool of the colour that ``first_mask`` has, whatever their number, such as spreading water.

    Arguments as in :func:`track`. A region counts where it holds a pixel of membership ``SEED``.
    """
    first = check_first("first_mask", video, first_mask, first_frame)
    looks = learn(first, first_mask, empty_scene(first, first_mask), "first_mask")
    regions = np.zeros(video.shape[:3], dtype=bool)
    for frame, picture in zip(regions, video, strict=True):
        (member,) = membership(picture, looks)
        count, labels = cv2.connectedComponents((member >= GROW).astype(np.uint8), connectivity=8)
        seeded = np.zeros(count, dtype=bool)
        seeded[labels[member >= SEED]] = True
        seeded[0] = False
        frame[:] = unshade(member, seeded[labels]) >= 0.5
    return regions


def collect(found: Sequence[Soft | None], shape: tuple[int, int]) -> Tracks:
    """Tracks of an object from what each frame (H, W) = ``shape`` shows of it, None where it is lost."""
    frames = len(found)
    centroid, box = np.full((frames, 2), np.nan), np.full((frames, 4), np.nan)
    area, angle = np.zeros(frames), np.full(frames, np.nan)
    mask = np.zeros((frames, *shape), dtype=bool)
    for t, soft in enumerate(found):
        if soft is None:
            continue
        height, width = soft.share.shape
        sums = cv2.moments(soft.share)
        area[t] = sums["m00"]
        centroid[t] = sums["m10"] / area[t] + soft.column + 0.5, sums["m01"] / area[t] + soft.row + 0.5
        angle[t] = _long_axis(sums["mu20"], sums["mu11"], sums["mu02"])
        solid = soft.share >= 0.5
        mask[t, soft.row : soft.row + height, soft.column : soft.column + width] = solid
        left, top, across, down = cv2.boundingRect(solid.view(np.uint8))
        left, top = left + soft.column, top + soft.row
        box[t] = left, top, left + across, top + down
    return Tracks(centroid, area > 0, area, box, angle, mask)


def check_first(name: str, video: np.ndarray, mask: np.ndarray, first_frame: np.ndarray | None) -> np.ndarray:
    """The picture (H, W, 3) that a mask (H, W) belongs to, after checks of all three."""
    check_video("video", video)
    check_mask(name, mask, video.shape[1:3])
    first = video[0] if first_frame is None else np.asarray(first_frame)
    if first.shape != video.shape[1:] or first.dtype != np.uint8:
        raise ValueError(
            f"first_frame: got {first.dtype} {first.shape}, expected uint8 {video.shape[1:]}; pass the given frame"
        )
    if not mask.any():
        raise ValueError(f"{name}: got no pixel, expected the object in frame 0; pass MuJoCo's mask of that frame")
    return first


def check_labels(segmentation: np.ndarray, labels: Sequence[int] | None) -> list[int]:
    """The labels to follow, each with at least a pixel."""
    segmentation = np.asarray(segmentation)
    if segmentation.ndim != 2 or not np.issubdtype(segmentation.dtype, np.integer):
        raise ValueError(
            f"segmentation: got {segmentation.dtype} {segmentation.shape}, expected (H, W) integers; pass the labels "
            "of the first frame"
        )
    present = [int(label) for label in np.unique(segmentation) if label > 0]
    wanted = present if labels is None else [int(label) for label in labels]
    missing = [label for label in wanted if label not in present]
    if missing or not wanted:
        raise ValueError(
            f"labels: got {wanted}, expected some of {present}, those in the first frame; leave out what is not seen"
        )
    return wanted


@once_a_picture
def _learned(
    first: np.ndarray, segmentation: np.ndarray, labels: tuple[int, ...]
) -> tuple[list[list[int]], list[Appearance]]:
    """Indices of the labels that have one hue, and what each of these groups looks like."""
    empty = empty_scene(first, segmentation > 0)
    masks = [segmentation == label for label in labels]
    names = [f"segmentation label {label}" for label in labels]
    alone = [learn(first, mask, empty, name) for mask, name in zip(masks, names, strict=True)]
    same = _same_hues(alone)
    looks = []
    for members in same:
        together = np.any([masks[i] for i in members], axis=0)
        looks.append(alone[members[0]] if len(members) == 1 else learn(first, together, empty, names[members[0]]))
    return same, looks


def _same_hues(looks: list[Appearance]) -> list[list[int]]:
    """Indices of the objects, those of one hue together."""
    groups: list[list[int]] = []
    for index, each in enumerate(looks):
        for group in groups:
            if looks[group[0]].direction @ each.direction >= SAME_HUE:
                group.append(index)
                break
        else:
            groups.append([index])
    return groups


def _compete(members: list[np.ndarray]) -> list[np.ndarray]:
    """Each pixel belongs to the colour it shows most of."""
    if len(members) == 1:
        return members
    most = functools.reduce(cv2.max, members)
    return [cv2.copyTo(member, cv2.compare(member, most, cv2.CMP_GE)) for member in members]


class _Group:
    """The objects of one colour, followed from frame to frame.

    Args:
        first: (H, W, 3) uint8, the given frame.
        looks: the colour.
        masks: (H, W) bool of each object in it.
    """

    def __init__(self, first: np.ndarray, looks: Appearance, masks: list[np.ndarray]) -> None:
        self.looks = looks
        (given,) = membership(first, looks)
        self.areas = np.array([given[mask].sum() for mask in masks], dtype=np.float64)
        self.expectation = Expectation(np.array([np.argwhere(mask).mean(axis=0) for mask in masks]))
        self.found: list[list[Soft | None]] = [[] for _ in masks]

    def look(self, member: np.ndarray) -> None:
        """Find the objects in the next frame's memberships (H, W)."""
        regions = _regions(member)
        if len(self.areas) == 1:
            largest = max(regions, key=lambda region: region.weight) if len(regions) > 1 else (*regions, None)[0]
            kept = [_plausible(largest, self.areas[0])]
        else:
            large = [region for region in regions if region.weight >= MIN_AREA * self.areas.min()]
            parts = divide(self.expectation.centres, self.areas, large)
            kept = [_plausible(part, area) for part, area in zip(parts, self.areas, strict=True)]
            self.expectation.update(kept)
        for softs, region in zip(self.found, kept, strict=True):
            softs.append(None if region is None else _soften(member, region))


def _follow(video: np.ndarray, groups: list[_Group]) -> list[list[Tracks]]:
    """Tracks of the objects of each group; frame after frame, so that no more than one is held as numbers."""
    looks = [group.looks for group in groups]
    for frame in video:
        for group, member in zip(groups, _compete(membership(frame, *looks)), strict=True):
            group.look(member)
    return [[collect(softs, video.shape[1:3]) for softs in group.found] for group in groups]


def _plausible(region: Region | None, area: float) -> Region | None:
    """The lost-object decision: a region of neither too few nor too many pixels of the colour, or None."""
    return region if region is not None and MIN_AREA * area <= region.weight <= MAX_AREA * area else None


def _regions(member: np.ndarray) -> list[Region]:
    """Connected pixels of at least ``GROW`` around one of at least ``SEED``, in a frame (H, W); rows are in order."""
    hot = (member >= GROW).view(np.uint8)
    left, top, width, height = cv2.boundingRect(hot)
    box = slice(top, top + height), slice(left, left + width)
    hot = hot[box]
    places = np.flatnonzero(hot)
    values = member[box].ravel()[places].astype(np.float64)
    seeds = values >= SEED
    if not seeds.any():
        return []
    rows, columns = np.divmod(places, width)
    rows, columns = rows + top, columns + left
    count, labels = cv2.connectedComponents(hot, connectivity=8)
    if count == 2:
        return [Region(rows, columns, values)]
    label = labels.ravel()[places]
    inside = [label == each for each in np.unique(label[seeds])]
    return [Region(rows[each], columns[each], values[each]) for each in inside]


def _soften(member: np.ndarray, region: Region) -> Soft:
    """The region's pixels and those around it, with how much of each is object."""
    top, left = max(region.rows[0] - 2, 0), max(region.columns.min() - 2, 0)
    rows, columns = region.rows - top, region.columns - left
    inside = np.zeros((rows[-1] + 3, columns.max() + 3), dtype=np.uint8)
    inside[rows, columns] = 1
    part = member[top : top + len(inside), left : left + inside.shape[1]]
    return Soft(int(top), int(left), unshade(part, inside[: part.shape[0], : part.shape[1]]))


def _long_axis(uu: float, uv: float, vv: float) -> float:
    """Direction in radians of the longest spread of second moments; nan if there is hardly a longest."""
    half, gap = (uu + vv) / 2, np.hypot((uu - vv) / 2, uv)
    if half + gap < LONG**2 * (half - gap):
        return float("nan")
    return float(0.5 * np.arctan2(2 * uv, uu - vv))
