"""Frames enlarged with the tracked path drawn over them: sprites, filmstrips and GIFs."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from worldmodel.evaluators.tracking import Tracks

RGB = tuple[int, int, int]
TRUE_PATH: RGB = (30, 32, 36)
LOST: RGB = (224, 49, 49)
SUBPIXEL = 4  # bits below the pixel in OpenCV's drawing


def draw_panel(
    video: np.ndarray, tracks: Tracks, colour: RGB, size_px: int, true_tracks: Tracks | None = None
) -> np.ndarray:
    """Frames (T, h, w, 3) uint8 of about ``size_px`` height with the path so far, and the true one below it."""
    scale = max(1, round(size_px / video.shape[1]))
    frames = []
    for t, frame in enumerate(video):
        frame = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
        if true_tracks is not None:
            _draw_path(frame, true_tracks.centroid[: t + 1] * scale, TRUE_PATH, scale)
        _draw_path(frame, tracks.centroid[: t + 1] * scale, colour, scale)
        if not tracks.detected[t]:
            cv2.rectangle(frame, (0, 0), (frame.shape[1] - 1, frame.shape[0] - 1), LOST, 2 * scale)
        frames.append(frame)
    return np.stack(frames)


def sprite(frames: np.ndarray) -> np.ndarray:
    """Frames (T, h, w, 3) side by side as one picture (h, T w, 3)."""
    return np.concatenate(list(frames), axis=1)


def encode(image: np.ndarray) -> bytes:
    """Lossless WebP of an (h, w, 3) uint8 RGB picture."""
    done, data = cv2.imencode(".webp", image[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, 101])
    if not done:
        raise RuntimeError(f"image: OpenCV could not encode {image.shape} as WebP; it takes up to 16383 px a side")
    return data.tobytes()


def save_animation(path: Path, panels: dict[str, np.ndarray], fps: float) -> None:
    """Labelled panels (T, h, w, 3) side by side as a looping GIF that rests on its last frame."""
    from PIL import Image

    labelled = [_label(frames, text) for text, frames in panels.items()]
    images = [
        Image.fromarray(np.concatenate([panel[t] for panel in labelled], axis=1)) for t in range(len(labelled[0]))
    ]
    durations = [round(1000 / fps)] * (len(images) - 1) + [900]
    images[0].save(path, save_all=True, append_images=images[1:], duration=durations, loop=0)


def _draw_path(image: np.ndarray, points: np.ndarray, colour: RGB, scale: int) -> None:
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
