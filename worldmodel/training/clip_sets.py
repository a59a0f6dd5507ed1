"""Training data: stores of recorded clips, and their actions as the numbers that a model reads."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from worldmodel.actions import ActionSpec
from worldmodel.backends.cameras import View, shared_view
from worldmodel.backends.domains import Domain, check_bounds, differences
from worldmodel.storage import EpisodeStore, read_actions, read_segmentations, read_videos

MOVED = 24  # of 255, by which a pixel must differ from its clip's first frame to count as moving
USUAL = (1.0, 99.0)  # percentiles
ROBOTS = {("velocity_x", "velocity_y"): "ball", ("dx", "dy", "dz", "opening"): "fetch"}


@dataclass(frozen=True)
class ClipSet:
    """Episodes of one store.

    Attributes:
        name: of the store's folder.
        env: that recorded them.
        fps: frames and actions a second.
        video: (N, T, H, W, 3) uint8.
        focus: (N, T, H, W) bool, objects and whatever else has moved.
        actions: (N, T - 1, A) in units of ``spec``; None where nothing acts.
        spec: of the actions.
        seeds: of the first and the last episode.
        options: of the environment's scenes.
        view: of the camera, where all episodes share one.
        success: (N,) bool, whether what acts achieved its task; None where nothing acts or it is not known.
    """

    name: str
    env: str
    fps: float
    video: np.ndarray
    focus: np.ndarray
    actions: np.ndarray | None
    spec: ActionSpec | None
    seeds: tuple[int | None, int | None]
    options: dict[str, Any] = field(default_factory=dict)
    view: View | None = None
    success: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.video)


def read_clip_sets(data: Path) -> list[ClipSet]:
    """A store written by ``worldmodel collect``, or all in a folder of such stores, by name.

    Raises:
        ValueError: there is none, or one has no finished clip.
    """
    folders = sorted(path.parent for path in data.glob("*/zarr.json")) if not _is_store(data) else [data]
    folders = [folder for folder in folders if _is_store(folder)]
    if not folders:
        raise ValueError(
            f"data: got no store of clips in {data}, expected one or a folder of some; run worldmodel collect"
        )
    return [_read(folder) for folder in folders]


def domains_of(sets: Sequence[ClipSet], known: Sequence[Domain] = (), room: int | None = None) -> tuple[Domain, ...]:
    """The robots that act in the sets, after those already known, each with numbers of its own.

    Where all of them need more than ``room`` numbers, known robots that do not act in the sets are forgotten, which is
    said.
    """
    specs = [each.spec for each in sets if each.spec is not None]
    domains = _with_room(known, specs, room)
    for each in sets:
        if each.spec is None or any(not differences(domain.spec, each.spec) for domain in domains):
            continue
        check_bounds(each.spec)
        used = {slot for domain in domains for slot in domain.slots}
        free = (slot for slot in itertools.count() if slot not in used)
        name = ROBOTS.get(each.spec.names, each.env)
        slots = tuple(itertools.islice(free, len(each.spec.names)))
        domains.append(Domain(name, each.spec, slots, _usual(sets, each.spec)))
    return tuple(domains)


def _with_room(known: Sequence[Domain], specs: Sequence[ActionSpec], room: int | None) -> list[Domain]:
    """Known robots, without the first of those that do not act, until the others fit."""
    kept = list(known)
    acting = [domain for domain in kept if any(not differences(domain.spec, spec) for spec in specs)]
    new: list[ActionSpec] = []
    for spec in specs:
        if all(differences(other, spec) for other in (*new, *(domain.spec for domain in acting))):
            new.append(spec)
    needed = sum(len(spec.names) for spec in new)
    idle = [domain for domain in kept if domain not in acting]
    while room is not None and idle and needed + sum(len(domain.slots) for domain in kept) > room:
        forgotten = idle.pop(0)
        kept.remove(forgotten)
        print(f"forgets the actions of {forgotten.name}, which no clip has: a network reads {room} numbers in all")
    return kept


def scenes_of(
    sets: Sequence[ClipSet], known: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Mapping[str, Any]]:
    """Options that all sets of an environment have in common, by its id; of sets that act, where some do.

    Environments that were known and are not in the sets stay.
    """
    scenes: dict[str, Mapping[str, Any]] = dict(known or {})
    for env in sorted({each.env for each in sets}):
        own = [each for each in sets if each.env == env]
        own = [each for each in own if each.spec is not None] or own
        scenes[env] = {
            name: value
            for name, value in own[0].options.items()
            if all(name in each.options and each.options[name] == value for each in own)
        }
    return scenes


def cameras_of(sets: Sequence[ClipSet], known: Mapping[str, View] | None = None) -> dict[str, View]:
    """The camera of every environment whose sets share one, by its id.

    Environments that were known and are not in the sets stay.
    """
    cameras = dict(known or {})
    for env in sorted({each.env for each in sets}):
        cameras.pop(env, None)
        shared = shared_view(each.view for each in sets if each.env == env)
        if shared is not None:
            cameras[env] = shared
    return cameras


def domain_of(spec: ActionSpec, domains: Sequence[Domain]) -> Domain:
    """The domain that knows a set's actions."""
    return next(domain for domain in domains if not differences(domain.spec, spec))


def _is_store(folder: Path) -> bool:
    return (folder / "zarr.json").is_file()


def _read(folder: Path) -> ClipSet:
    store = EpisodeStore.open(folder, "truth")
    keys = store.keys()
    if not keys:
        raise ValueError(f"data: got no finished clip in {folder}, expected some; run worldmodel collect")
    told = [store.attributes(key) for key in keys]
    first, last = told[0], told[-1]
    spec = store.action_spec(keys[0])
    video = read_videos(folder, keys)
    focus = read_segmentations(folder, keys) > 0
    focus |= moved(video)
    actions = None if spec is None else read_actions(folder, keys)
    env = str(store.settings.get("env", folder.name))
    seeds, options = (first["seed"], last["seed"]), dict(store.settings.get("options", {}))
    view, success = shared_view(View.of_clip(each) for each in told), None
    if spec is not None and all("success" in each["outcome"] for each in told):
        success = np.array([bool(each["outcome"]["success"]) for each in told])
    return ClipSet(folder.name, env, first["fps"], video, focus, actions, spec, seeds, options, view, success)


def moved(video: np.ndarray) -> np.ndarray:
    """(N, T, H, W) bool, pixels that differ from the first frame; clip by clip, to stay small in memory."""
    moved = np.empty(video.shape[:-1], bool)
    for clip, out in zip(video, moved, strict=True):
        np.greater(np.abs(clip.astype(np.int16) - clip[:1]).max(axis=-1), MOVED, out=out)
    return moved


def _usual(sets: Sequence[ClipSet], spec: ActionSpec) -> tuple[tuple[float, float], ...]:
    own = [each for each in sets if each.spec is not None and not differences(spec, each.spec)]
    flat = np.concatenate([each.actions.reshape(-1, len(spec.names)) for each in own if each.actions is not None])
    return tuple((float(low), float(high)) for low, high in np.percentile(flat, USUAL, axis=0).T)
