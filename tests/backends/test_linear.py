"""Products by oneDNN are the layers' own, and asked for only where PyTorch would take MKL."""

import pytest
import torch
from diffusers.models.attention import FeedForward
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from worldmodel.backends import linear as module
from worldmodel.backends.linear import ROWS, feed_forward, linear, projected


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
    doubled, listened, asked, changed = Doubled(64, 48), nn.Linear(64, 48), nn.Linear(64, 48), nn.Linear(64, 48)
    for each in (doubled, listened, asked, changed):
        each.load_state_dict(plain.state_dict())
    calls = []
    listened.register_forward_hook(lambda *_: calls.append(1))
    asked.register_forward_pre_hook(lambda *_: calls.append(2))
    changed.forward = lambda x: 3.0 * plain(x)  # as diffusers' hooks do
    with torch.no_grad():
        expected = plain(x)
        torch.testing.assert_close(linear(doubled, x), 2.0 * expected)
        torch.testing.assert_close(linear(listened, x), expected)
        torch.testing.assert_close(linear(asked, x), expected)
        torch.testing.assert_close(linear(changed, x), 3.0 * expected)
    assert calls == [1, 2] and products == []


@torch.no_grad()
def test_hooks_on_a_whole_feed_forward_or_sequence_are_called():
    layer, sequence = FeedForward(64, mult=2, activation_fn="gelu"), nn.Sequential(nn.Linear(64, 48), nn.GELU())
    x, calls = torch.randn(ROWS, 64), []
    torch.testing.assert_close(projected(sequence, x), sequence(x))
    for module_of in (layer, layer.net[0], sequence):
        hook = module_of.register_forward_hook(lambda *_: calls.append(1))
        feed_forward(layer, x)
        projected(sequence, x)
        hook.remove()
    assert calls == [1, 1, 1]
    layer.forward = lambda x: x
    assert torch.equal(feed_forward(layer, x), x)
    assert torch.equal(feed_forward(nn.Identity(), x), x)


def test_mkl_stays_where_it_is_faster_or_gradients_are_wanted(products):
    layer, x = layer_and_input(64, 64)
    linear(layer, x).sum().backward()
    assert layer.weight.grad is not None
    with torch.no_grad():
        linear(layer, x[: ROWS - 1])
        with torch.autocast("cpu", torch.bfloat16):
            assert linear(layer, x).dtype == torch.bfloat16
        layer.double()
        linear(layer, x.double())
        with pytest.raises(RuntimeError, match="dtype"):
            linear(layer, x)
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            linear(layer.float(), x[:, :32].contiguous().repeat(2, 1))
    assert products == []


@torch.no_grad()
def test_onednn_can_be_switched_off():
    layer, x = layer_and_input(64, 64)
    counted = []
    for enabled in (True, False):
        with torch.backends.mkldnn.flags(enabled=enabled), FlopCounterMode(display=False) as counter:
            linear(layer, x)
        counted.append(counter.get_total_flops())  # of PyTorch's own products
    assert counted == [0, 2 * 64 * 64 * 48]


@torch.no_grad()
def test_compiled_code_multiplies_the_same_in_one_graph_and_heeds_a_layer_that_is_changed_later():
    layer, x = layer_and_input(64, 64)
    operations = []

    def noted(graph, _):
        operations.append([node.target for node in graph.graph.nodes])
        return graph.forward

    compiled = torch.compile(lambda layer, x: linear(layer, x).relu(), dynamic=False, fullgraph=True, backend=noted)
    torch.testing.assert_close(compiled(layer, x), layer(x).relu())
    assert [str(each) for each in operations[0]].count("worldmodel.linear.default") == 1
    layer.forward = lambda x: x
    assert torch.equal(compiled(layer, x), x.relu())
    whole = torch.compile(lambda layer, x: linear(layer, x).relu(), dynamic=False)
    layer, x = layer_and_input(96, 64)
    torch.testing.assert_close(whole(layer, x), layer(x).relu())
