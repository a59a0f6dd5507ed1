"""Episodes on disk: truth and rollouts as zarr 3, read back bit for bit (pictures: ``worldmodel.storage.export``)."""

from worldmodel.storage.bulk import read_actions, read_segmentations, read_videos
from worldmodel.storage.episodes import EpisodeStore
from worldmodel.storage.format import FORMAT, FORMAT_VERSION, StoreError
from worldmodel.storage.saving import episode_key, load_rollout, save_rollout

__all__ = [
    "FORMAT",
    "FORMAT_VERSION",
    "EpisodeStore",
    "StoreError",
    "episode_key",
    "load_rollout",
    "read_actions",
    "read_segmentations",
    "read_videos",
    "save_rollout",
]
