"""Videos in files of their own: H.264 out, anything that FFmpeg decodes in."""

from __future__ import annotations

import io
import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer

from worldmodel.storage.format import StoreError

CRF = 18  # x264's constant rate factor: visually lossless


def encode_h264(video: np.ndarray, fps: float, crf: int = CRF) -> bytes:
    """An mp4 file that every browser plays, of video (T, H, W, 3) uint8.

    Its colours are stored for 2 x 2 pixels together; an odd height or width gains a pixel.
    """
    even = np.pad(video, ((0, 0), (0, video.shape[1] % 2), (0, video.shape[2] % 2), (0, 0)), mode="edge")
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.height, stream.width, stream.pix_fmt = even.shape[1], even.shape[2], "yuv420p"
        stream.options = {"crf": str(crf)}
        for frame in even:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())
    return target.getvalue()


def through_h264(video: np.ndarray, fps: float, crf: int = CRF) -> np.ndarray:
    """Video (T, H, W, 3) uint8 as it looks after H.264."""
    with av.open(io.BytesIO(encode_h264(video, fps, crf)), "r") as container:
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return np.stack(decoded)[:, : video.shape[1], : video.shape[2]]


def read_video(path: str | os.PathLike[str]) -> tuple[np.ndarray, float]:
    """Frames (T, H, W, 3) uint8 and frames per second of a video file.

    Raises:
        StoreError: there is no such file, it is no video, or it ends early.
    """
    if not Path(path).is_file():
        raise StoreError(f"{path}: got no file, expected a video; check the path")
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            expected, rate = stated_frames(container), stream.average_rate
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    except (av.error.FFmpegError, IndexError) as error:
        raise StoreError(f"{path}: got an unreadable video ({error}), expected one whole; write it again") from None
    if not frames or not rate or len(frames) < expected:
        raise StoreError(f"{path}: got {len(frames)} of {expected} frames, expected the whole video; write it again")
    return np.stack(frames), float(rate)


def stated_frames(container: InputContainer) -> int:
    """How many frames an opened file says that it holds: by its count, else by its length; 0 if it says neither.

    A file that ends early still says what it was to hold. Lengths are rounded, and those of a file with sound are the
    longer of the two, so one frame less is believed, and files with sound are not held to them.
    """
    stream = container.streams.video[0]
    if stream.frames or not stream.average_rate or container.duration is None or len(container.streams) > 1:
        return int(stream.frames)
    return max(0, round(container.duration / av.time_base * stream.average_rate) - 1)
