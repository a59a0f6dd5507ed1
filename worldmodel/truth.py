"""What the simulator knows about a clip: the reference every rollout is judged against."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from worldmodel.actions import ActionSpec


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
    """One clip of T frames and N objects with everything MuJoCo knows about it (SI units, world frame, z up)."""

    video: np.ndarray  # (T, H, W, 3) uint8
    segmentation: np.ndarray  # (T, H, W) uint8, i + 1 where objects[i] is the nearest surface, else 0
    time: np.ndarray  # (T,) s, time[0] = 0
    qpos: np.ndarray  # (T, nq) MuJoCo generalised positions
    qvel: np.ndarray  # (T, nv) MuJoCo generalised velocities
    objects: tuple[str, ...]  # N names, the first is *the* object
    position: np.ndarray  # (T, N, 3) m, centres of mass
    quaternion: np.ndarray  # (T, N, 4) w, x, y, z
    velocity: np.ndarray  # (T, N, 3) m/s, of the centres of mass
    angular_velocity: np.ndarray  # (T, N, 3) rad/s, world frame
    fps: float
    camera: Camera
    scene: dict[str, Any] = field(default_factory=dict)  # what builds this scene again, JSON
    # (T, ...), what the family measures; where the camera moves, world_to_camera (T, 4, 4) is its path
    signals: dict[str, np.ndarray] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)  # of the signals
    outcome: dict[str, Any] = field(default_factory=dict)  # facts of the whole clip, JSON
    maps: dict[str, np.ndarray] = field(default_factory=dict)  # (H, W) labels of what stands still
    actions: np.ndarray | None = None  # (T - 1, A) float64, actions[t] leads from frame t to t + 1
    action_spec: ActionSpec | None = None
    depth: np.ndarray | None = None  # (T, H, W) float32 m along the optical axis, where recorded

    def __len__(self) -> int:
        return len(self.video)

    @property
    def mask(self) -> np.ndarray:
        """Visible pixels (T, H, W) bool of the object."""
        return self.segmentation == 1

    @property
    def success(self) -> bool:
        """Whether the family's task was fulfilled at the end."""
        return bool(self.outcome.get("success", False))
