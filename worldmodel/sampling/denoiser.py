"""The denoiser as every sampler calls it, x0 = denoise(x, sigma), with its answers checked and its calls counted."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Denoise = Callable[[Tensor, float], Tensor]


class CheckedDenoiser:
    """A denoiser that refuses to go on with an answer of another shape or dtype, or with NaN.

    Args:
        denoise: denoise(x, sigma) -> x0, perhaps with an attribute ``pinned``.
        x: (B, C, ...) the start of the trajectory, which every answer must look like.

    Attributes:
        pinned: bool, expands to (B, 1, ...): places that are given; None if there are none.
        step: index of the step under way.
        before: (B, C, ...) the prediction from which the step before was taken; None in the first.
        calls: evaluations so far.
    """

    def __init__(self, denoise: Denoise, x: Tensor) -> None:
        if not callable(denoise):
            raise ValueError(f"denoise: got {denoise!r}, expected denoise(x, sigma) -> x0; see sample")
        self._denoise = denoise
        self._shape, self._dtype = x.shape, x.dtype
        self.pinned: Tensor | None = getattr(denoise, "pinned", None)
        self.step = 0
        self.before: Tensor | None = None
        self.calls = 0
        if self.pinned is not None:
            _check_pinned(self.pinned, x)

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """The clean sample predicted for x (B, C, ...) at noise level sigma."""
        self.calls += 1
        return self.checked(self._denoise(x, sigma), sigma)

    def checked(self, x0: Tensor, sigma: float) -> Tensor:
        """An answer of the denoiser, if it is one."""
        at = f"at step {self.step} (sigma {sigma:g})"
        if not isinstance(x0, Tensor):
            raise ValueError(f"denoise: got x0 of type {type(x0).__name__} {at}, expected a tensor; return x0 alone")
        if x0.shape != self._shape:
            raise ValueError(
                f"denoise: got x0 of shape {tuple(x0.shape)} {at}, expected {tuple(self._shape)}, that of x; fix it"
            )
        if x0.dtype != self._dtype:
            raise ValueError(f"denoise: got x0 of {x0.dtype} {at}, expected {self._dtype}, that of x; cast it")
        # One number tells that all is well; which sample is at fault is looked up only when it is not.
        if not torch.isfinite(x0.sum()):
            self._name_culprit(x0, at)
        return x0

    def _name_culprit(self, x0: Tensor, at: str) -> None:
        faulty = (~torch.isfinite(x0)).flatten(1).any(dim=1).nonzero().flatten().tolist()
        if faulty:
            raise ValueError(
                f"denoise: got NaN or infinity {at} in sample "
                f"{', '.join(map(str, faulty))}, expected finite values; check the model's inputs and precision"
            )


def _check_pinned(pinned: Tensor, x: Tensor) -> None:
    expected = (len(x), 1, *x.shape[2:])
    got = f"{pinned.dtype} of shape {tuple(pinned.shape)}" if isinstance(pinned, Tensor) else type(pinned).__name__
    fits = isinstance(pinned, Tensor) and pinned.dtype == torch.bool and pinned.ndim == x.ndim
    if not fits or any(size not in (1, full) for size, full in zip(pinned.shape, expected, strict=True)):
        raise ValueError(f"denoise.pinned: got {got}, expected torch.bool that expands to {expected}; reshape it")
