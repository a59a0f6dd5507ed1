"""The same array of thousands of episodes at once, as training wants it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from tqdm import tqdm

from worldmodel.progress import hidden_unless
from worldmodel.storage.episodes import EpisodeStore
from worldmodel.storage.format import StoreError, short

THREADS = 4  # blosc and the disk release the interpreter; more threads gained nothing


def read_videos(
    path: str | os.PathLike[str], keys: Sequence[str] | None = None, *, progress: bool = True
) -> np.ndarray:
    """Videos (N, T, H, W, 3) uint8 of the given episodes (all, sorted by key, if None)."""
    return _read_stacked(path, "video", keys, progress)


def read_segmentations(
    path: str | os.PathLike[str], keys: Sequence[str] | None = None, *, progress: bool = True
) -> np.ndarray:
    """Object numbers (N, T, H, W) uint8, 0 for none, of the given truth episodes (all, sorted by key, if None)."""
    return _read_stacked(path, "segmentation", keys, progress)


def read_actions(
    path: str | os.PathLike[str], keys: Sequence[str] | None = None, *, progress: bool = True
) -> np.ndarray:
    """Actions (N, T - 1, A) float64 of the given truth episodes (all, sorted by key, if None)."""
    return _read_stacked(path, "actions", keys, progress)


def _read_stacked(path: str | os.PathLike[str], name: str, keys: Sequence[str] | None, progress: bool) -> np.ndarray:
    store = EpisodeStore.open(path, "truth" if name == "segmentation" else None)
    keys = store.keys() if keys is None else list(keys)
    if not keys:
        raise StoreError(f"keys: got none, expected at least one complete episode of {store.path}; write one first")
    first = store.array(keys[0], name).data
    stacked = np.empty((len(keys), *first.shape), first.dtype)
    pool = ThreadPoolExecutor(THREADS)
    try:
        arrays = pool.map(lambda key: store.array(key, name).data, keys)
        bar = tqdm(arrays, total=len(keys), desc=f"reading {name}", unit="episode", **hidden_unless(progress))
        for index, data in enumerate(bar):
            if data.shape != first.shape or data.dtype != first.dtype:
                raise StoreError(
                    f"episode {keys[index]!r}: {name} is {short(data.shape)}, expected {short(first.shape)} "
                    f"as in episode {keys[0]!r}; read them apart with keys="
                )
            stacked[index] = data
    finally:
        pool.shutdown(cancel_futures=True)  # an error or Ctrl-C need not wait for the rest
    return stacked
