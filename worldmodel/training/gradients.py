"""Losses and their gradients: as they come on a CPU, recorded once and replayed on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from worldmodel.backends.graphs import Recorder, cuda_graph
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
        self._record = record or (cuda_graph if on_gpu(device) else None)
        self._recording: _Recording | None = None  # of the shapes seen last: a stage of training does not come back

    def __call__(self, inputs: Sequence[Tensor]) -> Tensor:
        """The losses, detached."""
        if self._record is None:
            return self._run(inputs)
        recording = self._recording
        if recording is None or [each.shape for each in recording.inputs] != [each.shape for each in inputs]:
            self._recording = recording = None  # its memory is free before the next one takes some
            held = [each.clone() for each in inputs]
            replay, losses = self._record(lambda: self._run(held))
            recording = _Recording(held, replay, losses, [each.grad for each in self._module.parameters()])
            self._recording = recording
        for own, new in zip(recording.inputs, inputs, strict=True):
            own.copy_(new)
        recording.replay()
        for parameter, gradient in zip(self._module.parameters(), recording.gradients, strict=True):
            parameter.grad = gradient
        return recording.losses.clone()

    def _run(self, inputs: Sequence[Tensor]) -> Tensor:
        self._module.zero_grad()
        losses = self._losses(inputs)
        losses[0].backward()
        return torch.stack([each.detach() for each in losses])


@dataclass(frozen=True)
class _Recording:
    inputs: list[Tensor]
    replay: Callable[[], None]
    losses: Tensor
    gradients: list[Tensor | None]
