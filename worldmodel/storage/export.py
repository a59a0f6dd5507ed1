"""Videos to look at: mp4, GIF and film strips. Measure on the stored episodes, not on these."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from worldmodel.storage.video_files import encode_h264


def write_mp4(
    path: str | os.PathLike[str], video: np.ndarray, fps: float, scale: int = 1, *, overwrite: bool = False
) -> None:
    """Write video (T, H, W, 3) uint8 as H.264, ``scale`` screen pixels to a pixel (lossy)."""
    _check_output(path, ".mp4", overwrite)
    contents = encode_h264(_enlarged(video, fps, scale), fps)
    _write_whole(Path(path), lambda target: target.write_bytes(contents))


def write_gif(
    path: str | os.PathLike[str], video: np.ndarray, fps: float, scale: int = 1, *, overwrite: bool = False
) -> None:
    """Write video (T, H, W, 3) uint8 as an endless GIF of 256 colours a frame."""
    _check_output(path, ".gif", overwrite)
    images = [Image.fromarray(frame) for frame in _enlarged(video, fps, scale)]
    # GIF counts in 10 ms: round the moments, not the durations, so that the clip keeps its length.
    moments = np.round(100.0 * np.arange(len(images) + 1) / fps).astype(int)
    durations = (10 * np.diff(moments)).tolist()

    def encode(target: Path) -> None:
        images[0].save(target, save_all=True, append_images=images[1:], duration=durations, loop=0)

    _write_whole(Path(path), encode)


def write_png(path: str | os.PathLike[str], image: np.ndarray, *, overwrite: bool = False) -> None:
    """Write image (H, W, 3) uint8 as PNG (lossless)."""
    _check_output(path, ".png", overwrite)
    picture = Image.fromarray(image)
    _write_whole(Path(path), lambda target: picture.save(target))


def filmstrip(video: np.ndarray, every: int = 1, gap: int = 2) -> np.ndarray:
    """Frames 0, every, 2 every, ... of video (T, H, W, 3) side by side, ``gap`` white pixels between: (H, W', 3)."""
    _check_video(video)
    if every < 1 or gap < 0:
        raise ValueError(f"every, gap: got {every}, {gap}, expected at least 1 and 0; change them")
    frames = video[::every]
    padded = np.pad(frames, ((0, 0), (0, 0), (0, gap), (0, 0)), constant_values=255)
    strip = np.concatenate(list(padded), axis=1)
    return strip[:, : strip.shape[1] - gap]


def _enlarged(video: np.ndarray, fps: float, scale: int) -> np.ndarray:
    _check_video(video)
    if not 0 < fps <= 1000:
        raise ValueError(f"fps: got {fps}, expected frames per second above 0 and up to 1000; give the clip's own")
    if scale != int(scale) or scale < 1:
        raise ValueError(f"scale: got {scale}, expected a whole number from 1; change it")
    return video.repeat(int(scale), axis=1).repeat(int(scale), axis=2)


def _check_video(video: np.ndarray) -> None:
    if video.dtype != np.uint8 or video.ndim != 4 or video.shape[3] != 3 or not video.size:
        raise ValueError(f"video: got {video.dtype} {video.shape}, expected uint8 (T, H, W, 3) not empty; convert it")


def _check_output(path: str | os.PathLike[str], suffix: str, overwrite: bool) -> None:
    if Path(path).suffix.lower() != suffix:
        raise ValueError(f"path: got {str(path)!r}, expected a name that ends in {suffix}; rename it")
    if Path(path).exists() and not overwrite:
        raise FileExistsError(f"{path}: got an existing file, expected none; give another name or overwrite=True")


def _write_whole(path: Path, encode: Callable[[Path], object]) -> None:
    """Encode beside ``path`` and move into place, so that an interrupted write leaves the old file alone."""
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            encode(partial)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise OSError(
            f"path: got {path} ({error}), expected a file that can be written; make room or name another"
        ) from error
