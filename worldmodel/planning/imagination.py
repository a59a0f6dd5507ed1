"""A world model to plan with: one batched denoising for all candidates, decoded only where it is asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from worldmodel.actions import ActionSpec, repeated
from worldmodel.backends.domains import differences
from worldmodel.envs.imagined_readout import Reading, Readout
from worldmodel.handover import as_handover
from worldmodel.model import WorldModel
from worldmodel.noise import KeyedNoise
from worldmodel.planning.dynamics import Futures, check_one_goal
from worldmodel.sampling import PredictPerturb, sample
from worldmodel.sampling.budget import planned_nfe
from worldmodel.state import State


@dataclass(frozen=True)
class Seen:
    """What candidates begin with: a model's state, and what is read off its frames."""

    state: State  # of one sample
    reading: Reading | None


class Imagination:
    """A world model that takes actions, seen as a model to plan with.

    Args:
        model: such as ``worldmodel.load("tiny").conditioned(domain="ball")``.
        readout: reads signals off the imagined pixels, of a scene with one goal; None for objectives that need pixels
            or latents alone.
        steps, solver: of sampling; see :meth:`worldmodel.WorldModel.rollout`.
        refine: Predict-and-Perturb plan of those candidates that are refined, see
            :class:`worldmodel.planning.scoring.Scoring`.
        batch_size: candidates denoised at once; changes speed and memory only.
    """

    def __init__(
        self,
        model: WorldModel,
        readout: Readout | None = None,
        *,
        steps: int | None = None,
        solver: str = "euler",
        refine: PredictPerturb | None = None,
        batch_size: int = 64,
    ) -> None:
        spec = model.backend.action_spec
        if spec is None:
            raise ValueError(
                f"model: got {model.recipe.name}, which takes no actions, expected one that does; load another or "
                "condition it, as in model.conditioned(domain='ball')"
            )
        _check_readout(readout, spec)
        self.sigmas = model.check_options(steps, solver, refine, batch_size)
        self.model, self.readout, self.solver, self.refine = model, readout, solver, refine
        self.action_spec, self.batch_size = spec, batch_size
        self.offers = frozenset(("video", "latents") if readout is None else ("video", "latents", "signals"))

    @property
    def refines(self) -> bool:
        """Whether there is a plan to refine by."""
        return self.refine is not None

    @property
    def signals(self) -> tuple[str, ...]:
        """What the readout reads."""
        return () if self.readout is None else tuple(self.readout.signals)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of a picture and of a latent frame."""
        channels, _, height, width = self.model.backend.latent_shape
        return {"video": (*self.model.recipe.image_size, 3), "latents": (channels, height, width)}

    def price(self, n: int, *, refined: bool = False) -> int:
        """Sampling steps and, refined, iterations of the plan, of which a sample that settles takes fewer."""
        return self._chunks(n) * planned_nfe(self.sigmas, self.solver, self.refine if refined else None)

    def start(self, observation: Mapping[str, np.ndarray], seed: int) -> Seen:
        """The state that begins with what is seen: ``pixels`` (H, W, 3) uint8, and what the readout asks for."""
        state = self.model.start(np.asarray(observation["pixels"])[None], seeds=[seed])
        return Seen(state, None if self.readout is None else self.readout.begin(observation))

    def imagine(self, start: Seen, actions: np.ndarray, seeds: np.ndarray, *, refined: bool = False) -> Futures:
        """Latents of what actions (K, n, A) lead to; horizons of several chunks hand over their last frame."""
        if refined and self.refine is None:
            raise ValueError("refined: got candidates to refine, expected a refine plan of the model; give one")
        actions, state = self.action_spec.check(actions), _copies(start.state, seeds)
        batches = [
            self._rolled(state.select(rows), actions[rows], refined) for rows in _batches(len(actions), self.batch_size)
        ]
        return Futures(
            actions=actions,
            video=None,
            latents=np.concatenate([latents for latents, *_ in batches]),
            signals=None,
            after=_Ahead(
                np.concatenate([latents for latents, *_ in batches]), _joined([frames for _, frames, _ in batches])
            ),
            evaluations=sum(used for *_, used in batches),
        )

    def show(self, start: Seen, futures: Futures, wanted: frozenset[str]) -> Futures:
        """Decode what was imagined, and read the signals off it."""
        if not wanted & {"video", "signals"} or futures.video is not None:
            return futures
        latents = futures.after.latents
        with torch.no_grad():
            last = np.concatenate(
                [
                    self.model.backend.decode(torch.from_numpy(latents[rows]).to(self.model.backend.device))
                    for rows in _batches(len(latents), self.batch_size)
                ]
            )[:, 1:]
        video = last if futures.after.before is None else np.concatenate([futures.after.before, last], axis=1)
        video = video[:, : futures.actions.shape[1]]
        signals = None
        if self.readout is not None and start.reading is not None:
            signals = self.readout.read(start.reading.repeat(len(video)), video, futures.actions)[1]
        return dataclasses.replace(futures, video=video, signals=signals)

    def _chunks(self, n: int) -> int:
        return -(-n // (self.model.recipe.num_frames - 1))

    def _rolled(self, state: State, actions: np.ndarray, refined: bool) -> tuple[np.ndarray, np.ndarray | None, int]:
        """Latents of the last chunk, frames of those before it, and evaluations."""
        length, frames, used = self.model.recipe.num_frames - 1, [], 0
        chunks = self._chunks(actions.shape[1])
        for chunk in range(chunks):
            own = repeated(actions[:, chunk * length : (chunk + 1) * length], length)
            z, evaluations = self._denoised(state, own, refined)
            used += evaluations
            if chunk < chunks - 1:
                frames.append(self.model.backend.decode(z)[:, 1:])
                state = dataclasses.replace(state, frames=frames[-1][:, -1:], chunk=state.chunk + 1)
        return z.float().cpu().numpy(), np.concatenate(frames, axis=1) if frames else None, used

    def _denoised(self, state: State, actions: np.ndarray, refined: bool) -> tuple[Tensor, int]:
        """Latents (K, C, T', H', W') of one chunk."""
        backend, used = self.model.backend, 0

        def count(step: dict[str, Any]) -> None:
            nonlocal used
            used += int(step["evaluations"].sum())

        with torch.no_grad():
            # Candidates that go on from one picture need it encoded once.
            same = bool((state.frames == state.frames[:1]).all())
            given = as_handover("frame").given(backend, state.select(slice(0, 1)) if same else state)
            given = given.expand(len(state), *given.shape[1:])
            noise = KeyedNoise(state.seeds, state.chunk, lineages=state.lineages)
            x = noise.initial(given.new_empty(len(state), *backend.latent_shape))
            denoise = backend.denoiser(given, actions=actions, frames=state.frames)
            refine = self.refine if refined else None
            z = sample(denoise, x, self.sigmas, solver=self.solver, refine=refine, noise=noise, callback=count)
        return z, used


@dataclass(frozen=True)
class _Ahead:
    """Latents of the last chunk, and the frames before it, of K candidates."""

    latents: np.ndarray
    before: np.ndarray | None

    def select(self, rows: np.ndarray) -> _Ahead:
        return _Ahead(self.latents[rows], None if self.before is None else self.before[rows])


def _check_readout(readout: Readout | None, spec: ActionSpec) -> None:
    """Refuse the readout of another robot's scene, or of a scene that a picture does not tell."""
    check_one_goal(readout)
    family = getattr(readout, "family", None)
    if readout is None or family is None:
        return
    told = differences(
        spec, dataclasses.replace(family.action_spec, control_hz=getattr(readout, "fps", spec.control_hz))
    )
    if told:
        raise ValueError(
            f"readout: got one of {family.id} with {'; '.join(told)}, expected the actions of the model; condition the "
            "model on the environment's robot, or read another environment"
        )


def _copies(state: State, seeds: np.ndarray) -> State:
    copies = state.select(np.zeros(len(seeds), np.int64))
    return dataclasses.replace(copies, seeds=np.asarray(seeds, np.int64))


def _batches(count: int, size: int) -> list[slice]:
    return [slice(first, first + size) for first in range(0, count, size)]


def _joined(parts: list[np.ndarray | None]) -> np.ndarray | None:
    present = [part for part in parts if part is not None]
    return np.concatenate(present) if present else None
