"""Whether what a truth store says of a clip can be true of one clip: its numbers, masks, maps and camera."""

from __future__ import annotations

import numpy as np

from worldmodel.evaluators.scene import cameras_of
from worldmodel.truth import Camera, Truth

NUMBERS = ("time", "qpos", "qvel", "position", "quaternion", "velocity", "angular_velocity", "depth")
CENTRED_PX, CENTRED = 2.0, 0.2  # px, and share of a whole mask's size, by which its middle may be beside its object


def check_truth(where: str, truth: Truth, family: str) -> None:
    """Refuse a clip that is made of several, or lacks what its family has.

    Args:
        where: names store and clip in the refusal.
        truth: of the clip.
        family: id of its evaluator, such as ``worldmodel/Room-v0``.

    Raises:
        ValueError: numbers that are not finite, masks or maps of another clip, or a moving camera without its path.
    """
    for name in NUMBERS:
        values = getattr(truth, name)
        if values is not None and not np.isfinite(values).all():
            raise ValueError(
                f"{where}: {name}: got NaN or infinite numbers, expected finite ones; record the clip again"
            )
    if family.startswith("worldmodel/Room") and "world_to_camera" not in truth.signals:
        raise ValueError(
            f"{where}: signals: got no world_to_camera, expected the camera's path, which moves in a room; record the "
            "clip again"
        )
    _check_masks(where, truth, cameras_of(truth) or [truth.camera] * len(truth))
    _check_maps(where, truth)


def _check_masks(where: str, truth: Truth, cameras: list[Camera]) -> None:
    """The object's masks must be where its pose puts it, in the first frame with its middle there."""
    expected = truth.video.shape[:3]
    if truth.segmentation.shape != expected:
        raise ValueError(
            f"{where}: segmentation: got shape {truth.segmentation.shape}, expected {expected} as the video; "
            "record the clip again"
        )
    areas = np.count_nonzero(truth.mask, axis=(1, 2))
    for t in np.flatnonzero(areas >= max(1.0, areas[0] / 2)):
        place = cameras[t].project(truth.position[t, 0])
        low, high = _box(truth.mask[t])
        beside = np.maximum(low - place, place - high).max() - max(high - low) / 2
        if t == 0 and _is_whole(truth.segmentation[0]):
            middle = np.abs((low + high) / 2 - place).max()
            beside = max(beside, middle - max(CENTRED_PX, CENTRED * max(high - low)))
        if beside > 0:
            raise ValueError(
                f"{where}: segmentation: got {truth.objects[0]} beside where its position puts it in frame {t}, "
                f"({place[0]:.0f}, {place[1]:.0f}) px, expected masks of this clip; record it again"
            )


def _box(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Upper left and lower right corner (2,) px of a mask (H, W)."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return np.array([columns[0], rows[0]]), np.array([columns[-1], rows[-1]]) + 1


def _is_whole(labels: np.ndarray) -> bool:
    """Whether the first object's mask in labels (H, W) ends neither at the picture's edge nor at another object."""
    (left, top), (right, bottom) = _box(labels == 1)
    inside = left > 0 and top > 0 and right < labels.shape[1] and bottom < labels.shape[0]
    around = labels[max(top - 1, 0) : bottom + 1, max(left - 1, 0) : right + 1]
    return bool(inside and (around <= 1).all())


def _check_maps(where: str, truth: Truth) -> None:
    """A graph's nodes must be where the scene has them, and a maze's ball in the cell where it starts."""
    if "node" in truth.maps:
        nodes = np.asarray(truth.scene["nodes"], np.float64)
        points, labels, name = np.column_stack([nodes, np.zeros(len(nodes))]), np.arange(1, len(nodes) + 1), "node"
    elif "cell" in truth.maps:
        points, labels, name = truth.position[0, :1], np.array([truth.scene["start"] + 1]), "cell"
    else:
        return
    columns, rows = np.floor(truth.camera.project(points)).astype(int).T
    found = truth.maps[name]
    inside = (rows >= 0) & (rows < found.shape[0]) & (columns >= 0) & (columns < found.shape[1])
    if not inside.all() or not np.array_equal(found[rows, columns], labels):
        raise ValueError(
            f"{where}: maps: got a map of {name}s that does not have them where the scene does, expected that of this "
            "clip; record it again"
        )
