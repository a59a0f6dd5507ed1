"""A flat scene seen from straight above: ground, light, camera, and shapes painted on the ground."""

from __future__ import annotations

import mujoco
import numpy as np

from worldmodel.envs.options import SMALLEST
from worldmodel.truth import Camera

CAMERA = "overhead"
VIEW = 1.0  # m, height of the square around the origin that fills the picture
PIXEL = VIEW / SMALLEST  # m
BELOW = -1.0  # m, height at which nothing is seen or touched
HIDDEN = -1000  # the layer there
_ALTITUDE = 20.0  # m, of the camera: what is 5 cm high leans outwards by no more than 1.2 mm
LAYER = 0.001  # m, from one painted layer to the next
_FOVY = np.rad2deg(2.0 * np.arctan(0.5 * VIEW / _ALTITUDE))

_STAGE = """
<mujoco model="overhead">
  <statistic extent="1" center="0 0 0" meansize="0.05"/>
  <option gravity="0 0 0" cone="elliptic" impratio="10" integrator="implicitfast"/>
  <visual>
    <headlight ambient="0.6 0.6 0.6" diffuse="0.4 0.4 0.4" specular="0 0 0"/>
    <quality shadowsize="0" offsamples="4" numslices="20" numstacks="4"/>
    <map znear="15" zfar="25"/>
  </visual>
  <worldbody>
    <geom name="ground" type="plane" size="8 8 0.1" rgba="{ground} 1" contype="0" conaffinity="0"/>
    <camera name="{camera}" pos="0 0 {altitude}" fovy="{fovy}"/>
    {bodies}
  </worldbody>
  {more}
</mujoco>
"""


def stage(ground: tuple[float, float, float], bodies: str = "", more: str = "") -> mujoco.MjSpec:
    """Ground of one colour under the camera, with further MJCF inside and outside of ``worldbody``."""
    colour = " ".join(map(str, ground))
    return mujoco.MjSpec.from_string(
        _STAGE.format(ground=colour, camera=CAMERA, altitude=_ALTITUDE, fovy=_FOVY, bodies=bodies, more=more)
    )


def add_disc(
    body: mujoco.MjsBody, name: str, centre: np.ndarray, radius: float, colour: tuple[float, float, float], layer: int
) -> None:
    """Paint a disc; higher layers cover lower ones."""
    _add(body, name, mujoco.mjtGeom.mjGEOM_CYLINDER, (radius, LAYER / 2.0, 0.0), centre, colour, layer)


def add_bar(
    body: mujoco.MjsBody,
    name: str,
    ends: np.ndarray,
    width: float,
    colour: tuple[float, float, float],
    layer: int,
) -> None:
    """Paint a straight bar (2, 2) from end to end."""
    along = ends[1] - ends[0]
    size = (float(np.linalg.norm(along)) / 2.0, width / 2.0, LAYER / 2.0)
    geom = _add(body, name, mujoco.mjtGeom.mjGEOM_BOX, size, ends.mean(axis=0), colour, layer)
    half_turn = np.arctan2(along[1], along[0]) / 2.0
    geom.quat = (np.cos(half_turn), 0.0, 0.0, np.sin(half_turn))


def add_unused(body: mujoco.MjsBody, name: str, kind: mujoco.mjtGeom) -> None:
    """A shape out of sight, so that scenes with fewer shapes have models of the same size."""
    _add(body, name, kind, (LAYER, LAYER, LAYER), np.zeros(2), (0.0, 0.0, 0.0), HIDDEN)


def floor_points(camera: Camera) -> np.ndarray:
    """Where on the ground (H, W, 2), in metres, the centre of each pixel looks."""
    v, u = np.indices((camera.height, camera.width)) + 0.5
    rays = np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(camera.intrinsics).T
    rotation, translation = camera.world_to_camera[:3, :3], camera.world_to_camera[:3, 3]
    rays, position = rays @ rotation, -rotation.T @ translation
    return position[:2] - rays[..., :2] * (position[2] / rays[..., 2:])


def _add(
    body: mujoco.MjsBody,
    name: str,
    kind: mujoco.mjtGeom,
    size: tuple[float, float, float],
    centre: np.ndarray,
    colour: tuple[float, float, float],
    layer: int,
) -> mujoco.MjsGeom:
    position = (float(centre[0]), float(centre[1]), layer * LAYER)
    return body.add_geom(
        name=name, type=kind, size=size, pos=position, rgba=(*colour, 1.0), contype=0, conaffinity=0, density=0.0
    )
