"""What a camera that stands still and is tilted down a little sees."""

from __future__ import annotations

import math


def in_square_picture(right: float, away: float, above: float, tilt: float, fovy: float) -> tuple[float, float]:
    """Where a point lies in a square picture: (right, up), each from -1 to 1 inside; nan behind the camera.

    Args:
        right, away, above: m, from the camera, level.
        tilt: downward slope of the optical axis.
        fovy: degrees.
    """
    length = math.hypot(1.0, tilt)
    depth, up = (away - tilt * above) / length, (tilt * away + above) / length
    if depth <= 0.0:
        return (math.nan, math.nan)
    edge = depth * math.tan(math.radians(fovy / 2))
    return (float(right / edge), float(up / edge))
