"""How much moves, and whether it moves as it should: dense inverse search flow (DIS, Kroeger et al. 2016) of OpenCV.

No weights. DIS compares patches of 8 px at a quarter of the size: of things that are smaller, or that
cross more than their own length in a frame, it gets the direction wrong or sees nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import cv2
import numpy as np

CHANGE = 10  # grey levels from frame to frame: where less changes, flow is a guess that noise makes
NEAR = np.ones((5, 5), np.uint8)  # px: moving things are not everywhere as textured as this asks
PATCH = 8  # px, of DIS


def dis_flow(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> Iterator[np.ndarray]:
    """Flow (H, W, 2) float32 in px from the first to the second grey picture (H, W) uint8 of each pair."""
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    finest = dis.getFinestScale()
    for first, second in pairs:
        # The preset's finest scale does not exist in a small picture, and OpenCV would take the slowest instead.
        coarsest = int(np.log2(max(1.0, 2 * first.shape[1] / (5 * PATCH))))
        dis.setFinestScale(min(finest, coarsest))
        yield dis.calc(first, second, np.empty(0, np.float32))


def moving_flow(video: np.ndarray) -> Iterator[np.ndarray]:
    """Flow (H, W, 2) in px between neighbours of a grey video (T, H, W), 0 where the picture near by keeps still."""
    flows = dis_flow(zip(video[:-1], video[1:], strict=True))
    for flow, *pair in zip(flows, video[:-1], video[1:], strict=True):
        yield cv2.copyTo(flow, _changes(*pair))


def _changes(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    changed = cv2.threshold(cv2.absdiff(first, second), CHANGE, 255, cv2.THRESH_BINARY)[1]
    return cv2.dilate(changed, NEAR)


def motion_scores(video: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """``motion_px``, ``motion_excess`` and ``flow_error`` of a grey video (T, H, W) against the true one.

    With F the moving flow (see ``moving_flow``), M(F) its mean length over frames and picture, and F' that of the
    reference: M(F), M(F) / M(F') - 1 and M(F - F') / M(F'). A frozen video has 0, -1 and 1.
    """
    flows = zip(moving_flow(video), moving_flow(reference), strict=True)
    lengths = np.mean([[_amount(own), _amount(true), _amount(cv2.subtract(own, true))] for own, true in flows], axis=0)
    amount, true_amount, error = lengths.tolist()
    exists = true_amount > 0
    return {
        "motion_px": amount,
        "motion_excess": amount / true_amount - 1 if exists else float("nan"),
        "flow_error": error / true_amount if exists else float("nan"),
    }


def flow_length(flow: np.ndarray) -> np.ndarray:
    """Length (H, W) of flow vectors (H, W, 2)."""
    squares = flow * flow
    return np.sqrt(squares[..., 0] + squares[..., 1])  # the last bit of cv2.magnitude depends on alignment


def _amount(flow: np.ndarray) -> float:
    return float(flow_length(flow).mean(dtype=np.float64))
