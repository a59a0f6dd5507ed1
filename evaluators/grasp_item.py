"""Where the item of a grasp is, in metres: its visible pixels against the silhouette of its known shape.

One picture does not tell how far away an item is, so every frame can be read in two ways: as if
the item stood on the table, or as if it were in the air, at the depth to which the gripper took it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from worldmodel.evaluators.gripper_tracking import HAND_HALF_SIZES, PALM_HEIGHT, GripperTracks, finger_boxes
from worldmodel.evaluators.tracking import Soft, Tracks, collect
from worldmodel.truth import Camera

FINE = 8  # samples along each side of a pixel
STEPS = 3  # of moving the silhouettes onto the pixels
MIN_IN_VIEW = 0.6  # of a silhouette: below, what hides the item decides how large it looks
RAISED = 0.1  # m, a usual lift
SMALL_TURN = 0.1  # rad
HAND_HEIGHT = 0.12  # m, of the hand above its palm
_CORNERS = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T  # (8, 3)


@dataclass(frozen=True)
class ItemShape:
    """An item's size and first attitude.

    It is the box ``core``, made ``radius`` thicker on all sides, or, if ``upright``, only along x and y.
    """

    surface: np.ndarray  # (N, 3) m, points whose convex hull it is, from its centre, along the world's axes
    straight: np.ndarray  # (N, 3) m, the same once the fingers have turned it straight
    core: np.ndarray  # (3,) m, half sizes, straight
    radius: float  # m
    upright: bool

    @property
    def width(self) -> float:
        """Size in metres between the fingers."""
        return 2.0 * (float(self.core[1]) + self.radius)


@dataclass(frozen=True)
class Readings:
    """The item over T frames under an assumption; nan where it is not found."""

    position: np.ndarray  # (T, 3) m, centre
    area_ratio: np.ndarray  # (T,) visible area over the silhouette's; nan too where little is in view
    turn: np.ndarray  # (T,) rad, least turn in space since the first frame that shows; nan too where none would


def item_shape(scene: Mapping[str, Any]) -> ItemShape:
    """Shape of the item that a grasp's ``Truth.scene`` describes."""
    shape, (a, b, c), yaw = scene["shape"], scene["size"], float(scene["yaw"])
    angle = np.linspace(0.0, 2.0 * np.pi, 24, endpoint=False)
    rim = a * np.stack([np.cos(angle), np.sin(angle), np.zeros(24)], axis=1)
    along, up = np.array([b, 0.0, 0.0]), np.array([0.0, 0.0, b])
    parts = {
        "box": (_CORNERS * (a, b, c), np.array([a, b, c]), 0.0),
        "sphere": (a * _ball(), np.zeros(3), a),
        "capsule": (np.concatenate([a * _ball() - along, a * _ball() + along]), along, a),
        "cylinder": (np.concatenate([rim - up, rim + up]), up, a),
    }
    if shape not in parts:
        raise ValueError(f"truth.scene: got shape {shape!r}, expected one of {', '.join(parts)}; score such clips")
    straight, core, radius = parts[shape]
    turned = straight @ cv2.Rodrigues(np.array([0.0, 0.0, yaw]))[0].T
    return ItemShape(turned, straight, core, radius, upright=shape == "cylinder")


class ItemReader:
    """Reads where the item is off its visible pixels: there its silhouette, as far as in view, has their centroid.

    Args:
        tracks, gripper: of T frames; frame 0 is the true first picture, and what is left over
            there, where the position is known, is left out everywhere.
        start: (3,) m, the item's centre in frame 0.
    """

    def __init__(
        self, camera: Camera, shape: ItemShape, tracks: Tracks, gripper: GripperTracks, start: np.ndarray
    ) -> None:
        self._camera, self._tracks = camera, tracks
        self._hidden = [_hidden(camera, gripper, tracks, t) for t in range(len(tracks))]
        self._first, _ = _visible(camera, shape.surface, start[None], self._hidden)
        self._seen = tracks.centroid - (tracks.centroid[0] - self._first.centroid[0])
        self._turn_gain = _turn_gain(camera, shape.surface, start)

    def read(self, axis: int, values: np.ndarray, surface: np.ndarray) -> Readings:
        """The item, with a surface (N, 3) m, where the coordinate ``axis`` of its centre has the values (T,) m."""
        tracks, first, pixel = self._tracks, self._first, self._seen.copy()
        for _ in range(STEPS):
            position = on_plane(self._camera, pixel, axis, values)
            silhouettes, in_view = _visible(self._camera, surface, position, self._hidden)
            pixel += np.where(silhouettes.detected[:, None], self._seen - silhouettes.centroid, 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = (tracks.area / tracks.area[0]) / (silhouettes.area / first.area[0])
        ratio = np.where(tracks.detected & (in_view >= MIN_IN_VIEW), ratio, np.nan)
        turn = half_turns(tracks.angle - silhouettes.angle - (tracks.angle[0] - first.angle[0]))
        return Readings(on_plane(self._camera, pixel, axis, values), ratio, turn / self._turn_gain)


def on_plane(camera: Camera, pixel: np.ndarray, axis: int, values: np.ndarray) -> np.ndarray:
    """World points (T, 3) m that are seen at pixels (T, 2) and whose coordinate ``axis`` is ``values`` (T,)."""
    rotation, translation = camera.world_to_camera[:3, :3], camera.world_to_camera[:3, 3]
    rays = np.concatenate([pixel, np.ones((len(pixel), 1))], axis=1) @ np.linalg.inv(camera.intrinsics).T @ rotation
    centre = -translation @ rotation
    return centre + ((values - centre[axis]) / rays[:, axis])[:, None] * rays


def _turn_gain(camera: Camera, surface: np.ndarray, start: np.ndarray) -> float:
    """How much faster than the item its axis in the picture can turn, at least 1: one seen end-on turns fastest."""
    places = np.stack([start, start + np.array([0.0, 0.0, RAISED])])
    nothing = [np.zeros((camera.height, camera.width), np.float32)] * 2
    angle = _visible(camera, surface, places, nothing)[0].angle
    gain = 1.0
    for axis in np.eye(3):
        turned = surface @ cv2.Rodrigues(SMALL_TURN * axis)[0].T
        shown = np.abs(half_turns(_visible(camera, turned, places, nothing)[0].angle - angle))
        gain = max(gain, float(np.nan_to_num(shown).max()) / SMALL_TURN)
    return gain


def half_turns(angle: np.ndarray) -> np.ndarray:
    """Angles of axes, which are the same after half a turn, in [-pi/2, pi/2)."""
    return (np.asarray(angle) + 0.5 * np.pi) % np.pi - 0.5 * np.pi


def _ball() -> np.ndarray:
    """Unit vectors (N, 3) spread over the sphere."""
    z, angle = np.meshgrid(np.linspace(-1.0, 1.0, 9), np.linspace(0.0, 2.0 * np.pi, 16, endpoint=False))
    radius = np.sqrt(1.0 - z**2)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), z], axis=-1).reshape(-1, 3)


def _visible(
    camera: Camera, surface: np.ndarray, position: np.ndarray, hidden: list[np.ndarray]
) -> tuple[Tracks, np.ndarray]:
    """What would be seen of the item at positions (T, 3) m, and the share (T,) of each silhouette that is."""
    softs: list[Soft | None] = []
    shares = np.zeros(len(position))
    for t, centre in enumerate(position):
        whole = _fill(camera.project(surface + centre), hidden[t].shape) if np.isfinite(centre).all() else None
        softs.append(None)
        if whole is None:
            continue
        rows, columns = whole.share.shape
        part = hidden[t][whole.row : whole.row + rows, whole.column : whole.column + columns]
        share = whole.share * (1.0 - part)
        shares[t] = share.sum() / whole.share.sum()
        if share.max() >= 0.5:
            softs[t] = Soft(whole.row, whole.column, share)
    return collect(softs, hidden[0].shape), shares


def _hidden(camera: Camera, gripper: GripperTracks, tracks: Tracks, t: int) -> np.ndarray:
    """How much of each pixel (H, W) of frame t shows the gripper and so cannot tell whether the item is behind it."""
    size = (camera.height, camera.width)
    cover = np.zeros(size, np.float32)
    if not gripper.detected[t]:
        return cover
    centres, half = finger_boxes(gripper.position[t], gripper.opening[t])
    hand = gripper.position[t] + (0.0, 0.0, PALM_HEIGHT + 0.5 * HAND_HEIGHT)
    boxes = [(centre, half) for centre in centres] + [(hand, np.array([*HAND_HALF_SIZES, 0.5 * HAND_HEIGHT]))]
    for centre, halves in boxes:
        soft = _fill(camera.project(centre + _CORNERS * halves), size)
        if soft is not None:
            rows, columns = soft.share.shape
            cover[soft.row : soft.row + rows, soft.column : soft.column + columns] += soft.share
    return np.where(tracks.mask[t], 0.0, np.minimum(cover, 1.0))


def _fill(points: np.ndarray, size: tuple[int, int]) -> Soft | None:
    """Share of each pixel that the convex hull of points (N, 2) px covers; None out of the picture."""
    low = np.maximum(np.floor(points.min(axis=0)), 0).astype(int)
    high = np.minimum(np.ceil(points.max(axis=0)), size[::-1]).astype(int)
    if (high <= low).any():
        return None
    # OpenCV puts integer coordinates at the centres of the fine pixels.
    hull = cv2.convexHull(np.round(((points - low) * FINE - 0.5) * 16).astype(np.int32))
    fine = np.zeros((*((high - low)[::-1] * FINE),), np.float32)
    cv2.fillConvexPoly(fine, hull, 1.0, shift=4)
    share = cv2.resize(fine, tuple(int(side) for side in high - low), interpolation=cv2.INTER_AREA)
    return Soft(int(low[1]), int(low[0]), share)
