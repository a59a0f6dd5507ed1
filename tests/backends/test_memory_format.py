"""Weights with channels last give what the others give, up to rounding."""

import torch
from torch import nn

from worldmodel.backends.memory_format import use_channels_last


def test_results_change_by_rounding_only():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv3d(4, 8, 3, padding=1), nn.SiLU(), nn.Flatten(1, 2), nn.Conv2d(24, 5, 3))
    x = torch.randn(2, 4, 3, 8, 8)
    before = network(x)
    use_channels_last(network)
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert network[3].weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(network(x), before, rtol=1e-5, atol=1e-6)
