"""Losses and their gradients: as they come on a CPU, recorded once and replayed on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from worldmodel.backends.graphs import cuda_graph


class Gradients:
    """losses = gradients(inputs): leaves the gradients of the first loss in a module's parameters.

    Small networks keep a GPU waiting for Python between their kernels, most of all on the way back. So there the
    forward and the backward pass are recorded as one CUDA graph for each shape of the inputs.

    Args:
        losses: scalars of the inputs; it reads nothing else that changes.
        module: whose parameters get gradients, in place of those they have.
        device: of the inputs.
        record: of a function without arguments, what replays it and the tensor that holds its result.
    """

    def __init__(
        self,
        losses: Callable[[Sequence[Tensor]], Sequence[Tensor]],
        module: nn.Module,
        device: str,
        record: Callable[[Callable[[], Tensor]], tuple[Callable[[], None], Tensor]] | None = None,
    ) -> None:
        self._losses, self._module = losses, module
        self._record = record or (cuda_graph if torch.device(device).type == "cuda" else None)
        self._recorded: dict[tuple[torch.Size, ...], _Recorded] = {}

    def __call__(self, inputs: Sequence[Tensor]) -> Tensor:
        """The losses, detached."""
        if self._record is None:
            return self._run(inputs)
        shapes = tuple(each.shape for each in inputs)
        if shapes not in self._recorded:
            held = [each.clone() for each in inputs]
            replay, losses = self._record(lambda: self._run(held))
            self._recorded[shapes] = _Recorded(held, replay, losses, [each.grad for each in self._module.parameters()])
        recorded = self._recorded[shapes]
        for own, new in zip(recorded.inputs, inputs, strict=True):
            own.copy_(new)
        recorded.replay()
        for parameter, gradient in zip(self._module.parameters(), recorded.gradients, strict=True):
            parameter.grad = gradient
        return recorded.losses.clone()

    def _run(self, inputs: Sequence[Tensor]) -> Tensor:
        self._module.zero_grad()
        losses = self._losses(inputs)
        losses[0].backward()
        return torch.stack([each.detach() for each in losses])


@dataclass(frozen=True)
class _Recorded:
    inputs: list[Tensor]
    replay: Callable[[], None]
    losses: Tensor
    gradients: list[Tensor | None]
