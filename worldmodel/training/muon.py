"""Muon: momentum whose matrices are made orthogonal (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/).

PyTorch's own takes flat matrices only and iterates in bfloat16, which is slow on processors without it. This one takes
convolutions as the matrices (outputs, inputs x taps) that they are, computes in the precision of the weights, and takes
all matrices of one shape together: one by one, a GPU would wait for a hundred small products.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the odd polynomial that takes singular values towards 1
ITERATIONS = 5
AS_ADAM = 0.2  # root mean square of an update of Adam's, so that learning rates are alike
SMALLEST = 16  # rows and columns below which a weight is left to another optimizer


class Muon(torch.optim.Optimizer):
    """Steps of Nesterov momentum with all singular values near 1.

    Args:
        params: weights of two axes or more; the first is the outputs'.
        lr: learning rate; an update's root mean square is ``AS_ADAM`` times as much.
        momentum: share of the old momentum that stays.
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Update every weight that has a gradient."""
        with torch.enable_grad():
            loss = None if closure is None else closure()
        for group in self.param_groups:
            alike: dict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)
            for weight in group["params"]:
                if weight.grad is not None:
                    alike[weight.shape].append((weight, weight.grad.flatten(1)))
            for shape, pairs in alike.items():
                weights, gradients = [weight for weight, _ in pairs], [gradient for _, gradient in pairs]
                momenta = [self._momentum(*pair) for pair in pairs]
                torch._foreach_lerp_(momenta, gradients, 1.0 - group["momentum"])
                nesterov = torch._foreach_lerp(gradients, momenta, group["momentum"])
                updates = orthogonal(torch.stack(list(nesterov)))
                size = -group["lr"] * AS_ADAM * max(updates.shape[1:]) ** 0.5
                torch._foreach_add_(weights, [update.reshape(shape) for update in updates], alpha=size)
        return loss

    def _momentum(self, weight: Tensor, gradient: Tensor) -> Tensor:
        state = self.state[weight]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(gradient)
        momentum: Tensor = state["momentum"]
        return momentum


def orthogonal(matrices: Tensor) -> Tensor:
    """The nearest matrices (N, R, C) with orthonormal rows or columns, about: singular values end from 0.7 to 1.2.

    Each iteration multiplies X from the left by P = a + b G + c G^2 with G = X X^T, and P commutes with G. So G becomes
    P G P, and the long side of X is needed at the ends only.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    wide = matrices.mT if tall else matrices
    x = wide / (wide.norm(dim=(1, 2), keepdim=True) + 1e-7)
    gram = x @ x.mT
    product = factor = _polynomial(gram)
    for _ in range(ITERATIONS - 1):
        gram = factor @ gram @ factor
        factor = _polynomial(gram)
        product = factor @ product
    x = product @ x
    return x.mT if tall else x


def _polynomial(gram: Tensor) -> Tensor:
    """a + b G + c G^2."""
    a, b, c = COEFFICIENTS
    result = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
    result.diagonal(dim1=1, dim2=2).add_(a)
    return result


def muon_and_adam(module: nn.Module, ends: Iterable[str]) -> tuple[Muon, torch.optim.AdamW]:
    """Both optimizers of a module's weights, at learning rates of 1 that are set before each step; see ``matrices``."""
    inner, others = matrices(module, ends)
    return Muon(inner, lr=1.0), torch.optim.AdamW(others, lr=1.0, betas=(0.9, 0.99), weight_decay=0.0, fused=True)


def matrices(module: nn.Module, ends: Iterable[str] = ()) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Parameters for Muon, and the others: biases, gains, small weights, and those whose name has one of ``ends``."""
    inner: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, weight in module.named_parameters():
        large = weight.ndim > 1 and min(weight.shape[0], weight[0].numel()) >= SMALLEST
        (inner if large and not any(end in name for end in ends) else others).append(weight)
    return inner, others
