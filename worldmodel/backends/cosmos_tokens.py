"""Tokens of a Cosmos transformer: rows of patches and back, and their rotary embedding."""

from __future__ import annotations

import torch
from torch import Tensor


def patches(places: Tensor, patch: tuple[int, int, int]) -> Tensor:
    """(B, N, C p_t p_h p_w) of (B, C, T, H, W): a row for each token, as the network's own embedding lays it out."""
    (t, h, w), (batch, channels, frames, height, width) = patch, places.shape
    split = places.reshape(batch, channels, frames // t, t, height // h, h, width // w, w)
    return split.permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(4).flatten(1, 3)


def unpatched(rows: Tensor, size: torch.Size, patch: tuple[int, int, int]) -> Tensor:
    """(B, C, T, H, W) of the network's output rows (B, N, p_h p_w p_t C)."""
    (t, h, w), (frames, height, width) = patch, size
    split = rows.unflatten(2, (h, w, t, -1)).unflatten(1, (frames // t, height // h, width // w))
    return split.permute(0, 7, 1, 6, 2, 4, 3, 5).flatten(6, 7).flatten(4, 5).flatten(2, 3)


def rotated(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary embedding of x (..., D) by tables of cosines and sines that broadcast to it."""
    cos, sin = rotation
    real, imaginary = x.chunk(2, dim=-1)
    return (x.float() * cos + torch.cat([-imaginary, real], dim=-1).float() * sin).to(x.dtype)
