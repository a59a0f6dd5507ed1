"""Speed of the environments against the bare libraries below them, as ratios measured in one run.

    python benchmarks/envs.py

Every row runs both sides in turn on the same scenes and prints the medians, the number n of
simulations or clips and of repeats, and the ratio of the speeds. The ratio of batched to one by
one is at most (cores) x (time of a single env's step) / (time of its physics): where a step is
nearly all physics, only cores help.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import gymnasium as gym
import mujoco
import numpy as np
import tyro
from gymnasium.vector import SyncVectorEnv
from mujoco.batch import Batch

import worldmodel.envs  # noqa: F401  registers the ids
from worldmodel.collect import collect, environment_id
from worldmodel.envs.family import Family
from worldmodel.envs.rendering import Eye
from worldmodel.envs.scene_env import SceneEnv
from worldmodel.envs.scene_vector_env import SceneVectorEnv
from worldmodel.envs.simulation import Simulation

FOREVER = 10**6  # frames
PICTURES = 100  # of every timed run


@dataclass(frozen=True)
class Settings:
    """Settings of the benchmark."""

    envs: tuple[str, ...] = ("free-fall", "grasp", "graph-traversal", "maze")
    num: tuple[int, ...] = (64, 256, 1024)
    """Simulations of physics."""
    steps_num: tuple[int, ...] = (64, 256)
    """Simulations of steps and resets; the larger numbers for the first environment only."""
    frames: int = 8
    """Frames of every timed run."""
    repeats: int = 3
    image_size: int = 64
    clips: int = 128
    """To collect with one process and with two; 0 leaves it out."""


def main(settings: Settings) -> None:
    """Print the table."""
    print(f"{os.cpu_count()} cores; medians of {settings.repeats}")
    print(f"{'what':56} {'n':>5} {'ours':>12} {'bare':>12} {'unit':14} {'ratio':>6}  goal")
    for position, name in enumerate(settings.envs):
        for num in settings.num:
            physics(name, num, settings)
        for num in settings.steps_num if position == 0 else settings.steps_num[:1]:
            steps(name, num, settings)
        rendering(name, settings)
        if position == 0:
            rendering_by_processes(name, settings)
    if settings.clips:
        collection(settings)


def single(name: str, **options: Any) -> SceneEnv:
    """The environment without Gymnasium's checks around it."""
    return cast(SceneEnv, gym.make(environment_id(name), disable_env_checker=True, **options).unwrapped)


def vector(name: str, num: int, **options: Any) -> SceneVectorEnv:
    """The vector environment."""
    return cast(SceneVectorEnv, gym.make_vec(environment_id(name), num, **options).unwrapped)


def physics(name: str, num: int, settings: Settings) -> None:
    """A frame of the shared loop, truth read, against mujoco.batch alone, from the same states with the same motors."""
    env = single(name, pixels=False)
    simulation, actions = _started(env.family, env.fps, num), _actions(env, num)
    simulation.step(actions)  # from here on the commands are in the state, where the bare batch finds them
    start = simulation.batch.state.copy()
    bare = Batch(simulation.batch.model, num, 0)
    bare.set_models(simulation.batch.models)

    def ours() -> None:
        for _ in range(settings.frames):
            simulation.step(actions)

    def theirs() -> None:
        for _ in range(settings.frames):
            bare.step(nstep=simulation.substeps)

    def rewind() -> None:
        simulation.batch.state[:], simulation.frame[:] = start, 1
        bare.state[:] = start

    seconds = alternate(ours, theirs, 5 * settings.repeats, rewind)
    row(f"{name}: physics", num, seconds, num * settings.frames, "frames/s", ">= 0.9")


def steps(name: str, num: int, settings: Settings) -> None:
    """Steps and resets of the vector env against a SyncVectorEnv of the same envs, without pixels."""
    options = {"pixels": False, "num_frames": FOREVER}
    batch, sync = vector(name, num, **options), SyncVectorEnv([lambda: single(name, **options)] * num)
    batch.action_space.seed(0)
    actions = batch.action_space.sample()

    def restart() -> None:
        batch.reset(seed=0)
        sync.reset(seed=0)

    seconds = alternate(
        lambda: [batch.step(actions) for _ in range(settings.frames)],
        lambda: [sync.step(actions) for _ in range(settings.frames)],
        settings.repeats,
        restart,
    )
    row(f"{name}: env steps, batch : one by one", num, seconds, num * settings.frames, "steps/s", ">= 10")
    seconds = alternate(lambda: batch.reset(seed=0), lambda: sync.reset(seed=0), settings.repeats)
    row(f"{name}: env resets, batch : one by one", num, seconds, num, "resets/s", "")


def rendering(name: str, settings: Settings) -> None:
    """Pictures of the shared renderer against update_scene and render of a bare mujoco.Renderer."""
    env = single(name, pixels=False)
    simulation = _started(env.family, env.fps, 1)
    eye = Eye(simulation, settings.image_size, settings.image_size)
    model, data = simulation.batch.get_model(0), simulation.batch.get_data(0)
    mujoco.mj_forward(model, data)
    renderer = mujoco.Renderer(model, settings.image_size, settings.image_size)

    def ours() -> None:
        for _ in range(PICTURES):
            eye.look(0)
            eye.colour()

    def theirs() -> None:
        for _ in range(PICTURES):
            renderer.update_scene(data, env.family.camera)
            renderer.render()

    seconds = alternate(ours, theirs, settings.repeats)
    row(f"{name}: pictures {settings.image_size} x {settings.image_size}", 1, seconds, PICTURES, "pictures/s", ">= 0.9")
    eye.close()
    renderer.close()


def rendering_by_processes(name: str, settings: Settings) -> None:
    """Steps with pictures of the vector env, rendered by one process a core against rendered in this one."""
    num, cores = 16, os.cpu_count() or 1
    options = {"image_size": settings.image_size, "num_frames": FOREVER}
    spread, here = vector(name, num, render_workers=cores, **options), vector(name, num, **options)
    for env in (spread, here):
        env.reset(seed=0)
    actions = here.action_space.sample()
    seconds = alternate(lambda: spread.step(actions), lambda: here.step(actions), settings.repeats)
    row(f"{name}: steps with pictures, {cores} processes : 1", num, seconds, num, "steps/s", "")
    spread.close()
    here.close()


def collection(settings: Settings) -> None:
    """Clips a second with two processes on two cores against one on one."""
    name, cores = settings.envs[0], one_thread_a_core(os.sched_getaffinity(0))
    if len(cores) < 2:
        print(f"{name}: collect, 2 processes : 1, is left out: got 1 core, expected two")
        return
    clips, seconds = settings.clips, []
    for workers in (2, 1):
        # In a process of its own, none of whose threads began on other cores.
        start, pinned = multiprocessing.get_context("spawn"), (0, cores[:workers])
        with ProcessPoolExecutor(1, start, os.sched_setaffinity, pinned) as alone:
            seconds.append(alone.submit(collecting, name, workers, settings).result())
    row(f"{name}: collect, 2 processes : 1", clips, (seconds[0], seconds[1]), clips, "clips/s", ">= 1.7")


def collecting(name: str, workers: int, settings: Settings) -> float:
    """Seconds to collect clips with so many processes, these and the store begun and ended."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        collect(Path(folder) / "clips", name, episodes=settings.clips, image_size=settings.image_size, workers=workers)
        return time.perf_counter() - started


def one_thread_a_core(processors: set[int]) -> list[int]:
    """Of the processors that Linux knows one for each core, in which two can share what they compute with."""
    shared = {
        processor: Path(f"/sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list")
        for processor in processors
    }
    siblings = {each: file.read_text() if file.exists() else str(each) for each, file in shared.items()}
    return sorted({core: processor for processor, core in sorted(siblings.items(), reverse=True)}.values())


def alternate(
    one: Callable[[], object], other: Callable[[], object], repeats: int, before: Callable[[], object] = lambda: None
) -> tuple[float, float]:
    """Median seconds of both, run in turn so that a slow moment of the machine meets both; ``before`` is not timed."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for run, taken in zip((one, other), seconds, strict=True):
            before()
            started = time.perf_counter()
            run()
            taken.append(time.perf_counter() - started)
    return float(np.median(seconds[0])), float(np.median(seconds[1]))


def row(what: str, num: int, seconds: tuple[float, float], amount: int, unit: str, goal: str) -> None:
    """Print one row."""
    ours, bare = (amount / each for each in seconds)
    print(f"{what:56} {num:5} {ours:12.1f} {bare:12.1f} {unit:14} {ours / bare:6.2f}  {goal}", flush=True)


def _started(family: Family, fps: float, num: int) -> Simulation:
    simulation = Simulation(family, num, fps=fps, threads=0)
    simulation.reset([family.sampler(np.random.default_rng(seed)) for seed in range(num)])
    return simulation


def _actions(env: SceneEnv, num: int) -> np.ndarray | None:
    """Actions that leave the commands as they are when they are repeated: any velocities, and no displacements."""
    spec = env.action_spec
    if spec is None:
        return None
    drawn = np.random.default_rng(0).uniform(spec.low, spec.high, (num, len(spec.low)))
    return np.where(np.array(spec.units) == "m/s", drawn, np.clip(0.0, spec.low, spec.high))


if __name__ == "__main__":
    main(tyro.cli(Settings))
