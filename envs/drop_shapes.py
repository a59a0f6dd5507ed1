"""Convex shapes with their half sizes as MuJoCo has them, and the kinds of object that are drawn.

Half sizes (3,) in metres: (x, y, z) of a box or an ellipsoid, (radius, 0, 0) of a sphere,
(radius, half length, 0) of a cylinder or a capsule along its z axis.
"""

from __future__ import annotations

import mujoco
import numpy as np

Size = tuple[float, float, float]

GEOM_TYPES = {
    "box": mujoco.mjtGeom.mjGEOM_BOX,
    "sphere": mujoco.mjtGeom.mjGEOM_SPHERE,
    "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
    "capsule": mujoco.mjtGeom.mjGEOM_CAPSULE,
    "ellipsoid": mujoco.mjtGeom.mjGEOM_ELLIPSOID,
}
DIMENSIONS = {"box": 3, "sphere": 1, "cylinder": 2, "capsule": 2, "ellipsoid": 3}  # half sizes that matter

SHAPES = ("box", "sphere", "cylinder", "capsule")
UNSEEN = {"plate": "box", "rod": "cylinder", "egg": "ellipsoid"}  # kinds of fixed proportions and their shapes
OBJECT_SETS: dict[str, tuple[str, ...]] = {"standard": SHAPES, "unseen": tuple(UNSEEN), "all": (*SHAPES, *UNSEEN)}
_PROPORTIONS = {"plate": (1.2, 1.2, 0.25), "rod": (0.35, 1.6, 0.0), "egg": (0.75, 0.75, 1.2)}


def draw_size(kind: str, radius: float, rng: np.random.Generator) -> Size:
    """Half sizes in metres of about the volume of a sphere of the given radius."""
    if kind in _PROPORTIONS:
        x, y, z = _PROPORTIONS[kind]
        return (float(x * radius), float(y * radius), float(z * radius))
    if kind == "box":
        half = 0.8 * radius * rng.uniform(0.8, 1.25, size=3)
        return (float(half[0]), float(half[1]), float(half[2]))
    if kind == "sphere":
        return (float(radius), 0.0, 0.0)
    thickness, length = (0.8, rng.uniform(0.8, 1.2)) if kind == "cylinder" else (0.7, rng.uniform(0.5, 0.9))
    return (float(thickness * radius), float(length * radius), 0.0)


def least_half(kind: str, radius: float) -> float:
    """Least half size in metres that :func:`draw_size` may draw."""
    if kind in _PROPORTIONS:
        return radius * min(half for half in _PROPORTIONS[kind] if half)
    return radius * {"box": 0.8 * 0.8, "sphere": 1.0, "cylinder": 0.8, "capsule": 0.7}[kind]


def thinnest_half(shape: str, size: Size) -> float:
    """Half of how thick a shape is in metres where it is thinnest."""
    return min(size[: 1 if shape == "capsule" else DIMENSIONS[shape]])


def half_extents(shape: str, size: Size, quaternion: tuple[float, float, float, float]) -> np.ndarray:
    """Half sides (3,) in metres of the box along the world's axes that just holds the rotated shape."""
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, np.asarray(quaternion, np.float64))
    return np.array([_reach(shape, size, np.abs(axis)) for axis in rotation.reshape(3, 3)])


def _reach(shape: str, size: Size, axis: np.ndarray) -> float:
    """How far the shape reaches from its centre along a world axis, given in body coordinates, all positive."""
    radius, half_length, _ = size
    if shape == "box":
        return float(axis @ np.asarray(size))
    if shape == "ellipsoid":
        return float(np.linalg.norm(axis * size))
    if shape == "sphere":
        return radius
    if shape == "capsule":
        return float(radius + half_length * axis[2])
    return float(radius * np.hypot(axis[0], axis[1]) + half_length * axis[2])


def volume(shape: str, size: Size) -> float:
    """Volume in m^3."""
    x, y, z = size
    if shape == "box":
        return 8.0 * x * y * z
    if shape == "ellipsoid":
        return 4.0 / 3.0 * np.pi * x * y * z
    ball, barrel = 4.0 / 3.0 * np.pi * x**3, 2.0 * np.pi * x**2 * y
    return {"sphere": ball, "cylinder": barrel, "capsule": ball + barrel}[shape]
