"""What a camera that stands still and is tilted down a little sees."""

from __future__ import annotations

import math
from collections.abc import Sequence

import mujoco
import numpy as np


def in_square_picture(right: float, away: float, above: float, tilt: float, fovy: float) -> bool:
    """Whether a point is in front of the camera and inside of a square picture.

    Args:
        right, away, above: m, from the camera, level.
        tilt: downward slope of the optical axis.
        fovy: degrees.
    """
    length = math.hypot(1.0, tilt)
    depth, up = (away - tilt * above) / length, (tilt * away + above) / length
    edge = depth * math.tan(math.radians(fovy / 2))
    return depth > 0.0 and abs(right) <= edge and abs(up) <= edge


def first_in_sight(model: mujoco.MjModel, data: mujoco.MjData, camera: Sequence[float], point: Sequence[float]) -> str:
    """Name of the geom that is met first on the way from a camera at (3,) m to a point (3,) m."""
    hit = np.zeros(1, np.int32)
    mujoco.mj_ray(model, data, np.asarray(camera), np.subtract(point, camera), None, 1, -1, hit)
    return model.geom(hit[0]).name
