"""What the simulator knows about a clip: the reference every rollout is judged against."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Camera:
    """A pinhole camera in OpenCV axes (x right, y down, z forward).

    Pixel coordinates are continuous, with (0, 0) at the outer corner of the top left
    pixel: the centre of pixel (row i, column j) is at (u, v) = (j + 0.5, i + 0.5).
    """

    intrinsics: np.ndarray  # (3, 3), pixels
    world_to_camera: np.ndarray  # (4, 4), metres
    height: int  # pixels
    width: int  # pixels

    @property
    def focal_px(self) -> float:
        """Focal length in pixels."""
        return float(self.intrinsics[0, 0])

    @property
    def diagonal_px(self) -> float:
        """Diagonal of the picture in pixels."""
        return float(np.hypot(self.height, self.width))

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """World points (..., 3) in metres to camera coordinates (..., 3) in metres."""
        rotation, translation = self.world_to_camera[:3, :3], self.world_to_camera[:3, 3]
        return np.asarray(points) @ rotation.T + translation

    def project(self, points: np.ndarray) -> np.ndarray:
        """World points (..., 3) in metres to pixel coordinates (..., 2) as (u, v)."""
        homogeneous = self.to_camera(points) @ self.intrinsics.T
        return homogeneous[..., :2] / homogeneous[..., 2:]

    def depth(self, points: np.ndarray) -> np.ndarray:
        """Distance (...,) in metres of world points (..., 3) along the optical axis."""
        return self.to_camera(points)[..., 2]


@dataclass(frozen=True)
class Truth:
    """One clip of T frames with everything MuJoCo knows about it (SI units, world frame, z up)."""

    video: np.ndarray  # (T, H, W, 3) uint8
    mask: np.ndarray  # (T, H, W) bool, visible pixels of the object
    time: np.ndarray  # (T,) s, time[0] = 0
    qpos: np.ndarray  # (T, nq) MuJoCo generalised positions
    qvel: np.ndarray  # (T, nv) MuJoCo generalised velocities
    position: np.ndarray  # (T, 3) m, centre of mass of the object
    quaternion: np.ndarray  # (T, 4) w, x, y, z
    velocity: np.ndarray  # (T, 3) m/s, of the centre of mass
    angular_velocity: np.ndarray  # (T, 3) rad/s, world frame
    contact: np.ndarray  # (T,) bool, touched the floor since the frame before
    contact_force: np.ndarray  # (T,) N, mean normal force since the frame before
    impact_time: float  # s, first touch of the floor; nan if the clip ends before
    fps: float
    camera: Camera
    scene: dict[str, Any] = field(default_factory=dict)  # what builds this scene again, JSON

    def __len__(self) -> int:
        return len(self.video)
