"""Gradients are those of the first loss, recorded or not."""

import pytest
import torch
from torch import nn

from worldmodel.training.gradients import Gradients


def written_again(module):
    """What a CUDA graph does, on a CPU: a replay writes the same tensors again, and touches nothing else."""

    def record(run):
        out = run()
        held = [each.grad for each in module.parameters()]

        def replay():
            others = [each.grad for each in module.parameters()]
            out.copy_(run())
            for parameter, own, other in zip(module.parameters(), held, others, strict=True):
                if own is not None:
                    own.copy_(parameter.grad)
                parameter.grad = other

        return replay, out

    return record


@pytest.mark.parametrize("recorded", [False, True])
def test_they_are_of_the_first_loss_and_replace_those_that_were_there(recorded):
    torch.manual_seed(0)
    module = nn.ModuleDict({"used": nn.Linear(3, 2), "idle": nn.Linear(3, 2)})

    def losses(inputs):
        x, y = inputs
        error = module["used"](x) - y
        return [error.square().mean(), error.abs().mean()]

    gradients = Gradients(losses, module, "cpu", written_again(module) if recorded else None)
    for size in (4, 4, 6, 4):
        inputs = torch.randn(size, 3), torch.randn(size, 2)
        found = gradients(inputs)
        expected = losses(inputs)
        torch.testing.assert_close(found, torch.stack(expected).detach())
        wanted = torch.autograd.grad(expected[0], list(module["used"].parameters()))
        torch.testing.assert_close([each.grad for each in module["used"].parameters()], list(wanted))
        assert module["idle"].weight.grad is None


@pytest.mark.gpu
def test_a_recorded_graph_gives_the_gradients_of_the_plain_pass():
    torch.manual_seed(0)
    module = nn.Linear(8, 8).to("cuda")

    def losses(inputs):
        with torch.autocast("cuda", torch.bfloat16):
            return [(module(inputs[0]) - inputs[1]).float().square().mean()]

    def plain(inputs):  # no graph of another stream may be alive when the next shape is recorded
        loss = losses(inputs)[0]
        return loss.detach(), list(torch.autograd.grad(loss, list(module.parameters())))

    gradients = Gradients(losses, module, "cuda")
    for size in (4, 4, 6, 4):
        inputs = [torch.randn(size, 8, device="cuda") for _ in range(2)]
        found = gradients(inputs)
        expected, wanted = plain(inputs)
        torch.testing.assert_close(found[0], expected)
        torch.testing.assert_close([each.grad for each in module.parameters()], wanted)
        with torch.no_grad():
            for each in module.parameters():  # what a training step does to both
                each.grad.mul_(0.0)
                each.mul_(0.9)
