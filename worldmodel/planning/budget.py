"""How much a search may spend, in model evaluations or in seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from worldmodel.counts import check_count


@dataclass(frozen=True)
class Budget:
    """Limits of one search; the plan so far is returned when one is reached.

    Attributes:
        evaluations: of the model, over all candidates, those of refinement included; None for no limit. An iteration
            for which not all are left is made with fewer candidates.
        seconds: wall clock; None for no limit. Candidates that would take longer than what is left, judged by those
            before, are not begun; one is always judged.
    """

    evaluations: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.evaluations is not None:
            check_count("evaluations", self.evaluations, "None is no limit")
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
    """What of a budget has been spent, and what the rest is enough for.

    Attributes:
        budget: the limits.
        price: evaluations of a candidate.
        refined: so many of an iteration are refined, for which evaluations and time are kept free.
        refined_price: evaluations that each of them takes besides.
        pace: seconds that an evaluation takes: the slowest of this search, before its first that of the one before;
            None where nothing is known.
        spent: seconds of the budget that are not for the search.
        clock: in seconds.
        evaluations: spent so far.
    """

    budget: Budget
    price: int
    refined: int = 0
    refined_price: int = 0
    pace: float | None = None
    spent: float = 0.0
    clock: Callable[[], float] = time.monotonic
    evaluations: int = 0
    _started: float = field(init=False)

    def __post_init__(self) -> None:
        self._started = self.clock()

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return self.clock() - self._started

    def pay(self, evaluations: int, seconds: float) -> None:
        """Count evaluations that took so many seconds."""
        pace = seconds / max(evaluations, 1)
        self.pace = pace if self.evaluations == 0 or self.pace is None else max(self.pace, pace)
        self.evaluations += evaluations

    def affordable(self, candidates: int) -> int:
        """How many of so many candidates of an iteration there are evaluations for."""
        if self.budget.evaluations is None:
            return candidates
        return self._most(self.budget.evaluations - self.evaluations, candidates, 0)

    def in_time(self, candidates: int, tried: int = 0) -> int:
        """How many of so many candidates there is time for, after others were ``tried`` in the same iteration."""
        if self.budget.seconds is None:
            return candidates
        return min(1, candidates) if self.pace is None else self._most(self._time_left(), candidates, tried)

    def refinable(self) -> int:
        """How many can be refined in time; one always is."""
        if self.budget.seconds is None or self.pace is None:
            return self.refined
        return max(1, min(self.refined, int(self._time_left() // max(self.refined_price, 1))))

    def _time_left(self) -> float:
        """In evaluations."""
        assert self.budget.seconds is not None and self.pace is not None
        return (self.budget.seconds - self.spent - self.seconds) / max(self.pace, 1e-12)

    def _most(self, left: float, candidates: int, tried: int) -> int:
        counts = range(1, candidates + 1)
        prices = (k * self.price + min(self.refined, tried + k) * self.refined_price for k in counts)
        return sum(price <= left for price in prices)
