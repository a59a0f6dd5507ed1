"""A folder of episodes: one zarr 3 group each, complete or not there at all."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeGuard

import zarr
from zarr.storage import LocalStore

from worldmodel.actions import ActionSpec
from worldmodel.rollout import Rollout
from worldmodel.storage import rollout_episode, truth_episode
from worldmodel.storage.arrays import Array, read_array, write_array
from worldmodel.storage.format import (
    KINDS,
    StoreError,
    as_json,
    check_header,
    first_difference,
    header,
    read_group_attributes,
    short,
)
from worldmodel.storage.rollout_stream import RolloutStream
from worldmodel.truth import Truth

ARRAYS = {"truth": truth_episode.ARRAYS, "rollout": rollout_episode.ARRAYS}
_PARTIAL = re.compile(r"zarr\.[0-9a-f]{32}\.partial")
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def is_key(key: object) -> TypeGuard[str]:
    """Whether ``key`` can name an episode: letters, digits, ``_`` and ``-``."""
    return isinstance(key, str) and _KEY.fullmatch(key) is not None


class EpisodeStore:
    """Episodes of one kind (``truth`` or ``rollout``) under ``path``, each under a key of its own.

    An episode counts once its group says ``complete: true``, which is written last; what an
    interrupted run leaves behind is never read and is replaced when its key is written again.

    Attributes:
        path: the folder.
        kind: ``truth`` or ``rollout``.
        settings: what decides the episodes (JSON); a resumed run must have the same.
        provenance: free-form JSON of the run that created the store.
    """

    def __init__(self, path: Path, attributes: dict[str, Any], *, writable: bool) -> None:
        self.path = path
        self.kind: str = attributes["kind"]
        self.settings: dict[str, Any] = attributes["settings"]
        self.provenance: dict[str, Any] = attributes["provenance"]
        self._store = LocalStore(path, read_only=not writable)

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        kind: str,
        *,
        settings: dict[str, Any] | None = None,
        provenance: dict[str, Any] | None = None,
        exist: str = "error",
    ) -> EpisodeStore:
        """Make a store to write to; ``exist="resume"`` goes on with one made with the same settings.

        Nobody else may be writing to it, for what a killed run has left is cleared away; see ``open(writable=True)``.

        Raises:
            StoreError: the folder holds something else, another version or kind, or was made
                with other settings; nothing is written then.
        """
        folder = Path(path)
        if kind not in KINDS:
            raise StoreError(f"kind: got {kind!r}, expected {' or '.join(KINDS)}; choose one of them")
        if exist not in ("error", "resume"):
            raise StoreError(f"exist: got {exist!r}, expected 'error' or 'resume'; choose one of them")
        settings, provenance = as_json("settings", settings or {}), as_json("provenance", provenance or {})
        if all(_PARTIAL.fullmatch(name) for name in _names(folder)):  # a kill while the store was being made
            _remove_partial(folder)
        if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
            attributes = _root_attributes(folder, kind)
            if exist == "error":
                raise StoreError(f"{folder}: got a store, expected no folder; give another, or resume this one")
            _check_settings(folder, settings, attributes["settings"])
            _remove_partial(folder)
        else:
            attributes = {**header(kind), "settings": settings, "provenance": provenance}
            zarr.create_group(LocalStore(folder), attributes=attributes)
        return cls(folder, attributes, writable=True)

    @classmethod
    def open(cls, path: str | os.PathLike[str], kind: str | None = None, *, writable: bool = False) -> EpisodeStore:
        """Open a store; with ``kind``, refuse the other one.

        ``writable`` is for the workers of one run: unlike :meth:`create`, which clears away what a killed run has left,
        it leaves alone what others are writing.
        """
        return cls(Path(path), _root_attributes(Path(path), kind), writable=writable)

    def keys(self) -> list[str]:
        """Keys of the complete episodes, sorted."""
        with os.scandir(self.path) as entries:
            names = [entry.name for entry in entries if entry.is_dir()]
        return sorted(name for name in names if name in self)

    def __contains__(self, key: object) -> bool:
        return self._attributes_if_complete(key) is not None

    def attributes(self, key: str) -> dict[str, Any]:
        """All that is written about an episode beside its arrays: fps, camera, scene, seed, provenance, ..."""
        attributes = self._attributes_if_complete(key)
        if attributes is None:
            got = "an unfinished episode" if is_key(key) and (self.path / key).exists() else "no such episode"
            raise StoreError(f"episode {key!r}: got {got} in {self.path}, expected a complete one; see keys()")
        check_header(f"episode {key!r} in {self.path}", attributes, self.kind)
        return attributes

    def _attributes_if_complete(self, key: object) -> dict[str, Any] | None:
        attributes = read_group_attributes(self.path / key) if is_key(key) else None
        return attributes if attributes and attributes.get("complete") is True else None

    def array(self, key: str, name: str, stop: int | None = None) -> Array:
        """One array of a complete episode, whole or before ``stop``, with dimension names and attributes."""
        self.attributes(key)
        return read_array(self._store, key, name, stop)

    def shape(self, key: str, name: str) -> tuple[int, ...]:
        """Of an array of a complete episode, which is not read."""
        self.attributes(key)
        return tuple(zarr.open_array(self._store, path=f"{key}/{name}", mode="r").shape)

    def action_spec(self, key: str) -> ActionSpec | None:
        """Of the actions of a complete truth episode; None where nothing acts."""
        if "actions" not in self.attributes(key)["arrays"]:
            return None
        return ActionSpec.from_json(self.array(key, "actions").attributes["spec"])

    def write_truth(self, key: str, truth: Truth, *, seed: int | None = None, policy: str | None = None) -> None:
        """Write a clip with all that the simulator knows, the seed of its scene and the name of its policy."""
        self._check_writable(key, "truth")
        played = {} if policy is None else {"policy": policy}
        self._write(key, *truth_episode.pack(truth, seed, {**self.settings, **played}))

    def write_rollout(self, key: str, rollout: Rollout, index: int = 0) -> None:
        """Write sample ``index`` of a batch as one episode."""
        self._check_writable(key, "rollout")
        self._write(key, *rollout_episode.pack(rollout, index))

    def stream_rollout(self, key: str, frames: int) -> RolloutStream:
        """An episode of so many frames, to be written piece by piece."""
        self._check_writable(key, "rollout")
        self._remove_unfinished(key)

        def finish(arrays: dict[str, Array], attributes: dict[str, Any]) -> None:
            self._finish(key, arrays, ["video", *arrays], attributes)

        return RolloutStream(self._store, key, frames, finish)

    def read_truth(self, key: str) -> Truth:
        """The clip as it was written; lists stand for the tuples of its ``scene``."""
        self._check_kind("truth")
        return truth_episode.unpack(self._read(key))

    def read_rollout(self, keys: Sequence[str] | None = None) -> Rollout:
        """A batch of the given episodes in the given order (all, sorted by key, if None).

        They must agree in shape, fps and provenance. ``seconds`` is the share that these
        samples had in the time of the batches they were imagined in.
        """
        self._check_kind("rollout")
        keys = self.keys() if keys is None else list(keys)
        if not keys:
            raise StoreError(f"keys: got none, expected at least one complete episode of {self.path}; write one first")
        return rollout_episode.unpack({key: self._read(key) for key in keys})

    def _read(self, key: str) -> tuple[dict[str, Array], dict[str, Any]]:
        attributes = self.attributes(key)
        return {name: read_array(self._store, key, name) for name in attributes["arrays"]}, attributes

    def _write(self, key: str, arrays: dict[str, Array], attributes: dict[str, Any]) -> None:
        as_json(f"episode {key!r}", attributes)  # refused before anything is written
        self._remove_unfinished(key)
        self._finish(key, arrays, list(arrays), attributes)

    def _finish(self, key: str, arrays: dict[str, Array], names: list[str], attributes: dict[str, Any]) -> None:
        """Write these arrays and, last, that the episode with arrays of these names is complete."""
        document = as_json(f"episode {key!r}", {**header(self.kind), "arrays": names, **attributes})
        for name, array in arrays.items():
            write_array(self._store, f"{key}/{name}", array)
        group = zarr.open_group(self._store, path=key, mode="a")
        group.update_attributes({**document, "complete": True})

    def _check_kind(self, kind: str) -> None:
        if self.kind != kind:
            raise StoreError(f"{self.path}: got a store of kind {self.kind!r}, expected {kind!r}; give another folder")

    def _check_writable(self, key: str, kind: str) -> None:
        self._check_kind(kind)
        if self._store.read_only:
            raise StoreError(f"{self.path}: got a store opened for reading; use EpisodeStore.create(exist='resume')")
        if not is_key(key):
            raise StoreError(f"key: got {key!r}, expected letters, digits, '_' and '-'; rename the episode")
        if key in self:
            raise StoreError(f"key: got {key!r}, complete in {self.path}, expected a new one; skip or rename it")

    def _remove_unfinished(self, key: str) -> None:
        folder = self.path / key
        if not os.path.lexists(folder):
            return
        ours = not folder.is_symlink() and folder.is_dir()
        strangers = [each.name for each in folder.iterdir() if not self._is_ours(each.name)] if ours else [folder.name]
        if strangers:
            raise StoreError(f"{folder}: got {short(strangers[0])}, expected an unfinished episode; move it away")
        shutil.rmtree(folder)

    def _is_ours(self, name: str) -> bool:
        # zarr writes zarr.json through a file zarr.<random>.partial, which a kill leaves behind.
        return name in ARRAYS[self.kind] or name.startswith("zarr.")


def _names(folder: Path) -> list[str]:
    return os.listdir(folder) if folder.is_dir() else []


def _remove_partial(folder: Path) -> None:
    """Remove what a kill has left of files that zarr was writing in a store's folder itself."""
    for name in _names(folder):
        if _PARTIAL.fullmatch(name):
            (folder / name).unlink()


def _root_attributes(folder: Path, kind: str | None) -> dict[str, Any]:
    """Attributes of the store at ``folder``, or a refusal that says what is there instead."""
    if not folder.is_dir():
        got = "a file" if folder.exists() else "no such folder"
        raise StoreError(f"{folder}: got {got}, expected the folder of a worldmodel store; check the path")
    attributes = read_group_attributes(folder)
    if attributes is None:
        names = sorted(each.name for each in folder.iterdir())
        got = f"a folder with {short(names[0])}" if names else "an empty folder"
        raise StoreError(f"{folder}: got {got}, expected a worldmodel store; give another folder")
    check_header(str(folder), attributes, kind)
    return attributes


def _check_settings(folder: Path, settings: dict[str, Any], stored: dict[str, Any]) -> None:
    found = first_difference("settings", settings, stored)
    if found:
        place, got, expected = found
        raise StoreError(
            f"{place}: got {short(got)}, expected {short(expected)}, with which {folder} was made; "
            "resume with the same settings or give another folder"
        )
