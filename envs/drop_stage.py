"""The stage of a fall: where the camera stands, and the supports that can stand under the objects.

Metres at scale 1, world frame, z up, the floor at z = 0, the camera looking along +y.

* ``table``: a table; what misses it or rolls off reaches the floor.
* ``ramp``: a plank that slopes down to the right of the picture, its upper edge ``support_height`` high.
* ``ledge``: a block behind a screen past which the camera does not see. How high it is, or whether
  there is one (height 0), cannot be told from the first frame.
"""

from __future__ import annotations

import math

import mujoco
import numpy as np

from worldmodel.envs.options import SMALLEST
from worldmodel.envs.views import in_square_picture

CAMERA = "front"
CAMERA_POSITION = (0.0, -3.1, 0.95)
CAMERA_TILT = 0.1  # downward slope of the optical axis
CAMERA_FOVY = 34.0  # degrees

# m, of each support: the range that is drawn by default, and what is allowed.
HEIGHTS: dict[str, tuple[float | tuple[float, float], tuple[float, float]]] = {
    "none": (0.0, (0.0, 0.0)),
    "table": ((0.2, 0.4), (0.1, 0.8)),
    "ramp": ((0.25, 0.6), (0.05, 1.0)),
    "ledge": ((0.1, 0.3), (0.0, 0.32)),
}
SUPPORTS = tuple(HEIGHTS)
RAMP_LENGTH, RAMP_FOOT = 1.2, 0.55  # along the slope, and the x of its lower edge
SCREEN_Y, SCREEN_HEIGHT = -0.6, 0.52
_NEAREST = 0.5  # m, from the camera to a thing
_TABLE_HALF, _THICKNESS = (0.62, 0.42), 0.03
_LEDGE_HALF, _LEDGE_DEPTH = (0.62, 0.4, 0.3), -0.05
_COLOUR = "0.50 0.48 0.46 1"

SCREEN = "screen"  # hides what is behind it and supports nothing
SUPPORT_GEOMS: dict[str, tuple[str, ...]] = {
    "none": (),
    "table": ("table", "leg"),
    "ramp": ("ramp",),
    "ledge": ("ledge", SCREEN),
}


def ramp_angle(height: float) -> float:
    """Slope in radians of a ramp with its upper edge at a height in metres."""
    return math.asin(height / RAMP_LENGTH)


def clear_height(support: str, height: float, x: float, half_width: float) -> float:
    """Height in metres above which an object centred at ``x`` touches no support and is not hidden by one."""
    if support == "ramp":
        return float(np.clip((RAMP_FOOT - x + half_width) * math.tan(ramp_angle(height)), 0.0, height))
    return SCREEN_HEIGHT if support == "ledge" else height


def sees(point: tuple[float, float, float]) -> bool:
    """Whether the camera sees a point in a square picture."""
    right, away, above = np.subtract(point, CAMERA_POSITION)
    return bool(in_square_picture(right, away, above, CAMERA_TILT, CAMERA_FOVY))


def pictures(point: tuple[float, float, float], half: np.ndarray) -> bool:
    """Whether the camera sees a point and, from outside, a pixel of the thing of half extents (3,) m around it."""
    away = float(point[1]) - CAMERA_POSITION[1]
    pixel = 2.0 * away * math.tan(math.radians(CAMERA_FOVY / 2.0)) / SMALLEST
    return sees(point) and away > half[1] + _NEAREST and 2.0 * max(half[0], half[2]) >= pixel


def support_xml(support: str) -> str:
    """MJCF of a support; :func:`place_support` gives it its height. The screen is a body: it supports nothing."""
    box = f'type="box" size="1 1 1" rgba="{_COLOUR}"'
    xml = "".join(f'<geom name="{name}" {box}/>' for name in SUPPORT_GEOMS[support] if name != SCREEN)
    if support == "ledge":
        xml += f'<body name="screen"><geom name="screen" {box}/></body>'
    return xml


def place_support(spec: mujoco.MjSpec, support: str, height: float) -> None:
    """Give the support in a model the height of a scene, in metres."""
    if support == "table":
        top, leg = spec.geom("table"), spec.geom("leg")
        below = (height - 2 * _THICKNESS) / 2
        top.pos, top.size = (0.0, 0.0, height - _THICKNESS), (*_TABLE_HALF, _THICKNESS)
        leg.pos, leg.size = (0.0, 0.0, below), (0.05, 0.05, below)
    elif support == "ramp":
        plank, angle = spec.geom("ramp"), ramp_angle(height)
        along = np.array([math.cos(angle), 0.0, -math.sin(angle)])
        normal = np.array([math.sin(angle), 0.0, math.cos(angle)])
        plank.pos = (RAMP_FOOT, 0.0, 0.0) - RAMP_LENGTH / 2 * along - _THICKNESS * normal
        plank.quat = (math.cos(angle / 2), 0.0, math.sin(angle / 2), 0.0)
        plank.size = (RAMP_LENGTH / 2, 0.45, _THICKNESS)
    elif support == "ledge":
        block, top = spec.geom("ledge"), height if height > 0.0 else -0.1  # none: under the floor
        block.pos, block.size = (0.0, _LEDGE_DEPTH, top - _LEDGE_HALF[2]), _LEDGE_HALF
        screen = spec.geom("screen")
        screen.pos, screen.size = (0.0, SCREEN_Y, SCREEN_HEIGHT / 2), (0.72, 0.015, SCREEN_HEIGHT / 2)
