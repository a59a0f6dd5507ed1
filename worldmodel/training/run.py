"""What every training loop needs around it: progress, log, checkpoints and a clean stop."""

from __future__ import annotations

import csv
import hashlib
import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from tqdm.auto import tqdm

from worldmodel.progress import hidden_unless

CHECKPOINT_SECONDS = 180.0
AHEAD = 4  # steps, and threads that make what they learn from

T = TypeVar("T")


class Stateful(Protocol):
    """A model, an average of one, or an optimizer."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that training changes."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> Any:
        """Put it back."""
        ...


def prepare_folder(out: Path, mark: str) -> None:
    """Make a run's folder, or refuse one that holds anything without the file or folder that such a run begins with."""
    if out.exists() and any(out.iterdir()) and not (out / mark).exists():
        raise ValueError(f"out: got {out}, which holds something else, expected a new folder or an unfinished run")
    out.mkdir(parents=True, exist_ok=True)


class TrainingRun:
    """Steps of a training loop that can be interrupted at any of them and goes on where it stopped.

    Args:
        out: folder of ``<name>.pt`` and ``<name>.csv``.
        name: of the run and its files.
        settings: JSON that decides the result; a checkpoint of other settings is refused.
        total: number of steps.
        parts: what training changes, by name.
        main: whether this process is the one of several that writes.

    Raises:
        ValueError: ``out`` holds a checkpoint of other settings, or a damaged one.
    """

    def __init__(
        self, out: Path, name: str, settings: dict[str, Any], total: int, parts: dict[str, Any], *, main: bool = True
    ) -> None:
        self._main = main
        self.path = out / f"{name}.pt"
        self.settings, self.total, self.parts = settings, total, parts
        state = load_checkpoint(self.path, settings)
        self.first, self.seconds = 0, 0.0
        if state is not None:
            for part, value in parts.items():
                value.load_state_dict(state[part])
            self.first, self.seconds = state["step"], state["seconds"]
        self._log = out / f"{name}.csv"
        if main:
            _cut_log(self._log, self.first)
        begun = {"total": total, "initial": self.first, "desc": name, "unit": "step", "smoothing": 0.05}
        self._progress = tqdm(**begun, **hidden_unless(main))
        self._interrupted = False

    def steps(self) -> Iterator[int]:
        """The steps still to do; an interrupt takes effect, with a checkpoint, after the current one."""
        started, saved = time.monotonic() - self.seconds, time.monotonic()
        before = signal.signal(signal.SIGINT, self._interrupt)
        try:
            for step in range(self.first, self.total):
                yield step
                self._progress.update()
                self.seconds = time.monotonic() - started
                if self._interrupted or time.monotonic() - saved > CHECKPOINT_SECONDS:
                    self._save(step + 1)
                    saved = time.monotonic()
                if self._interrupted:
                    raise KeyboardInterrupt
        finally:
            signal.signal(signal.SIGINT, before)
            self._progress.close()
        self._save(self.total)

    def log(self, step: int, **values: float) -> None:
        """Append a row to the log and show it."""
        if not self._main:
            return
        self._progress.set_postfix({name: f"{value:.4g}" for name, value in values.items()})
        with self._log.open("a", newline="") as handle:
            csv.writer(handle).writerow([step, *(f"{value:.6g}" for value in values.values())])

    def _save(self, step: int) -> None:
        if not self._main:
            return
        state = {name: part.state_dict() for name, part in self.parts.items()}
        save_checkpoint(self.path, {**state, "settings": self.settings, "step": step, "seconds": self.seconds})

    def _interrupt(self, _signal: int, _frame: FrameType | None) -> None:
        self._interrupted = True


class Ahead(Generic[T]):
    """What the next steps learn from, made by other threads while this one learns.

    Args:
        make: what a step learns from.
        first, total: the first step, and the one after the last.
    """

    def __init__(self, make: Callable[[int], T], first: int, total: int) -> None:
        self._make, self._total = make, total
        self._pool = ThreadPoolExecutor(AHEAD)
        self._waiting = {step: self._pool.submit(make, step) for step in range(first, min(first + AHEAD, total))}

    def __enter__(self) -> Ahead[T]:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def __call__(self, step: int) -> T:
        """That of one step; steps are asked for in their order."""
        made = self._waiting.pop(step).result()
        if step + AHEAD < self._total:
            self._waiting[step + AHEAD] = self._pool.submit(self._make, step + AHEAD)
        return made


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` beside ``path``, then move it into place: it is there whole or not at all."""
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    os.replace(partial, path)


def load_checkpoint(path: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """The state saved at ``path``, or None when there is none.

    Raises:
        ValueError: the checkpoint is damaged, or belongs to a run with other settings.
    """
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        stored = state["settings"]
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path}: got a damaged checkpoint ({reason}), expected a whole one; delete it") from None
    if stored != settings:
        changed = sorted(key for key in settings | stored if settings.get(key) != stored.get(key))
        raise ValueError(
            f"{path}: got a checkpoint of other settings ({', '.join(changed)}), expected those of this run; "
            "choose another output folder or repeat the settings"
        )
    return state


def fingerprint(*arrays: np.ndarray) -> str:
    """A hash that tells one data set from another: shapes and a spread of the values."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(str((array.shape, str(array.dtype))).encode())
        digest.update(np.ascontiguousarray(array[:: max(1, len(array) // 64)]).tobytes())
    return digest.hexdigest()


def fingerprint_of(module: torch.nn.Module) -> str:
    """A hash that tells the weights of one module from those of another."""
    return fingerprint(*(parameter.detach().cpu().float().numpy() for parameter in module.parameters()))


def cosine_schedule(step: int, warmup: int, total: int) -> float:
    """Factor of the learning rate: up from 0 over ``warmup`` steps, then down to 0 along a cosine."""
    return min(1.0, (step + 1) / warmup) * 0.5 * (1.0 + math.cos(math.pi * step / total))


def _cut_log(path: Path, first: int) -> None:
    """Drop the rows that an interrupted run wrote after its last checkpoint."""
    path.touch()
    rows = [line for line in path.read_text().splitlines() if int(line.split(",")[0]) < first]
    path.write_text("".join(f"{row}\n" for row in rows))
