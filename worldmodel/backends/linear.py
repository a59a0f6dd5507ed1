"""Products with a layer's weights, on a CPU by the library that is faster at them.

PyTorch multiplies float32 matrices with MKL, which on processors that are not Intel's runs at less than half of the
speed of oneDNN, though PyTorch brings both: at 107 and 234 GFLOP/s on one core of a Zen 5. (On Intel's nothing was
measured.) Results differ in rounding alone. ``torch.backends.mkldnn.flags(enabled=False)`` switches oneDNN off, here
too.
"""

from __future__ import annotations

import torch
from diffusers.models.activations import GELU
from diffusers.models.attention import FeedForward
from torch import Tensor, nn

ROWS = 32  # below that MKL is faster


def linear(layer: nn.Module, x: Tensor) -> Tensor:
    """``layer(x)`` for a linear layer and x (..., in features), or for what stands in its place, as LoRA's do."""
    if not (isinstance(layer, nn.Linear) and _suits_onednn(layer, x)):
        return layer(x)
    product = _opaque_product if torch.compiler.is_compiling() else _product
    return product(x, layer.weight, layer.bias)


def projected(layers: nn.Module, x: Tensor) -> Tensor:
    """``layers(x)`` for a sequence of layers."""
    if not _untouched(layers, nn.Sequential):
        return layers(x)
    for layer in layers.children():
        x = linear(layer, x)
    return x


def feed_forward(layer: nn.Module, x: Tensor) -> Tensor:
    """``layer(x)`` for the two layers of a Cosmos block, between which is a GELU."""
    first, *rest = layer.net if isinstance(layer, FeedForward) else [layer]
    if not (_untouched(layer, FeedForward) and isinstance(first, GELU) and _untouched(first, GELU)):
        return layer(x)
    x = first.gelu(linear(first.proj, x))
    for each in rest:
        x = linear(each, x)
    return x


def _untouched(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether a module does what its kind does, and nothing listens to it."""
    as_written = type(module) is kind and getattr(module.forward, "__code__", None) is kind.forward.__code__
    return as_written and not module._forward_hooks and not module._forward_pre_hooks


def _suits_onednn(layer: nn.Linear, x: Tensor) -> bool:
    """Whether a float32 product without gradients is asked for, large enough, of weights that are plain numbers."""
    if x.device.type != "cpu" or x.dtype != torch.float32 or not _untouched(layer, nn.Linear):
        return False
    if type(layer.weight) is not nn.Parameter or layer.weight.dtype != torch.float32:
        return False
    if x.shape[-1] != layer.in_features or x.numel() < ROWS * layer.in_features:
        return False
    return not torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu") and _both_libraries()


@torch.compiler.assume_constant_result
def _both_libraries() -> bool:
    return torch.backends.mkldnn.is_available() and torch.backends.mkl.is_available()


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if not torch.backends.mkldnn.enabled:
        return nn.functional.linear(x, weight, bias)
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


# Compiled code would take the weight to be packed, as it is where weights are constants.
_opaque_product = torch.library.custom_op("worldmodel::linear", _product, mutates_args=())


@_opaque_product.register_fake
def _shaped(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty(*x.shape[:-1], len(weight))
