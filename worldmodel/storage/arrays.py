"""One array of an episode on disk: the shard (the file) is the whole episode, the chunk a few frames."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.storage import LocalStore

from worldmodel.storage.format import StoreError

CHUNK_BYTES = 2**17  # about ten frames of 64 x 64


@dataclass(frozen=True)
class Array:
    """An array with the name of each axis and what its numbers mean."""

    data: np.ndarray
    dimensions: tuple[str, ...]
    attributes: dict[str, Any] = field(default_factory=dict)


def write_array(store: LocalStore, path: str, array: Array) -> None:
    """Create the array at ``path`` and write all of it as one file."""
    growing = GrowingArray(store, path, array.data.shape, array.data.dtype, array.dimensions, array.attributes)
    growing.append(array.data)
    growing.close()


class GrowingArray:
    """An array of known shape that is written front to back, with no more than a shard of it in memory.

    Args:
        shape: of the whole array, time first.
        shard: entries along the first axis in a file; all of them if None.
    """

    def __init__(
        self,
        store: LocalStore,
        path: str,
        shape: tuple[int, ...],
        dtype: Any,
        dimensions: tuple[str, ...],
        attributes: dict[str, Any],
        shard: int | None = None,
    ) -> None:
        length = shape[0] if shard is None else min(shard, shape[0])
        entry = int(np.prod(shape[1:])) * np.dtype(dtype).itemsize
        chunk = max(1, min(length, CHUNK_BYTES // max(1, entry)))
        rest = tuple(max(1, size) for size in shape[1:])
        self._shard = max(1, -(-length // chunk)) * chunk  # zarr wants whole chunks in a shard
        self._waiting: list[np.ndarray] = []
        self._written = self._given = 0
        self._path = path
        self._array = zarr.create_array(
            store,
            name=path,
            shape=shape,
            dtype=dtype,
            chunks=(chunk, *rest),
            shards=(self._shard, *rest),
            # Blosc does not notice a flipped bit, the checksum does.
            compressors=(BloscCodec(cname="zstd", clevel=5, shuffle="bitshuffle"), Crc32cCodec()),
            chunk_key_encoding={"name": "default", "separator": "."},
            dimension_names=dimensions,
            attributes=attributes,
            # Otherwise an array of zeros has no file and a lost file reads as zeros.
            config={"write_empty_chunks": True},
        )

    def append(self, data: np.ndarray) -> None:
        """Take the next entries (n, ...); whole shards are written at once."""
        if self._given + len(data) > self._array.shape[0] or data.shape[1:] != self._array.shape[1:]:
            raise StoreError(
                f"{self._path}: got {data.shape} after {self._given} entries, expected {self._array.shape} in all; "
                "open it for more"
            )
        self._waiting.append(data)
        self._given += len(data)
        if self._given - self._written >= self._shard:
            waiting = np.concatenate(self._waiting)
            whole = len(waiting) // self._shard * self._shard
            self._write(waiting[:whole])
            self._waiting = [waiting[whole:].copy()]

    def close(self) -> None:
        """Write what is left.

        Raises:
            StoreError: fewer entries came than were announced.
        """
        if self._given != self._array.shape[0]:
            raise StoreError(
                f"{self._path}: got {self._given} entries, expected {self._array.shape[0]}; append the rest"
            )
        self._write(np.concatenate(self._waiting))
        self._waiting = []

    def _write(self, data: np.ndarray) -> None:
        if len(data):
            self._array[self._written : self._written + len(data)] = data
            self._written += len(data)


def read_array(store: LocalStore, key: str, name: str, stop: int | None = None) -> Array:
    """Read array ``name`` of episode ``key``, whole or its entries before ``stop``, or say that it is damaged."""
    folder = Path(store.root) / key / name
    try:
        array = zarr.open_array(store, path=f"{key}/{name}", mode="r")
        length = (array.shards or array.chunks)[0] if array.ndim else 1
        for index in range(-(-min(array.shape[0], stop or array.shape[0]) // length) if array.size else 0):
            shard = folder / f"c.{index}{'.0' * (array.ndim - 1)}"
            if not shard.stat().st_size:
                raise ValueError(f"{shard.name} is empty")  # which zarr would read as zeros, as it does no file
        data = np.asarray(array[...] if stop is None else array[:stop])
        return Array(data, tuple(getattr(array.metadata, "dimension_names", None) or ()), dict(array.attrs))
    except Exception as error:  # zarr and its codecs raise many kinds for a damaged file
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise StoreError(
            f"episode {key!r}: array {name!r} is damaged or missing ({reason}), expected a whole shard in {folder}; "
            "restore that folder, or remove the episode's folder and write it again"
        ) from error
