"""Recording ground truth: seeded scenes, simulated in parallel, stored one by one."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.metadata
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from worldmodel.storage import EpisodeStore

if TYPE_CHECKING:
    from worldmodel.envs.free_fall import FreeFallEnv

BLOCK = 5  # episodes a worker records between two reports of progress


def collect(
    out: Path,
    *,
    episodes: int,
    seed: int = 0,
    image_size: int = 64,
    fps: float = 16.0,
    num_frames: int = 17,
    workers: int | None = None,
) -> EpisodeStore:
    """Record free-fall clips with the seeds ``seed, seed + 1, ...`` into a store at ``out``.

    Episodes already there are kept, so an interrupted run goes on where it stopped. A clip
    depends on its seed and the settings alone, not on the number of workers.

    Raises:
        StoreError: ``out`` holds something else, or episodes of other settings.
    """
    from worldmodel.envs.free_fall import DropSampler, FreeFallEnv

    for name, value, least in (("episodes", episodes, 1), ("seed", seed, 0), ("workers", workers or 1, 1)):
        if value < least:
            raise ValueError(f"{name}: got {value}, expected at least {least}; give a larger number")
    env: dict[str, Any] = {"image_size": image_size, "fps": fps, "num_frames": num_frames}
    FreeFallEnv(**env).close()  # refuses malformed options before anything is written
    settings = {"env": "worldmodel/FreeFall-v0", **env, "sampler": dataclasses.asdict(DropSampler()), **_versions()}
    store = EpisodeStore.create(out, "truth", settings=settings, exist="resume")
    missing = [number for number in range(seed, seed + episodes) if episode_name(number) not in store]
    blocks = [missing[first : first + BLOCK] for first in range(0, len(missing), BLOCK)]
    with tqdm(total=episodes, initial=episodes - len(missing), desc="MuJoCo", unit="clip") as progress:
        if len(blocks) <= 1:
            for block in blocks:
                progress.update(_record_block(out, settings, env, block))
            return store
        # A fork would share the parent's GL and thread state, so workers start fresh.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers or os.cpu_count(), mp_context=context) as pool:
            with _workers_deaf_to_interrupts():
                jobs = [pool.submit(_record_block, out, settings, env, block) for block in blocks]
            try:
                for job in as_completed(jobs):
                    progress.update(job.result())
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    return store


def _versions() -> dict[str, dict[str, str]]:
    """What, beside its seed and options, decides a clip's pixels."""
    return {"versions": {name: importlib.metadata.version(name) for name in ("worldmodel", "mujoco")}}


@contextlib.contextmanager
def _workers_deaf_to_interrupts() -> Iterator[None]:
    """Processes started inside ignore Ctrl-C, finish their few clips and leave the message to the parent."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def episode_name(seed: int) -> str:
    """Key of the episode recorded with a seed."""
    return f"{seed:08d}"


def _record_block(out: Path, settings: dict, env_options: dict, seeds: list[int]) -> int:
    store = EpisodeStore.create(out, "truth", settings=settings, exist="resume")
    env = _env(**env_options)
    for number in seeds:
        store.write_truth(episode_name(number), env.record(seed=number), seed=number)
    return len(seeds)


@functools.lru_cache(maxsize=1)
def _env(**options: Any) -> FreeFallEnv:
    """One env for all blocks of a process: making its renderer takes as long as recording a clip."""
    from worldmodel.envs.free_fall import FreeFallEnv

    return FreeFallEnv(**options)
