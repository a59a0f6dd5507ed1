"""Model predictive control: plan in a model, act, look, plan again. A planner is a policy like any other."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from worldmodel.planning.budget import Budget
from worldmodel.planning.dynamics import Dynamics
from worldmodel.planning.planner import Planner, Search
from worldmodel.planning.scoring import Scoring, evaluations_of, score
from worldmodel.planning.search import Plan, search
from worldmodel.planning.space import Space


@dataclass(frozen=True)
class Task:
    """What is planned in one episode.

    Attributes:
        dynamics: the model of its scene.
        scoring: what is to be achieved.
        polish: from where candidates begin and the plan (1, horizon, A) to a better one, such as a descent through the
            denoiser (:mod:`worldmodel.planning.gradient`); its costs are not looked at again.
    """

    dynamics: Dynamics
    scoring: Scoring
    polish: Callable[[Any, np.ndarray], np.ndarray] | None = None


class PlanningPolicy:
    """Answers with the plan of least cost; each search begins with what is left of the one before.

    Args:
        task: called after each reset of the environment: the model and the objective of the new episode, such as
            ``lambda: Task(Simulator(env), Scoring(WayToGoal()))``.
        planner: how plans are searched.
        horizon: actions of a plan.
        execute: actions of it to answer with.
        block: actions for which each is held; must divide both.
        seed: of the planner's noise and the model's.
        budget: of each search; ``Budget(seconds=...)`` is a deadline, which returns the best plan so far.
        batch_size: candidates imagined at once.
        keep_video: answer with ``imagined`` (n, H, W, 3), the frames that the plan expects, too.
        progress: show a bar of candidates.
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
    ) -> None:
        if not 1 <= execute <= horizon or execute % block or horizon % block:
            raise ValueError(
                f"execute, horizon, block: got {execute}, {horizon}, {block}, expected 1 <= execute <= horizon, both "
                "whole blocks; change them"
            )
        self._make, self.planner, self.budget = task, planner, budget
        self.horizon, self.execute, self.block, self.seed = horizon, execute, block, seed
        self._batch_size, self._progress = batch_size, progress
        self._keep_video = keep_video
        self._task: Task | None = None
        self._left: Search | None = None
        self._searches = 0

    def reset(self) -> None:
        """Ask for the task of the new episode, and refuse what its model cannot do before anything is imagined."""
        self._task, self._left, self._searches = self._make(), None, 0
        self._task.scoring.check(self._task.dynamics)
        self.budget.check(evaluations_of(self._task.dynamics, self._task.scoring, self.horizon))

    def infer(self, observation: Mapping[str, Any]) -> dict[str, Any]:
        """``actions`` (execute, A); ``plan`` (horizon, A), how many are ``executed``, ``cost`` and what it took."""
        if self._task is None:
            raise RuntimeError("infer: got no task, expected reset() before the first observation; call it")
        dynamics = self._task.dynamics
        start = dynamics.start(observation, self.seed)
        plan = self._search(start)
        self._left = self.planner.following(plan.state, self.execute // self.block)
        self._searches += 1
        if self._task.polish is not None:
            better = dynamics.action_spec.check(self._task.polish(start, plan.actions[None])[0])
            plan = dataclasses.replace(plan, actions=better)
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
        return answer

    def _search(self, start: Any) -> Plan:
        assert self._task is not None
        dynamics, scoring = self._task.dynamics, self._task.scoring
        space = Space(dynamics.action_spec, self.horizon, self.block)
        seed = self.seed + scoring.samples * self._searches

        def evaluate(actions: np.ndarray) -> np.ndarray:
            return score(dynamics, start, actions, scoring, seed=seed)

        return search(
            self.planner,
            space,
            evaluate,
            seed=self.seed,
            step=self._searches,
            start=self._left,
            budget=self.budget,
            price=evaluations_of(dynamics, scoring, self.horizon),
            batch_size=self._batch_size,
            progress=self._progress,
        )

    def _expected(self, start: Any, plan: Plan) -> np.ndarray | None:
        """The frames (n, H, W, 3) of the plan."""
        assert self._task is not None
        dynamics = self._task.dynamics
        futures = dynamics.imagine(start, plan.actions[None], np.array([self.seed]))
        shown = dynamics.show(start, futures, frozenset(("video",)))
        return None if shown.video is None else shown.video[0]
