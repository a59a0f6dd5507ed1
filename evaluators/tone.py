"""Colour and light that creep away: the failure that Predict-and-Perturb shows without its certainty mask.

Where nothing happens every refinement pushes the picture on, so still regions gain saturation and
contrast. The drift is signed and measured against the true video on the same pixels, so that
moving light and shadow of the scene itself do not count. Neither does an object that has strayed
there: a change of tone is one map of colours for the whole picture, an object is not.
"""

from __future__ import annotations

import itertools

import cv2
import numpy as np

FITTED = 1000  # pixels on a grid, to whose colours a frame's map is fitted
STRAY = 30.0  # grey levels of any channel off that map: something else is there
REFITS = 3  # without what strays


def tone(video: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Tone (T, 3) in grey levels of the pixels in ``region`` (T, H, W) bool; nan where it has none.

    Saturation, the mean of max(R, G, B) - min(R, G, B), which is not divided by the value because
    dark pixels would make that noise; luminance, the mean of Rec. 601 luma; contrast, luma's
    standard deviation.
    """
    curves = np.full((len(video), 3), np.nan)
    for t, (frame, mask) in enumerate(zip(video, region.view(np.uint8), strict=True)):
        if not mask.any():
            continue
        red, green, blue = cv2.split(frame)
        chroma = cv2.subtract(cv2.max(cv2.max(red, green), blue), cv2.min(cv2.min(red, green), blue))
        mean, deviation = cv2.meanStdDev(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), mask=mask)
        curves[t] = cv2.mean(chroma, mask)[0], mean[0, 0], deviation[0, 0]
    return curves


def tone_error(video: np.ndarray, reference: np.ndarray, region: np.ndarray) -> np.ndarray:
    """By how many grey levels (T, 3) saturation, luminance and contrast exceed those of the reference.

    Pixels of ``region`` (T, H, W) bool at which something else has got in the way are left out.
    """
    clear = np.stack([_clear(*frames) for frames in zip(video, reference, region, strict=True)])
    return tone(video, clear) - tone(reference, clear)


def _clear(frame: np.ndarray, reference: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Pixels (H, W) bool of ``region`` with the reference's colours, or with an affine map of them."""
    near = _near(frame, reference) & region
    if near.sum() == region.sum():
        return region
    step = max(1, round((region.size / FITTED) ** 0.5))
    sampled = region[::step, ::step]
    before = reference[::step, ::step][sampled].astype(np.float64)
    before = np.column_stack([before, np.full(len(before), 255.0)])
    change = frame[::step, ::step][sampled] - before[:, :3]
    kept, mapping = np.ones(len(before), bool), np.zeros((4, 3))
    for _ in range(REFITS):
        known = before[kept]
        # The smaller the change, the better: of a single colour it could be any map.
        mapping = np.linalg.solve(known.T @ known + np.eye(4), known.T @ change[kept])
        kept = np.abs(change - before @ mapping).max(axis=1) < STRAY
    expected = cv2.transform(reference, np.column_stack([mapping[:3].T + np.eye(3), 255.0 * mapping[3]]))
    return near | (_near(frame, expected) & region)


def _near(frame: np.ndarray, other: np.ndarray) -> np.ndarray:
    red, green, blue = cv2.split(cv2.absdiff(frame, other))
    return cv2.max(cv2.max(red, green), blue) < STRAY


def flicker(video: np.ndarray, reference: np.ndarray, region: np.ndarray) -> float:
    """Mean over neighbouring frames, pixels of both regions and RGB of |d video - d reference| in grey levels.

    d is the change from one frame to the next; the reference's own is no flicker, and to lack it is.
    """
    both = (region[1:] & region[:-1]).view(np.uint8)
    count = 3 * int(both.sum())
    if count == 0:
        return float("nan")
    errors = (np.subtract(*frames, dtype=np.int16) for frames in zip(video, reference, strict=True))
    changes = zip(itertools.pairwise(errors), both, strict=True)
    total = sum(cv2.norm(after, before, cv2.NORM_L1, mask=mask) for (before, after), mask in changes)
    return float(total / count)
