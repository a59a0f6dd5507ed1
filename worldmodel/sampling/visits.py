"""The steps of a schedule as a diffusers pipeline gets to see them when some are visited more often than once.

A pipeline asks its scheduler three things: the timesteps to go through, the noise level of visit i, and how many
visits a step takes (``order``), from which it finds where to start and when to move its progress bar on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from worldmodel.sampling.plan import Visit


class Visits:
    """The visits of one run, in order; visits that are no longer needed can be dropped on the way.

    Args:
        plan: the steps of the schedule; each is visited once, and once more for each of its iterations.
        owner: the scheduler they belong to. Copies of it, which pipelines make for sound and actions, share them.

    Attributes:
        steps: index of the step that each visit belongs to.
        first: index of the visit that the run starts from.
        position: index of the visit under way.
        live: whether whoever goes through the timesteps asks for each one, so that dropped ones are left out.
    """

    def __init__(self, plan: Sequence[Visit], owner: object) -> None:
        self.steps = [visit.step for visit in plan for _ in range(visit.iterations + 1)]
        self.owner = owner
        self.first = self.position = 0
        self.live = False
        self.due = True  # whether the visit under way has yet to be made

    def __deepcopy__(self, memo: dict[int, Any]) -> Visits:
        return self

    @property
    def step(self) -> int:
        """The step under way."""
        return self.steps[self.position]

    def ends_step(self, position: int | None = None) -> bool:
        """Whether a visit, by default the one under way, is the last of its step."""
        position = self.position if position is None else position
        return self.steps[position] not in self.steps[position + 1 : position + 2]

    def drop_rest(self, owner: object) -> None:
        """Leave out the visits of the step under way that are still to come, if that can be done."""
        if self.live and owner is self.owner:
            step, after = self.step, self.position + 1
            self.steps[after:] = [other for other in self.steps[after:] if other != step]

    def walk(self, timesteps: Tensor, first: int) -> Iterator[Tensor]:
        """The timesteps of the visits from ``first`` on, each looked up when it is its turn."""
        self.live, self.first, self.position = True, first, first
        while self.position < len(self.steps):
            self.due = True
            yield timesteps[self.step]
            self.position += 1
        if self.due:  # someone made a list of them
            self.live, self.position = False, first

    def done(self, owner: object) -> None:
        """The visit under way has been made; go on to the next one, if nobody asks for it."""
        if not self.live:
            self.position += 1
        elif owner is self.owner:
            self.due = False


class Timesteps(Tensor):
    """The timesteps of all visits, as a tensor that leaves out dropped visits when it is iterated over.

    A slice from some visit on does so too; whatever else is made of it is a plain tensor.
    """

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]  # as nn.Parameter has it

    visits: Visits
    of_steps: Tensor  # the timestep of each step
    first: int

    @classmethod
    def of(cls, visits: Visits, schedule: Tensor, first: int = 0) -> Timesteps:
        """Timesteps of the visits from ``first`` on; ``schedule`` (N,) holds one for each step."""
        repeated = schedule[torch.tensor(visits.steps[first:], device=schedule.device)].as_subclass(cls)
        repeated.visits, repeated.of_steps, repeated.first = visits, schedule, first
        return repeated

    def __iter__(self) -> Iterator[Tensor]:
        return self.visits.walk(self.of_steps, self.first)

    def __getitem__(self, index: Any) -> Tensor:
        if isinstance(index, slice) and isinstance(index.start, int) and index.start >= 0 and index.stop is None:
            return Timesteps.of(self.visits, self.of_steps, self.first + index.start)
        return self.as_subclass(Tensor)[index]


class Order(int):
    """1, as the order of a scheduler with one visit a step, but ``steps * order`` and ``made % order`` count visits.

    ``steps * order`` are the visits of the first so many steps; ``made % order`` is 0 when so many visits have just
    completed a step.
    """

    visits: Visits

    @classmethod
    def of(cls, visits: Visits) -> Order:
        order = cls(1)
        order.visits = visits
        return order

    def __mul__(self, steps: Any) -> Any:
        return sum(step < steps for step in self.visits.steps)

    __rmul__ = __mul__

    def __rmod__(self, made: Any) -> int:
        return 0 if self.visits.ends_step(self.visits.first + made - 1) else 1
