"""One rollout written while it is being imagined: the video goes to disk shard by shard, the rest is small."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from zarr.storage import LocalStore

from worldmodel.rollout import Rollout, in_sequence
from worldmodel.storage import rollout_episode
from worldmodel.storage.arrays import Array, GrowingArray

SHARD_FRAMES = 64  # in a file; what is held in memory at most


class RolloutStream:
    """Takes pieces of a rollout; the episode counts once :meth:`close` has written what belongs to all of it.

    Args:
        store: where the video goes.
        key: of the episode.
        frames: of the whole video.
        finish: writes the other arrays and the attributes; see ``EpisodeStore.stream_rollout``.
    """

    def __init__(
        self,
        store: LocalStore,
        key: str,
        frames: int,
        finish: Callable[[dict[str, Array], dict[str, Any]], None],
    ) -> None:
        self._store, self._path, self._frames, self._finish = store, f"{key}/video", frames, finish
        self._video: GrowingArray | None = None
        self._pieces: list[Rollout] = []
        self._batch = 0

    def append(self, piece: Rollout, index: int) -> None:
        """Take sample ``index`` of the next piece."""
        video = piece.video[index]
        if self._video is None:
            shape, names = (self._frames, *video.shape[1:]), rollout_episode.DIMENSIONS["video"]
            units = {"units": rollout_episode.UNITS["video"]}
            self._video = GrowingArray(self._store, self._path, shape, np.uint8, names, units, shard=SHARD_FRAMES)
        self._video.append(video)
        self._batch = len(piece)
        # Without its video before the row is copied: a view of no frames would keep all of them in memory.
        self._pieces.append(replace(piece, video=piece.video[:, :0]).select(np.array([index])))

    def close(self) -> None:
        """Write the rest; the episode is complete after it.

        Raises:
            StoreError: fewer frames came than were announced.
        """
        assert self._video is not None, "close() before the first piece"
        self._video.close()
        arrays, attributes = rollout_episode.pack(in_sequence(self._pieces), 0)
        del arrays["video"]
        self._finish(arrays, {**attributes, "batch": self._batch})
