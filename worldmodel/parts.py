"""What an evaluation is made of: each truth store with the videos of all rows, checked before anything is scored."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from worldmodel.clips import Clip, Header, Resample, check_fit, fitted, has_other_frames, resized
from worldmodel.evaluators.controls import frozen, linear_extrapolation
from worldmodel.evaluators.metrics import Evaluator
from worldmodel.evaluators.registry import evaluator_of, family_id_of, family_of
from worldmodel.evaluators.results import CEILING, check_row_name
from worldmodel.evaluators.tracking import Tracker
from worldmodel.storage import EpisodeStore, StoreError
from worldmodel.truth import Truth
from worldmodel.truth_checks import check_truth
from worldmodel.videos import ARRAY_SUFFIXES, RolloutStore, Videos, open_videos

NULL_VIDEOS: dict[str, Callable[[Truth], np.ndarray]] = {
    "frozen": lambda truth: frozen(truth.video),
    "linear": lambda truth: linear_extrapolation(truth.video, truth.mask),
}
Paths = Mapping[str, Sequence[Path]]


@dataclass(frozen=True)
class Part:
    """One truth store and, by row, the videos that are judged against it."""

    title: str
    evaluator: Evaluator
    store: EpisodeStore
    keys: list[str]
    videos: Mapping[str, Sequence[Videos]]  # by row, one entry a sample of every clip
    header: Header  # of every true video
    resample: Resample

    @property
    def names(self) -> list[str]:
        """All rows: the true video, those given, and those that need no model."""
        ranked = {kind for metric in self.evaluator.metrics for pair in metric.ranks for kind in pair}
        return [CEILING, *self.videos, *(name for name in NULL_VIDEOS if name == "frozen" or name in ranked)]

    @property
    def clip(self) -> dict[str, Any]:
        """Rate and size of every clip, as the results list them."""
        height, width = self.header.height, self.header.width
        diagonal = float(np.hypot(height, width))
        sizes = {"height_px": height, "width_px": width, "diagonal_px": diagonal}
        return {"fps": self.header.fps, "frames": self.header.frames, **sizes}

    @property
    def size_range(self) -> tuple[float, float] | None:
        """Range of sizes from which the scenes were drawn; None if they are of one size."""
        scale = self.store.settings.get("options", {}).get("scale")
        return (float(scale[0]), float(scale[1])) if isinstance(scale, list) and scale[0] < scale[1] else None

    def samples(self, name: str) -> int:
        """How many videos a row has of each clip."""
        return len(self.videos.get(name, [None]))

    def truth(self, key: str) -> Truth:
        """All that the simulator knows of a clip. Raises ValueError if it cannot be true of one clip."""
        truth = self.store.read_truth(key)
        check_truth(f"{self.store.path} {key}", truth, self.evaluator.family)
        return truth

    def describe(self, key: str) -> dict[str, Any]:
        """What the results list of a clip."""
        attributes = self.store.attributes(key)
        return {
            "key": key,
            "seed": attributes["seed"],
            "policy": attributes["provenance"].get("policy"),
            "scene": attributes["scene"],
            "outcome": attributes["outcome"],
        }

    def read(self, name: str, key: str, sample: int, truth: Truth) -> Clip:
        """A row's video of a clip, fitted to the truth.

        Raises:
            StoreError: it cannot be read whole.
            ValueError: it does not fit.
        """
        if name == CEILING:
            return Clip(truth.video, truth.fps, nfe=0)
        if name in NULL_VIDEOS:
            return Clip(NULL_VIDEOS[name](truth), truth.fps, nfe=0)
        clip = self.videos[name][sample].read(key)
        check_fit(self.where(name, key, sample), clip.header, self.header, self.resample)
        header = clip.header
        own = resized(clip.video, header, self.header) if has_other_frames(header, self.header) else None
        return replace(clip, video=fitted(clip.video, header, self.header), at_own_rate=own)

    def where(self, name: str, key: str, sample: int) -> str:
        """Name of a video in messages."""
        return f"{self.videos[name][sample].path} {key}" if name in self.videos else f"{name} {key}"

    def provenance(self) -> dict[str, Any]:
        """What made the truth and each row, with hashes."""
        settings = json.dumps(self.store.settings, sort_keys=True).encode()
        return {
            "truth": {**self.store.settings, "settings_sha256": hashlib.sha256(settings).hexdigest()},
            "rows": {name: [each.provenance() for each in videos] for name, videos in self.videos.items()},
        }


def open_parts(
    truth: Path,
    rows: Mapping[str, Path | Sequence[Path]],
    keys: Sequence[str] | None,
    resample: Resample,
    tracker: Tracker | None = None,
) -> list[Part]:
    """Open a truth store, or a folder of them, with the rows' videos; see ``scoring.evaluate_stores``.

    Raises:
        ValueError: something is missing, or does not belong to the truth, or does not fit it.
    """
    for name in rows:
        check_row_name(name)
    if not rows:
        raise ValueError("rows: got none, expected videos to judge; pass --rows name=PATH")
    paths = {name: [path] if isinstance(path, Path) else list(path) for name, path in rows.items()}
    inside = _stores_inside(truth)
    if not inside:
        return [_open_part(EpisodeStore.open(truth, "truth"), paths, keys, resample, tracker)]
    found = [{name: _inside(given, store.path.name) for name, given in paths.items()} for store in inside]
    here = [{name: given for name, given in each.items() if given} for each in found]
    _check_all_used(truth, [store.path.name for store in inside], here, paths)
    parts = [_open_part(store, given, keys, resample, tracker) for store, given in zip(inside, here, strict=True)]
    titles = [part.title for part in parts]
    return [
        replace(part, title=f"{part.title}, {part.store.path.name}") if titles.count(part.title) > 1 else part
        for part in parts
    ]


def _stores_inside(folder: Path) -> list[EpisodeStore]:
    """The truth stores directly in a folder that is none itself."""
    if not folder.is_dir() or (folder / "zarr.json").exists():
        return []
    return [EpisodeStore.open(each, "truth") for each in sorted(folder.iterdir()) if (each / "zarr.json").exists()]


def _check_all_used(truth: Path, names: Sequence[str], here: Sequence[Paths], paths: Paths) -> None:
    """Refuse videos of no store, stores that no row has videos of, and rows without any.

    Args:
        names: of the stores; here: of each the rows that have videos of it.
        paths: of all rows.
    """
    for path in (path for given in paths.values() for path in given if path.is_dir()):
        entries = [each for each in path.iterdir() if not each.name.startswith(".")]
        strange = sorted(each.name for each in entries if each.stem not in names and each.name not in names)
        if strange:
            raise ValueError(
                f"{path}: got {strange[0]}, expected videos of {', '.join(names)} alone, as in {truth}; take it out, "
                "or record its truth"
            )
    for name, rows in zip(names, here, strict=True):
        if not rows:
            raise ValueError(
                f"{truth}: got the store {name}, of which no row has videos, expected some of each; move it away, or "
                "make them"
            )
    for name, given in paths.items():
        if not any(name in rows for rows in here):
            raise ValueError(
                f"{given[0]}: got none of {', '.join(names)} in it, expected some; name them as in {truth}"
            )


def _inside(given: Sequence[Path], name: str) -> list[Path]:
    """Of each given folder, the entry called ``name``, or the file of arrays."""
    candidates = [[path / name, *(path / f"{name}{suffix}" for suffix in ARRAY_SUFFIXES)] for path in given]
    return [path for each in candidates for path in each if path.exists()]


def _open_part(
    store: EpisodeStore, paths: Paths, keys: Sequence[str] | None, resample: Resample, tracker: Tracker | None
) -> Part:
    known = store.keys()
    keys = known if keys is None else list(keys)
    if not keys:
        raise ValueError(
            f"truth: got no finished clip in {store.path}, expected at least one; run worldmodel collect again"
        )
    if not store.settings.get("env"):
        raise ValueError(f"truth: got no 'env' in the settings of {store.path}, expected an environment's id; write it")
    family_id = family_id_of(store.settings)
    evaluator = evaluator_of(family_id, tracker)
    videos = {name: [open_videos(path, keys, known) for path in given] for name, given in paths.items()}
    for each in (each for given in videos.values() for each in given):
        _check_belongs(each, store, keys)
    _check_demo_rows(videos, keys)
    part = Part(family_of(family_id).title, evaluator, store, keys, videos, _common_header(store, keys), resample)
    _check_headers(part)
    return part


def _check_belongs(videos: Videos, truth: EpisodeStore, keys: Sequence[str]) -> None:
    if isinstance(videos, RolloutStore) and videos.store.settings.get("truth", truth.settings) != truth.settings:
        raise ValueError(
            f"{videos.path}: got rollouts of another truth, expected those of {truth.path}; choose that store"
        )
    missing = videos.missing()
    if missing:
        fix = "make the others; an empty file of that name counts as a failed video"
        if isinstance(videos, RolloutStore):
            fix = "run worldmodel rollout again with the same arguments"
        elif videos.path.is_file():
            fix = "give an array for each key"
        raise ValueError(
            f"{videos.path}: got {len(keys) - len(missing)} of the {len(keys)} clips and no {missing[0]}, "
            f"expected all; {fix}"
        )


def _check_demo_rows(videos: Mapping[str, Sequence[Videos]], keys: Sequence[str]) -> None:
    """Refuse rollouts whose comparison would not say what the report says of it."""
    stores = {
        row: videos[row][0] for row in ("base", "refined", "euler_matched") if row in videos and len(videos[row]) == 1
    }
    found = {row: _Sampled(store, keys) for row, store in stores.items() if isinstance(store, RolloutStore)}
    base, refined, matched = (found.get(row) for row in ("base", "refined", "euler_matched"))
    for row, each in (("base", base), ("matched", matched)):
        if each is not None and each.provenance.get("refine") is not None:
            raise ValueError(f"{row}: got refined rollouts, expected plain ones; roll out without --plan")
    if refined is not None and refined.provenance.get("refine") is None:
        raise ValueError("refined: got plain rollouts, expected refined ones; roll out with --plan")
    for row, each in (("refined", refined), ("matched", matched)):
        for name in ("weights_sha256", "solver"):
            if base is not None and each is not None and each.provenance.get(name) != base.provenance.get(name):
                raise ValueError(f"{row}: got another {name} than base, expected the same; roll out again")
        if base is not None and each is not None and each.seeds != base.seeds:
            raise ValueError(f"{row}: got other seeds than base, expected the same; roll out with one --seed")
    if matched is not None and refined is not None and matched.nfe < refined.nfe:
        raise ValueError(
            f"matched: got {matched.nfe:g} evaluations a clip, expected at least the {refined.nfe:g} of "
            "refined; roll out with as many --steps"
        )


class _Sampled:
    """How the rollouts of a store were sampled."""

    def __init__(self, videos: RolloutStore, keys: Sequence[str]) -> None:
        attributes = [videos.store.attributes(key) for key in keys]
        self.provenance = attributes[0]["provenance"]
        self.seeds = [each["seed"] for each in attributes]
        self.nfe = float(np.mean([each["nfe"] for each in attributes]))


def _common_header(store: EpisodeStore, keys: Sequence[str]) -> Header:
    """Size and rate that all true clips share."""
    headers: dict[Header, str] = {}
    for key in keys:
        attributes = store.attributes(key)
        camera, frames = attributes["camera"], len(store.array(key, "state").data)
        headers.setdefault(Header(frames, camera["height"], camera["width"], attributes["fps"]), key)
    if len(headers) > 1:
        (first, _), (second, key) = list(headers.items())[:2]
        raise ValueError(
            f"{store.path} {key}: got {second}, expected {first} as in the first clip; put clips of one kind in a store"
        )
    return next(iter(headers))


def _check_headers(part: Part) -> None:
    """Refuse videos of another rate or size before any is scored; unreadable ones are counted later."""
    for name, given in part.videos.items():
        for sample, videos in enumerate(given):
            # Rollouts of one store are alike, and telling their size means decoding them.
            for key in part.keys[:1] if isinstance(videos, RolloutStore) else part.keys:
                try:
                    check_fit(part.where(name, key, sample), videos.header(key), part.header, part.resample)
                except StoreError:
                    continue
                except ValueError:
                    if _is_whole(videos, key):
                        raise


def _is_whole(videos: Videos, key: str) -> bool:
    """Whether a video can be read to its end; one that ends early is no video of another length."""
    try:
        videos.read(key)
    except StoreError:
        return False
    return True
