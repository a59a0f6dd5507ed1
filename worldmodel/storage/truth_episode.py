"""How a :class:`Truth` lies in an episode: pictures as they are, all low-dimensional states in one table."""

from __future__ import annotations

from typing import Any

import numpy as np

from worldmodel.actions import ActionSpec
from worldmodel.storage.arrays import Array
from worldmodel.storage.format import StoreError
from worldmodel.truth import Camera, Truth

ARRAYS = ("video", "segmentation", "state", "depth", "maps", "actions")
STATE_UNITS = {
    "time": "s",
    "qpos": "MuJoCo generalised positions, m and quaternion or rad",
    "qvel": "MuJoCo generalised velocities, m/s and rad/s",
    "position": "m",
    "quaternion": "1, as w, x, y, z",
    "velocity": "m/s",
    "angular_velocity": "rad/s",
}
CAMERA_AXES = "OpenCV: x right, y down, z forward; pixel (0, 0) at the outer corner of the top left pixel"
_SIGNAL = "signal "  # opens the name of a family's column, so that it cannot hide one of the above


def pack(truth: Truth, seed: int | None, provenance: dict[str, Any]) -> tuple[dict[str, Array], dict[str, Any]]:
    """Arrays and attributes of an episode that holds ``truth``."""
    _check(truth)
    picture = ("time", "height", "width")
    arrays = {
        "video": Array(truth.video, (*picture, "channel"), {"units": "sRGB, 0 to 255"}),
        "segmentation": Array(
            truth.segmentation, picture, {"units": "number of the nearest object from 1, 0 for none"}
        ),
        "state": _pack_state(truth),
    }
    if truth.depth is not None:
        arrays["depth"] = Array(truth.depth, picture, {"units": "m along the optical axis"})
    if truth.maps:
        stacked = np.stack([each.astype(np.int32) for each in truth.maps.values()])
        arrays["maps"] = Array(stacked, ("map", *picture[1:]), {"names": list(truth.maps)})
    if truth.actions is not None:
        assert truth.action_spec is not None
        arrays["actions"] = Array(truth.actions, ("step", "action"), {"spec": truth.action_spec.to_json()})
    attributes = {
        "fps": float(truth.fps),
        "units": "SI, world frame, z up",
        "seed": seed,
        "objects": list(truth.objects),
        "outcome": truth.outcome,
        "camera": _pack_camera(truth.camera),
        "scene": truth.scene,
        "provenance": provenance,
    }
    return arrays, attributes


def unpack(episode: tuple[dict[str, Array], dict[str, Any]]) -> Truth:
    """The inverse of :func:`pack`."""
    arrays, attributes = episode
    camera = attributes["camera"]
    state, units = _unpack_state(arrays["state"])
    maps, actions, depth = arrays.get("maps"), arrays.get("actions"), arrays.get("depth")
    return Truth(
        video=arrays["video"].data,
        segmentation=arrays["segmentation"].data,
        **{name: state[name] for name in STATE_UNITS},
        objects=tuple(attributes["objects"]),
        fps=attributes["fps"],
        camera=Camera(
            intrinsics=np.array(camera["intrinsics"]),
            world_to_camera=np.array(camera["world_to_camera"]),
            height=camera["height"],
            width=camera["width"],
        ),
        scene=attributes["scene"],
        signals={name.removeprefix(_SIGNAL): value for name, value in state.items() if name.startswith(_SIGNAL)},
        units={name.removeprefix(_SIGNAL): unit for name, unit in units.items() if name.startswith(_SIGNAL)},
        outcome=attributes["outcome"],
        maps=dict(zip(maps.attributes["names"], maps.data, strict=True)) if maps else {},
        actions=actions.data if actions else None,
        action_spec=ActionSpec.from_json(actions.attributes["spec"]) if actions else None,
        depth=depth.data if depth else None,
    )


def _check(truth: Truth) -> None:
    frames, picture = len(truth.video), truth.video.shape[:3]
    wanted: dict[str, tuple[Any, str, bool]] = {
        "video": (truth.video, "uint8 (T, H, W, 3)", truth.video.ndim == 4 and truth.video.shape[3:] == (3,)),
        "segmentation": (truth.segmentation, f"uint8 {picture}", truth.segmentation.shape == picture),
        "depth": (truth.depth, f"float32 {picture}", truth.depth is None or truth.depth.shape == picture),
        "actions": (truth.actions, f"float64 ({frames - 1}, A)", _actions_fit(truth)),
    }
    for name in STATE_UNITS:
        value = getattr(truth, name)
        wanted[name] = (value, f"float64 with {frames} rows", value.shape[:1] == (frames,))
    for name, value in truth.signals.items():
        wanted[f"signals[{name!r}]"] = (value, f"numbers with {frames} rows and a unit", _signal_fits(truth, name))
    for name, value in truth.maps.items():
        wanted[f"maps[{name!r}]"] = (value, f"whole numbers {picture[1:]}", value.shape == picture[1:])
    for name, (value, expected, fits) in wanted.items():
        dtype = expected.split()[0]
        if value is not None and (not fits or (dtype in np.sctypeDict and value.dtype != dtype)):
            got = f"{value.dtype} {value.shape}"
            raise StoreError(f"truth.{name}: got {got}, expected {expected}; record the clip again")


def _actions_fit(truth: Truth) -> bool:
    if truth.actions is None:
        return True
    return truth.action_spec is not None and truth.actions.shape == (len(truth.video) - 1, len(truth.action_spec.names))


def _signal_fits(truth: Truth, name: str) -> bool:
    value = truth.signals[name]
    return value.shape[:1] == (len(truth.video),) and value.dtype.kind in "biuf" and name in truth.units


def _pack_state(truth: Truth) -> Array:
    """One float64 table (T, columns): a dozen small files an episode would cost more time than the video."""
    values = {name: (getattr(truth, name), unit) for name, unit in STATE_UNITS.items()}
    values |= {_SIGNAL + name: (value, truth.units[name]) for name, value in truth.signals.items()}
    parts, columns, start = [], [], 0
    for name, (value, units) in values.items():
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


def _unpack_state(table: Array) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    state, units = {}, {}
    for each in table.attributes["fields"]:
        part = table.data[:, slice(*each["columns"])].astype(each["dtype"])
        state[each["name"]] = part.reshape(len(part), *each["shape"])
        units[each["name"]] = each["units"]
    return state, units


def _pack_camera(camera: Camera) -> dict[str, Any]:
    return {
        "axes": CAMERA_AXES,
        "intrinsics": np.asarray(camera.intrinsics, np.float64).tolist(),
        "world_to_camera": np.asarray(camera.world_to_camera, np.float64).tolist(),
        "height": int(camera.height),
        "width": int(camera.width),
    }
