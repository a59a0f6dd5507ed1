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
    data = array.data
    chunk = max(1, min(len(data), CHUNK_BYTES // max(1, data[:1].nbytes)))
    rest = tuple(max(1, length) for length in data.shape[1:])
    shard = max(1, -(-len(data) // chunk)) * chunk  # zarr wants whole chunks in a shard
    zarr.create_array(
        store,
        name=path,
        data=data,
        chunks=(chunk, *rest),
        shards=(shard, *rest),
        # Blosc does not notice a flipped bit, the checksum does.
        compressors=(BloscCodec(cname="zstd", clevel=5, shuffle="bitshuffle"), Crc32cCodec()),
        chunk_key_encoding={"name": "default", "separator": "."},
        dimension_names=array.dimensions,
        attributes=array.attributes,
        # Otherwise an array of zeros has no file and a lost file reads as zeros.
        config={"write_empty_chunks": True},
    )


def read_array(store: LocalStore, key: str, name: str) -> Array:
    """Read array ``name`` of episode ``key`` whole, or say that it is damaged."""
    folder = Path(store.root) / key / name
    try:
        array = zarr.open_array(store, path=f"{key}/{name}", mode="r")
        shard = folder / ("c" + ".0" * array.ndim)
        if array.size and not shard.stat().st_size:
            raise ValueError(f"{shard.name} is empty")  # which zarr would read as zeros, as it does no file
        data = np.asarray(array[...])
        return Array(data, tuple(getattr(array.metadata, "dimension_names", None) or ()), dict(array.attrs))
    except Exception as error:  # zarr and its codecs raise many kinds for a damaged file
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise StoreError(
            f"episode {key!r}: array {name!r} is damaged or missing ({reason}), expected a whole shard in {folder}; "
            "restore that folder, or remove the episode's folder and write it again"
        ) from error
