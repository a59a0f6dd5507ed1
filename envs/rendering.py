"""Offscreen rendering of colour, segmentation and depth with one reused MuJoCo context."""

from __future__ import annotations

import mujoco
import numpy as np

from worldmodel.envs.simulation import Simulation
from worldmodel.truth import Camera

MAX_GEOMS = 4000


class Eye:
    """Renders a simulation's scenes from their family's camera.

    A GL context with the meshes in it costs as much to make as a clip to render, so there is
    one, bound to a model of its own into which the numbers of the scene in view are copied.
    """

    def __init__(self, simulation: Simulation, height: int, width: int) -> None:
        self._simulation = simulation
        self._camera = simulation.family.camera
        self._size = (height, width)
        self._model = simulation.batch.get_model(0)
        self._data = mujoco.MjData(self._model)
        # Otherwise a picture may be no larger than 640 x 480.
        self._model.vis.global_.offheight, self._model.vis.global_.offwidth = height, width
        self._renderer = mujoco.Renderer(self._model, height, width, MAX_GEOMS)
        self._options = mujoco.MjvOption()

    def look(self, index: int) -> None:
        """Turn to simulation ``index`` as it is now."""
        simulation = self._simulation
        simulation.batch.get_model(index, self._model)
        simulation.batch.get_data(index, self._data)
        simulation.family.paint(self._model, simulation.scenes[index], float(self._data.time))
        mujoco.mj_forward(self._model, self._data)

    def colour(self) -> np.ndarray:
        """Image (H, W, 3) uint8."""
        self._renderer.update_scene(self._data, self._camera, self._options)
        return self._renderer.render()

    def segmentation(self) -> np.ndarray:
        """Labels (H, W) uint8: i + 1 where the family's object i is the nearest surface, else 0."""
        objects = [self._model.body(name).id for name in self._simulation.family.objects]
        labels = np.zeros(self._model.ngeom + 1, np.uint8)  # the last for pixels without a geom
        for label, body in enumerate(objects, start=1):
            labels[:-1][self._model.geom_bodyid == body] = label
        self._renderer.enable_segmentation_rendering()
        try:
            pixels = self._without_shadows()
        finally:
            self._renderer.disable_segmentation_rendering()
        is_geom = pixels[..., 1] == int(mujoco.mjtObj.mjOBJ_GEOM)
        return labels[np.where(is_geom, pixels[..., 0], -1)]

    def depth(self) -> np.ndarray:
        """Distances (H, W) float32 in metres along the optical axis."""
        self._renderer.enable_depth_rendering()
        try:
            return self._without_shadows()
        finally:
            self._renderer.disable_depth_rendering()

    def camera(self) -> Camera:
        """The pinhole camera of these pictures."""
        return camera_of(self._model, self._data, self._camera, *self._size)

    def close(self) -> None:
        """Free the GL context."""
        self._renderer.close()

    def _without_shadows(self) -> np.ndarray:
        self._renderer.update_scene(self._data, self._camera, self._options)
        shadow = mujoco.mjtRndFlag.mjRND_SHADOW
        self._renderer.scene.flags[shadow] = 0
        try:
            return self._renderer.render()
        finally:
            self._renderer.scene.flags[shadow] = 1


def camera_of(model: mujoco.MjModel, data: mujoco.MjData, name: str, height: int, width: int) -> Camera:
    """Pinhole camera of a named MuJoCo camera, for an image of the given size in pixels."""
    index = model.camera(name).id
    focal = 0.5 * height / np.tan(0.5 * np.deg2rad(model.cam_fovy[index]))
    intrinsics = np.array([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])
    # MuJoCo cameras look along -z with y up; OpenCV's look along +z with y down.
    rotation = data.cam_xmat[index].reshape(3, 3) @ np.diag([1.0, -1.0, -1.0])
    world_to_camera = np.eye(4)
    world_to_camera[:3, :3] = rotation.T
    world_to_camera[:3, 3] = -rotation.T @ data.cam_xpos[index]
    return Camera(intrinsics, world_to_camera, height, width)
