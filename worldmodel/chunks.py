"""One chunk of a rollout: given frames in, imagined frames out, and how many chunks make a horizon."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from worldmodel.backends.protocol import Backend
from worldmodel.counts import check_count
from worldmodel.handover import Handover
from worldmodel.noise import KeyedNoise
from worldmodel.rollout import Rollout
from worldmodel.sampling import Record, sample
from worldmodel.sampling.plan import Planned
from worldmodel.state import State
from worldmodel.stopping import StopRule

TAILS = ("refuse", "cut")


@dataclass(frozen=True)
class Settings:
    """How every chunk of a rollout is imagined."""

    sigmas: np.ndarray
    solver: str
    refine: Planned | None
    handover: Handover
    stop: StopRule | None
    tail: str = "refuse"


@dataclass(frozen=True)
class Chunk:
    """What one chunk of B samples came to."""

    video: np.ndarray  # (B, T, H, W, 3) uint8, the given frames included, as decoded
    latents: np.ndarray  # (B, C, T', H', W') float32
    given: int  # frames of the video that were given
    given_latents: int
    nfe: np.ndarray  # (B,) int64
    uncertainty: np.ndarray  # (B,) float64, nan without a stop rule and where the rollout had ended before
    ended: np.ndarray  # (B,) bool, rollouts that ended before or with this chunk
    maps: np.ndarray | None = None  # (B, T', H', W') float16, uncertainty in the last iteration of refinement
    drift: np.ndarray | None = None  # (B, 2) float64, see worldmodel.sampling.guard; nan where nothing was refined

    def rollout(self, with_given: bool, stopping: bool, **common: Any) -> Rollout:
        """The chunk as a piece of a rollout, with or without the frames it went on from."""
        first = 0 if with_given else self.given
        video = self.video[:, first:]
        trusted = np.where(self.ended, self.given - first, video.shape[1])
        return Rollout(
            video=video,
            latents=self.latents[:, :, 0 if with_given else self.given_latents :],
            nfe=self.nfe,
            uncertainty=self.uncertainty[:, None] if stopping else None,
            uncertainty_maps=None if self.maps is None else self.maps[:, 0 if with_given else self.given_latents :],
            drift=None if self.drift is None else self.drift[:, None],
            ends=trusted if stopping else None,
            **common,
        )


def imagine_chunk(
    backend: Backend,
    state: State,
    settings: Settings,
    advance: Callable[[int], Any],
    actions: np.ndarray | None = None,
) -> tuple[State, Chunk]:
    """Continue those samples of a state that have not ended.

    Args:
        advance: is told of every evaluation.
        actions: (B, n, A), one for each new frame of the chunk, or None.

    Raises:
        ValueError: the device has too little memory.
    """
    try:
        return _imagine(backend, state, settings, advance, actions)
    except torch.OutOfMemoryError:
        raise ValueError(_too_little(len(state), backend)) from None


def _imagine(
    backend: Backend, state: State, settings: Settings, advance: Callable[[int], Any], actions: np.ndarray | None
) -> tuple[State, Chunk]:
    running = state.select(~state.ended) if state.ended.any() else state
    if len(running) == len(state):
        chunk = _sampled(backend, state, settings, advance, actions)
    else:
        chunk = _still(backend, state, settings.refine is not None)
        if len(running):
            own = None if actions is None else actions[~state.ended]
            chunk = _filled(chunk, _sampled(backend, running, settings, advance, own), ~state.ended)
    frames, latents = settings.handover.keep(backend, chunk.video, chunk.latents)
    following = replace(
        state,
        frames=frames,
        latents=latents,
        chunk=state.chunk + 1,
        time=state.time + chunk.video.shape[1] - chunk.given,
        ended=chunk.ended,
    )
    return following, chunk


def _too_little(batch: int, backend: Backend) -> str:
    """What to do where an estimate of memory was too low."""
    fewer = f"batch_size={batch // 2}" if batch > 1 else "a smaller image_size or num_frames"
    taken = getattr(getattr(backend, "running", None), "savings", ())  # the embedded kind is run in one way
    savings = tuple(dict.fromkeys((*taken, "slicing", "tiling")))
    return (
        f"memory: got too little on {backend.device} for {batch} at once, expected more than was estimated; use "
        f"{fewer} or load(..., running=Running(memory={savings!r}))"
    )


def _sampled(
    backend: Backend, state: State, settings: Settings, advance: Callable[[int], Any], actions: np.ndarray | None
) -> Chunk:
    """A chunk from the model."""
    noise = KeyedNoise(state.seeds, state.chunk, lineages=state.lineages)
    given = settings.handover.given(backend, state)
    x = noise.initial(given.new_empty(len(state), *backend.latent_shape))
    record = Record()
    nfe = torch.zeros(len(state), dtype=torch.int64, device=x.device)
    maps = None if settings.refine is None else torch.zeros(len(state), *backend.latent_shape[1:], device=x.device)

    def count(step: dict[str, Any]) -> None:
        for found in step["refinement"]:
            if "uncertainty" in found and maps is not None:
                seen = torch.where(found["free"], found["uncertainty"].float(), 0.0)[:, 0]
                maps[found["active"]] = seen[found["active"]]
        record(step)
        nfe.add_(step["evaluations"])
        advance(int(step["evaluations"].sum()))

    denoise = backend.denoiser(given, actions=actions, frames=state.frames)
    z: Tensor = sample(
        denoise, x, settings.sigmas, solver=settings.solver, refine=settings.refine, noise=noise, callback=count
    )
    uncertainty, over = np.full(len(state), np.nan), np.zeros(len(state), bool)
    if settings.stop is not None:
        uncertainty = settings.stop.uncertainty(denoise, z, noise).double().cpu().numpy()
        over = ~(uncertainty <= settings.stop.limit)  # one that is no number as well
        nfe.add_(1)
        advance(len(state))
    frames = 1 + (given.shape[2] - 1) * backend.frames_per_latent if given.shape[2] else 0
    return Chunk(
        video=backend.decode(z),
        latents=z.cpu().numpy(),
        given=frames,
        given_latents=given.shape[2],
        nfe=nfe.cpu().numpy(),
        uncertainty=uncertainty,
        ended=over,
        maps=None if maps is None else maps.half().cpu().numpy(),
        drift=record.drift,
    )


def _still(backend: Backend, state: State, refined: bool) -> Chunk:
    """What ended samples show: their last frame, for no evaluation."""
    batch, given = state.frames.shape[:2]
    given_latents = 1 + (given - 1) // backend.frames_per_latent
    length = 1 + (backend.latent_shape[1] - 1) * backend.frames_per_latent
    return Chunk(
        video=np.repeat(state.frames[:, -1:], length, axis=1),
        latents=np.zeros((batch, *backend.latent_shape), np.float32),
        given=given,
        given_latents=given_latents,
        nfe=np.zeros(batch, np.int64),
        uncertainty=np.full(batch, np.nan),
        ended=np.ones(batch, bool),
        maps=np.zeros((batch, *backend.latent_shape[1:]), np.float16) if refined else None,
        drift=np.full((batch, 2), np.nan) if refined else None,
    )


def _filled(chunk: Chunk, rows: Chunk, where: np.ndarray) -> Chunk:
    """``chunk`` with the samples ``where`` (B,) bool taken from the smaller one."""
    for name in ("video", "latents", "nfe", "uncertainty", "ended", "maps", "drift"):
        if getattr(chunk, name) is not None:
            getattr(chunk, name)[where] = getattr(rows, name)
    return chunk


def count_chunks(horizon: int, first: int, later: int, tail: str) -> int:
    """Chunks that imagine ``horizon`` frames when the first has ``first`` new ones and every further one ``later``.

    Raises:
        ValueError: the horizon is no whole number of chunks and ``tail`` is "refuse".
    """
    if tail not in TAILS:
        raise ValueError(f"tail: got {tail!r}, expected one of {', '.join(TAILS)}; choose one")
    check_count("horizon", horizon, "it counts frames")
    chunks = 1 + max(0, -(-(int(horizon) - first) // later))
    whole = first + (chunks - 1) * later
    if horizon != whole and tail == "refuse":
        fewer = f"{whole - later} or " if chunks > 1 else ""
        raise ValueError(
            f"horizon: got {horizon} frames, expected {fewer}{whole}, whole chunks; change it, or pass tail='cut' to "
            "imagine the last chunk whole and drop what is beyond"
        )
    return chunks
