"""Videos to be judged, read one clip at a time: a rollout store, a folder of video files, or one file of arrays."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from worldmodel.clips import Clip, Header
from worldmodel.storage import EpisodeStore, StoreError
from worldmodel.storage.format import float_or_nan

SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi")
ARRAY_SUFFIXES = (".npy", ".npz")


class Videos(Protocol):
    """Videos of one row, each under the key of the true clip from whose first frame it goes on."""

    path: Path

    def missing(self) -> list[str]:
        """Keys of the judged clips for which there is no video."""

    def header(self, key: str) -> Header:
        """Size and rate of a video. Raises StoreError if it cannot be read."""

    def read(self, key: str) -> Clip:
        """One video, decoded. Raises StoreError if it cannot be read whole."""

    def provenance(self) -> dict[str, Any]:
        """What made them, as JSON."""


def open_videos(path: str | os.PathLike[str], keys: Sequence[str], known: Sequence[str] | None = None) -> Videos:
    """Open a rollout store, a folder of ``KEY.mp4`` files, or an ``.npy`` or ``.npz`` file.

    Args:
        path: where they are. An ``.npy`` holds (N, T, H, W, 3) uint8 in the order of ``keys``; an
            ``.npz`` the same as ``video``, with ``keys`` and ``fps`` if it has them, or one (T, H, W, 3) a key.
        keys: the true clips that are judged.
        known: all keys of the truth; ``keys`` if None.

    Raises:
        StoreError: there is nothing of that kind, or it holds videos without truth.
    """
    from worldmodel.video_arrays import ArrayFile

    path, known = Path(path), keys if known is None else known
    if path.suffix in ARRAY_SUFFIXES:
        return ArrayFile(path, keys, known)
    if path.is_dir() and not (path / "zarr.json").exists():
        return VideoFolder(path, keys, known)
    return RolloutStore(path, keys)


class RolloutStore:
    """What ``worldmodel rollout`` or ``save_rollout`` wrote."""

    def __init__(self, path: Path, keys: Sequence[str]) -> None:
        self.path = path
        self.store = EpisodeStore.open(path, "rollout")
        self._keys = list(keys)

    def missing(self) -> list[str]:
        """See :class:`Videos`."""
        return [key for key in self._keys if key not in self.store]

    def header(self, key: str) -> Header:
        """See :class:`Videos`."""
        return self.read(key).header

    def read(self, key: str) -> Clip:
        """See :class:`Videos`."""
        attributes = self.store.attributes(key)
        recorded = {
            name: self.store.array(key, name).data if name in attributes["arrays"] else None
            for name in ("uncertainty_maps", "drift")
        }
        return Clip(
            video=self.store.array(key, "video").data,
            fps=attributes["fps"],
            seed=attributes["seed"],
            nfe=attributes["nfe"],
            seconds=float_or_nan(attributes["batch_seconds"]) / attributes["batch"],
            uncertainty=recorded["uncertainty_maps"],
            drift=recorded["drift"],
        )

    def provenance(self) -> dict[str, Any]:
        """See :class:`Videos`."""
        return dict(self.store.attributes(self._keys[0])["provenance"])


class VideoFolder:
    """Files named after the true clips, from any generator."""

    def __init__(self, path: Path, keys: Sequence[str], known: Sequence[str]) -> None:
        self.path = path
        self._keys = list(keys)
        self._files: dict[str, Path] = {}
        for file in sorted(each for each in path.iterdir() if each.suffix.lower() in SUFFIXES):
            if file.stem in self._files:
                raise StoreError(f"{file}: got a second video of {file.stem}, expected one; remove one of them")
            self._files[file.stem] = file
        if not self._files:
            raise StoreError(f"{path}: got no video in it, expected files such as {keys[0]}.mp4; check the path")
        strangers = sorted(self._files.keys() - set(known))
        if strangers:
            raise StoreError(
                f"{self._files[strangers[0]]}: got a video without truth ({len(strangers)} in all), expected keys of "
                f"the truth store such as {keys[0]}; rename it, or record that clip"
            )

    def missing(self) -> list[str]:
        """See :class:`Videos`."""
        return [key for key in self._keys if key not in self._files]

    def header(self, key: str) -> Header:
        """See :class:`Videos`."""
        return probe_video(self._files[key])

    def read(self, key: str) -> Clip:
        """See :class:`Videos`."""
        from worldmodel.storage.video_files import read_video

        video, fps = read_video(self._files[key])
        return Clip(video, fps, sha256=file_hash(self._files[key]))

    def provenance(self) -> dict[str, Any]:
        """See :class:`Videos`."""
        return {"videos": str(self.path)}


def probe_video(path: Path) -> Header:
    """Size, length and rate of a video file without decoding it.

    Raises:
        StoreError: it is no video.
    """
    import av

    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            # Some containers do not say how many frames they hold.
            frames = stream.frames or sum(bool(packet.size) for packet in container.demux(stream))
            rate = stream.average_rate
            return Header(frames, stream.height, stream.width, float(rate) if rate else None)
    except (av.error.FFmpegError, IndexError) as error:
        reason = getattr(error, "strerror", None) or "no video stream"
        raise StoreError(f"{path}: got an unreadable video ({reason}), expected one whole; write it again") from None


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
