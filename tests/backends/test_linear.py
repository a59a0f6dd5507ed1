"""Products by oneDNN are the layers' own, and asked for only where PyTorch would take MKL."""

import pytest
import torch
from diffusers.models.attention import FeedForward
from torch import nn

from worldmodel.backends import linear as module
from worldmodel.backends.linear import ROWS, feed_forward, linear


@pytest.fixture
def products(monkeypatch):
    """The shapes of what oneDNN was asked to multiply."""
    shapes, product = [], module._product

    def noted(x, weight, bias):
        shapes.append(tuple(x.shape))
        return product(x, weight, bias)

    monkeypatch.setattr(module, "_product", noted)
    return shapes


def layer_and_input(*shape, bias=True):
    generator = torch.Generator().manual_seed(0)
    layer = nn.Linear(shape[-1], 48, bias=bias)
    with torch.no_grad():
        for each in layer.parameters():
            each.copy_(torch.randn(each.shape, generator=generator))
    return layer, torch.randn(shape, generator=generator)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(ROWS, 64), (2, 3, 16, 64), (640, 256)])
@torch.no_grad()
def test_products_are_those_of_the_layer(products, shape, bias):
    layer, x = layer_and_input(*shape, bias=bias)
    exact = nn.functional.linear(x.double(), layer.weight.double(), None if layer.bias is None else layer.bias.double())
    torch.testing.assert_close(linear(layer, x).double(), exact, rtol=1e-5, atol=1e-4)
    assert products == [shape]


@torch.no_grad()
def test_rows_that_do_not_lie_together_are_multiplied(products):
    layer, x = layer_and_input(64, 64)
    torch.testing.assert_close(linear(layer, x.T), layer(x.T))
    torch.testing.assert_close(linear(layer, x[::2]), layer(x[::2]))
    assert len(products) == 2


@torch.no_grad()
def test_two_layers_with_a_gelu_between_them(products):
    layer = FeedForward(64, mult=2, activation_fn="gelu", bias=False)
    x = torch.randn(2, ROWS, 64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(feed_forward(layer, x), layer(x))
    assert products == [(2, ROWS, 64), (2, ROWS, 128)]


class Doubled(nn.Linear):
    """What stands in a layer's place."""

    def forward(self, x):
        return 2.0 * super().forward(x)


def test_layers_that_are_more_than_a_product_are_called(products):
    plain, x = layer_and_input(64, 64)
    doubled, listened, changed = Doubled(64, 48), nn.Linear(64, 48), nn.Linear(64, 48)
    for each in (doubled, listened, changed):
        each.load_state_dict(plain.state_dict())
    calls = []
    listened.register_forward_hook(lambda *_: calls.append(1))
    changed.forward = lambda x: 3.0 * plain(x)  # as diffusers' hooks do
    with torch.no_grad():
        expected = plain(x)
        torch.testing.assert_close(linear(doubled, x), 2.0 * expected)
        torch.testing.assert_close(linear(listened, x), expected)
        torch.testing.assert_close(linear(changed, x), 3.0 * expected)
    assert calls == [1] and products == []


def test_mkl_stays_where_it_is_faster_or_gradients_are_wanted(products):
    layer, x = layer_and_input(64, 64)
    linear(layer, x).sum().backward()
    assert layer.weight.grad is not None
    with torch.no_grad():
        linear(layer, x[: ROWS - 1])
        linear(layer.double(), x.double())
        layer.float()
        with torch.autocast("cpu", torch.bfloat16):
            assert linear(layer, x).dtype == torch.bfloat16
        with torch.backends.mkldnn.flags(enabled=False):
            linear(layer, x)
    assert products == []


@torch.no_grad()
def test_compiled_code_multiplies_the_same_in_one_graph():
    layer, x = layer_and_input(64, 64)
    compiled = torch.compile(lambda layer, x: linear(layer, x).relu(), dynamic=False, fullgraph=True)
    torch.testing.assert_close(compiled(layer, x), layer(x).relu())
