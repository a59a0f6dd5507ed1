"""A room that a camera flies through and comes back to, rendered by MuJoCo with exact poses and depth."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import mujoco
import numpy as np

from worldmodel.envs.rendering import camera_of
from worldmodel.truth import Camera, Truth

SIZE, FRAMES, FPS = 96, 17, 16.0
SWING = 0.5  # m, of the camera to either side
ROOM = """
<mujoco>
  <asset>
    <texture name="checker" type="2d" builtin="checker" rgb1=".8 .7 .5" rgb2=".3 .4 .5" width="300" height="300"
      mark="random" random=".03" markrgb="1 1 1"/>
    <material name="checker" texture="checker" texrepeat="6 6"/>
  </asset>
  <worldbody>
    <light pos="0 0 3" castshadow="false"/>
    <geom type="plane" size="3 3 .1" material="checker"/>
    <geom type="box" pos=".2 .3 .2" size=".2 .1 .2" rgba=".7 .2 .2 1"/>
    <geom type="box" pos="-.5 .6 .15" size=".15 .15 .15" material="checker"/>
    <body name="ball" mocap="true"><geom type="sphere" size=".12" rgba=".2 .7 .3 1"/></body>
    <camera name="eye" xyaxes="1 0 0 0 .45 .9" fovy="45"/>
  </worldbody>
</mujoco>
"""


@dataclass(frozen=True)
class Flight:
    """A clip with the camera of each frame."""

    truth: Truth
    cameras: tuple[Camera, ...]


def flight() -> Flight:
    """The camera swings to the right, through where it began to the left, and back; a ball flies past."""
    model = mujoco.MjModel.from_xml_string(ROOM)
    data = mujoco.MjData(model)
    ball = model.body("ball").geomadr[0]
    frames: dict[str, list[np.ndarray]] = {"video": [], "segmentation": [], "depth": [], "position": []}
    cameras = []
    with mujoco.Renderer(model, SIZE, SIZE) as renderer:
        for t in range(FRAMES):
            swing = np.sin(2 * np.pi * t / (FRAMES - 1))
            model.cam_pos[0] = (SWING * swing, -2.0, 1.0 + 0.1 * swing)
            data.mocap_pos[0] = (-0.6 + 0.06 * t, -0.4, 0.5)
            mujoco.mj_forward(model, data)
            cameras.append(camera_of(model, data, "eye", SIZE, SIZE))
            renderer.update_scene(data, "eye")
            frames["video"].append(renderer.render().copy())
            renderer.enable_depth_rendering()
            frames["depth"].append(renderer.render().copy())
            renderer.disable_depth_rendering()
            renderer.enable_segmentation_rendering()
            frames["segmentation"].append((renderer.render()[..., 0] == ball).astype(np.uint8))
            renderer.disable_segmentation_rendering()
            frames["position"].append(data.mocap_pos.copy())
    stacked = {name: np.stack(value) for name, value in frames.items()}
    zeros = np.zeros((FRAMES, 1, 3))
    truth = Truth(
        **stacked,
        time=np.arange(FRAMES) / FPS,
        qpos=np.zeros((FRAMES, 0)),
        qvel=np.zeros((FRAMES, 0)),
        objects=("ball",),
        quaternion=np.tile([1.0, 0, 0, 0], (FRAMES, 1, 1)),
        velocity=zeros,
        angular_velocity=zeros,
        fps=FPS,
        camera=cameras[0],
    )
    return Flight(truth, tuple(cameras))


def pinhole(centre: tuple[float, float, float] = (0.0, 0.0, 0.0), focal_px: float = 80.0, side_px: int = 64) -> Camera:
    """A camera at ``centre`` m that looks along the world's z axis, y down."""
    intrinsics = np.array([[focal_px, 0, side_px / 2], [0, focal_px, side_px / 2], [0, 0, 1.0]])
    world_to_camera = np.eye(4)
    world_to_camera[:3, 3] = -np.array(centre)
    return Camera(intrinsics, world_to_camera, side_px, side_px)


def texture(side_px: int, seed: int = 0) -> np.ndarray:
    """A picture (side, side, 3) uint8 with detail of about 6 px everywhere."""
    noise = np.random.default_rng(seed).uniform(0, 255, (side_px, side_px, 3))
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.5)
    stretched = (smooth - smooth.mean()) * (45.0 / smooth.std()) + 128
    return np.clip(np.rint(stretched), 0, 255).astype(np.uint8)
