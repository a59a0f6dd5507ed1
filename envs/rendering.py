"""Offscreen rendering of colour and segmentation with one reused MuJoCo context."""

from __future__ import annotations

import mujoco
import numpy as np

from worldmodel.truth import Camera


class OffscreenRenderer:
    """Renders colour images and geom masks of one model from one fixed camera."""

    def __init__(self, model: mujoco.MjModel, height: int, width: int, camera: str) -> None:
        self._renderer = mujoco.Renderer(model, height, width)
        self._camera = camera
        self._options = mujoco.MjvOption()

    def colour(self, data: mujoco.MjData) -> np.ndarray:
        """Image (H, W, 3) uint8 of the current state."""
        self._renderer.update_scene(data, self._camera, self._options)
        return self._renderer.render().copy()

    def mask(self, data: mujoco.MjData, geom: int) -> np.ndarray:
        """Pixels (H, W) bool on which the geom is the nearest surface."""
        self._renderer.enable_segmentation_rendering()
        try:
            self._renderer.update_scene(data, self._camera, self._options)
            self._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
            labels = self._renderer.render()
        finally:
            self._renderer.disable_segmentation_rendering()
            self._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 1
        return (labels[..., 0] == geom) & (labels[..., 1] == int(mujoco.mjtObj.mjOBJ_GEOM))

    def close(self) -> None:
        """Free the GL context."""
        self._renderer.close()


def camera_of(model: mujoco.MjModel, data: mujoco.MjData, name: str, height: int, width: int) -> Camera:
    """Pinhole camera of a named MuJoCo camera, for an image of the given size in pixels."""
    index = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, name)
    focal = 0.5 * height / np.tan(0.5 * np.deg2rad(model.cam_fovy[index]))
    intrinsics = np.array([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])
    # MuJoCo cameras look along -z with y up; OpenCV's look along +z with y down.
    rotation = data.cam_xmat[index].reshape(3, 3) @ np.diag([1.0, -1.0, -1.0])
    world_to_camera = np.eye(4)
    world_to_camera[:3, :3] = rotation.T
    world_to_camera[:3, 3] = -rotation.T @ data.cam_xpos[index]
    return Camera(intrinsics, world_to_camera, height, width)
