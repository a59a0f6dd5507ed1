"""Where a rollout stands between two chunks: all that the next one depends on, to be kept, forked and resumed."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from worldmodel.counts import check_count
from worldmodel.noise import Lineage


@dataclass(frozen=True)
class State:
    """B rollouts between chunks. Nothing in it is changed by a step, which returns a new one.

    Attributes:
        frames: (B, F, H, W, 3) uint8, the last frames, which the next chunk goes on from.
        latents: (B, C, k, H', W') float32, their latents as the model left them; None before the first chunk.
        seeds: (B,) int64.
        lineages: of each sample, the forks (index, chunk) that led to it; () for what was never forked.
        chunk: index of the next chunk.
        time: frames imagined so far.
        ended: (B,) bool, rollouts that a stop rule has ended; they are not continued.
    """

    frames: np.ndarray
    latents: np.ndarray | None
    seeds: np.ndarray
    lineages: tuple[Lineage, ...]
    chunk: int
    time: int
    ended: np.ndarray

    def __len__(self) -> int:
        return len(self.seeds)

    def select(self, rows: np.ndarray | slice) -> State:
        """The samples of these rows, in their order."""
        lineages = np.empty(len(self), object)
        lineages[:] = self.lineages
        return dataclasses.replace(
            self,
            frames=self.frames[rows],
            latents=None if self.latents is None else self.latents[rows],
            seeds=self.seeds[rows],
            lineages=tuple(lineages[rows]),
            ended=self.ended[rows],
        )

    def fork(self, n: int) -> State:
        """``n`` continuations of each sample, side by side: (B * n), sample b's at b * n to b * n + n - 1.

        The first is the sample's own continuation, bit for bit; the others have noise of their own.

        Raises:
            ValueError: ``n`` is no whole number of at least 1, or a sample has ended.
        """
        check_count("n", n, "say how many continuations")
        if self.ended.any():
            raise ValueError(
                f"state: got samples {np.nonzero(self.ended)[0].tolist()}, which have ended, expected running ones; "
                "leave them out with state.select(~state.ended)"
            )
        copies = self.select(np.repeat(np.arange(len(self)), n))
        lineages = tuple(
            lineage if index % n == 0 else (*lineage, (index % n, self.chunk))
            for index, lineage in enumerate(copies.lineages)
        )
        return dataclasses.replace(copies, lineages=lineages)


def check_state(
    state: State, image_size: tuple[int, int], num_frames: int, latent_shape: tuple[int, int, int, int]
) -> None:
    """Refuse a state that a model of chunks of ``num_frames`` frames and latents (C, T', H', W') can't go on from."""
    if not isinstance(state, State):
        raise ValueError(f"state: got {type(state).__name__}, expected what start() or step() returned; begin with it")
    if state.ended.all():
        raise ValueError("state: got samples that have all ended, expected a running one; start again")
    shape, fits = state.frames.shape, (len(state), "fewer than " + str(num_frames), *image_size, 3)
    if shape[2:] != (*image_size, 3) or shape[1] >= num_frames:
        raise ValueError(f"state: got frames {shape}, expected {fits}; start again with this model")
    if state.latents is not None and (state.latents.shape[1], *state.latents.shape[3:]) != (
        latent_shape[0],
        *latent_shape[2:],
    ):
        raise ValueError(
            f"state: got latents {state.latents.shape}, expected channels, height and width of {latent_shape}; it is "
            "another model's, start again with this one"
        )


def join(states: list[State]) -> State:
    """States that stand at the same chunk as one batch.

    Raises:
        ValueError: they do not, or only some have latents.
    """
    first = states[0]
    for state in states:
        if (state.chunk, state.latents is None) != (first.chunk, first.latents is None):
            raise ValueError(
                f"states: got chunks {[each.chunk for each in states]}, expected one and the same; step them apart"
            )
    return dataclasses.replace(
        first,
        frames=np.concatenate([state.frames for state in states]),
        latents=None if first.latents is None else np.concatenate([state.latents for state in states]),
        seeds=np.concatenate([state.seeds for state in states]),
        lineages=tuple(lineage for state in states for lineage in state.lineages),
        ended=np.concatenate([state.ended for state in states]),
    )
