"""Frames enlarged with the tracked paths drawn over them: sprites, heat maps and GIFs.

A score may have ``overlays()``: paths by name, each (T, 2) px (u, v) with (0, 0) at the outer corner of the top left
pixel, nan where lost; the first is the object that the headline metric follows. Scores with ``tracks`` need none.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

RGB = tuple[int, int, int]
Paths = Mapping[str, np.ndarray]
TRUE_PATH: RGB = (30, 32, 36)
LOST: RGB = (224, 49, 49)
SUBPIXEL = 4  # bits below the pixel in OpenCV's drawing
MOST_FRAMES = 48  # of a longer clip every second, third, ... is shown
LONGEST_PX = 16_000  # a side of a WebP picture has at most 16383
LOSSY_QUALITY = 82


def overlays_of(score: Any) -> dict[str, np.ndarray]:
    """Paths (T, 2) px to draw over the clip that was scored, the object's first; none where it has none."""
    if hasattr(score, "overlays"):
        return dict(score.overlays())
    return {"object": score.tracks.centroid} if hasattr(score, "tracks") else {}


def shown_frames(frames: int) -> np.ndarray:
    """Indices of the frames that are drawn of so many: all, or evenly spread ones from the first to the last."""
    return np.linspace(0, frames - 1, min(frames, MOST_FRAMES)).round().astype(int)


def draw_panel(
    video: np.ndarray, paths: Paths, colour: RGB, size_px: int, true_paths: Paths | None = None
) -> np.ndarray:
    """Frames (T', h, w, 3) uint8 of about ``size_px`` height with the paths so far, and the true ones below them.

    A frame in which the first path is lost gets a red frame.
    """
    scale = _scale(video, size_px)
    how = cv2.INTER_NEAREST if scale >= 1 else cv2.INTER_AREA
    frames = []
    for t in shown_frames(len(video)):
        frame = cv2.resize(video[t], None, fx=scale, fy=scale, interpolation=how)
        for path in (true_paths or {}).values():
            _draw_path(frame, path[: t + 1] * scale, TRUE_PATH, scale)
        for path in paths.values():
            _draw_path(frame, path[: t + 1] * scale, colour, scale)
        if paths and not np.isfinite(next(iter(paths.values()))[t]).all():
            width = max(2, round(2 * scale))
            cv2.rectangle(frame, (0, 0), (frame.shape[1] - 1, frame.shape[0] - 1), LOST, width)
        frames.append(frame)
    return np.stack(frames)


def heat_panel(maps: np.ndarray, frames: int, height: int, width: int) -> np.ndarray:
    """Maps (T', h, w) in 0..1 as (n, height, width, 3) uint8, dark to bright, one a shown frame of so many."""
    maps = np.clip(np.nan_to_num(np.asarray(maps, np.float32)), 0.0, 1.0)
    nearest = np.rint(shown_frames(frames) * (len(maps) - 1) / max(1, frames - 1)).astype(int)
    grey = [cv2.resize(np.rint(255 * maps[t]).astype(np.uint8), (width, height)) for t in nearest]
    return np.stack([cv2.applyColorMap(each, cv2.COLORMAP_INFERNO)[..., ::-1] for each in grey])


def sprite(frames: np.ndarray) -> np.ndarray:
    """Frames (T, h, w, 3) side by side as one picture (h, T w, 3)."""
    return np.concatenate(list(frames), axis=1)


def encode(image: np.ndarray, lossless_bytes: int = 200_000) -> bytes:
    """WebP of an (h, w, 3) uint8 RGB picture of at most 16383 px a side, lossless if that takes so many bytes."""
    lossless = _webp(image, lossless=True, quality=50, method=2) if lossless_bytes else b""
    return lossless if 0 < len(lossless) <= lossless_bytes else _webp(image, quality=LOSSY_QUALITY)


def save_animation(path: Path, panels: dict[str, np.ndarray], fps: float) -> None:
    """Labelled panels (T, h, w, 3) side by side as a looping GIF that rests on its last frame."""
    labelled = [_label(frames, text) for text, frames in panels.items()]
    images = [
        Image.fromarray(np.concatenate([panel[t] for panel in labelled], axis=1)) for t in range(len(labelled[0]))
    ]
    durations = [round(1000 / fps)] * (len(images) - 1) + [900]
    images[0].save(path, save_all=True, append_images=images[1:], duration=durations, loop=0)


def _webp(image: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "WEBP", **options)
    return file.getvalue()


def _scale(video: np.ndarray, size_px: int) -> float:
    """Screen pixels a pixel: a whole number where that is an enlargement, so that what is seen is what was judged."""
    height, width = video.shape[1:3]
    widest = LONGEST_PX / (len(shown_frames(len(video))) * width)
    scale = min(size_px / height, widest)
    return float(max(1, round(scale))) if scale >= 0.75 and round(scale) <= widest else scale


def _draw_path(image: np.ndarray, points: np.ndarray, colour: RGB, scale: float) -> None:
    # OpenCV puts the origin at the centre of the first pixel, the tracks at its corner.
    fixed = [tuple(map(int, np.rint((p - 0.5) * 2**SUBPIXEL))) if np.isfinite(p).all() else None for p in points]
    thin = max(1, round(scale / 3))
    for ink, extra in (((255, 255, 255), 2), (colour, 0)):
        for a, b in zip(fixed[:-1], fixed[1:], strict=True):
            if a and b:
                cv2.line(image, a, b, ink, thin + extra, cv2.LINE_AA, SUBPIXEL)
        for point in filter(None, fixed):
            cv2.circle(image, point, (thin + 1 + extra // 2) * 2**SUBPIXEL, ink, cv2.FILLED, cv2.LINE_AA, SUBPIXEL)


def _label(frames: np.ndarray, text: str) -> np.ndarray:
    height, width = 26, frames.shape[2]
    bar = np.full((height, width, 3), 255, np.uint8)
    cv2.putText(bar, text, (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (33, 37, 41), 1, cv2.LINE_AA)
    framed = np.concatenate([np.repeat(bar[None], len(frames), axis=0), frames], axis=1)
    framed[:, :, -2:] = 255
    return framed
