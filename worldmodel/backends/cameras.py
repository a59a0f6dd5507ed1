"""From which camera a model's training clips were seen, so that clips of another are refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from worldmodel.truth import Camera

Matrix = tuple[tuple[float, ...], ...]

DIGITS = 9  # kept of a view's numbers
# As near as this cameras are the same one.
LENS, DEGREES, METRES = 1e-3, 0.01, 1e-3  # LENS as a share of the picture's width or height


@dataclass(frozen=True)
class View:
    """A camera as its pictures tell it: neither their size in pixels nor the scale of the scene changes it.

    Attributes:
        intrinsics: (3, 3) of a picture whose width and height are 1.
        world_to_camera: (4, 4) to OpenCV's axes, in metres of the scene at scale 1.
    """

    intrinsics: Matrix
    world_to_camera: Matrix

    @classmethod
    def of(cls, camera: Camera, scale: float = 1.0) -> View:
        """The view of a camera in a scene whose lengths, the camera's distance too, are multiplied by ``scale``."""
        intrinsics = np.asarray(camera.intrinsics) / [[camera.width], [camera.height], [1.0]]
        pose = np.array(camera.world_to_camera, np.float64)
        pose[:3, 3] /= scale
        return cls(_matrix(intrinsics), _matrix(pose))

    @classmethod
    def of_clip(cls, attributes: Mapping[str, Any]) -> View:
        """The view of a truth episode, from its attributes in a store; of its first frame, where the camera moves."""
        camera, scale = attributes["camera"], attributes["scene"].get("scale")
        height, width = camera["height"], camera["width"]
        seen = Camera(np.array(camera["intrinsics"]), np.array(camera["world_to_camera"]), height, width)
        return cls.of(seen, scale if isinstance(scale, int | float) and scale > 0 else 1.0)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> View:
        """The inverse of ``dataclasses.asdict``."""
        return cls(_matrix(document["intrinsics"], (3, 3)), _matrix(document["world_to_camera"], (4, 4)))


def view_differences(expected: View, got: View) -> list[str]:
    """What of a view is not as expected, a phrase each."""
    phrases = []
    lens, own = np.array(expected.intrinsics), np.array(got.intrinsics)
    if np.abs(np.diag(lens - own)).max() > LENS:
        phrases.append(f"of focal length {own[0, 0]:.4g} picture widths where {lens[0, 0]:.4g} is expected")
    if np.abs(lens - own)[:2, 2].max() > LENS:
        phrases.append(f"with its axis at {_place(own)} of the picture where {_place(lens)} is expected")
    turn, way = _apart(np.array(expected.world_to_camera), np.array(got.world_to_camera))
    if turn > DEGREES:
        phrases.append(f"turned by {turn:.3g} degrees")
    if way > METRES:
        phrases.append(f"{way:.3g} m away")
    return phrases


def shared_view(views: Iterable[View | None]) -> View | None:
    """The view that all of them are; None where they differ, one is not known, or there are none."""
    first, *others = list(views) or [None]
    if first is None or any(each is None or view_differences(first, each) for each in others):
        return None
    return first


def check_view(recipe: Any, env: str, view: View, clip: str, remedy: str) -> None:
    """Refuse a clip that shows an environment from another camera than the clips of a model's training.

    Of an environment that the model does not know, the camera must be one of those that it does. Nothing is checked
    where the recipe states no cameras, or where the environment's training clips were seen from several.

    Args:
        recipe: of the model.
        env: Gymnasium id, or whatever else names the environment.
        view: of the clip.
        clip: what the message calls it.
        remedy: how to go on all the same.

    Raises:
        ValueError: the cameras differ; says by what.
    """
    if not recipe.cameras or (env in recipe.scenes and env not in recipe.cameras):
        return
    known = {env: recipe.cameras[env]} if env in recipe.cameras else recipe.cameras
    found = {name: view_differences(each, view) for name, each in known.items()}
    if not all(found.values()):
        return
    nearest = min(found, key=lambda name: len(found[name]))
    camera = f"a camera {', '.join(found[nearest])}"
    if env in known:
        got, expected = camera, f"that of {env} which {recipe.name} was trained on"
    else:
        got = f"{env}, which {recipe.name} was not trained on, from {camera} as compared with {nearest}"
        expected = f"the camera of one of {', '.join(known)}"
    raise ValueError(
        f"{clip}: got {got}, expected {expected}; record with that camera, fine-tune the model on clips of this one, "
        f"or {remedy}"
    )


def check_clips(recipe: Any, store: Any, keys: Iterable[str], name: str, remedy: str) -> None:
    """Refuse episodes of a truth store as :func:`check_view` does; ``name`` is what the message calls the store."""
    env = str(store.settings.get("env", store.path.name))
    for key in keys if recipe.cameras else ():
        check_view(recipe, env, View.of_clip(store.attributes(key)), f"{name}, clip {key}", remedy)


def _matrix(rows: Any, shape: tuple[int, int] | None = None) -> Matrix:
    matrix = np.round(np.asarray(rows, np.float64), DIGITS) + 0.0  # no negative zeros
    if shape is not None and matrix.shape != shape:
        raise ValueError(f"camera: got a matrix {matrix.shape}, expected {shape}; fetch the recipe again")
    return tuple(tuple(map(float, row)) for row in matrix)


def _place(intrinsics: np.ndarray) -> str:
    return f"({intrinsics[0, 2]:.3g}, {intrinsics[1, 2]:.3g})"


def _apart(expected: np.ndarray, got: np.ndarray) -> tuple[float, float]:
    """Angle in degrees between two poses (4, 4), and distance in metres between their cameras."""
    # |R - S| = 2 sqrt(2) sin(angle / 2); the arc cosine of the trace would be inexact near 0.
    half = np.linalg.norm(expected[:3, :3] - got[:3, :3]) / np.sqrt(8.0)
    centres = [-pose[:3, :3].T @ pose[:3, 3] for pose in (expected, got)]
    return float(np.degrees(2.0 * np.arcsin(min(1.0, half)))), float(np.linalg.norm(centres[0] - centres[1]))
