"""How much a search may spend, in model evaluations or in seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Budget:
    """Limits of one search; the plan so far is returned when one is reached.

    Attributes:
        evaluations: of the model, over all candidates; None for no limit. An iteration for which not all are left
            is made with fewer candidates.
        seconds: wall clock; None for no limit. A batch of candidates that would take longer than what is left,
            judged by the longest one before, is not begun.
    """

    evaluations: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        whole = isinstance(self.evaluations, int | np.integer) and not isinstance(self.evaluations, bool)
        if self.evaluations is not None and not (whole and self.evaluations >= 1):
            raise ValueError(
                f"evaluations: got {self.evaluations!r}, expected a whole number of at least 1; None is no limit"
            )
        if self.seconds is not None and not (isinstance(self.seconds, int | float) and self.seconds > 0):
            raise ValueError(f"seconds: got {self.seconds!r}, expected a number above 0; None is no limit")

    def check(self, price: int) -> None:
        """Refuse a budget that is too small for one candidate of ``price`` evaluations."""
        if self.evaluations is not None and self.evaluations < price:
            raise ValueError(
                f"budget: got {self.evaluations} model evaluations, expected at least {price}, what one candidate "
                "takes; give more, plan less far ahead, or take fewer sampling steps"
            )


@dataclass
class Meter:
    """What of a budget has been spent."""

    budget: Budget
    price: int  # evaluations of a candidate
    clock: Callable[[], float] = time.monotonic
    started: float = field(init=False)
    evaluations: int = 0
    longest: float = 0.0  # s, of a batch

    def __post_init__(self) -> None:
        self.started = self.clock()

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return self.clock() - self.started

    def affordable(self, candidates: int) -> int:
        """How many of so many candidates there are evaluations for."""
        if self.budget.evaluations is None:
            return candidates
        return min(candidates, (self.budget.evaluations - self.evaluations) // self.price)

    def in_time(self) -> bool:
        """Whether another batch would end in time; the first is always made."""
        return self.budget.seconds is None or self.seconds + self.longest <= self.budget.seconds
