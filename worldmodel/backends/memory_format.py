"""Weights laid out the way a CPU's convolutions read them."""

from __future__ import annotations

import torch
from torch import nn


def use_channels_last(module: nn.Module) -> None:
    """Put the channels of convolution weights last in memory, which changes results by rounding only.

    Decoding a clip of the embedded model takes a third less time with it: oneDNN otherwise reorders in every call.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d):
            wanted = torch.channels_last if isinstance(layer, nn.Conv2d) else torch.channels_last_3d
            layer.weight.data = layer.weight.data.contiguous(memory_format=wanted)
