"""VBench's two dimensions that can be had without weights, as released (Huang et al., CVPR 2024), for comparison.

They look at the video alone. A frozen video has the best flickering score there is, which is why
neither of them ranks anything here.
"""

from __future__ import annotations

import cv2
import numpy as np

from worldmodel.evaluators.motion import dis_flow, flow_length

STRONGEST = 0.05  # share of the pixels whose flow is averaged
SAMPLED_FPS = 8


def temporal_flickering(video: np.ndarray) -> float:
    """(255 - mean absolute difference of neighbouring frames) / 255 of a video (T, H, W, 3) uint8."""
    return (
        255.0 - float(np.mean([cv2.absdiff(a, b).mean() for a, b in zip(video[1:], video[:-1], strict=True)]))
    ) / 255


def dynamic_degree_dis(video: np.ndarray, fps: float) -> bool:
    """VBench's dynamic degree with DIS in the place of RAFT, so not comparable with published numbers.

    Of n frames at about 8 fps, at least round(n / 4) neighbours must have flow whose strongest 5 % average more
    than 6 px in a picture of 256 px; slower videos are given as much more.
    """
    frames = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in video[:: max(1, round(fps / SAMPLED_FPS))]]
    flows = dis_flow(zip(frames[:-1], frames[1:], strict=True))
    threshold = max(1.0, SAMPLED_FPS / fps) * 6.0 * min(video.shape[1:3]) / 256.0
    moving = sum(_strongest(flow) > threshold for flow in flows)
    return len(frames) > 1 and moving >= round(4 * len(frames) / 16)


def _strongest(flow: np.ndarray) -> float:
    length = flow_length(flow).ravel()
    count = int(STRONGEST * len(length))
    return float(np.partition(length, len(length) - count)[-count:].mean())
