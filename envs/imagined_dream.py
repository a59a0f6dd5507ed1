"""Imagined episodes with their state outside: begin, step, fork. The environments are thin shells around it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from worldmodel.counts import check_count
from worldmodel.envs.imagined_readout import Reading
from worldmodel.envs.imagined_starts import Start

Reward = Callable[["Chunk"], Any]


@dataclass(frozen=True)
class Episode:
    """One imagined episode between two chunks; nothing in it is changed by going on from it.

    Attributes:
        start: its beginning.
        state: of the model, one sample (:class:`worldmodel.state.State`).
        seed: of its noise.
        chunk: index of the next chunk.
        frames: imagined so far.
        frame: (H, W, 3) uint8, the last.
        reading: what has been read off its frames, or None.
        observation: beside the pixels.
        fork: (index, chunk) of the forks that led to it.
        legal: whether all that was seen of it can happen; true where that is not read.
        fulfilled: whether ``success`` was read while it was legal.
    """

    start: Start
    state: Any
    seed: int
    chunk: int
    frames: int
    frame: np.ndarray
    reading: Reading | None
    observation: dict[str, np.ndarray]
    fork: tuple[tuple[int, int], ...] = ()
    legal: bool = True
    fulfilled: bool = False


@dataclass(frozen=True)
class Chunk:
    """What n actions led to, of one episode.

    Attributes:
        video: (n, H, W, 3) uint8.
        actions: (n, A).
        signals: name to (n, ...); empty where nothing can be read. ``legal`` is of the move to each frame alone;
            ``success`` only counts if it was first read before any move that is not legal.
        legal: (n,) whether all that the episode showed up to each frame can happen; true where that is not read.
        uncertainty: of the model in its own latents; nan without a stop rule, ``StopRule(inf)`` only measures.
        ended: the stop rule has ended the episode.
        evaluations: of the model.
        seconds: of wall clock, this episode's share of its batch.
    """

    video: np.ndarray
    actions: np.ndarray
    signals: dict[str, np.ndarray]
    legal: np.ndarray
    uncertainty: float
    ended: bool
    evaluations: int
    seconds: float


@dataclass(frozen=True)
class Dreamer:
    """A model and how it is sampled.

    Attributes:
        model: a :class:`worldmodel.WorldModel` that takes actions.
        options: of :meth:`worldmodel.WorldModel.step`, such as ``steps``, ``refine`` and ``stop``.
    """

    model: Any
    options: dict[str, Any]

    @property
    def actions(self) -> int:
        """Actions of a chunk."""
        return int(self.model.recipe.num_frames - 1)

    def begin(self, start: Start, seed: int) -> Episode:
        """An episode before its first chunk."""
        state = self.model.start(start.frame[None], seeds=[seed])
        observation = {name: np.array(value) for name, value in start.observation.items()}
        reading = None if start.readout is None else start.readout.begin({"pixels": start.frame, **observation})
        # A copy, as several episodes may share a start and whoever sees the frame may draw into it.
        return Episode(start, state, seed, 0, 0, start.frame.copy(), reading, observation)

    def step(self, episodes: Sequence[Episode], actions: np.ndarray) -> list[tuple[Episode, Chunk]]:
        """Imagine one chunk of every episode under actions (B, n, A), in one batch of the model.

        An episode does not depend on the others: its noise is keyed by its seed, its forks and its chunk.
        """
        from worldmodel.state import join

        began = time.monotonic()
        # Frames alone are handed over, so that what has just begun can stand beside what goes on.
        states = [dataclasses.replace(each.state, seeds=_seeds(each), chunk=0, latents=None) for each in episodes]
        following, rollout = self.model.step(join(states), actions=actions, **self.options)
        seconds = (time.monotonic() - began) / len(episodes)
        stepped = []
        for row, episode in enumerate(episodes):
            rows = slice(row, row + 1)
            chunk, reading, observation = _read(episode, rollout.video[row], actions[row])
            chunk = dataclasses.replace(
                chunk,
                uncertainty=float("nan") if rollout.uncertainty is None else float(rollout.uncertainty[row, 0]),
                ended=bool(following.ended[row]),
                evaluations=int(rollout.nfe[row]),
                seconds=seconds,
            )
            new = dataclasses.replace(
                episode,
                state=following.select(rows),
                chunk=episode.chunk + 1,
                frames=episode.frames + len(chunk.video),
                frame=chunk.video[-1].copy(),
                reading=reading,
                observation=observation,
                legal=bool(chunk.legal[-1]),
                fulfilled=episode.fulfilled or bool(np.any(chunk.signals.get("success", False))),
            )
            stepped.append((new, chunk))
        return stepped


def fork(episode: Episode, n: int) -> list[Episode]:
    """``n`` continuations: the first is the episode's own, the others have noise of their own.

    Raises:
        ValueError: ``n`` is no whole number of at least 1.
    """
    check_count("n", n, "say how many continuations")
    ways = [(*episode.fork, (index, episode.chunk)) for index in range(1, n)]
    return [episode, *(dataclasses.replace(episode, fork=way) for way in ways)]


def check_episode(episode: Any) -> None:
    """Refuse to restore what is no episode."""
    if not isinstance(episode, Episode):
        got = type(episode).__name__
        raise ValueError(f"episode: got {got}, expected Episode; restore what save() or fork() returned")


def _seeds(episode: Episode) -> np.ndarray:
    """The model's seed (1,) of the next chunk: the episode's own in the first, then one drawn from all that led there.

    Episodes of one batch stand at different chunks, which a batch of the model cannot, so chunks are told by seeds.
    """
    if episode.chunk == 0 and not episode.fork:
        return np.array([episode.seed], np.int64)
    words = [episode.seed, episode.chunk, *(word for pair in episode.fork for word in pair)]
    return np.random.SeedSequence(words).generate_state(1, np.uint64).astype(np.int64) & (2**62 - 1)


def _read(
    episode: Episode, video: np.ndarray, actions: np.ndarray
) -> tuple[Chunk, Reading | None, dict[str, np.ndarray]]:
    signals: dict[str, np.ndarray] = {}
    reading, observation = episode.reading, episode.observation
    readout = episode.start.readout
    if readout is not None and reading is not None:
        reading, read = readout.read(reading, video[None], actions[None])
        signals = {name: value[0] for name, value in read.items()}
        observation = {name: value[0, -1] for name, value in readout.observe(read).items()}
    legal = episode.legal & np.logical_and.accumulate(np.asarray(signals.get("legal", np.ones(len(video))), bool))
    if "success" in signals:
        fulfilled = episode.fulfilled | np.logical_or.accumulate(signals["success"] & legal)
        signals["success"] = signals["success"] & fulfilled
    return Chunk(video, actions, signals, legal, float("nan"), False, 0, 0.0), reading, observation
