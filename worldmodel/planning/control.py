"""Model predictive control: plan in a model, act, look, plan again. A planner is a policy like any other."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from worldmodel.counts import check_count
from worldmodel.planning.budget import Budget
from worldmodel.planning.dynamics import Dynamics
from worldmodel.planning.planner import Planner, Search
from worldmodel.planning.scoring import Scoring, evaluations_of, judging
from worldmodel.planning.search import Plan, check_batch_size, search
from worldmodel.planning.space import Space
from worldmodel.planning.waypoints import Workspace, space_for


@dataclass(frozen=True)
class Task:
    """What is planned in one episode.

    Attributes:
        dynamics: the model of its scene.
        scoring: what is to be achieved.
        polish: from where candidates begin and the plan (1, horizon, A) to a better one, such as a descent through the
            denoiser (:mod:`worldmodel.planning.gradient`); its costs are not looked at again, and the next search
            begins with what is left of it.
        workspace: of a hand, whose plans are then :class:`~worldmodel.planning.waypoints.Waypoints` in it; they begin
            where the observation's ``agent_pos`` has it. Held actions if None.
    """

    dynamics: Dynamics
    scoring: Scoring
    polish: Callable[[Any, np.ndarray], np.ndarray] | None = None
    workspace: Workspace | None = None

    def check(self) -> None:
        """Refuse, before anything is imagined, what the model cannot do."""
        self.scoring.check(self.dynamics)
        if self.workspace is not None and not isinstance(self.workspace, Workspace):
            raise ValueError(f"workspace: got {self.workspace!r}, expected a Workspace(low, high); make one")
        if self.workspace is not None:
            self.workspace.check(self.dynamics.action_spec)


class PlanningPolicy:
    """Answers with the plan of least cost; each search begins with what is left of the one before.

    Args:
        task: called after each reset of the environment: the model and the objective of the new episode, such as
            ``lambda: Task(Simulator(env), Scoring(WayToGoal()))``.
        planner: how plans are searched.
        horizon: actions of a plan.
        execute: actions of it to answer with. All of them must be executed before it is asked again, since the next
            search begins that much later: to execute fewer give fewer here, not to ``run_episode``.
        block: actions for which each is held, or in which a hand goes from one point to the next; must divide both.
        seed: of the planner's noise and the model's, of which each search has its own.
        budget: of each search; ``Budget(seconds=...)`` is a deadline of :meth:`infer`, which returns the best plan so
            far. How long the model, polishing and the film take is known from the answer before, which lasts over
            resets; the first answer is later by polishing and film.
        batch_size: candidates imagined at once; all of an iteration, or as many as the deadline allows, by default.
        keep_video: answer with ``imagined`` (n, H, W, 3), the frames that the plan expects, too.
        progress: show a bar of candidates.
        clock: in seconds.
    """

    def __init__(
        self,
        task: Callable[[], Task],
        planner: Planner,
        *,
        horizon: int,
        execute: int,
        block: int = 1,
        seed: int = 0,
        budget: Budget = Budget(),  # noqa: B008  # frozen
        batch_size: int | None = None,
        keep_video: bool = False,
        progress: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        for name, value in (("horizon", horizon), ("execute", execute), ("block", block)):
            check_count(name, value)
        check_count("seed", seed, least=0)
        check_batch_size(batch_size)
        if not 1 <= execute <= horizon or execute % block or horizon % block:
            raise ValueError(
                f"execute, horizon, block: got {execute}, {horizon}, {block}, expected 1 <= execute <= horizon, both "
                "whole blocks; change them"
            )
        self._make, self.planner, self.budget = task, planner, budget
        self.horizon, self.execute, self.block, self.seed = horizon, execute, block, seed
        self._batch_size, self._progress = batch_size, progress
        self._keep_video, self._clock = keep_video, clock
        self._task: Task | None = None
        self._left: Search | None = None
        self._searches = 0
        self._pace: float | None = None  # s an evaluation
        self._after = 0.0  # s from the end of a search to the answer

    def reset(self) -> None:
        """Ask for the task of the new episode, and refuse what its model cannot do before anything is imagined."""
        self._task, self._left, self._searches = self._make(), None, 0
        self._task.check()
        self.budget.check(sum(evaluations_of(self._task.dynamics, self._task.scoring, self.horizon)))

    def infer(self, observation: Mapping[str, Any]) -> dict[str, Any]:
        """``actions`` (execute, A); ``plan`` (horizon, A), how many are ``executed``, ``cost`` and what it took."""
        if self._task is None:
            raise RuntimeError("infer: got no task, expected reset() before the first observation; call it")
        began, spec = self._clock(), self._task.dynamics.action_spec
        space = space_for(spec, self.horizon, self.block, self._task.workspace, observation)
        start = self._task.dynamics.start(observation, self.seed)
        plan = self._search(start, space, self._clock() - began + self._after)
        found = self._clock()
        plan = self._polished(start, space, plan)
        answer = {
            "actions": plan.actions[: self.execute],
            "plan": plan.actions,
            "cost": plan.cost,
            "candidates": plan.candidates,
            "evaluations": plan.evaluations,
            "complete": plan.complete,
            "executed": self.execute,
        }
        if self._keep_video:
            answer["imagined"] = self._expected(start, plan)
        self._left = self.planner.following(plan.state, self.execute // self.block)
        self._searches += 1
        self._pace, self._after = plan.pace, self._clock() - found
        return answer

    def _search(self, start: Any, space: Space, spent: float) -> Plan:
        assert self._task is not None
        return search(
            self.planner,
            space,
            judging(self._task.dynamics, start, self._task.scoring, self.horizon, self._seeds()),
            seed=self.seed,
            step=self._searches,
            start=self._left,
            budget=self.budget,
            batch_size=self._batch_size,
            pace=self._pace,
            spent=spent,
            clock=self._clock,
            progress=self._progress,
        )

    def _seeds(self) -> np.ndarray:
        """Seeds (S,) of the model's noise in the current search."""
        assert self._task is not None
        key = np.random.SeedSequence([self.seed, self._searches])
        return (key.generate_state(self._task.scoring.samples, np.uint64) >> np.uint64(1)).astype(np.int64)

    def _polished(self, start: Any, space: Space, plan: Plan) -> Plan:
        """The plan after the task's polish, in the middle of what the planner tries next."""
        assert self._task is not None
        if self._task.polish is None:
            return plan
        better = self._task.dynamics.action_spec.check(self._task.polish(start, plan.actions[None])[0])
        return dataclasses.replace(
            plan, actions=better, state=dataclasses.replace(plan.state, mean=space.knots(better))
        )

    def _expected(self, start: Any, plan: Plan) -> np.ndarray | None:
        """The frames (n, H, W, 3) of the plan, of its first sample, as they were judged."""
        assert self._task is not None
        dynamics, refined = self._task.dynamics, self._task.scoring.refined > 0
        futures = dynamics.imagine(start, plan.actions[None], self._seeds()[:1], refined=refined)
        shown = dynamics.show(start, futures, frozenset(("video",)))
        return None if shown.video is None else shown.video[0]
