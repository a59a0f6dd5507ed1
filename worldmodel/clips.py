"""One video to be judged, and how it is made to fit the truth or refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Resample = Literal["no", "nearest"]
SAME_RATE = 2e-3  # relative: 23.976 and 24 frames/s part by a fifth of a frame in 100


@dataclass(frozen=True)
class Header:
    """What is known of a video before it is decoded."""

    frames: int
    height: int  # px
    width: int  # px
    fps: float | None  # None where the file does not say; it is then taken to be the truth's

    def __str__(self) -> str:
        rate = "" if self.fps is None else f" at {self.fps:.6g} frames/s"
        return f"{self.frames} frames of {self.width} x {self.height} px{rate}"


@dataclass(frozen=True)
class Clip:
    """One video with what is known of how it was made."""

    video: np.ndarray  # (T, H, W, 3) uint8
    fps: float | None = None
    seed: int | None = None
    nfe: int | None = None  # model evaluations
    seconds: float = float("nan")  # wall-clock time of sampling it
    sha256: str | None = None  # of the file, where each video is one
    drift: np.ndarray | None = None  # (chunks, 2) of refinement, see worldmodel.over_refinement
    uncertainty: np.ndarray | None = None  # (T', H', W') in 0..1, where it was recorded
    at_own_rate: np.ndarray | None = None  # (T'', H, W, 3) uint8 with the frames it came with, where they are others

    @property
    def header(self) -> Header:
        """Its size and rate."""
        frames, height, width = self.video.shape[:3]
        return Header(frames, height, width, self.fps)


def check_fit(where: str, got: Header, truth: Header, resample: Resample) -> None:
    """Refuse a video that cannot be laid over the truth frame by frame and pixel by pixel.

    Raises:
        ValueError: naming the video, what differs, and the resampling that would make it fit, if one does.
    """
    if not _differs(got, truth):
        return
    reason = _cannot(got, truth)
    if reason is None and resample == "nearest":
        return
    fix = reason or f"make such videos, or pass --resample nearest, which takes {_what_nearest_does(got, truth)}"
    raise ValueError(f"{where}: {', '.join(_differs(got, truth))}: got {got}, expected {truth}; {fix}")


def fitted(video: np.ndarray, got: Header, truth: Header) -> np.ndarray:
    """``video`` (T', H', W', 3) as (T, H, W, 3) of the truth's rate and size, after :func:`check_fit`.

    Every true frame takes the video's nearest in time; see :func:`resized` for the pictures.
    """
    return resized(video[_nearest_frames(got, truth)] if has_other_frames(got, truth) else video, got, truth)


def has_other_frames(got: Header, truth: Header) -> bool:
    """Whether a video has other frames than the truth, in number or rate."""
    return bool({"fps", "frames"} & set(_differs(got, truth)))


def resized(video: np.ndarray, got: Header, truth: Header) -> np.ndarray:
    """``video`` (T', H', W', 3) with pictures of the truth's size, averaged down or enlarged bilinearly."""
    import cv2

    if _is_padded(got, truth):
        return video[:, : truth.height, : truth.width]
    if (got.height, got.width) == (truth.height, truth.width):
        return video
    how = cv2.INTER_AREA if got.height > truth.height else cv2.INTER_LINEAR
    size = (truth.width, truth.height)
    return np.stack([cv2.resize(frame, size, interpolation=how) for frame in video])


def _differs(got: Header, truth: Header) -> list[str]:
    """Names of what differs: fps, frames, size."""
    assert truth.fps is not None
    differs = []
    if got.fps is not None and abs(got.fps - truth.fps) > SAME_RATE * truth.fps:
        differs.append("fps")
    if got.frames != truth.frames:
        differs.append("frames")
    if (got.height, got.width) != (truth.height, truth.width) and not _is_padded(got, truth):
        differs.append("size")
    return differs


def _is_padded(got: Header, truth: Header) -> bool:
    """Whether it has the row or column more that H.264 needs for even sides."""
    even = truth.height + truth.height % 2, truth.width + truth.width % 2
    return (got.height, got.width) == even != (truth.height, truth.width)


def _cannot(got: Header, truth: Header) -> str | None:
    """Why no resampling helps, and what does; None if one does."""
    if got.frames != truth.frames and got.fps is None:
        return "say its rate, as fps in an .npz, or make as many frames"
    last = int(_nearest_frames(got, truth)[-1])
    if got.frames <= last:
        return (
            f"--resample nearest would take its frames 0 to {last} for the truth's "
            f"{(truth.frames - 1) / (truth.fps or 1):.3g} s, and it ends at {got.frames - 1}; make longer videos"
        )
    if abs(got.width * truth.height - got.height * truth.width) > 0.01 * got.height * truth.width:
        return "cut or pad it to the truth's shape, so that the known camera holds"
    return None


def _nearest_frames(got: Header, truth: Header) -> np.ndarray:
    """Index (T,) of the frame of the video that is nearest in time to each true one."""
    assert truth.fps is not None
    rate = (got.fps or truth.fps) / truth.fps
    return np.rint(np.arange(truth.frames) * (1.0 if abs(rate - 1) <= SAME_RATE else rate)).astype(int)


def _what_nearest_does(got: Header, truth: Header) -> str:
    parts = []
    if has_other_frames(got, truth):
        shown = ", ".join(map(str, _nearest_frames(got, truth)[:4]))
        parts.append(f"its frames {shown}, ... (the nearest in time)")
    if "size" in _differs(got, truth):
        parts.append(f"pictures scaled by {truth.height / got.height:.3g}")
    return " and ".join(parts)
