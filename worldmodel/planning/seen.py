"""MuJoCo as the model to plan with, its signals read off its pictures: what reading costs, apart from imagining."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from worldmodel.envs.imagined_readout import Reading, Readout, readout_for
from worldmodel.envs.scene_env import SceneEnv
from worldmodel.envs.simulation import Snapshot
from worldmodel.planning.dynamics import Futures, check_one_goal
from worldmodel.planning.simulator import Simulator


@dataclass(frozen=True)
class Looked:
    """What candidates begin with: the simulation as it is, and what is read off its picture."""

    snapshot: Snapshot
    readout: Readout
    reading: Reading


class SeenSimulator:
    """A :class:`Simulator` whose signals are read as a world model's are; every frame is rendered for it.

    Args:
        env: as of :class:`Simulator`, of a family that can be read; its scenes have one goal.
        threads: physics threads, 0 for one a core.
    """

    offers, refines = Simulator.offers, Simulator.refines

    def __init__(self, env: SceneEnv, threads: int = 1) -> None:
        self._simulator = Simulator(env, threads)
        self.action_spec = self._simulator.action_spec

    @property
    def signals(self) -> tuple[str, ...]:
        """What is read of the current scene."""
        return self._readout().signals

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the environment's pictures."""
        return self._simulator.shapes

    def price(self, n: int, *, refined: bool = False) -> int:
        """Frames to simulate."""
        return self._simulator.price(n)

    def start(self, observation: Mapping[str, np.ndarray], seed: int) -> Looked:
        """The environment as it is now, and what its observation shows."""
        snapshot, readout = self._simulator.start(observation, seed), self._readout()
        return Looked(snapshot, readout, readout.begin(observation))

    def imagine(self, start: Looked, actions: np.ndarray, seeds: np.ndarray, *, refined: bool = False) -> Futures:
        """Simulate actions (K, n, A); what MuJoCo knows of them is left out."""
        futures = self._simulator.imagine(start.snapshot, actions, seeds, refined=refined)
        return dataclasses.replace(futures, signals=None)

    def show(self, start: Looked, futures: Futures, wanted: frozenset[str]) -> Futures:
        """Pictures, and the signals read off them."""
        if not wanted & {"video", "signals"} or futures.video is not None:
            return futures
        shown = self._simulator.show(start.snapshot, futures, frozenset(("video",)))
        assert shown.video is not None
        _, signals = start.readout.read(start.reading.repeat(len(shown)), shown.video, futures.actions)
        return dataclasses.replace(shown, signals=signals)

    def close(self) -> None:
        """Free the renderer."""
        self._simulator.close()

    def _readout(self) -> Readout:
        readout = readout_for(self._simulator.env)
        check_one_goal(readout)
        return readout
