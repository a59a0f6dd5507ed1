"""Rollouts of stored first frames, written batch by batch so that a run can be resumed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from worldmodel.backends.cameras import check_clips
from worldmodel.backends.domains import choose, listening
from worldmodel.model import WorldModel, check_batch_size
from worldmodel.noise import check_seeds
from worldmodel.rollout import Rollout
from worldmodel.sampling import PredictPerturb
from worldmodel.stopping import StopRule
from worldmodel.storage import EpisodeStore


def imagine(
    model: WorldModel,
    truth: EpisodeStore,
    out: Path,
    *,
    keys: Sequence[str] | None = None,
    steps: int | None = None,
    solver: str = "euler",
    refine: PredictPerturb | None = None,
    horizon: int | None = None,
    tail: str = "refuse",
    handover: str = "frame",
    stop: StopRule | None = None,
    told: bool = True,
    any_camera: bool = False,
    seed: int = 0,
    batch_size: int = 32,
    label: str = "rollout",
) -> EpisodeStore:
    """Roll out from the first frames of truth episodes, under the same keys, into ``out``.

    A chunk is on disk before the next is imagined, so memory does not grow with the horizon.

    A rollout's seed is ``seed`` plus the seed its truth was recorded with, so it is the same
    whichever other episodes there are. Finished episodes are kept.

    Args:
        model: what imagines.
        truth: store of recorded clips; keys: which of them, all if None.
        out: folder of the rollout store.
        steps, solver, refine, horizon, tail, handover, stop, batch_size: see :meth:`WorldModel.rollout`.
        told: whether a model that takes actions is told those of the clips, where they have any.
        any_camera: take clips from another camera than those of the model's training, which are refused otherwise.
        seed: added to the seed of every clip.
        label: of the progress bar.

    Raises:
        StoreError: ``out`` holds something else, or rollouts of other settings or another truth.
        ValueError: an option is malformed, or the clips' actions or cameras are none of those that the model knows;
            nothing has been written then.
    """
    model.check_options(steps, solver, refine, batch_size)
    check_seeds([seed])
    options: dict[str, Any] = {"steps": steps, "solver": solver, "refine": refine, "handover": handover, "stop": stop}
    frames = 1 + model.check_horizon(horizon, tail, handover)
    keys = _check_truth(model, truth, keys, frames)
    if not any_camera:
        check_clips(model.recipe, truth, keys, "truth", "pass any_camera=True (--any-camera)")
    listener = listening(model, truth.action_spec(keys[0])) if told else None
    model = model if listener is None else listener
    model.check_memory(min(batch_size, len(keys)), refine)  # settles what provenance says of it
    settings = {**model.provenance(**options, tail=tail), "frames": frames, "seed": seed, "truth": truth.settings}
    store = EpisodeStore.create(out, "rollout", settings=settings, exist="resume")

    def pieces(batch: list[str]) -> Iterator[Rollout]:
        return model.stream(
            np.stack([truth.array(key, "video", stop=1).data[0] for key in batch]),
            seeds=[seed + (truth.attributes(key)["seed"] or 0) for key in batch],
            actions=None if listener is None else np.stack([truth.array(key, "actions").data for key in batch]),
            horizon=horizon if listener is None else frames - 1,
            tail=tail,
            **options,
        )

    def write(batch: list[str]) -> None:
        streams = [store.stream_rollout(key, frames) for key in batch]
        for piece in pieces(batch):
            for index, stream in enumerate(streams):
                stream.append(piece, index)
        for stream in streams:
            stream.close()

    return _complete(store, keys, batch_size, label, write)


def range_lines(model: WorldModel, truth: EpisodeStore) -> list[str]:
    """How the clips' actions lie in the range of those that the model was trained on, a line for each number."""
    keys = truth.keys()
    spec = truth.action_spec(keys[0]) if keys else None
    if spec is None or not model.recipe.domains:
        return []
    told = model.conditioned(domain=spec)
    actions = np.concatenate([truth.array(key, "actions").data for key in keys])
    usual = dict(zip(spec.names, choose(model.recipe.domains, spec).usual, strict=True))
    return [
        f"actions: {name} {share:.1%} outside {usual[name][0]:.3g} to {usual[name][1]:.3g} {unit}, where 98 % of the "
        "training data lay"
        for (name, share), unit in zip(told.range_report(actions).items(), spec.units, strict=True)
    ]


def reconstruct(
    model: WorldModel, truth: EpisodeStore, out: Path, *, keys: Sequence[str] | None = None, batch_size: int = 32
) -> EpisodeStore:
    """Truth videos encoded and decoded, stored like rollouts: the ceiling of what the model can show."""
    check_batch_size(batch_size)
    keys = _check_truth(model, truth, keys, model.recipe.num_frames)
    described: dict[str, Any] = {"autoencoder_of": model.recipe.name, "weights_sha256": model.backend.weights_hash}
    store = EpisodeStore.create(out, "rollout", settings={**described, "truth": truth.settings}, exist="resume")

    def round_trip(batch: list[str]) -> None:
        video = model.reconstruct(np.stack([truth.array(key, "video").data for key in batch]))
        zeros = np.zeros(len(batch), np.int64)
        rollout = Rollout(video=video, fps=model.recipe.fps, seeds=zeros, nfe=zeros, provenance=described)
        for index, key in enumerate(batch):
            store.write_rollout(key, rollout, index)

    return _complete(store, keys, batch_size, "autoencoder", round_trip)


def _check_truth(model: WorldModel, truth: EpisodeStore, keys: Sequence[str] | None, length: int) -> list[str]:
    """The keys to imagine, or an error when the clips are not of the model's size and rate and so many frames."""
    keys = truth.keys() if keys is None else list(keys)
    if not keys:
        raise ValueError(f"truth: got no finished clip in {truth.path}, expected some; run worldmodel collect again")
    frames, height, width, _ = truth.shape(keys[0], "video")
    got = (height, width), frames, truth.attributes(keys[0])["fps"]
    expected = model.recipe.image_size, length, model.recipe.fps
    if got != expected:
        raise ValueError(
            f"truth: got clips of size, frames, fps {got}, expected {expected} for {model.recipe.name}; "
            "collect clips of that kind"
        )
    return keys


def _complete(
    store: EpisodeStore, keys: list[str], batch_size: int, label: str, write: Callable[[list[str]], None]
) -> EpisodeStore:
    """Write the episodes that the store misses, a batch at a time."""
    missing = [key for key in keys if key not in store]
    with tqdm(total=len(keys), initial=len(keys) - len(missing), desc=label, unit="clip") as progress:
        for first in range(0, len(missing), batch_size):
            batch = missing[first : first + batch_size]
            write(batch)
            progress.update(len(batch))
    return store
