"""Products with a layer's weights, by the library that is fastest at them.

PyTorch multiplies float32 matrices with MKL on a CPU, which on processors that are not Intel's runs at less than half
of the speed of oneDNN, though PyTorch brings both: 107 and 234 GFLOP/s on one core of a Zen 5. Results differ in
rounding alone. ``torch.backends.mkldnn.flags(enabled=False)`` switches oneDNN off, here too.
"""

from __future__ import annotations

import torch
from diffusers.models.attention import FeedForward
from torch import Tensor, nn

ROWS = 32  # below that MKL is faster


def linear(layer: nn.Module, x: Tensor) -> Tensor:
    """``layer(x)`` for a linear layer and x (..., in features), or for what stands in its place, as LoRA's do."""
    if not _suits_onednn(layer, x):
        return layer(x)
    product = _opaque_product if torch.compiler.is_compiling() else _product
    return product(x, layer.weight, layer.bias)


def feed_forward(layer: FeedForward, x: Tensor) -> Tensor:
    """``layer(x)`` for the two layers of a Cosmos block, between which is a GELU."""
    first, _, second = layer.net
    return linear(second, first.gelu(linear(first.proj, x)))


def _suits_onednn(layer: nn.Module, x: Tensor) -> bool:
    """Whether PyTorch would take MKL, needs no gradients, and nothing listens to the layer."""
    if x.device.type != "cpu" or x.dtype != torch.float32 or type(layer) is not nn.Linear:
        return False
    if layer.weight.dtype != torch.float32 or x.numel() < ROWS * layer.in_features:
        return False
    if "forward" in layer.__dict__ or layer._forward_hooks or layer._forward_pre_hooks:
        return False
    return not torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu") and _onednn()


@torch.compiler.assume_constant_result
def _onednn() -> bool:
    return torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


# Compiled code would take the weight to be packed, as it is where weights are constants.
_opaque_product = torch.library.custom_op("worldmodel::linear", _product, mutates_args=())


@_opaque_product.register_fake
def _shaped(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty(*x.shape[:-1], len(weight))
