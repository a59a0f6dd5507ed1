"""Does Predict-and-Perturb beat its controls on a task, at the same number of model evaluations?

    python benchmarks/refinement_study.py --task free-fall

Settings of every method are chosen on tuning scenes, three stages one after the other; then all are compared on
held-out scenes, several seeds each. What is finished is kept under ``--out``: stop it when you like, or give it
``--minutes``, and the same command goes on. It writes results.json and table.md there; see refinement_study.md for
what came of it.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

os.environ.setdefault("MUJOCO_GL", "egl")

import tyro
from bf16 import check_bf16
from refinement_clips import Unit, prepare_worker, run_unit
from refinement_methods import Method, compared, first_stage, second_stage, third_stage
from refinement_table import mean_errors, write_tables
from refinement_tasks import FRAMES, TASKS
from tqdm.auto import tqdm

import worldmodel
from worldmodel.collect import collect, plan

TUNING_SEED, HELD_OUT_SEED = 1_500_000, 2_100_000  # training used seeds below 11 000
SEED_STRIDE = 100_000_000  # from one noise seed of a scene to its next
UNFINISHED = "time is up; run the same command to go on"


@dataclass(frozen=True)
class Study:
    """Settings of the study."""

    out: Path = Path("runs/refinement_study")  # with a folder for each task
    task: Literal["free-fall", "grasp", "graph-agent", "graph-flood", "maze"] = "free-fall"
    model: str = "tiny"
    tuning_scenes: int = 48
    scenes: int = 200
    seeds: int = 3  # a held-out scene
    block: int = 24  # clips of a method between two savings
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    bf16: bool = False  # evaluate the model in bf16, where the CPU multiplies it: twice as fast
    minutes: float = float("inf")  # after which nothing new is begun


def main(study: Study) -> None:
    """Go on with the study for as long as there is time, and print the tables when it is done."""
    deadline = time.monotonic() + 60.0 * study.minutes
    check_bf16(study.bf16)
    model = worldmodel.load(study.model, "cpu")
    size, folder = model.recipe.image_size[0], study.out / study.task
    tuning, held_out = (
        record(study.task, folder / "truth" / str(seed), seed, scenes, size)
        for seed, scenes in ((TUNING_SEED, study.tuning_scenes), (HELD_OUT_SEED, study.scenes))
    )
    with _pool(study.workers) as pool:
        desk = Desk(study, pool, deadline)
        stage = first_stage(model.backend.sigmas)
        tuned = list(stage)
        scores = desk.run("tuning", stage, *tuning, 1)
        for next_stage in (second_stage, third_stage):
            stage = next_stage(mean_errors(scores, study.task), stage)
            scores |= desk.run("tuning", stage, *tuning, 1)
            tuned += stage
        rows = compared(mean_errors(scores, study.task), tuned, model.backend.sigmas)
        found = desk.run("held_out", list(rows.values()), *held_out, study.seeds, whole=False)
    used = {"model": model.recipe.name, "weights_sha256": model.backend.weights_hash, "device": "cpu"}
    used["bf16"] = study.bf16
    settings = {**used, "task": study.task}
    print(write_tables(folder, rows, found, tuned, scores, settings))
    if len(found["base"]) < len(held_out[1]) * study.seeds:
        sys.exit(UNFINISHED)


def record(task: str, out: Path, seed: int, scenes: int, image_size: int) -> tuple[Path, list[str]]:
    """The truth of a task's scenes, each under every policy, and its keys."""
    told = TASKS[task]
    policies = told.policies or ("",)
    count = len(policies) * scenes
    collect(
        out, told.env, episodes=count, seed=seed, image_size=image_size, num_frames=FRAMES,
        policies=told.policies, options=told.options,
    )  # fmt: skip
    return out, [each.key for each in plan(count, seed, policies)]


class Desk:
    """Hands units out to the workers and keeps what they bring back, one file a unit."""

    def __init__(self, study: Study, pool: ProcessPoolExecutor, deadline: float) -> None:
        self._study, self._pool, self._deadline = study, pool, deadline

    def run(
        self,
        part: str,
        methods: Sequence[Method],
        truth: Path,
        keys: Sequence[str],
        seeds: int,
        whole: bool = True,
    ) -> dict[str, list[dict[str, Any]]]:
        """Entries of every method on the same clips; block by block, so that the methods advance together.

        If time runs out, the program ends, or else, unless it must be ``whole``, the finished blocks are returned.
        """
        folder, size, task = self._study.out / self._study.task / part, self._study.block, self._study.task
        blocks = [
            {
                folder / method.name.replace(" ", "_") / f"{seed}-{first:04d}.json": Unit(
                    method,
                    self._study.model,
                    task,
                    truth,
                    tuple(keys[first : first + size]),
                    seed * SEED_STRIDE,
                    self._study.bf16,
                )
                for method in methods
            }
            for first in range(0, len(keys), size)
            for seed in range(seeds)
        ]
        units = {path: unit for block in blocks for path, unit in block.items()}
        missing = {path: unit for path, unit in units.items() if not _is_kept(path, unit)}
        with tqdm(total=len(units), initial=len(units) - len(missing), desc=part, unit="unit") as bar:
            for path, entries in self._finished(missing):
                _keep(path, missing[path], entries)
                bar.update()
        complete = [block for block in blocks if all(path.exists() for path in block)]
        if not complete or (whole and len(complete) < len(blocks)):
            sys.exit(UNFINISHED)
        found: dict[str, list[dict[str, Any]]] = {method.name: [] for method in methods}
        for path, unit in (each for block in complete for each in block.items()):
            entries = json.loads(path.read_text())["entries"]
            found[unit.method.name] += [{"seed": unit.seed, **entry} for entry in entries]
        return found

    def _finished(self, missing: dict[Path, Unit]) -> Iterator[tuple[Path, list[dict[str, Any]]]]:
        """Results as they come; no more units are under way than there are workers."""
        waiting, running = list(missing), dict[Future[list[dict[str, Any]]], Path]()
        while running or (waiting and time.monotonic() < self._deadline):
            while waiting and len(running) < self._study.workers and time.monotonic() < self._deadline:
                path = waiting.pop(0)
                running[self._pool.submit(run_unit, missing[path])] = path
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result()


def _is_kept(path: Path, unit: Unit) -> bool:
    if not path.exists():
        return False
    kept = json.loads(path.read_text())
    asked = {"method": unit.method.describe(), "keys": list(unit.keys), "bf16": unit.bf16}
    if any(kept.get(name, False) != value for name, value in asked.items()):
        raise ValueError(f"out: got {path} of other settings, expected those of this study; choose another folder")
    return True


def _keep(path: Path, unit: Unit, entries: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beginning = path.with_suffix(".part")
    told = {"method": unit.method.describe(), "keys": unit.keys, "seed": unit.seed, "bf16": unit.bf16}
    beginning.write_text(json.dumps({**told, "entries": entries}))
    beginning.replace(path)


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that finish what is under way when the study is interrupted."""
    threads = max(1, (os.cpu_count() or 1) // workers)
    context = multiprocessing.get_context("spawn")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ProcessPoolExecutor(workers, mp_context=context, initializer=prepare_worker, initargs=(threads,)) as pool:
        yield pool


if __name__ == "__main__":
    try:
        main(tyro.cli(Study))
    except ValueError as error:
        sys.exit(f"refinement_study: {error}")
    except KeyboardInterrupt:
        sys.exit("refinement_study: interrupted; what was finished is kept, run the same command to go on")
