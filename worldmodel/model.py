"""Loading a world model and rolling it out."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from worldmodel.actions import repeated
from worldmodel.backends.checksum import SHIPPED
from worldmodel.backends.cosmos25 import refuse_actions
from worldmodel.backends.domains import choose, unusual
from worldmodel.backends.families import load_backend
from worldmodel.backends.hub import is_hub_id
from worldmodel.backends.licences import Guardrails
from worldmodel.backends.protocol import Backend
from worldmodel.backends.running import Running, usual_device
from worldmodel.chunks import Settings, count_chunks, imagine_chunk
from worldmodel.counts import check_count
from worldmodel.frames import check_frames
from worldmodel.handover import as_handover
from worldmodel.noise import check_seeds
from worldmodel.progress import hidden_unless
from worldmodel.rollout import Rollout, in_sequence, side_by_side
from worldmodel.sampling import PredictPerturb, SparsePredictPerturb, as_solver
from worldmodel.sampling.budget import planned_nfe
from worldmodel.sampling.sample import check_refine, check_solver
from worldmodel.state import State, check_state
from worldmodel.stopping import StopRule

EMBEDDED = dict(SHIPPED)


def load(
    name: str | Path,
    device: str | None = None,
    *,
    revision: str | None = None,
    subfolder: str | None = None,
    dtype: torch.dtype | None = None,
    guardrail: Guardrails = "nvidia",
    running: Running | None = None,
) -> WorldModel:
    """Load a world model.

    Args:
        name: "tiny" or "tiny-128", the models inside this package, a pipeline folder in the hub's layout, or a
            repository of the hub such as "nvidia/Cosmos-Predict2.5-2B".
        device: torch device; a CUDA device if there is one, by default.
        revision, subfolder: where in a repository the pipeline is; the known place by default.
        dtype: of released weights; bfloat16 on CUDA and float32 elsewhere by default.
        guardrail: NVIDIA's models come with a guardrail, the package cosmos_guardrail; "none" goes without it where
            the licence allows that, and rollouts record it.
        running: how a released model is run: what saves memory and time, see :mod:`worldmodel.backends.running`.

    Raises:
        ValueError: no such model, its files are missing or damaged, or they do not fit into memory.
    """
    backend = load_backend(
        str(located(name)),
        device or usual_device(),
        revision=revision,
        subfolder=subfolder,
        dtype=dtype,
        guardrail=guardrail,
        running=running,
    )
    return WorldModel(backend)


def located(name: str | Path, argument: str = "model") -> Path:
    """Where the model of a name is: its folder, or ``owner/name`` of the hub as it was given.

    Raises:
        ValueError: it is neither; the message begins with ``argument``.
    """
    folder = EMBEDDED.get(str(name), Path(name))
    if str(name) in EMBEDDED and not folder.is_dir():
        raise ValueError(f"{argument}: got no weights of {name} in {folder}, expected them; install worldmodel again")
    if folder.is_file():
        raise ValueError(
            f"{argument}: got the file {str(name)!r}, expected a pipeline folder; make one of NVIDIA's .pt with "
            "`worldmodel convert`, or with worldmodel.backends.cosmos25_convert.convert"
        )
    if not folder.is_dir() and not is_hub_id(str(name)):
        raise ValueError(
            f"{argument}: got {str(name)!r}, expected {', '.join(EMBEDDED)}, an existing pipeline folder or owner/name "
            "of the hub; check the path"
        )
    return folder


class WorldModel:
    """A video model: first frames, and actions where it takes them, in; imagined clips out, chunk after chunk."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.recipe = backend.recipe

    def conditioned(self, **options: Any) -> WorldModel:
        """The same weights told something else, such as ``prompt``, ``guidance``, ``image_size`` or ``num_frames``.

        For the options see the backend's ``conditioned``, such as that of
        :class:`worldmodel.backends.cosmos25_released.ReleasedCosmos25`.

        Raises:
            ValueError: an option that the model does not take.
        """
        return WorldModel(self.backend.conditioned(**options))

    def rollout(
        self,
        frames: np.ndarray | None,
        *,
        seeds: Sequence[int] | np.ndarray,
        actions: np.ndarray | None = None,
        horizon: int | None = None,
        tail: str = "refuse",
        handover: str = "frame",
        stop: StopRule | None = None,
        steps: int | None = None,
        solver: str = "euler",
        refine: PredictPerturb | None = None,
        batch_size: int = 32,
        keep_latents: bool = False,
        resize: bool = False,
        progress: bool = True,
    ) -> Rollout:
        """Imagine what follows each first frame.

        Args:
            frames: (B, H, W, 3) uint8, or float in [0, 1], of the model's image size; or (B, F, H, W, 3) with
                F = 1 + 4n given frames. None imagines from the model's prompt alone.
            seeds: (B,) non-negative integers; up to float rounding a rollout depends on its own only.
            actions: (B, n, A) in the units of ``backend.action_spec``, one for each imagined frame; the last is
                repeated where a cut last chunk lacks some. None: nothing is known of them.
            horizon: frames to imagine after the given ones; as many as actions, or one chunk, if None.
            tail: what to do with a horizon that is no whole number of chunks: "refuse", or "cut", which imagines
                the last chunk whole, its last action repeated, and drops the frames beyond.
            handover: what each chunk gives to the next, see :mod:`worldmodel.handover`: "frame", "frames", "latent" or
                "mixed".
            stop: ends a rollout that has left what the model knows; ``Rollout.ends`` says where.
            steps: sampling steps; the model's default if None.
            solver: name of a solver in ``worldmodel.sampling.SOLVERS``, with settings as in ``sde:eta=0.5``.
            refine: Predict-and-Perturb plan, or None for the plain solver.
            batch_size: samples denoised at once; changes speed and memory only.
            keep_latents: return the final latents of all chunks, without those given, as well.
            resize: scale frames of another size, but the same proportions, to the model's, which are refused otherwise.
            progress: show a progress bar of model evaluations.

        Raises:
            ValueError: an argument is malformed; nothing has been computed then.
        """
        settings = self._settings(steps, solver, refine, handover, stop, batch_size, tail)
        state = self.start(frames, seeds=seeds, resize=resize)
        actions, horizon = self._check_actions(actions, horizon, len(state))
        chunks = self._count(state, horizon, tail, settings)
        self.check_memory(min(batch_size, len(state)), refine)
        planned = chunks * (planned_nfe(settings.sigmas, solver, refine) + (stop is not None))
        started, batches = time.monotonic(), []
        with tqdm(total=planned * len(state), desc="rollout", unit="NFE", **hidden_unless(progress)) as bar:
            for first in range(0, len(state), batch_size):
                rows = state.select(slice(first, first + batch_size))
                own = None if actions is None else actions[first : first + batch_size]
                batches.append(in_sequence(list(self._pieces(rows, settings, chunks, keep_latents, bar.update, own))))
                bar.update(planned * min(first + batch_size, len(state)) - bar.n)
        whole = replace(side_by_side(batches), seconds=time.monotonic() - started)
        return whole if horizon is None else whole.cut(state.frames.shape[1] + horizon)

    def stream(
        self,
        frames: np.ndarray | None,
        *,
        seeds: Sequence[int] | np.ndarray,
        actions: np.ndarray | None = None,
        horizon: int | None = None,
        tail: str = "refuse",
        handover: str = "frame",
        stop: StopRule | None = None,
        steps: int | None = None,
        solver: str = "euler",
        refine: PredictPerturb | None = None,
        keep_latents: bool = False,
        resize: bool = False,
    ) -> Iterator[Rollout]:
        """The frames of :meth:`rollout` piece by piece, a chunk at a time, in memory that does not grow with them.

        The first piece begins with the given frames as decoded. All samples are denoised at once.
        """
        settings = self._settings(steps, solver, refine, handover, stop, tail=tail)
        state = self.start(frames, seeds=seeds, resize=resize)
        actions, horizon = self._check_actions(actions, horizon, len(state))
        chunks = self._count(state, horizon, tail, settings)
        self.check_memory(len(state), refine)

        def pieces() -> Iterator[Rollout]:
            left = None if horizon is None else state.frames.shape[1] + horizon
            for piece in self._pieces(state, settings, chunks, keep_latents, lambda _: None, actions):
                yield piece if left is None else piece.cut(left)
                left = None if left is None else left - piece.video.shape[1]

        return pieces()

    def range_report(self, actions: np.ndarray) -> dict[str, float]:
        """Share of actions (..., A) beyond the 1 % and 99 % quantiles of the training data, for each number by name.

        Raises:
            ValueError: the actions are malformed, or nothing is known of the training data's.
        """
        refuse_actions(self.backend, actions)
        spec = self.backend.action_spec
        if spec is None or not self.recipe.domains:
            raise ValueError(
                f"actions: got some for {self.recipe.name}, of whose training actions no range is known; compare them "
                "with its data"
            )
        return unusual(choose(self.recipe.domains, spec), spec.check(actions))

    def start(self, frames: np.ndarray | None, *, seeds: Sequence[int] | np.ndarray, resize: bool = False) -> State:
        """The state before the first chunk; for the arguments see :meth:`rollout`.

        Raises:
            ValueError: an argument is malformed.
        """
        seeds = check_seeds(seeds)
        if frames is None:
            if not self.backend.from_text:
                raise ValueError(
                    f"frames: got None, expected first frames; {self.recipe.name} imagines from those alone"
                )
            given = np.zeros((len(seeds), 0, *self.recipe.image_size, 3), np.uint8)
        else:
            recipe, latent = self.recipe, self.backend.frames_per_latent
            given = check_frames(frames, recipe.image_size, recipe.num_frames, latent, resize)
        if len(seeds) != len(given):
            raise ValueError(f"seeds: got {len(seeds)}, expected {len(given)}, one for each first frame; add or drop")
        return State(given, None, seeds, ((),) * len(seeds), chunk=0, time=0, ended=np.zeros(len(seeds), bool))

    def step(
        self,
        state: State,
        *,
        actions: np.ndarray | None = None,
        steps: int | None = None,
        solver: str = "euler",
        refine: PredictPerturb | None = None,
        handover: str = "frame",
        stop: StopRule | None = None,
    ) -> tuple[State, Rollout]:
        """Imagine one chunk; for the arguments see :meth:`rollout`.

        Returns:
            the state after it, and the chunk's new frames alone, without those it went on from.

        Raises:
            ValueError: an argument is malformed, or every sample has ended; nothing has been computed then.
        """
        settings = self._settings(steps, solver, refine, handover, stop)
        check_state(state, self.recipe.image_size, self.recipe.num_frames, self.backend.latent_shape)
        new = self.recipe.num_frames - state.frames.shape[1]
        actions, _ = self._check_actions(actions, new, len(state))
        self.check_memory(len(state), refine)
        started = time.monotonic()
        following, chunk = imagine_chunk(self.backend, state, settings, lambda _: None, actions)
        common = self._common(state, settings, seconds=time.monotonic() - started)
        return following, chunk.rollout(False, stop is not None, **common)

    def fork(self, state: State, n: int) -> State:
        """``n`` continuations of each sample of a state; see :meth:`worldmodel.state.State.fork`."""
        return state.fork(n)

    def _settings(
        self,
        steps: int | None,
        solver: str,
        refine: PredictPerturb | None,
        handover: str,
        stop: StopRule | None,
        batch_size: int = 1,
        tail: str = "refuse",
    ) -> Settings:
        """Checked settings of every chunk."""
        sigmas = self.check_options(steps, solver, refine, batch_size)
        if stop is not None and not isinstance(stop, StopRule):
            raise ValueError(f"stop: got {stop!r}, expected a StopRule or None; see worldmodel.stopping")
        way = as_handover(handover)
        if way.frames(self.backend) >= self.recipe.num_frames:
            raise ValueError(
                f"handover: got {way.name!r} of {way.frames(self.backend)} frames, expected fewer than the "
                f"{self.recipe.num_frames} of a chunk; choose another"
            )
        return Settings(sigmas, solver, refine, way, stop, tail)

    def check_memory(self, batch: int, refine: PredictPerturb | None) -> None:
        """Refuse a batch of rollouts that does not fit, saying what does."""
        self.backend.check_memory(batch, isinstance(refine, SparsePredictPerturb))

    def check_horizon(self, horizon: int | None, tail: str = "refuse", handover: str = "frame") -> int:
        """Frames that :meth:`rollout` imagines after one given frame with these options, or a refusal."""
        first, way = self.recipe.num_frames - 1, as_handover(handover)
        whole = first if horizon is None else horizon
        count_chunks(whole, first, self.recipe.num_frames - way.frames(self.backend), tail)
        return int(whole)

    def _count(self, state: State, horizon: int | None, tail: str, settings: Settings) -> int:
        """Chunks that make a horizon of this state."""
        new = self.recipe.num_frames - state.frames.shape[1]
        later = self.recipe.num_frames - settings.handover.frames(self.backend)
        return count_chunks(new if horizon is None else horizon, new, later, tail)

    def _check_actions(
        self, actions: np.ndarray | None, horizon: int | None, batch: int
    ) -> tuple[np.ndarray | None, int | None]:
        """Actions (B, n, A) in the units of the model's spec, and the horizon they make."""
        spec = self.backend.action_spec
        if actions is None:
            return None, horizon
        refuse_actions(self.backend, actions)
        assert spec is not None
        checked = self._check_range(actions)
        if (
            checked.ndim != 3
            or len(checked) != batch
            or checked.shape[1] < 1
            or horizon not in (None, checked.shape[1])
        ):
            count = "n" if horizon is None else horizon
            raise ValueError(
                f"actions: got shape {checked.shape}, expected ({batch}, {count}, {len(spec.names)}), one for each "
                "imagined frame; add or drop"
            )
        return checked, checked.shape[1]

    def _check_range(self, actions: np.ndarray) -> np.ndarray:
        """Actions (..., A) within the bounds of the model's spec, or a refusal that says what was trained."""
        spec = self.backend.action_spec
        assert spec is not None
        try:
            return spec.check(actions)
        except ValueError as error:
            if not self.recipe.domains:
                raise
            pairs = zip(spec.names, choose(self.recipe.domains, spec).usual, strict=True)
            usual = ", ".join(f"{name} from {low:.3g} to {high:.3g}" for name, (low, high) in pairs)
            raise ValueError(f"{error}; 98 % of its training data had {usual}") from None

    def _pieces(
        self,
        state: State,
        settings: Settings,
        chunks: int,
        keep_latents: bool,
        advance: Callable[[int], Any],
        actions: np.ndarray | None = None,
    ) -> Iterator[Rollout]:
        """One piece of the rollout a chunk; the first begins with the given frames."""
        for index in range(chunks):
            given = state.frames.shape[1]
            started, new = time.monotonic(), self.recipe.num_frames - given
            own = None if actions is None else repeated(actions[:, :new], new)
            actions = None if actions is None else actions[:, new:]
            state, chunk = imagine_chunk(self.backend, state, settings, advance, own)
            common = self._common(state, settings, seconds=time.monotonic() - started)
            piece = chunk.rollout(index == 0, settings.stop is not None, **common)
            if own is not None:
                unknown = np.full((len(own), max(0, given - 1) * (index == 0), own.shape[2]), np.nan)
                piece = replace(piece, actions=np.concatenate([unknown, own], axis=1))
            yield piece if keep_latents else replace(piece, latents=None)

    def _common(self, state: State, settings: Settings, seconds: float = float("nan")) -> dict[str, Any]:
        """What every piece of a rollout says of itself."""
        return {
            "fps": self.recipe.fps,
            "seeds": state.seeds,
            "seconds": seconds,
            "provenance": self._provenance(settings),
        }

    def check_options(
        self, steps: int | None, solver: str, refine: PredictPerturb | None, batch_size: int
    ) -> np.ndarray:
        """The noise levels of these options of :meth:`rollout`, or an error that says which is malformed."""
        check_batch_size(batch_size)
        check_solver(solver)
        sigmas = self.backend.sigmas(self.recipe.steps if steps is None else steps)
        check_refine(refine, sigmas)
        return sigmas

    def reconstruct(self, video: np.ndarray, batch_size: int = 16) -> np.ndarray:
        """Videos (B, T, H, W, 3) uint8 after encoding and decoding: the best this model can show."""
        parts = [video[first : first + batch_size] for first in range(0, len(video), batch_size)]
        return np.concatenate([self.backend.decode(self.backend.encode(part)) for part in parts])

    def provenance(
        self,
        steps: int | None = None,
        solver: str = "euler",
        refine: PredictPerturb | None = None,
        handover: str = "frame",
        stop: StopRule | None = None,
        tail: str = "refuse",
    ) -> dict[str, Any]:
        """What a rollout with these settings depends on beside its frames and seeds, JSON-ready."""
        return self._provenance(self._settings(steps, solver, refine, handover, stop, tail=tail))

    def _provenance(self, settings: Settings) -> dict[str, Any]:
        return {
            "model": self.recipe.name,
            "weights_sha256": self.backend.weights_hash,
            "solver": str(as_solver(settings.solver)),
            "sigmas": [round(float(sigma), 6) for sigma in settings.sigmas],
            "refine": None if settings.refine is None else settings.refine.describe(),
            "handover": settings.handover.name,
            "tail": settings.tail,
            "stop": None if settings.stop is None else settings.stop.describe(),
            "versions": {name: importlib.metadata.version(name) for name in ("worldmodel", "torch", "diffusers")},
            "device": str(self.backend.device),
            **self.backend.provenance(),
        }


def check_batch_size(batch_size: int) -> None:
    """Refuse a batch size that is no whole number of at least 1."""
    check_count("batch_size", batch_size, "32 suits a CPU")
