"""Pictures of many scenes by several processes, each with a renderer of its own."""

from __future__ import annotations

import multiprocessing
import signal
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from worldmodel.envs.family import Family
from worldmodel.envs.rendering import Eye
from worldmodel.envs.simulation import Simulation


class RenderPool:
    """Renders the scenes of a simulation, each always in the same process.

    A process builds its scenes itself and is sent their states; the pictures come back through
    shared memory. They are those of an :class:`~worldmodel.envs.rendering.Eye`, bit for bit.

    Args:
        simulation: whose scenes are rendered.
        height, width: of the pictures in pixels.
        workers: number of processes. They are spawned, so a script needs the usual
            ``if __name__ == "__main__":`` around what it does.
    """

    def __init__(self, simulation: Simulation, height: int, width: int, workers: int) -> None:
        self._simulation = simulation
        shape = (simulation.num, height, width, 3)
        context = multiprocessing.get_context("spawn")
        shared = context.RawArray("B", int(np.prod(shape)))
        self._pictures = np.frombuffer(shared, np.uint8).reshape(shape)
        parts = np.array_split(np.arange(simulation.num), min(workers, simulation.num))
        self._shares = [range(int(part[0]), int(part[-1]) + 1) for part in parts]
        self._pipes: list[Connection] = []
        self._processes = []
        for share in self._shares:
            pipe, theirs = context.Pipe()
            options = (theirs, shared, shape, share[0], len(share), simulation.family, simulation.fps)
            process = context.Process(target=_work, args=options, daemon=True)
            process.start()
            theirs.close()  # or the end of the process would go unnoticed here
            self._pipes.append(pipe)
            self._processes.append(process)

    def start(self, ids: np.ndarray) -> None:
        """Let the processes build the scenes that have just been started in the simulations ``ids``."""
        self._ask("start", {int(index): self._simulation.scenes[index] for index in ids})

    def render(self, ids: np.ndarray) -> np.ndarray:
        """Images (num, H, W, 3) uint8 of all simulations; those of ``ids`` as they are now, the others as before."""
        self._ask("render", {int(index): self._simulation.batch.state[index].copy() for index in ids})
        return self._pictures.copy()

    def close(self) -> None:
        """End the processes."""
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join()

    def _ask(self, what: str, values: dict[int, Any]) -> None:
        """Send every process its part of the values and wait until all are done."""
        parts = [{index: value for index, value in values.items() if index in share} for share in self._shares]
        asked = [(pipe, part) for pipe, part in zip(self._pipes, parts, strict=True) if part]
        try:
            for pipe, part in asked:
                pipe.send((what, part))
            errors = [pipe.recv() for pipe, _ in asked]
        except (EOFError, OSError):
            raise RuntimeError(
                "render_workers: got one that was killed, expected it to render; make the environment anew"
            ) from None
        for error in filter(None, errors):
            raise error


def _work(
    pipe: Connection, shared: Any, shape: tuple[int, ...], first: int, num: int, family: Family, fps: float
) -> None:
    """Do what comes through the pipe until its other end is closed; scenes ``first`` to ``first + num`` are ours."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent deals with Ctrl-C
    pictures = np.frombuffer(shared, np.uint8).reshape(shape)
    simulation = Simulation(family, num, fps=fps)
    eye: Eye | None = None
    while True:
        try:
            kind, values = pipe.recv()
        except EOFError:
            return
        try:
            if kind == "start":
                simulation.reset(list(values.values()), np.array(list(values)) - first)
            else:
                eye = eye or Eye(simulation, *shape[1:3])
                for index, state in values.items():
                    simulation.batch.state[index - first] = state
                    eye.look(index - first)
                    pictures[index] = eye.colour()
            pipe.send(None)
        except Exception as error:
            pipe.send(
                RuntimeError(f"render_workers: got {error!r} in one, expected pictures; leave them out to see more")
            )
