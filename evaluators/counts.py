"""How many pixels of masks there are in each row and column, and where their middle is."""

from __future__ import annotations

import numpy as np

WORD = 8  # pixels that are added at once


def count_pixels(masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of true pixels of masks (T, H, W) bool in each row (T, H) and in each column (T, W)."""
    frames, height, width = masks.shape
    if width % WORD or max(height, width // WORD) > np.iinfo(np.uint8).max:
        return np.count_nonzero(masks, axis=2), np.count_nonzero(masks, axis=1)
    # A pixel is a byte, so adding words adds eight pixels, and no byte overflows into the next.
    words = np.ascontiguousarray(masks).view(np.uint64)
    columns = words.sum(axis=1).view(np.uint8)
    rows = words.sum(axis=2).view(np.uint8).reshape(frames, height, WORD)
    return rows.sum(axis=2, dtype=np.int64), columns.astype(np.int64)


def mean_place(in_rows: np.ndarray, in_columns: np.ndarray) -> np.ndarray:
    """Means (T, 2), (column, row), of the indices of pixels so counted; nan of an empty mask."""
    sums = np.stack([in_columns @ np.arange(in_columns.shape[1]), in_rows @ np.arange(in_rows.shape[1])], axis=1)
    area = in_rows.sum(axis=1)[:, None]
    return np.where(area > 0, sums / np.maximum(area, 1), np.nan)
