"""What a camera that stands still and is tilted down a little sees."""

from __future__ import annotations

import math


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
