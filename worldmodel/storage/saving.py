"""A whole batch to a folder and back in one call."""

from __future__ import annotations

import os

from worldmodel.rollout import Rollout
from worldmodel.storage.episodes import EpisodeStore
from worldmodel.storage.format import StoreError


def episode_key(index: int) -> str:
    """Keys whose sorted order is the order of the numbers: 7 is ``"000007"``."""
    return f"{index:06d}"


def save_rollout(path: str | os.PathLike[str], rollout: Rollout, *, exist: str = "error") -> None:
    """Write every sample of a batch; ``exist="resume"`` completes an interrupted save of the same batch."""
    settings = {"seeds": rollout.seeds.tolist(), "provenance": rollout.provenance}
    store = EpisodeStore.create(path, "rollout", settings=settings, provenance=rollout.provenance, exist=exist)
    for index in range(len(rollout)):
        if episode_key(index) not in store:
            store.write_rollout(episode_key(index), rollout, index)


def load_rollout(path: str | os.PathLike[str]) -> Rollout:
    """The batch that :func:`save_rollout` wrote, in its order."""
    store = EpisodeStore.open(path, "rollout")
    keys = store.keys()
    expected = len(store.settings.get("seeds", keys))
    if len(keys) != expected:
        raise StoreError(
            f"{path}: got {len(keys)} complete episodes, expected {expected}; "
            "save the batch again with exist='resume', or read what is there with EpisodeStore.open"
        )
    return store.read_rollout(keys)
