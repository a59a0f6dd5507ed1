"""Rollouts of stored first frames, written batch by batch so that a run can be resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from worldmodel.model import WorldModel
from worldmodel.rollout import Rollout
from worldmodel.sampling import PredictPerturb
from worldmodel.storage import EpisodeStore


def imagine(
    model: WorldModel,
    truth: EpisodeStore,
    out: Path,
    *,
    steps: int | None = None,
    solver: str = "euler",
    refine: PredictPerturb | None = None,
    seed: int = 0,
    batch_size: int = 32,
    label: str = "rollout",
) -> EpisodeStore:
    """Roll out from the first frame of every truth episode, under the same keys, into ``out``.

    Episode number i of the truth store gets seed ``seed + i``. Finished episodes are kept.

    Raises:
        StoreError: ``out`` holds something else, or rollouts with other settings.
    """
    settings: dict[str, Any] = model.provenance(steps, solver, refine)
    store = EpisodeStore.create(out, "rollout", settings={**settings, "seed": seed}, exist="resume")
    keys = truth.keys()
    missing = [(number, key) for number, key in enumerate(keys) if key not in store]
    with tqdm(total=len(keys), initial=len(keys) - len(missing), desc=label, unit="clip") as progress:
        for first in range(0, len(missing), batch_size):
            batch = missing[first : first + batch_size]
            frames = np.stack([truth.array(key, "video").data[0] for _, key in batch])
            rollout = model.rollout(
                frames,
                seeds=[seed + number for number, _ in batch],
                steps=steps,
                solver=solver,
                refine=refine,
                batch_size=batch_size,
                progress=False,
            )
            for index, (_, key) in enumerate(batch):
                store.write_rollout(key, rollout, index)
            progress.update(len(batch))
    return store


def reconstruct(model: WorldModel, truth: EpisodeStore, out: Path, *, batch_size: int = 32) -> EpisodeStore:
    """Every truth video encoded and decoded, stored like a rollout: the ceiling of what the model can show."""
    described = {"autoencoder_of": model.recipe.name, "weights_sha256": model.backend.weights_hash}
    store = EpisodeStore.create(out, "rollout", settings=described, exist="resume")
    keys = truth.keys()
    missing = [key for key in keys if key not in store]
    with tqdm(total=len(keys), initial=len(keys) - len(missing), desc="autoencoder", unit="clip") as progress:
        for first in range(0, len(missing), batch_size):
            batch = missing[first : first + batch_size]
            video = model.reconstruct(np.stack([truth.array(key, "video").data for key in batch]))
            zeros = np.zeros(len(batch), np.int64)
            rollout = Rollout(video=video, fps=model.recipe.fps, seeds=zeros, nfe=zeros, provenance=described)
            for index, key in enumerate(batch):
                store.write_rollout(key, rollout, index)
            progress.update(len(batch))
    return store
