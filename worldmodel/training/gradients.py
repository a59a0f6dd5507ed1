"""Losses and their gradients: as they come on a CPU, recorded once and replayed on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from worldmodel.backends.graphs import Recorded, Recorder, cuda_graph
from worldmodel.training.precision import on_gpu


class Gradients:
    """losses = gradients(inputs): leaves the gradients of the first loss in a module's parameters.

    Small networks keep a GPU waiting for Python between their kernels, most of all on the way back. So there the
    forward and the backward pass are recorded as one CUDA graph for each shape of the inputs.

    Args:
        losses: scalars of the inputs; what else it reads, such as the parameters, must change in place only.
        module: whose parameters get gradients, in place of those they have.
        device: of the inputs.
        record: of a function without arguments, what replays it and the tensor that holds its result.
    """

    def __init__(
        self,
        losses: Callable[[Sequence[Tensor]], Sequence[Tensor]],
        module: nn.Module,
        device: str,
        record: Recorder | None = None,
    ) -> None:
        self._losses, self._module = losses, module
        self._record = record or cuda_graph
        self._recorded = Recorded(self._run, self._noting) if record or on_gpu(device) else None
        self._written: list[Tensor | None] = []  # by a replay, a parameter each

    def __call__(self, inputs: Sequence[Tensor]) -> Tensor:
        """The losses, detached."""
        if self._recorded is None:
            return self._run(inputs)
        losses = self._recorded(list(inputs))
        for parameter, gradient in zip(self._module.parameters(), self._written, strict=True):
            parameter.grad = gradient
        return losses

    def _noting(self, run: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """Record, and note where the gradients of the recording lie."""
        replay, losses = self._record(run)
        self._written = [each.grad for each in self._module.parameters()]
        return replay, losses

    def _run(self, inputs: Sequence[Tensor]) -> Tensor:
        self._module.zero_grad()
        losses = self._losses(inputs)
        losses[0].backward()
        return torch.stack([each.detach() for each in losses])
