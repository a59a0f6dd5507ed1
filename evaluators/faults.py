"""The true clip with one fault of its picture added, for what the evaluators of a scene must see."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from worldmodel.evaluators.checks import check_video


def overdriven(video: np.ndarray, gain: float = 0.3) -> np.ndarray:
    """Colour and contrast of ``video`` (T, H, W, 3) uint8 grow evenly to 1 + ``gain`` times in the last frame.

    This is what Predict-and-Perturb does to still regions without its certainty mask. Every channel
    is stretched about the first frame's mean luma.
    """
    check_video("video", video)
    centre = float(cv2.cvtColor(video[0], cv2.COLOR_RGB2GRAY).mean())
    factor = 1 + np.linspace(0, gain, len(video))[:, None, None, None]
    return _quantise(centre + factor * (video - centre))


def sliding(video: np.ndarray, share: float = 0.05) -> np.ndarray:
    """The whole picture slides evenly to the lower right, in the last frame by ``share`` of its height each way."""
    check_video("video", video)
    offsets = np.linspace(0, share * video.shape[1], len(video))
    return _warped(video, [np.array([[1, 0, offset], [0, 1, offset]], np.float32) for offset in offsets])


def zooming(video: np.ndarray, share: float = 0.1) -> np.ndarray:
    """The whole picture grows evenly about its middle, in the last frame by ``share``."""
    check_video("video", video)
    middle = (video.shape[2] - 1) / 2, (video.shape[1] - 1) / 2
    factors = 1 + np.linspace(0, share, len(video))
    return _warped(video, [cv2.getRotationMatrix2D(middle, 0.0, factor) for factor in factors])


def flickering(video: np.ndarray, levels: float = 6.0) -> np.ndarray:
    """Every other frame is brighter by ``levels`` grey levels."""
    check_video("video", video)
    light = levels * (np.arange(len(video)) % 2)[:, None, None, None]
    return _quantise(video + light)


def brightening(video: np.ndarray, levels: float = 15.0) -> np.ndarray:
    """The picture grows evenly brighter, in the last frame by ``levels`` grey levels."""
    check_video("video", video)
    return _quantise(video + np.linspace(0, levels, len(video))[:, None, None, None])


FAULTS = {
    "overdriven": overdriven,
    "sliding": sliding,
    "zooming": zooming,
    "flickering": flickering,
    "brightening": brightening,
}


def _warped(video: np.ndarray, matrices: Sequence[np.ndarray]) -> np.ndarray:
    """Each frame (H, W, 3) moved by its own affine matrix (2, 3); what comes in is mirrored."""
    size = video.shape[2], video.shape[1]
    frames = [
        cv2.warpAffine(frame, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        for frame, matrix in zip(video, matrices, strict=True)
    ]
    return np.stack(frames)


def _quantise(video: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(video), 0, 255).astype(np.uint8)
