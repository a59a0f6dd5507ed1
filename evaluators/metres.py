"""From pixels to metres through a known camera: a pixel is a ray, and a known plane says where on it."""

from __future__ import annotations

import numpy as np

from worldmodel.truth import Camera

PARALLEL = 1e-6  # cosine below which a ray never meets a plane


def on_plane(camera: Camera, pixels: np.ndarray, point: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """World points (..., 3) in metres where the rays of pixels (..., 2), (u, v), meet a plane.

    Args:
        camera: of the picture.
        pixels: nan gives nan, and so does a ray that meets the plane nowhere before the camera.
        point: (..., 3) m, on the plane; one, or one for each pixel.
        normal: (3,) of the plane.
    """
    rotation = camera.world_to_camera[:3, :3]
    centre = -rotation.T @ camera.world_to_camera[:3, 3]
    homogeneous = np.concatenate([pixels, np.ones((*np.shape(pixels)[:-1], 1))], axis=-1)
    rays = homogeneous @ np.linalg.inv(camera.intrinsics).T @ rotation
    towards = rays @ normal
    parallel = np.abs(towards) <= PARALLEL * np.linalg.norm(normal) * np.linalg.norm(rays, axis=-1)
    distance = (np.asarray(point) - centre) @ normal / np.where(parallel, np.nan, towards)
    return centre + np.where(distance > 0, distance, np.nan)[..., None] * rays


def facing_normal(camera: Camera) -> np.ndarray:
    """Unit normal (3,) of the upright planes (z up) that face a camera, away from it.

    Raises:
        ValueError: the camera looks straight down or up.
    """
    axis = camera.world_to_camera[2, :3] * (1.0, 1.0, 0.0)
    length = float(np.linalg.norm(axis))
    if length < 1e-3:
        raise ValueError("camera: got one that looks straight down or up, expected one that sees heights; use on_plane")
    return axis / length


def metres_per_pixel(camera: Camera, points: np.ndarray) -> np.ndarray:
    """Length (...,) in metres that a pixel covers, across the line of sight, at world points (..., 3)."""
    return camera.depth(points) / camera.focal_px
