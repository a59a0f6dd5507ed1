"""LeRobot datasets (format v3.0) as training clips.

Many episodes share a parquet file and an mp4; ``meta/episodes`` says which, and from which second on. Actions keep the
units of the dataset, which does not name them. Bounds are the least and greatest values of its statistics, or those of
its actions where they are beyond: statistics go stale when episodes are added, and what was done is not to be altered.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from worldmodel.actions import ActionSpec
from worldmodel.training.clip_sets import ClipSet, moved

INFO = Path("meta") / "info.json"
VERSION = "v3"


def is_lerobot(folder: Path) -> bool:
    """Whether a folder holds such a dataset, of any version."""
    return (folder / INFO).is_file()


def read_lerobot(
    folder: Path,
    *,
    frames: int,
    stride: int,
    image_size: tuple[int, int],
    fps: float | None,
    resize: bool = False,
    camera: str | None = None,
) -> ClipSet:
    """Windows of ``frames`` frames of every episode, as episodes differ in length.

    Args:
        folder: of the dataset.
        frames: of a window; shorter episodes are left out.
        stride: frames between the beginnings of two windows.
        image_size: height and width in pixels that are wanted.
        fps: rate that is wanted; any if None.
        resize: scale pictures of another size; else they are refused.
        camera: key of the video feature, such as ``observation.images.top``; the first if None.

    Raises:
        ValueError: another version, rate or size, no such camera, or no episode that is long enough.
    """
    info = json.loads((folder / INFO).read_text())
    camera = _camera(folder, info, camera)
    if not str(info.get("codebase_version")).startswith(VERSION):
        raise ValueError(
            f"data: got a LeRobot dataset {info.get('codebase_version')} in {folder}, expected {VERSION}.0; convert it "
            "with lerobot's convert_dataset_v21_to_v30"
        )
    rate = float(info["fps"])
    if fps is not None and abs(rate - fps) > 1e-6:
        raise ValueError(
            f"data: got a LeRobot dataset at {rate:g} frames/s in {folder}, expected {fps:g}, the model's; "
            "resample it, actions too"
        )
    clips: list[np.ndarray] = []
    commands: list[np.ndarray] = []
    for video, actions in _episodes(folder, info, camera):
        for start in range(0, len(video) - frames + 1, stride):
            clips.append(_sized(video[start : start + frames], image_size, resize, folder))
            commands.append(actions[start : start + frames - 1])
    if not clips:
        raise ValueError(
            f"data: got no episode of {frames} frames in {folder}, expected longer ones; record some, or give "
            "conditions num_frames=... to a model of several lengths"
        )
    video, spoken = np.stack(clips), np.stack(commands).astype(np.float64)
    spec = _spec(folder, info, spoken)
    return ClipSet(folder.name, f"LeRobot {camera}", rate, video, moved(video), spoken, spec, (None, None))


def _camera(folder: Path, info: dict[str, Any], wanted: str | None) -> str:
    cameras = [key for key, feature in info["features"].items() if feature["dtype"] == "video"]
    if not cameras or wanted not in (None, *cameras):
        raise ValueError(
            f"camera: got {wanted!r} for {folder}, expected one of its videos ({', '.join(cameras) or 'it has none'}); "
            "choose one"
        )
    return wanted or cameras[0]


def _episodes(folder: Path, info: dict[str, Any], camera: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Video (T, H, W, 3) and actions (T, A) of every episode."""
    import pyarrow.parquet as parquet

    tables = [
        parquet.read_table(path).to_pylist() for path in sorted((folder / "meta" / "episodes").rglob("*.parquet"))
    ]
    rows = sorted((row for table in tables for row in table), key=lambda row: row["episode_index"])
    data: dict[Path, Any] = {}
    for row in rows:
        path = folder / info["data_path"].format(chunk_index=row["data/chunk_index"], file_index=row["data/file_index"])
        if path not in data:
            data = {path: parquet.read_table(path, columns=["action", "episode_index", "frame_index"])}
        own = data[path].filter(_is(data[path], row["episode_index"])).sort_by("frame_index")
        actions = np.array(own.column("action").to_pylist(), np.float64)
        file = folder / info["video_path"].format(
            video_key=camera,
            chunk_index=row[f"videos/{camera}/chunk_index"],
            file_index=row[f"videos/{camera}/file_index"],
        )
        yield _decode(file, row[f"videos/{camera}/from_timestamp"], len(actions)), actions


def _is(table: Any, episode: int) -> Any:
    import pyarrow.compute as compute

    return compute.equal(table.column("episode_index"), episode)


def _decode(file: Path, start: float, count: int) -> np.ndarray:
    """``count`` frames (T, H, W, 3) from a second of a video on."""
    import av

    frames = []
    with av.open(str(file)) as container:
        stream = container.streams.video[0]
        if stream.time_base is None or stream.average_rate is None:
            raise ValueError(f"{file}: got a video without a rate, expected one; fetch it again")
        container.seek(int(start / stream.time_base), stream=stream)
        half = 0.5 / float(stream.average_rate)
        for frame in container.decode(stream):
            if frame.time is not None and frame.time < start - half:
                continue
            frames.append(frame.to_ndarray(format="rgb24"))
            if len(frames) == count:
                return np.stack(frames)
    raise ValueError(f"{file}: got {len(frames)} frames from second {start:g} on, expected {count}; fetch it again")


def _sized(video: np.ndarray, image_size: tuple[int, int], resize: bool, folder: Path) -> np.ndarray:
    if video.shape[1:3] == image_size:
        return video
    if not resize:
        raise ValueError(
            f"data: got pictures of {video.shape[1:3]} pixels in {folder}, expected {image_size}, the model's; pass "
            "resize to scale them, or conditions image_size=[...] to a model of several sizes"
        )
    import cv2

    height, width = image_size
    how = cv2.INTER_AREA if video.shape[1] > height else cv2.INTER_LINEAR
    return np.stack([cv2.resize(frame, (width, height), interpolation=how) for frame in video])


def _spec(folder: Path, info: dict[str, Any], actions: np.ndarray) -> ActionSpec:
    """Names from the dataset, bounds from its statistics, no narrower than the actions (N, T - 1, A)."""
    width = actions.shape[-1]
    names = info["features"]["action"].get("names")
    if isinstance(names, dict):
        names = [name for group in names.values() for name in group]
    if not isinstance(names, list) or len(names) != width:
        names = [f"action_{index}" for index in range(width)]
    stats = folder / "meta" / "stats.json"
    told = json.loads(stats.read_text()).get("action") if stats.is_file() else None
    flat = actions.reshape(-1, width)
    low, high = flat.min(axis=0), flat.max(axis=0)
    if told:
        low, high = np.minimum(low, told["min"]), np.maximum(high, told["max"])
    # A number that never changes still needs room between its bounds.
    high = np.where(high > low, high, low + 1.0)
    return ActionSpec(
        tuple(str(name) for name in names),
        ("as in the dataset",) * width,
        tuple(float(value) for value in low),
        tuple(float(value) for value in high),
        frame="as in the dataset",
        control_hz=float(info["fps"]),
    )
