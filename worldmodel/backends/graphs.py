"""An evaluation recorded once and replayed, so that a GPU does not wait for Python between its kernels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Recorder = Callable[[Callable[[], Tensor]], tuple[Callable[[], None], Tensor]]


class Recorded:
    """out = recorded(inputs), a function of tensors of unchanging shapes.

    Args:
        function: of as many tensors; it reads nothing else that changes.
        record: of a function without arguments, what replays it and the tensor that holds its result.
    """

    def __init__(self, function: Callable[[list[Tensor]], Tensor], record: Recorder | None = None) -> None:
        self._function, self._record = function, record or cuda_graph
        self._held: list[Tensor] = []
        self._last: list[Tensor] = []

    def __call__(self, inputs: list[Tensor]) -> Tensor:
        """The result; inputs that are the tensors of the call before are taken to be unchanged."""
        if [_kind(each) for each in inputs] != [_kind(each) for each in self._held]:
            held = [each.clone() for each in inputs]
            self._replay, self._out = self._record(lambda: self._function(held))
            self._held, self._last = held, list(inputs)
        for own, new, last in zip(self._held, inputs, self._last, strict=True):
            if new is not last:
                own.copy_(new)
        self._last = list(inputs)
        self._replay()
        return self._out.clone()


def cuda_graph(run: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
    """A CUDA graph of a function, warmed up first, as capture wants it."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = run()
    return graph.replay, out


def _kind(tensor: Tensor) -> tuple[torch.Size, torch.dtype, torch.device]:
    return tensor.shape, tensor.dtype, tensor.device
