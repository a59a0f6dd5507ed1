"""The frames a rollout begins with, checked."""

from __future__ import annotations

import numpy as np


def check_frames(
    frames: np.ndarray,
    image_size: tuple[int, int],
    num_frames: int = 2,
    frames_per_latent: int = 1,
    resize: bool = False,
) -> np.ndarray:
    """Given frames (B, H, W, 3) or (B, F, H, W, 3) as uint8 (B, F, H, W, 3).

    F must be 1 + n ``frames_per_latent`` and fewer than the ``num_frames`` of a chunk. With ``resize`` pictures of
    another size but the same proportions are scaled, each pixel to the mean of what it covers.

    Raises:
        ValueError: another shape, size, dtype or range, or NaN.
    """
    try:
        frames = np.array(frames)  # a copy: views may have strides that torch refuses
    except ValueError:
        raise ValueError("frames: got images of several sizes, expected one; resize them") from None
    expected = f"(B, {image_size[0]}, {image_size[1]}, 3)"
    fits = frames.shape[-3:] == (*image_size, 3) or (resize and _scales(frames.shape[-3:], image_size))
    if frames.ndim not in (4, 5) or not fits or len(frames) == 0:
        how = "crop to the proportions of that" if resize else "pass resize=True to scale them"
        raise ValueError(f"frames: got shape {frames.shape}, expected {expected}; {how}, or add a batch axis")
    frames = frames[:, None] if frames.ndim == 4 else frames
    given = frames.shape[1]
    if not 1 <= given < num_frames or (given - 1) % frames_per_latent:
        fitting = ", ".join(map(str, range(1, num_frames, frames_per_latent)))
        raise ValueError(f"frames: got {given} given frames, expected {fitting}; leave out some of the earliest")
    if frames.dtype == np.uint8:
        return _resized(frames, image_size)
    if not np.issubdtype(frames.dtype, np.floating):
        raise ValueError(f"frames: got dtype {frames.dtype}, expected uint8, or float in [0, 1]; convert them")
    if np.isnan(frames).any():
        raise ValueError("frames: got NaN, expected numbers in [0, 1]; check how they were made")
    if frames.min() < 0.0 or frames.max() > 1.0:
        raise ValueError(
            f"frames: got float values from {frames.min():g} to {frames.max():g}, expected [0, 1]; rescale them"
        )
    return _resized(np.round(frames * 255.0).astype(np.uint8), image_size)


def _scales(shape: tuple[int, ...], image_size: tuple[int, int]) -> bool:
    """Whether pictures (H, W, 3) have the proportions of ``image_size``."""
    return shape[2:] == (3,) and shape[0] > 0 and shape[0] * image_size[1] == shape[1] * image_size[0]


def _resized(frames: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """Frames (B, F, H, W, 3) uint8 in another size."""
    if frames.shape[2:4] == image_size:
        return frames
    pictures = [scaled(frame, image_size) for clip in frames for frame in clip]
    return np.stack(pictures).reshape(*frames.shape[:2], *image_size, 3)


def scaled(picture: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """A picture (H, W, 3) uint8 in another size, whatever its proportions: each pixel the mean of what it covers."""
    from PIL import Image

    size = (image_size[1], image_size[0])
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))
