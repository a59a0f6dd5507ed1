"""What is known of a true fall, and the tracked object of any clip of it in metres, with where nothing can touch it.

World frame, z up, SI units, T frames. The scenes are those of ``worldmodel/FreeFall-v0``, of
which only what :class:`~worldmodel.truth.Truth` holds is used.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import cv2
import numpy as np

from worldmodel.evaluators.metres import facing_normal, metres_per_pixel, on_plane
from worldmodel.evaluators.tracking import Tracks
from worldmodel.truth import Truth

# Standard error of the tracked centroid along each axis, measured against MuJoCo: what the raster
# leaves, and what light and perspective do, which grows with the picture.
SIGMA_PX, SIGMA_HEIGHT = 0.06, 0.0009
GRIPPER = "gripper"  # the object of truth that may hold *the* object
CLEAR = 3.0  # standard errors above which an object surely touches nothing
# Spread of the visible centroid about the centre of mass once an object has turned, measured likewise:
# TURNED sqrt(r (R - r)) + LIT R for a surface between r and R from the centre.
TURNED, LIT = 0.1, 0.015
WHOLE = 0.9  # of the largest visible area so far: a falling object that shows less is partly hidden
OFFSET = 0.2  # of the smallest distance of the surface: a visible centroid is no further from the centre of mass
APART_PX = 2  # by which another object must be away in the picture
HALF_SIZES = {  # smallest and largest distance of the surface from the centre, from MuJoCo's half sizes
    "sphere": (lambda x, y, z: x, lambda x, y, z: x),
    "box": (lambda x, y, z: min(x, y, z), lambda x, y, z: float(np.hypot(np.hypot(x, y), z))),
    "ellipsoid": (lambda x, y, z: min(x, y, z), lambda x, y, z: max(x, y, z)),
    "cylinder": (lambda x, y, z: min(x, y), lambda x, y, z: float(np.hypot(x, y))),
    "capsule": (lambda x, y, z: x, lambda x, y, z: x + y),
}


@dataclass(frozen=True)
class TrueFall:
    """The first fall of *the* object as MuJoCo has it."""

    gravity: float  # m/s^2
    start: float  # s, when it is let go; nan if it never is
    impact: float  # s, first touch of floor or support; nan if there is none
    energy_height: float  # m, height to which the energy at the start would lift it
    contact_height: float  # m, of the centre at the first touch; the least possible one if there is none
    clear_height: float  # m, above which the first fall is free and in full view
    least_height: float  # m, below which the centre cannot get above the floor
    free_height: float  # m, above which it surely touches nothing after the first landing, however it is turned

    @property
    def drop(self) -> float:
        """Height in metres that is lost before the first touch, from rest."""
        return self.energy_height - self.contact_height


@dataclass(frozen=True)
class TrackedFall:
    """The tracked object of a clip, true or imagined."""

    time: np.ndarray  # (T,) s
    position: np.ndarray  # (T, 3) m, in an upright plane that faces the camera; nan where lost
    sigma: float  # m, standard error of each coordinate in that plane, from frame to frame
    turned: float  # m, standard error of where the centre of mass is in the visible part, when that has turned
    free: np.ndarray  # (T,) bool: found, and surely touches nothing
    unbroken: np.ndarray  # (T,) bool: neither did it since the frame before

    @property
    def height(self) -> np.ndarray:
        """z (T,) in metres."""
        return self.position[:, 2]


def true_fall(truth: Truth) -> TrueFall:
    """Facts of the first fall; see :class:`TrueFall`."""
    gravity = float(truth.scene.get("gravity", 9.81))
    least, largest = surface_distances(truth)
    release = truth.outcome.get("release_time")
    start = (np.nan if GRIPPER in truth.objects else 0.0) if release is None else float(release)
    impact = true_impact_time(truth)
    first = 0 if np.isnan(start) else min(int(np.ceil(start * truth.fps - 1e-6)), len(truth) - 1)
    speed = float(np.linalg.norm(truth.velocity[first, 0]))
    energy_height = float(truth.position[first, 0, 2] + speed**2 / (2 * gravity)) if gravity > 0 else np.nan
    contact = least if np.isnan(impact) else _height_at(truth, impact, gravity)
    clear = max(contact, _hidden_height(truth, impact))
    return TrueFall(
        gravity=gravity,
        start=start,
        impact=impact,
        energy_height=energy_height,
        contact_height=contact,
        clear_height=clear,
        least_height=least,
        free_height=max(clear, contact - least + largest),
    )


def true_impact_time(truth: Truth) -> float:
    """When the object first touched the floor or a support, in seconds; nan if the clip ends before."""
    impact = truth.outcome.get("impact_time")
    return float("nan") if impact is None else float(impact)


def surface_distances(truth: Truth) -> tuple[float, float]:
    """Smallest and largest distance in metres of *the* object's surface from its centre."""
    shape, size = truth.scene.get("shape"), truth.scene.get("size")
    if shape not in HALF_SIZES or size is None:
        raise ValueError(
            f"truth.scene: got shape {shape!r} and size {size!r}, expected one of {', '.join(HALF_SIZES)} and MuJoCo's "
            "half sizes; record the clip with worldmodel/FreeFall-v0"
        )
    scale = float(truth.scene.get("scale", 1.0))
    smallest, largest = (float(scale * distance(*size)) for distance in HALF_SIZES[shape])
    return smallest, largest


def tracked_falls(tracks: Tracks, truth: Truth, fall: TrueFall) -> tuple[TrackedFall, TrackedFall]:
    """The tracked path in metres, with the object as far away as at the start, and as far as it truly is.

    A pixel becomes the point of its ray in the upright plane that faces the camera through the
    true object, where it starts or where it is in each frame. Both are the same until the true
    landing. Where the centre of mass is in the visible part is taken from
    the first frame, which is given. How far an imagined object comes towards the camera after a
    bounce is not known, so what is held against it should hold for both.
    """
    near = near_others(tracks, truth)
    through = truth.position[0, 0], truth.position[:, 0]
    one, other = (_tracked_fall(tracks, truth, fall, near, points) for points in through)
    return one, other


def flown_fall(truth: Truth, fall: TrueFall) -> TrackedFall:
    """The true path, as a tracker without error would find it."""
    centroid = truth.camera.project(truth.position[:, 0])
    there = np.isfinite(centroid).all(axis=1)
    nothing = np.full(len(truth), np.nan)
    tracks = Tracks(centroid, there, there.astype(float), np.repeat(nothing[:, None], 4, axis=1), nothing, truth.mask)
    return _tracked_fall(tracks, truth, fall, near_others(tracks, truth), truth.position[:, 0])


def _tracked_fall(tracks: Tracks, truth: Truth, fall: TrueFall, near: np.ndarray, through: np.ndarray) -> TrackedFall:
    position = on_plane(truth.camera, tracks.centroid, through, facing_normal(truth.camera))
    if not near[0]:
        position -= _offset(position[0], truth)
    sigma = centroid_sigma_px(truth.camera.height) * float(metres_per_pixel(truth.camera, truth.position[0, 0]))
    time = np.arange(len(tracks)) / truth.fps
    margin = CLEAR * sigma
    step = fall.gravity / truth.fps**2
    height = position[:, 2]
    # In its first fall an object is turned as it was at the start, so its contact height is known.
    low = _can_touch(height, fall.clear_height + margin, step)
    landed = np.cumsum(low) > 0
    low |= landed & _can_touch(height, fall.free_height + margin, step)
    free = np.isfinite(height) & ~near & (height > np.where(landed, fall.free_height, fall.clear_height) + margin)
    unbroken = free & ~low & np.concatenate([[False], free[:-1]])
    least, largest = surface_distances(truth)
    turned = TURNED * np.sqrt(least * (largest - least)) + LIT * largest
    return TrackedFall(time, position, sigma, float(turned), free, unbroken)


def agreeing(one: TrackedFall, other: TrackedFall) -> tuple[TrackedFall, TrackedFall]:
    """Both paths of one object, free only where both are."""
    flags = {"free": one.free & other.free, "unbroken": one.unbroken & other.unbroken}
    return dataclasses.replace(one, **flags), dataclasses.replace(other, **flags)


def centroid_sigma_px(height: int) -> float:
    """Standard error in pixels of the tracked centroid along an axis, in a picture of a height in pixels."""
    return float(np.hypot(SIGMA_PX, SIGMA_HEIGHT * height))


def runs(fall: TrackedFall) -> list[slice]:
    """Longest stretches of frames in which nothing can have touched the object."""
    starts = np.flatnonzero(fall.free & ~fall.unbroken)
    broken = np.append(~fall.unbroken, True)
    return [slice(int(start), int(start + 1 + broken[start + 1 :].argmax())) for start in starts]


def _offset(first: np.ndarray, truth: Truth) -> np.ndarray:
    """From the true centre to what is tracked in the first frame (3,) m; small, and 0 if it is lost there."""
    offset = np.nan_to_num(first - truth.position[0, 0])
    limit = OFFSET * surface_distances(truth)[0]
    return offset * min(1.0, limit / max(float(np.linalg.norm(offset)), 1e-12))


def lands_in_view(truth: Truth) -> bool:
    """Whether a landing can be seen at all: not behind the screen of a ledge."""
    return truth.scene.get("support") != "ledge"


def _hidden_height(truth: Truth, impact: float) -> float:
    """Height in metres below which something before the falling object hides a part of it; -inf if nothing does."""
    area = np.count_nonzero(truth.mask, axis=(1, 2)) * truth.camera.depth(truth.position[:, 0]) ** 2
    falling = np.ones(len(truth), bool) if np.isnan(impact) else truth.time < impact
    hidden = falling & (area < WHOLE * np.maximum.accumulate(area))
    return float(truth.position[max(0, int(hidden.argmax()) - 1), 0, 2]) if hidden.any() else -np.inf


def _height_at(truth: Truth, when: float, gravity: float) -> float:
    """Height in metres of the freely falling object at a time in s, from the frame before."""
    frame = min(int(when * truth.fps), len(truth) - 1)
    after = when - frame / truth.fps
    return float(truth.position[frame, 0, 2] + truth.velocity[frame, 0, 2] * after - gravity * after**2 / 2)


def _can_touch(height: np.ndarray, ground: float, step: float) -> np.ndarray:
    """Whether the object can have been below ``ground`` since the frame before (T,), lost frames aside.

    Beside being there at either frame: if it went on falling from the frame before, or came up
    to this one, it would have been. ``step`` is the height lost to gravity a frame, squared.
    """
    padded = np.concatenate([[height[0]], height, [np.nan]])  # at rest before the first frame
    before, now, after = padded[:-2], padded[1:-1], padded[2:]
    following = 2 * now - before - step  # expected in the next frame
    leading = 2 * now - after - step  # expected in the frame before
    with np.errstate(invalid="ignore"):
        down = np.concatenate([[False], following[:-1] <= ground])
        return (now <= ground) | np.concatenate([[False], now[:-1] <= ground]) | down | (leading <= ground)


def near_others(tracks: Tracks, truth: Truth) -> np.ndarray:
    """Frames (T,) in which the tracked object is close in the picture to where another one truly is."""
    if len(truth.objects) == 1:
        return np.zeros(len(tracks), dtype=bool)
    side = 2 * APART_PX + 1
    kernel = np.ones((side, side), np.uint8)
    others = (truth.segmentation > 1).view(np.uint8)
    near = [
        cv2.countNonZero(cv2.bitwise_and(cv2.dilate(mask.view(np.uint8), kernel), other)) > 0
        for mask, other in zip(tracks.mask, others, strict=True)
    ]
    return np.array(near)
