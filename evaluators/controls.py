"""Videos of known worth made from the true one: nulls that a world model has to beat, and faults that must show.

Those that need another simulation, such as half the gravity, are made where there is a simulator.
"""

from __future__ import annotations

import cv2
import numpy as np

from worldmodel.evaluators.checks import check_mask, check_video
from worldmodel.evaluators.tracking import track

MARGIN = np.ones((5, 5), np.uint8)  # px around the mask that still show some of the object
JUMP = 0.25  # of the picture's height: the least that a teleported object moves
STRIP = 16  # rows of pixels that are sorted at once
GROWTH = 0.25  # change of area between frames beyond which a region spreads instead of moving


def frozen(video: np.ndarray) -> np.ndarray:
    """The first frame of ``video`` (T, H, W, 3) uint8, T times."""
    check_video("video", video)
    return np.repeat(video[:1], len(video), axis=0)


def linear_extrapolation(video: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """The object of frame 0 moved on at the velocity it has between the true frames 0 and 1.

    Args:
        video: (T, H, W, 3) uint8, true video.
        masks: (T, H, W) bool, the object's visible pixels, from which the empty scene is uncovered.

    Returns:
        (T, H, W, 3) uint8; an object that was not visible in frame 1 stays where it was.
    """
    empty = background(video, masks).astype(np.float32)
    tracks = track(video[:2], masks[0])
    velocity = tracks.centroid[1] - tracks.centroid[0] if tracks.detected.all() else np.zeros(2)
    near = cv2.GaussianBlur(cv2.dilate(masks[0].astype(np.uint8), MARGIN).astype(np.float32), (3, 3), 0)
    difference = (video[0].astype(np.float32) - empty) * near[..., None]
    return np.stack([_quantise(empty + _shift(difference, t * velocity)) for t in range(len(video))])


def half_speed(video: np.ndarray, masks: np.ndarray | None = None) -> np.ndarray:
    """The first half of ``video`` (T, H, W, 3) uint8, played at half speed.

    Between two frames stands their mean. With ``masks`` (T, H, W) bool of an object, that is
    drawn half-way between instead of twice, unless it spreads as water does.
    """
    check_video("video", video)
    slow = np.repeat(video, 2, axis=0)[: len(video)]
    last = len(video) // 2
    slow[1::2] = _quantise((video[:last].astype(np.float32) + video[1 : last + 1].astype(np.float32)) / 2)
    if masks is not None:
        empty = background(video, masks)
        for t in range(last):
            slow[2 * t + 1] = _between(video[t : t + 2], masks[t : t + 2], empty, slow[2 * t + 1])
    return slow


def vanish(video: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """The object, ``masks`` (T, H, W) bool, is painted over with the empty scene from half-way on; its shadow stays."""
    empty, gone = background(video, masks), video.copy()
    for t in range(len(video) // 2, len(video)):
        gone[t] = _without(video[t], masks[t], empty)
    return gone


def teleport(video: np.ndarray, masks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Half-way the object jumps to a random place in the picture, at least ``JUMP`` away, and goes on from there."""
    empty, jumped = background(video, masks), video.copy()
    for t, offset in _thrown(masks, rng):
        jumped[t] = _paste(_without(video[t], masks[t], empty), video[t], masks[t], offset)
    return jumped


def twin(video: np.ndarray, masks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Half-way a second object like the first appears at least ``JUMP`` away, and moves as that does."""
    doubled = video.copy()
    for t, offset in _thrown(masks, rng):
        doubled[t] = _paste(video[t], video[t], masks[t], offset)
    return doubled


def reversed_after_first(video: np.ndarray) -> np.ndarray:
    """The first frame of ``video`` (T, H, W, 3), then the others backwards."""
    check_video("video", video)
    return np.concatenate([video[:1], video[:0:-1]])


def shuffled_after_first(video: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The first frame of ``video`` (T, H, W, 3), then the others in a random order that is not the true one."""
    check_video("video", video)
    order = np.arange(1, len(video))
    while len(order) > 1 and (order == np.arange(1, len(video))).all():
        order = rng.permutation(order)
    return video[np.append(0, order)]


def other_seed(video: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The first frame of ``video``, then ``other``, a true video of another scene; both (T, H, W, 3)."""
    check_video("video", video)
    check_video("other", other)
    if other.shape != video.shape:
        raise ValueError(f"other: got shape {other.shape}, expected {video.shape}; take a clip of the same store")
    return np.concatenate([video[:1], other[1:]])


def background(video: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """The scene (H, W, 3) uint8 without its object: median of the frames that do not show it there."""
    check_video("video", video)
    check_mask("masks", masks, video.shape[:3])
    covered = np.stack([cv2.dilate(mask.astype(np.uint8), MARGIN).astype(bool) for mask in masks])
    never = np.asarray(covered.all(axis=0))
    strips = [slice(top, top + STRIP) for top in range(0, video.shape[1], STRIP)]  # sorting takes four times the bytes
    middle = np.concatenate([_median_where(video[:, strip], ~covered[:, strip]) for strip in strips])
    empty = np.rint(np.where(never[..., None], 0.0, middle)).astype(np.uint8)
    return cv2.inpaint(empty, never.astype(np.uint8), 3.0, cv2.INPAINT_TELEA)


def _thrown(masks: np.ndarray, rng: np.random.Generator) -> list[tuple[int, np.ndarray]]:
    """Frames of the second half that show the object, each with the one way (u, v) in px that it is thrown."""
    visible = [t for t in range(len(masks) // 2, len(masks)) if masks[t].any()]
    offset = _elsewhere(masks[visible[0]], rng) if visible else np.zeros(2)
    return [(t, offset) for t in visible]


def _elsewhere(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Way (u, v) in px from an object of a frame to a random place in the picture, at least ``JUMP`` away."""
    height, width = mask.shape
    here = np.argwhere(mask).mean(axis=0)
    inset = max(2.0, np.sqrt(mask.sum() / np.pi))
    rows, columns = np.arange(height), np.arange(width)
    inside = ((rows >= inset) & (rows < height - inset))[:, None] & ((columns >= inset) & (columns < width - inset))
    far = np.hypot(rows[:, None] - here[0], columns - here[1]) >= JUMP * height
    places = np.argwhere(inside & far) if (inside & far).any() else np.argwhere(far)
    return np.asarray(np.rint(places[rng.integers(len(places))] - here)[::-1])


def _median_where(frames: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Median (H, W, 3) over the frames (T, H, W, 3) in which a pixel is seen (T, H, W)."""
    # Sorted with what is covered last, the middle of the others is their median, many times faster than nanmedian.
    ordered = np.sort(np.where(seen[..., None], frames.astype(np.float32), np.inf), axis=0)
    count = np.maximum(seen.sum(axis=0), 1)[None, ..., None]
    one, other = (np.take_along_axis(ordered, place, axis=0)[0] for place in ((count - 1) // 2, count // 2))
    return (one + other) / 2


def _between(frames: np.ndarray, masks: np.ndarray, empty: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """The picture (H, W, 3) half-way between two, with the object of the first where it would be."""
    areas = masks.sum(axis=(1, 2))
    if not areas.all() or abs(areas[1] / areas[0] - 1) > GROWTH:
        return mean
    places = [np.argwhere(mask).mean(axis=0)[::-1] for mask in masks]
    cleared = [_without(frame, mask, empty) for frame, mask in zip(frames, masks, strict=True)]
    ground = _quantise((cleared[0].astype(np.float32) + cleared[1].astype(np.float32)) / 2)
    return _paste(ground, frames[0], masks[0], (places[1] - places[0]) / 2)


def _without(frame: np.ndarray, mask: np.ndarray, empty: np.ndarray) -> np.ndarray:
    """A frame (H, W, 3) uint8 with its object painted over."""
    near = cv2.dilate(mask.astype(np.uint8), MARGIN).astype(bool)
    return np.where(near[..., None], empty, frame)


def _paste(ground: np.ndarray, frame: np.ndarray, mask: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """The object of a frame drawn onto ``ground``, moved by (u, v) px."""
    share = _shift(mask.astype(np.float32)[..., None].repeat(3, axis=2), offset)
    return _quantise(ground + share * (_shift(frame.astype(np.float32), offset) - ground))


def _shift(image: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Image (H, W, 3) moved by (u, v) px, bilinear, black where nothing comes in."""
    matrix = np.array([[1.0, 0.0, offset[0]], [0.0, 1.0, offset[1]]], dtype=np.float32)
    return cv2.warpAffine(image, matrix, (image.shape[1], image.shape[0]), flags=cv2.INTER_LINEAR)


def _quantise(image: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
