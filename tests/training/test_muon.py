"""Muon's updates have no direction that is larger than another."""

import torch
from torch import nn

from worldmodel.training.muon import AS_ADAM, Muon, matrices, orthogonal


def test_singular_values_end_near_one_and_vectors_stay():
    torch.manual_seed(0)
    for shape in ((16, 40), (40, 16), (24, 32)):
        matrices = torch.randn(3, *shape)
        for matrix, found in zip(matrices, orthogonal(matrices), strict=True):
            u, _, v = torch.linalg.svd(matrix, full_matrices=False)
            through = u.T @ found @ v.T
            values = through.diagonal()
            assert ((values > 0.6) & (values < 1.3)).all()
            torch.testing.assert_close(through, torch.diag(values), rtol=0.0, atol=1e-3)


def test_an_update_does_not_depend_on_the_size_of_the_gradient_and_is_as_large_as_adams():
    torch.manual_seed(0)
    moved = []
    for scale in (1.0, 100.0):
        conv = nn.Conv3d(16, 24, 3)
        before = conv.weight.detach().clone()
        gradient = torch.randn(conv.weight.shape, generator=torch.Generator().manual_seed(1))
        conv.weight.grad = scale * gradient
        Muon([conv.weight], lr=0.1).step()
        moved.append(conv.weight.detach() - before)
    torch.testing.assert_close(moved[0], moved[1], rtol=1e-3, atol=1e-5)
    size = moved[0].square().mean().sqrt().item()
    assert 0.6 * 0.1 * AS_ADAM < size < 1.3 * 0.1 * AS_ADAM
    assert (moved[0] * gradient).sum() < 0.0


def test_weights_of_one_shape_move_as_each_would_alone():
    torch.manual_seed(0)
    together = [nn.Parameter(torch.randn(16, 24)) for _ in range(3)] + [nn.Parameter(torch.randn(24, 16))]
    alone = [nn.Parameter(each.detach().clone()) for each in together]
    gradients = [[torch.randn_like(each) for each in together] for _ in range(3)]
    joint, single = Muon(together, lr=0.1), [Muon([each], lr=0.1) for each in alone]
    for step in gradients:
        for one, other, gradient in zip(together, alone, step, strict=True):
            one.grad, other.grad = gradient, gradient
        joint.step()
        for optimizer in single:
            optimizer.step()
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_it_finds_a_linear_map():
    torch.manual_seed(0)
    layer, true, x = nn.Linear(32, 16, bias=False), torch.randn(16, 32) / 5.0, torch.randn(256, 32)
    optimizer = Muon(layer.parameters(), lr=0.05)
    for step in range(200):
        optimizer.param_groups[0]["lr"] = 0.05 * (1.0 - step / 200)
        loss = (layer(x) - x @ true.T).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss.item() < 1e-3


def test_small_weights_biases_and_ends_are_left_to_others():
    model = nn.ModuleDict({"conv_in": nn.Linear(32, 32), "middle": nn.Linear(32, 32), "few": nn.Linear(32, 4)})
    inner, others = matrices(model, ends=("conv_in",))
    assert [each.shape for each in inner] == [(32, 32)] and inner[0] is model["middle"].weight
    assert len(inner) + len(others) == len(list(model.parameters()))
