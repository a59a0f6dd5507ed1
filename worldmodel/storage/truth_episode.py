"""How a :class:`Truth` lies in an episode: pictures as they are, all low-dimensional states in one table."""

from __future__ import annotations

from typing import Any

import numpy as np

from worldmodel.storage.arrays import Array
from worldmodel.storage.format import StoreError, float_or_nan, optional_float
from worldmodel.truth import Camera, Truth

ARRAYS = ("video", "mask", "state")
STATE_UNITS = {
    "time": "s",
    "qpos": "MuJoCo generalised positions, m and quaternion or rad",
    "qvel": "MuJoCo generalised velocities, m/s and rad/s",
    "position": "m",
    "quaternion": "1, as w, x, y, z",
    "velocity": "m/s",
    "angular_velocity": "rad/s",
    "contact": "0 or 1",
    "contact_force": "N",
}
CAMERA_AXES = "OpenCV: x right, y down, z forward; pixel (0, 0) at the outer corner of the top left pixel"


def pack(truth: Truth, seed: int | None, provenance: dict[str, Any]) -> tuple[dict[str, Array], dict[str, Any]]:
    """Arrays and attributes of an episode that holds ``truth``."""
    _check(truth)
    arrays = {
        "video": Array(truth.video, ("time", "height", "width", "channel"), {"units": "sRGB, 0 to 255"}),
        "mask": Array(truth.mask, ("time", "height", "width"), {"units": "true where the object is visible"}),
        "state": _pack_state(truth),
    }
    attributes = {
        "fps": float(truth.fps),
        "units": "SI, world frame, z up",
        "seed": seed,
        "impact_time": optional_float(truth.impact_time),
        "camera": _pack_camera(truth.camera),
        "scene": truth.scene,
        "provenance": provenance,
    }
    return arrays, attributes


def unpack(episode: tuple[dict[str, Array], dict[str, Any]]) -> Truth:
    """The inverse of :func:`pack`."""
    arrays, attributes = episode
    camera = attributes["camera"]
    return Truth(
        video=arrays["video"].data,
        mask=arrays["mask"].data,
        **_unpack_state(arrays["state"]),
        impact_time=float_or_nan(attributes["impact_time"]),
        fps=attributes["fps"],
        camera=Camera(
            intrinsics=np.array(camera["intrinsics"]),
            world_to_camera=np.array(camera["world_to_camera"]),
            height=camera["height"],
            width=camera["width"],
        ),
        scene=attributes["scene"],
    )


def _check(truth: Truth) -> None:
    def refuse(name: str, value: np.ndarray, expected: str) -> None:
        raise StoreError(f"truth.{name}: got {value.dtype} {value.shape}, expected {expected}; record the clip again")

    frames = len(truth.video)
    if truth.video.dtype != np.uint8 or truth.video.ndim != 4 or truth.video.shape[3] != 3:
        refuse("video", truth.video, "uint8 (T, H, W, 3)")
    if truth.mask.dtype != np.bool_ or truth.mask.shape != truth.video.shape[:3]:
        refuse("mask", truth.mask, f"bool {truth.video.shape[:3]}")
    for name in STATE_UNITS:
        value = getattr(truth, name)
        dtype = np.bool_ if name == "contact" else np.float64
        if value.dtype != dtype or value.shape[:1] != (frames,):
            refuse(name, value, f"{np.dtype(dtype)} with {frames} rows")


def _pack_state(truth: Truth) -> Array:
    """One float64 table (T, columns): nine small files an episode would cost more time than the video."""
    parts, columns, start = [], [], 0
    for name, units in STATE_UNITS.items():
        value = getattr(truth, name)
        part = value.reshape(len(value), int(np.prod(value.shape[1:]))).astype(np.float64)
        stop = start + part.shape[1]
        columns.append(
            {
                "name": name,
                "columns": [start, stop],
                "shape": list(value.shape[1:]),
                "dtype": value.dtype.name,
                "units": units,
            }
        )
        parts.append(part)
        start = stop
    return Array(np.concatenate(parts, axis=1), ("time", "column"), {"fields": columns})


def _unpack_state(table: Array) -> dict[str, np.ndarray]:
    state = {}
    for each in table.attributes["fields"]:
        part = table.data[:, slice(*each["columns"])].astype(each["dtype"])
        state[each["name"]] = part.reshape(len(part), *each["shape"])
    return state


def _pack_camera(camera: Camera) -> dict[str, Any]:
    return {
        "axes": CAMERA_AXES,
        "intrinsics": np.asarray(camera.intrinsics, np.float64).tolist(),
        "world_to_camera": np.asarray(camera.world_to_camera, np.float64).tolist(),
        "height": int(camera.height),
        "width": int(camera.width),
    }
