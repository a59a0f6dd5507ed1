"""What a perfect model could show at most: true videos through what stands between a model and its video."""

from __future__ import annotations

import functools
import multiprocessing
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from worldmodel.model import WorldModel


def through_autoencoder(video: np.ndarray) -> np.ndarray:
    """A video (T, H, W, 3) uint8 through the embedded model's autoencoder and back."""
    return _embedded_model().reconstruct(video[None])[0]


@functools.lru_cache(maxsize=1)
def _embedded_model() -> WorldModel:
    import torch

    import worldmodel

    if multiprocessing.parent_process() is not None:
        torch.set_num_threads(1)  # beside this process there is one for every other core
    return worldmodel.load("tiny", "cpu")
