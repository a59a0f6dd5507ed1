"""What every solver is: a rule that takes (x, x0) from one noise level to the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from torch import Tensor

from worldmodel.sampling.denoiser import Denoise


@dataclass(frozen=True)
class StepContext:
    """One step of a trajectory, beside its (x, x0)."""

    sigma: float  # noise level of x
    sigma_next: float  # noise level to reach, below sigma
    steps_left: int  # steps to sigma = 0, this one included
    denoise: Denoise  # for solvers that evaluate more than once; every call is counted
    noise: Callable[[Tensor], Tensor]  # fresh standard normal noise of this step, like the tensor


class Solver:
    """A named rule with settings; subclasses are frozen dataclasses around a free function.

    ``str(solver)`` is its name and settings in one word, such as ``unipc:order=3``.
    """

    name: ClassVar[str]

    def __call__(self, x: Tensor, x0: Tensor, at: StepContext, history: Any) -> tuple[Tensor, Any]:
        """The sample at ``at.sigma_next`` and the history for the next step.

        Args:
            x: (B, C, ...) sample; x0: the model's prediction for it.
            at: noise levels and what else the step may use.
            history: what the step before returned; None at the start and after x was changed.
        """
        raise NotImplementedError

    @property
    def stochastic(self) -> bool:
        """Whether steps draw noise."""
        return False

    def evaluations(self, sigma_next: float) -> int:
        """Model evaluations of a step to that noise level, the one that gave x0 included."""
        return 1

    def __str__(self) -> str:
        changed = (f.name for f in fields(self) if getattr(self, f.name) != f.default)  # type: ignore[arg-type]  # subclasses are dataclasses
        settings = ",".join(f"{name}={str(getattr(self, name)).lower()}" for name in changed)
        return f"{self.name}:{settings}" if settings else self.name
