"""Where along a trajectory a method acts: windows in paper time t = 1 - sigma, or in step indices.

Index windows do not carry over between schedules or step counts; windows in t do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from torch import Tensor

from worldmodel.sampling.denoiser import CheckedDenoiser, Denoise

Levels = Sequence[float] | np.ndarray  # noise levels of a schedule, descending to 0


class Visit(NamedTuple):
    """One step as a plan takes it."""

    step: int  # index in the schedule
    iterations: int = 0  # at the step's noise level, before it
    repeats: int = 0  # how often the step was taken before


@dataclass(frozen=True)
class Planned:
    """A method with a plan of where it acts, and how often.

    Args:
        plan: windows (t_start, t_end, iterations) in paper time t = 1 - sigma. A step at t is in one
            if t_start <= t < t_end; windows must not overlap.
        steps: windows (first, last, iterations) of 0-based step indices, both inclusive, in place of
            ``plan``; see :meth:`from_steps`.
    """

    plan: Sequence[tuple[float, float, int]] = ()
    steps: Sequence[tuple[int, int, int]] = field(default=(), kw_only=True)
    stochastic: ClassVar[bool]  # whether it draws noise

    def __post_init__(self) -> None:
        object.__setattr__(self, "plan", _windows("plan", self.plan, float))
        object.__setattr__(self, "steps", _windows("steps", self.steps, int))
        if self.plan and self.steps:
            raise ValueError("plan: got windows in t and in step indices, expected one of the two; drop one")

    @classmethod
    def from_steps(cls, steps: Sequence[tuple[int, int, int]], **options: Any) -> Self:
        """A plan of 0-based, inclusive step windows (first, last, iterations), as published."""
        return cls(steps=tuple(steps), **options)

    def ranges(self, sigmas: Levels) -> list[tuple[int, int, int]]:
        """The plan as (first, last, iterations) in 0-based, inclusive indices of the steps of a schedule."""
        count = len(sigmas) - 1
        for first, last, _ in self.steps:
            if last >= count:
                raise ValueError(f"steps: got window {first}-{last}, expected indices below {count}; use more steps")
        if self.steps:
            return list(self.steps)
        times, ranges = _times(sigmas), []
        for start, end, k in self.plan:
            chosen = [index for index, t in enumerate(times[:-1]) if start <= t < end]
            if not chosen:
                raise ValueError(
                    f"plan: got window {start:g} to {end:g}, which holds none of the {count} steps; widen it"
                )
            ranges.append((chosen[0], chosen[-1], k))
        return ranges

    def iterations(self, sigmas: Levels) -> list[int]:
        """Iterations K for each of the len(sigmas) - 1 steps of a schedule."""
        planned = [0] * (len(sigmas) - 1)
        for first, last, k in self.ranges(sigmas):
            planned[first : last + 1] = [k] * (last + 1 - first)
        return planned

    def in_time(self, sigmas: Levels) -> Self:
        """The same plan as windows in t, which carries over to other schedules and step counts."""
        times = _times(sigmas)
        return replace(self, steps=(), plan=[(times[a], times[b + 1], k) for a, b, k in self.ranges(sigmas)])

    def visits(self, sigmas: Levels) -> list[Visit]:
        """The steps of a schedule in the order in which they are taken."""
        return [Visit(step, iterations) for step, iterations in enumerate(self.iterations(sigmas))]

    def evaluator(self, denoise: Denoise, x: Tensor, visits: list[Visit]) -> CheckedDenoiser:
        """What a trajectory from x calls in place of ``denoise``, or an error that says why it cannot."""
        return CheckedDenoiser(denoise, x)

    def __call__(
        self,
        denoise: Denoise,
        x: Tensor,
        x0: Tensor,
        sigma: float,
        iterations: int,
        noise: Callable[[int, Tensor], Tensor],
        watch: Callable[[dict[str, Any]], None] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Iterate at one noise level: x, x0 and the evaluations (B,) that each sample took."""
        raise NotImplementedError

    def cost(self, iterations: int) -> int:
        """Model evaluations that so many iterations at one noise level take."""
        return iterations

    def nfe(self, sigmas: Levels) -> int:
        """Model evaluations of a schedule under this plan when no sample stops early and a step takes one."""
        return sum(1 + self.cost(visit.iterations) for visit in self.visits(sigmas))

    def describe(self) -> dict[str, Any]:
        """The settings as JSON-ready values."""
        settings = {each.name: _json_ready(getattr(self, each.name)) for each in fields(self)}
        return {"method": type(self).__name__, **settings}


def _times(sigmas: Levels) -> list[float]:
    # Rounded, so that the end of a half-open window does not hang on the last bit of 1 - sigma.
    return [round(1.0 - float(sigma), 9) for sigma in sigmas]


def _json_ready(value: Any) -> Any:
    if isinstance(value, tuple):
        return [list(window) for window in value]
    if hasattr(value, "describe"):
        return value.describe()
    return "inf" if value == float("inf") else value


def _windows(name: str, windows: Any, bound: type) -> tuple[tuple[Any, Any, int], ...]:
    """Windows as sorted tuples of plain numbers, or an error that says what is wrong with them."""
    try:
        rows = sorted((start, end, iterations) for start, end, iterations in windows)
    except (TypeError, ValueError):
        raise ValueError(
            f"{name}: got {windows!r}, expected a list of (start, end, iterations); add brackets"
        ) from None
    return tuple(_window(name, row, bound, rows[index - 1] if index else None) for index, row in enumerate(rows))


def _window(name: str, row: tuple, bound: type, before: tuple | None) -> tuple[Any, Any, int]:
    start, end, iterations = row
    if not all(map(is_number, row)) or int(iterations) != iterations or iterations < 1:
        raise ValueError(f"{name}: got {row}, expected numbers, and whole iterations of at least 1; correct it")
    whole = bound is int
    if whole and not (start == int(start) and end == int(end) and 0 <= start <= end):
        raise ValueError(
            f"{name}: got window {start:g} to {end:g}, expected step indices, 0 <= first <= last; swap them"
        )
    if not whole and not 0 <= start < end <= 1:
        raise ValueError(f"{name}: got window {start:g} to {end:g}, expected 0 <= start < end <= 1; t is 1 - sigma")
    if before is not None and (start < before[1] or (whole and start == before[1])):
        raise ValueError(
            f"{name}: got windows {before[0]:g} to {before[1]:g} and {start:g} to {end:g}, which overlap; split them"
        )
    return bound(start), bound(end), int(iterations)


def is_number(value: Any) -> bool:
    """Whether a value is a finite number; True and False are none."""
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and bool(np.isfinite(value))
