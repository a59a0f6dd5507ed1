"""MuJoCo itself as the model to plan with: the ceiling of what planning with a world model can reach."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from worldmodel.envs.rendering import Eye
from worldmodel.envs.scene_env import SceneEnv
from worldmodel.envs.simulation import KINEMATICS, Simulation, Snapshot
from worldmodel.planning.dynamics import Futures


@dataclass(frozen=True)
class Branches:
    """Ends of K simulated candidates, and the states of all their frames, from which pictures are made."""

    ends: tuple[Snapshot, ...]
    states: np.ndarray  # (K, n, S)

    def select(self, rows: np.ndarray) -> Branches:
        """The candidates of these rows."""
        return Branches(tuple(self.ends[int(row)] for row in rows), self.states[rows])


class Simulator:
    """The simulation behind an environment, seen as a model: it is forked, never stepped itself.

    Args:
        env: one of this package's environments, whose current state :meth:`start` takes.
        threads: physics threads, 0 for one a core.
    """

    offers = frozenset(("video", "signals"))
    refines = False

    def __init__(self, env: SceneEnv, threads: int = 1) -> None:
        if not isinstance(env, SceneEnv) or env.action_spec is None:
            raise ValueError(
                f"env: got {env!r}, expected an environment of worldmodel.envs that takes actions; unwrap it, or "
                "choose another"
            )
        self.env, self.action_spec, self.threads = env, env.action_spec, threads
        self._branches: Simulation | None = None
        self._one = Simulation(env.family, 1, fps=env.fps)
        self._eye: Eye | None = None

    @property
    def signals(self) -> tuple[str, ...]:
        """Those of the family, and the poses of its objects."""
        return (*self.env.family.signals, *KINEMATICS)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the environment's pictures."""
        return {"video": (*self.env.image_size, 3)}

    def price(self, n: int, *, refined: bool = False) -> int:
        """Frames to simulate."""
        return n

    def start(self, observation: Mapping[str, np.ndarray], seed: int) -> Snapshot:
        """The environment as it is now; what is seen of it tells no more."""
        if self.env.scene is None:
            raise RuntimeError("start: got no scene, expected reset() of the environment before; call it")
        return self.env.snapshot()

    def imagine(self, start: Snapshot, actions: np.ndarray, seeds: np.ndarray, *, refined: bool = False) -> Futures:
        """Simulate actions (K, n, A) from one snapshot; MuJoCo has neither noise nor refinement."""
        actions = self.action_spec.check(actions)
        branches = self._simulation(len(actions))
        branches.load([start] * len(actions))
        signals, states = [], []
        for frame in range(actions.shape[1]):
            branches.step(actions[:, frame])
            signals.append({**branches.signals, **branches.objects()})
            states.append(branches.batch.state.copy())
        ends = tuple(branches.save(index) for index in range(len(actions)))
        return Futures(
            actions=actions,
            video=None,
            latents=None,
            signals=_along_time(signals),
            after=Branches(ends, np.stack(states, axis=1)),
            evaluations=self.price(actions.shape[1]) * len(actions),
        )

    def show(self, start: Snapshot, futures: Futures, wanted: frozenset[str]) -> Futures:
        """Pictures, if wanted, of the size of the environment's."""
        if "video" not in wanted or futures.video is not None:
            return futures
        self._one.load([start])
        if self._eye is None:
            self._eye = Eye(self._one, *self.env.image_size)
        states = futures.after.states
        video = np.empty((*states.shape[:2], *self.env.image_size, 3), np.uint8)
        for index in np.ndindex(*states.shape[:2]):
            self._one.batch.state[0] = states[index]
            self._eye.look(0)
            video[index] = self._eye.colour()
        return dataclasses.replace(futures, video=video)

    def close(self) -> None:
        """Free the renderer."""
        if self._eye is not None:
            self._eye.close()
            self._eye = None

    def _simulation(self, count: int) -> Simulation:
        if self._branches is None or self._branches.num != count:
            self._branches = Simulation(self.env.family, count, fps=self.env.fps, threads=self.threads)
        return self._branches


def _along_time(frames: Sequence[dict[str, Any]]) -> dict[str, np.ndarray]:
    return {name: np.stack([frame[name] for frame in frames], axis=1) for name in frames[0]}
