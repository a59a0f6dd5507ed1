"""Videos in one ``.npy`` or ``.npz`` file, of which one is in memory at a time."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from worldmodel.clips import Clip, Header
from worldmodel.storage import StoreError
from worldmodel.storage.format import short
from worldmodel.videos import file_hash

STACK = "video"  # name in an .npz of an array of all videos


class ArrayFile:
    """(N, T, H, W, 3) uint8 in the order of the keys, or in an ``.npz`` one (T, H, W, 3) a key (see ``Videos``)."""

    def __init__(self, path: Path, keys: Sequence[str], known: Sequence[str]) -> None:
        self.path = path
        self._keys = list(keys)
        self._fps: float | None = None
        if not path.is_file():
            raise StoreError(f"{path}: got no such file, expected arrays of videos; check the path")
        try:
            arrays, order = self._open()
        except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise StoreError(f"{path}: got an unreadable file ({error}), expected arrays; write it again") from None
        stack = arrays.get(STACK)
        for array in arrays.values():
            array.check(4 if stack is None else 5)
        if stack is None:
            strange = sorted(set(arrays) - set(known))
            if strange:
                raise StoreError(
                    f"{path}: got an array {strange[0]!r}, expected names of clips such as {self._keys[0]!r}; rename it"
                )
            self._videos = {name: (array, 0) for name, array in arrays.items()}
        elif stack.shape[0] != len(order):
            raise StoreError(
                f"{path}: got {stack.shape[0]} videos, expected {len(order)}, one a key; pass them all, in order"
            )
        else:
            self._videos = {key: (stack, index) for index, key in enumerate(order)}

    def _open(self) -> tuple[dict[str, _Array], list[str]]:
        """The arrays of videos by name, and the keys in the order of a stack."""
        if self.path.suffix == ".npy":
            return {STACK: _Array(self.path, self.path.open("rb"))}, self._keys
        archive = zipfile.ZipFile(self.path)
        names = {name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")}
        small = {name: np.load(self.path)[name] for name in names & {"keys", "fps"}}
        self._fps = float(small["fps"]) if "fps" in small else None
        if self._fps is not None and not 0 < self._fps < math.inf:
            raise ValueError(f"fps: got {self._fps:g}, expected frames a second above 0")
        names = {STACK} if STACK in names else names - small.keys()
        if not names:
            raise ValueError("no array of videos in it")
        arrays = {name: _Array(f"{self.path}: {name}", archive.open(f"{name}.npy")) for name in sorted(names)}
        return arrays, [str(key) for key in small["keys"]] if "keys" in small else self._keys

    def missing(self) -> list[str]:
        """See ``Videos``."""
        return [key for key in self._keys if key not in self._videos]

    def header(self, key: str) -> Header:
        """See ``Videos``."""
        frames, height, width, _ = self._videos[key][0].shape[-4:]
        return Header(frames, height, width, self._fps)

    def read(self, key: str) -> Clip:
        """See ``Videos``."""
        array, index = self._videos[key]
        return Clip(array.read(index), self._fps)

    def provenance(self) -> dict[str, Any]:
        """See ``Videos``."""
        return {"videos": str(self.path), "sha256": file_hash(self.path)}


class _Array:
    """An open ``.npy`` with one video or a stack of them."""

    def __init__(self, name: object, file: IO[bytes]) -> None:
        self.name, self._file = name, file
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        self.shape, self._fortran, self.dtype = header(file)
        self._start = file.tell()

    def check(self, axes: int) -> None:
        """Refuse anything but uint8 RGB videos with so many axes."""
        expected = "(N, T, H, W, 3)" if axes == 5 else "(T, H, W, 3)"
        if 0 in self.shape:
            raise StoreError(f"{self.name}: got shape {self.shape}, expected {expected} with none of them 0; fill it")
        if len(self.shape) != axes or self.shape[-1] != 3 or self._fortran:
            order = " in Fortran order" if self._fortran else ""
            raise StoreError(f"{self.name}: got shape {self.shape}{order}, expected {expected}; transpose it")
        if self.dtype != np.uint8:
            got = f"{self.dtype} with NaN" if self._has_nan() else str(self.dtype)
            raise StoreError(f"{self.name}: got {got}, expected uint8 in 0..255; scale, round and cast it")

    def read(self, index: int) -> np.ndarray:
        """Video (T, H, W, 3) number ``index``."""
        shape = self.shape[-4:]
        size = int(np.prod(shape)) * self.dtype.itemsize
        try:
            self._file.seek(self._start + index * size)
            data = self._file.read(size)
        except (OSError, zipfile.BadZipFile) as error:
            raise StoreError(f"{self.name}: got damaged data ({error}), expected a video; write it again") from None
        if len(data) < size:
            raise StoreError(
                f"{self.name}: got an end within video {index}, expected {short(self.shape)}; write it again"
            )
        return np.frombuffer(data, self.dtype).reshape(shape)

    def _has_nan(self) -> bool:
        if self.dtype.kind != "f":
            return False
        count = self.shape[0] if len(self.shape) == 5 else 1
        return any(bool(np.isnan(self.read(index)).any()) for index in range(count))
