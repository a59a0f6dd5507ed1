"""Offscreen rendering of colour, segmentation and depth with one reused MuJoCo context."""

from __future__ import annotations

import copy
from typing import Any

import mujoco
import numpy as np

from worldmodel.envs.simulation import Simulation
from worldmodel.truth import Camera

MAX_GEOMS = 4000


class Eye:
    """Renders a simulation's scenes from their family's camera.

    A GL context with the meshes in it costs as much to make as a clip to render, so there is one
    for the models of all scenes; where and how large things are comes from the one in view.
    Scaled scenes are drawn at scale 1, with every length divided by ``Family.scale``: that keeps
    each pixel, and the context, which holds the sizes of planes and the reach of shadows.
    """

    def __init__(self, simulation: Simulation, height: int, width: int) -> None:
        self._simulation = simulation
        self._size = (height, width)
        self._model = simulation.models[0]
        self._data = mujoco.MjData(self._model)
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._camera.fixedcamid = self._model.camera(simulation.family.camera).id
        self._options = mujoco.MjvOption()
        self._scale = 1.0
        self._renderer: Any = None  # made at the first look, at scale 1

    def look(self, index: int) -> None:
        """Turn to simulation ``index`` as it is now."""
        simulation = self._simulation
        scene, family = simulation.scenes[index], simulation.family
        mujoco.mj_setState(self._model, self._data, simulation.batch.state[index], mujoco.mjtState.mjSTATE_INTEGRATION)
        self._model = family.painted(simulation.models[index], scene, self._data.time)
        self._scale = family.scale(scene)
        if self._scale != 1.0:
            self._model = copy.copy(self._model)
            _shrink(self._model, self._data, self._scale)
        for update in (mujoco.mj_kinematics, mujoco.mj_comPos, mujoco.mj_camlight):
            update(self._model, self._data)
        if self._renderer is None:
            self._make_context()

    def colour(self) -> np.ndarray:
        """Image (H, W, 3) uint8."""
        self._update_scene()
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
            return self._without_shadows() * np.float32(self._scale)
        finally:
            self._renderer.disable_depth_rendering()

    def camera(self) -> Camera:
        """The pinhole camera of these pictures."""
        camera = camera_of(self._model, self._data, self._simulation.family.camera, *self._size)
        camera.world_to_camera[:3, 3] *= self._scale
        return camera

    def close(self) -> None:
        """Free the GL context."""
        if self._renderer is not None:
            self._renderer.close()

    def _make_context(self) -> None:
        model, (height, width) = copy.copy(self._model), self._size
        # Otherwise a picture may be no larger than 640 x 480.
        model.vis.global_.offheight, model.vis.global_.offwidth = height, width
        self._renderer = mujoco.Renderer(model, height, width, MAX_GEOMS)

    def _update_scene(self) -> None:
        """As the renderer does, but for the model in view instead of the one that its context was made from."""
        everything, scene = mujoco.mjtCatBit.mjCAT_ALL, self._renderer.scene
        mujoco.mjv_updateScene(self._model, self._data, self._options, None, self._camera, everything, scene)

    def _without_shadows(self) -> np.ndarray:
        self._renderer.model.stat.extent = self._model.stat.extent  # by which the renderer turns depth into metres
        self._update_scene()
        shadow = mujoco.mjtRndFlag.mjRND_SHADOW
        self._renderer.scene.flags[shadow] = 0
        try:
            return self._renderer.render()
        finally:
            self._renderer.scene.flags[shadow] = 1


def _shrink(model: mujoco.MjModel, data: mujoco.MjData, scale: float) -> None:
    """Divide every length that decides a picture, but not the physics, by ``scale``."""
    for lengths in (model.body_pos, model.geom_pos, model.geom_size, model.site_pos, model.jnt_pos, model.cam_pos):
        lengths /= scale
    model.light_pos /= scale
    model.stat.extent /= scale
    model.stat.meansize /= scale
    model.stat.center /= scale
    data.mocap_pos /= scale
    for kind, address in zip(model.jnt_type, model.jnt_qposadr, strict=True):
        if kind == mujoco.mjtJoint.mjJNT_FREE:
            data.qpos[address : address + 3] /= scale
        elif kind == mujoco.mjtJoint.mjJNT_SLIDE:
            data.qpos[address] /= scale


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
