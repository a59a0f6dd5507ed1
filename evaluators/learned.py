"""Likeness as networks see it, LPIPS and DINO: optional side columns, never a headline.

They need weights that this package does not bring, and they cannot be certified without them: what
they rank is what their training ranked. A frozen video has the best consistency there is.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from worldmodel.evaluators.checks import check_video

if TYPE_CHECKING:
    from torch import Tensor

    Features = Callable[[Tensor], Tensor]  # pictures (N, 3, H, W) in 0..1 to vectors (N, D)
    Distance = Callable[[Tensor, Tensor], Tensor]  # two times (N, 3, H, W) in -1..1 to (N, ...)

SIDE_PX = 224  # of what DINO is shown
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, which DINO was trained on
BATCH = 16  # frames at a time


def load_dino(name: str = "facebook/dino-vitb16", device: str = "cpu") -> Features:
    """Class tokens of a vision transformer, by hub name or folder; VBench takes DINO ViT-B/16."""
    import torch
    from transformers import AutoModel

    model = AutoModel.from_pretrained(name).to(device).eval()
    mean, deviation = (torch.tensor(value, device=device)[:, None, None] for value in (MEAN, DEVIATION))

    def features(pictures: Tensor) -> Tensor:
        shape = (SIDE_PX, SIDE_PX)
        resized = torch.nn.functional.interpolate(pictures.to(device), shape, mode="bicubic", antialias=True)
        return model(pixel_values=(resized - mean) / deviation).last_hidden_state[:, 0]

    return features


def load_lpips(net: str = "alex", device: str = "cpu") -> Distance:
    """LPIPS of Zhang et al. (CVPR 2018) by its authors' package, which fetches the weights."""
    try:
        package = importlib.import_module("lpips")
    except ImportError:
        raise ImportError("lpips: got no such package, expected it for LPIPS; pip install lpips torchvision") from None
    model = package.LPIPS(net=net, verbose=False).to(device).eval()
    return lambda first, second: model(first.to(device), second.to(device))


def dino_scores(video: np.ndarray, reference: np.ndarray, features: Features) -> dict[str, float]:
    """``dino_consistency`` and ``dino_distance`` of a video (T, H, W, 3) uint8 with the true one beside it.

    With unit features f: VBench's subject consistency, the mean over t >= 1 of
    (max(0, f_t f_{t-1}) + max(0, f_t f_0)) / 2; and the mean over t >= 1 of 1 - f_t f'_t against the true frame.
    """
    _check(video, reference)
    own, true = _embed(video, features), _embed(reference, features)
    neighbours, first = (own[1:] * own[:-1]).sum(axis=1), own[1:] @ own[0]
    return {
        "dino_consistency": float(((np.maximum(neighbours, 0) + np.maximum(first, 0)) / 2).mean()),
        "dino_distance": float((1 - (own[1:] * true[1:]).sum(axis=1)).mean()),
    }


def lpips_distance(video: np.ndarray, reference: np.ndarray, distance: Distance) -> float:
    """Mean LPIPS over the frames after the first of two videos (T, H, W, 3) uint8; 0 is equal."""
    _check(video, reference)
    import torch

    values = []
    with torch.inference_mode():
        for start in range(1, len(video), BATCH):
            pair = (_pictures(frames[start : start + BATCH]) * 2 - 1 for frames in (video, reference))
            values.append(distance(*pair).flatten().float().cpu().numpy())
    return float(np.concatenate(values).mean())


def _embed(video: np.ndarray, features: Features) -> np.ndarray:
    """Unit features (T, D) of every frame."""
    import torch

    with torch.inference_mode():
        parts = [features(_pictures(video[start : start + BATCH])) for start in range(0, len(video), BATCH)]
        return torch.nn.functional.normalize(torch.cat(parts).double(), dim=1).cpu().numpy()


def _pictures(frames: np.ndarray) -> Tensor:
    """Frames (N, H, W, 3) uint8 as (N, 3, H, W) float32 in 0..1."""
    import torch

    return torch.from_numpy(np.array(frames)).permute(0, 3, 1, 2).float() / 255


def _check(video: np.ndarray, reference: np.ndarray) -> None:
    check_video("video", video)
    check_video("reference", reference)
    if video.shape != reference.shape:
        raise ValueError(f"video: got shape {video.shape}, expected {reference.shape} as in reference; match the clips")
