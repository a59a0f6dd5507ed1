"""The Fetch gripper from pixels: two dark fingers of known size before a known camera.

Which finger pair fits is searched in the whole picture, so an imagined gripper may be anywhere;
the commanded opening only decides between pairs that fit alike, as when one finger is out of
view. The outer edges of the fingers and the edge of their tips are then read off between the
pixels. One picture cannot tell how far away the gripper is: its depth is the commanded one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from worldmodel.truth import Camera

# The gripper of worldmodel.envs.fetch, upright, from the grip point between its pads.
FINGER_DEPTH = 0.0185  # m, down to the tips
FINGER_THICKNESS = 0.014  # m, along y
FINGER_HALF_WIDTH = 0.0135  # m, along x
PALM_HEIGHT = 0.052  # m, up to the palm
HAND_HALF_SIZES = (0.04, 0.063)  # m, along x and y
MAX_OPENING = 0.1  # m, between the pads

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
COLOURED = 80.0  # grey levels between the channels from which on a pixel is rather no finger
BAND = 0.045  # m of finger above the tips that is looked for
BLOCK = 8  # frames in which fingers are looked for at once
DARKER = (
    60.0,
    75.0,
)  # grey levels above the fingers' own at which a pixel is no finger; the second if they are blurred
COARSE_SCALE = 180.0  # px/m at which fingers are looked for
FOUND = 0.35  # mean evidence of both fingers, at least
EACH = 0.2  # evidence of each finger, at least
UNSEEN = 0.55  # evidence of a finger outside the picture
PREFERENCE = 0.1  # evidence that an opening 10 cm off the commanded one costs
SAME_OPENING = 0.01  # m, by which the search's opening may be wrong
ROUNDS = 3  # of Newton's method
CONTRAST = 25.0  # grey levels between finger and background, at least
MIXED = 8.0  # grey levels by which a pixel at a tip is brighter than the one above it if it is no longer all finger


@dataclass(frozen=True)
class GripperTracks:
    """The gripper over T frames, in metres in the world frame; nan where it is not found."""

    position: np.ndarray  # (T, 3) m, grip point between the finger pads; x is the commanded one
    opening: np.ndarray  # (T,) m, between the pads
    detected: np.ndarray  # (T,) bool

    def __len__(self) -> int:
        return len(self.detected)


class Command(NamedTuple):
    """What the actions ask of the gripper at each of T frames."""

    target: np.ndarray  # (T, 3) m, of the grip point
    opening: np.ndarray  # (T,) m, between the pads


class _Pair(NamedTuple):
    """A finger pair to the next pixel: outer edges of the left and right finger's inner columns, and the tips."""

    evidence: float  # mean of both fingers
    tip: float  # px, v of the tips
    left: float  # px, u of the left finger's outer edge
    right: float  # px, u of the right finger's outer edge
    opening: float  # px


def track_gripper(
    video: np.ndarray, camera: Camera, first_frame: np.ndarray, position: np.ndarray, command: Command
) -> GripperTracks:
    """Follow the gripper through a video (T, H, W, 3) uint8.

    Args:
        first_frame: (H, W, 3) uint8, true picture, from which the fingers' shade is learned.
        position: (3,) m, grip point in that picture; its opening is ``command.opening[0]``.
        command: for the depth, and to choose between finger pairs that fit alike.
    """
    shade = _finger_shade(first_frame, camera, position, float(command.opening[0]))
    value = np.stack([_brightness(frame) for frame in video])
    neutral = np.clip(1.5 - np.ptp(video, axis=-1) / np.float32(COLOURED), 0.0, 1.0)
    scale = float(camera.focal_px / camera.depth(position))
    pairs: list[_Pair] = []
    for darker in DARKER:
        found = []
        for part in (slice(first, first + BLOCK) for first in range(0, len(video), BLOCK)):
            dark = np.clip((shade + darker - value[part]) / (darker - 8.0), 0.0, 1.0) * neutral[part]
            found += _find_pairs(dark, scale, command.opening[part])
        pairs = [old if old.evidence >= FOUND else new for old, new in zip(pairs or found, found, strict=True)]
        if all(pair.evidence >= FOUND for pair in pairs):
            break
    measured = np.full((len(video), 3), np.nan)
    for t, pair in enumerate(pairs):
        if pair.evidence >= FOUND:
            measured[t] = _measure(value[t], pair, scale)
    opening = np.array([pair.opening for pair in pairs]) / scale
    opening = np.where(np.abs(command.opening - opening) < SAME_OPENING, command.opening, opening)
    located = _locate(camera, measured, command.target, opening)
    # Where both edges are those of one finger, the other is beyond the nearer border.
    single = np.flatnonzero(located[:, 3] < -0.5 * FINGER_THICKNESS)
    beyond = np.where(measured[single, :2].mean(axis=1) < 0.5 * camera.width, 0, 1)
    measured[single, beyond] = np.nan
    located[single] = _locate(camera, measured[single], command.target[single], command.opening[single])
    return GripperTracks(located[:, :3], located[:, 3], np.isfinite(located[:, 3]))


def finger_boxes(position: np.ndarray, opening: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centres (..., 2, 3) and half sizes (3,) in metres of the left and the right finger, below the palm."""
    aside = 0.5 * (np.asarray(opening) + FINGER_THICKNESS)[..., None] * np.array([-1.0, 1.0])
    height = 0.5 * (PALM_HEIGHT - FINGER_DEPTH)
    offset = np.stack([np.zeros_like(aside), aside, np.full_like(aside, height)], axis=-1)
    half = np.array([FINGER_HALF_WIDTH, 0.5 * FINGER_THICKNESS, 0.5 * (PALM_HEIGHT + FINGER_DEPTH)])
    return np.asarray(position)[..., None, :] + offset, half


def _brightness(pixels: np.ndarray) -> np.ndarray:
    """Grey levels (...) of RGB pixels (..., 3): luma, which video codecs keep sharp, and some of the brightest channel.

    The latter because luma alone takes a blue item for dark fingers.
    """
    pixels = pixels.astype(np.float32)
    return 0.7 * (pixels @ LUMA) + 0.3 * pixels.max(axis=-1)


def _finger_shade(frame: np.ndarray, camera: Camera, position: np.ndarray, opening: float) -> float:
    """Brightness of the fingers where the first frame shows their front, in grey levels."""
    centres, half = finger_boxes(position, np.array(opening))
    along = np.linspace(-0.8, 0.8, 9)[:, None, None] * np.array([0.0, 0.0, half[2]])
    u, v = np.floor(camera.project(centres + along + [half[0], 0.0, 0.0])).astype(int).reshape(-1, 2).T
    seen = (u >= 0) & (v >= 0) & (u < camera.width) & (v < camera.height)
    if not seen.any():
        raise ValueError(
            "truth: got a gripper outside the first picture, expected it in view; record a clip that begins with it"
        )
    return float(np.median(_brightness(frame[v[seen], u[seen]])))


def _find_pairs(dark: np.ndarray, scale: float, opening: np.ndarray) -> list[_Pair]:
    """The pair of fingers with most evidence in each frame of darkness (T, H, W) in 0..1."""
    shrink = max(1, round(scale / COARSE_SCALE))
    frames, height, width = dark.shape
    height, width, scale = height // shrink, width // shrink, scale / shrink
    thick, band = max(2, round(FINGER_THICKNESS * scale)), round(BAND * scale)
    gaps = np.arange(int(np.ceil(MAX_OPENING * scale)) + 1)
    pad = int(gaps[-1]) + 2 * thick
    fingers = np.empty((frames, height, width + 2 * pad - thick + 1), np.float32)
    for t in range(frames):
        small = cv2.resize(dark[t], (width, height), interpolation=cv2.INTER_AREA) if shrink > 1 else dark[t]
        fingers[t] = _finger_evidence(np.pad(small, ((0, 2), (pad, pad)), constant_values=UNSEEN), thick, band)
    best = [_Pair(-np.inf, 0.0, 0.0, 0.0, 0.0)] * frames
    for gap in map(int, gaps):
        left, right = fingers[:, :, : fingers.shape[2] - thick - gap], fingers[:, :, thick + gap :]
        both = np.where(np.minimum(left, right) >= EACH, 0.5 * (left + right), -np.inf)
        columns = np.arange(both.shape[2]) - pad
        both[:, :, (columns < 0) & (columns + 2 * thick + gap > width)] = -np.inf  # neither finger is in view
        flat = both.reshape(frames, -1).argmax(axis=1)
        rows, columns = np.unravel_index(flat, both.shape[1:])
        evidence = both[np.arange(frames), rows, columns]
        evidence = evidence - PREFERENCE * np.abs(gap / scale - opening) / MAX_OPENING
        for t in map(int, np.flatnonzero(evidence > [each.evidence for each in best])):
            outer = float(columns[t] - pad)
            edges = np.array([rows[t] + 1.0, outer, outer + 2 * thick + gap, gap]) * shrink
            best[t] = _Pair(float(evidence[t]), *map(float, edges))
    return best


def _finger_evidence(dark: np.ndarray, thick: int, band: int) -> np.ndarray:
    """Evidence (H, W') of a finger whose tip is in row i and whose first column is j, from (H + 2, W)."""
    sums = cv2.integral(dark, sdepth=cv2.CV_32F)
    across = sums[:, thick:] - sums[:, :-thick]
    height = len(dark) - 2
    end = np.arange(1, height + 1)
    begin = np.maximum(end - band, 0)
    inside = (across[end] - across[begin]) / (thick * band)
    below = (across[end + 2] - across[end]) / (2 * thick)
    return inside - 0.5 * below


def _measure(value: np.ndarray, pair: _Pair, scale: float) -> np.ndarray:
    """Outer edges (u) and tips (v) in pixels between the pixels; nan where out of view or without contrast."""
    width = value.shape[1]
    thick = max(2, round(FINGER_THICKNESS * scale))
    reach = 2 + int(scale > 1.5 * COARSE_SCALE)
    bottom = int(pair.tip)
    rows = np.arange(max(0, int(bottom - BAND * scale)), max(1, bottom - 1))
    edges, tips = [], []
    for outer, sign in ((round(pair.left), -1), (round(pair.right) - 1, 1)):
        columns = outer - sign * np.arange(-1, thick)  # from the outside inwards
        columns = columns[(columns >= 0) & (columns < width)]
        shades = np.median(value[rows][:, columns], axis=0) if len(columns) else np.zeros(0)
        solid = columns[shades <= shades.min(initial=np.inf) + 20.0]
        core = solid[0] if len(solid) else -1
        beyond = core + sign * np.arange(reach + 1)
        if not len(solid) or beyond.min() < 0 or beyond.max() >= width:
            edges.append(np.nan)
            continue
        covered = _median(_covered(value[rows][:, beyond]))
        edges.append(core + covered if sign > 0 else core + 1 - covered)
        tips += [_tip(value[:, column], bottom, reach) for column in solid]
    return np.array([*edges, _median(np.array(tips))])


def _covered(lines: np.ndarray) -> np.ndarray:
    """Pixels (...) that a finger covers of lines (..., n) from a pixel of its own to one beyond it."""
    core, beyond = lines[..., 0], lines[..., -1]
    share = (beyond[..., None] - lines[..., :-1]) / np.maximum(beyond - core, 1.0)[..., None]
    return np.where(beyond - core > CONTRAST, np.clip(share, 0.0, 1.0).sum(axis=-1), np.nan)


def _tip(column: np.ndarray, bottom: int, reach: int) -> float:
    """v of a finger's lower end in a column (H,) of pixels, searched around row ``bottom``."""
    top = max(0, bottom - 2 - reach)
    line = column[top : bottom + 2 * reach + 1]
    if len(line) < reach + 2:
        return float("nan")
    fingers = np.flatnonzero(line < line[: reach + 1].min() + CONTRAST)
    last = fingers[-1] if len(fingers) else 0
    mixed = last > 0 and line[last] - line[last - 1] > MIXED
    end = last + 1 if mixed else last + 2
    if last == 0 or end >= len(line):
        return float("nan")
    return top + last - 1 + float(_covered(line[last - 1 : end + 1]))


def _median(values: np.ndarray) -> float:
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else float("nan")


def _locate(camera: Camera, measured: np.ndarray, target: np.ndarray, opening: np.ndarray) -> np.ndarray:
    """Grip points and openings (T, 4) in metres with edges as measured (T, 3); nan where too little is.

    With one finger out of view the opening is taken as given, (T,) m.
    """
    enough = np.isfinite(measured[:, 2]) & np.isfinite(measured[:, :2]).any(axis=1)
    unknown = ~np.isfinite(measured)
    state = np.stack([target[:, 1], target[:, 2], opening], axis=1)
    for _ in range(ROUNDS):
        here = _edges(camera, target[:, 0], state)
        steps = [_edges(camera, target[:, 0], state + 1e-3 * way) - here for way in np.eye(3)]
        slopes, error = np.stack(steps, axis=2), measured - here
        slopes[unknown], error[unknown] = (0.0, 0.0, 1.0), 0.0
        state[enough] += 1e-3 * np.linalg.solve(slopes[enough], error[enough][..., None])[..., 0]
    return np.where(enough[:, None], np.concatenate([target[:, :1], state], axis=1), np.nan)


def _edges(camera: Camera, x: np.ndarray, state: np.ndarray) -> np.ndarray:
    """Pixels (T, 3) of grippers (y, z, opening): outer edges (u), half-way up the band, and tips (v)."""
    y, z, opening = state.T
    outer, height = 0.5 * opening + FINGER_THICKNESS, z - FINGER_DEPTH + 0.5 * BAND
    front, back = x + FINGER_HALF_WIDTH, x - FINGER_HALF_WIDTH
    points = [[depth, y + side * outer, height] for side in (-1, 1) for depth in (front, back)]
    pixels = camera.project(np.moveaxis(np.array([*points, [front, y, z - FINGER_DEPTH]]), 1, 2))
    return np.stack([pixels[:2, :, 0].min(axis=0), pixels[2:4, :, 0].max(axis=0), pixels[4, :, 1]], axis=1)
