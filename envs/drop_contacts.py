"""What happens where the things of a fall touch: how they rebound and rub, and what a cylinder lies and stands on."""

from __future__ import annotations

import functools
import math

import mujoco
import numpy as np

from worldmodel.envs.drop_scene import CALM_RESTITUTION, DropScene
from worldmodel.envs.drop_stage import SCREEN, SUPPORT_GEOMS

CONTACT_DURATION = 0.02  # s, how long a bounce takes at scale 1; sets the floor's stiffness
# Of contacts: cone of friction, and impedance.
_KINDS = {
    "rigid": (mujoco.mjtCone.mjCONE_PYRAMIDAL, (0.99, 0.999)),
    "calm": (mujoco.mjtCone.mjCONE_ELLIPTIC, (0.9, 0.9)),
    "lively": (mujoco.mjtCone.mjCONE_ELLIPTIC, (0.1, 0.1)),
}
_BEARINGS = ("ends", "side")
_BORNE, _IDLE = 4, 8  # bits of what supports meet, and of what nothing meets
_HIDDEN = 4  # group of geoms that no picture shows
_INSIDE = 0.98  # of a cylinder's radius, how far the box that bears its ends reaches


def object_names(number: int) -> tuple[str, ...]:
    """Names of the bodies, and geoms, of so many objects."""
    return ("object", *(f"object {i}" for i in range(2, number + 1)))


@functools.lru_cache(maxsize=1024)
def contact_reference(restitution: float, duration: float = CONTACT_DURATION) -> tuple[float, float]:
    """MuJoCo ``solref`` (negative: stiffness, damping) of a bounce with the given restitution.

    A mass on a damped spring that cannot pull leaves when the force ends, with a share
    e = exp(-zeta (pi - 2 asin zeta) / sqrt(1 - zeta^2)) of its speed. The stiffness is such
    that half an undamped period takes ``duration`` seconds.
    """
    grid = np.linspace(0.0, 1.0, 20_001)[1:-1]
    left = np.exp(-grid * (np.pi - 2.0 * np.arcsin(grid)) / np.sqrt(1.0 - grid**2))
    zeta = float(np.interp(-restitution, -left, grid))
    omega = np.pi / duration
    return -float(omega**2), -float(2.0 * zeta * omega)


def bearings_xml(name: str, support: str) -> str:
    """MJCF of two geoms without mass in an object's body, for :func:`_place_bearings`; nothing without a support."""
    if support == "none":
        return ""
    kinds = zip(_BEARINGS, ("box", "capsule"), strict=True)
    return "".join(f'<geom name="{part} of {name}" type="{kind}" size="1 1 1" mass="0"/>' for part, kind in kinds)


def set_contacts(spec: mujoco.MjSpec, scene: DropScene) -> None:
    """The scene's restitution and friction between all things; the lengths in them scaled.

    Rigid contacts (impedance close to 1) give the set rebound to each contact point, whatever friction does there and
    however many there are. Once things bounce well that adds energy to what spins, the fault of Newton's restitution
    that Kane described, and whatever they do it adds energy to what is squeezed between others. So that is for one
    thing on the floor. Softer contacts, springs with dashpots, keep energy better, and several at once are stiffer than
    one: a box that lands flat on all corners rebounds less than is set.
    """
    # Several contacts of a convex pair have one normal, which is not the way in which they come apart at edges; there,
    # and between round things, they add energy.
    spec.option.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_MULTICCD)
    lively, alone = scene.restitution > CALM_RESTITUTION, scene.support == "none" and not scene.others
    kind = "lively" if lively else "rigid" if alone else "calm"
    spec.option.cone, impedance = _KINDS[kind]
    solref = contact_reference(scene.restitution, CONTACT_DURATION * math.sqrt(scene.scale))
    bearings = [] if scene.support == "none" else _place_bearings(spec, scene)
    things = (*object_names(len(scene.objects)), *bearings, "floor", *SUPPORT_GEOMS[scene.support])
    for geom in map(spec.geom, things):
        geom.friction = (scene.friction, 0.003 * scene.scale, 0.0005 * scene.scale)
        geom.condim = 6
        geom.solref = solref
        geom.solimp = (*impedance, 0.001 * scene.scale, 0.5, 2.0)


def _place_bearings(spec: mujoco.MjSpec, scene: DropScene) -> list[str]:
    """Put a box and a capsule into each cylinder and let supports bear the box's corners and the capsule's two ends.

    MuJoCo finds one contact between a cylinder and a box, on which it would never come to rest; on the floor, a plane,
    it finds several. In other shapes they meet nothing.

    Returns:
        Their names.
    """
    for name in SUPPORT_GEOMS[scene.support]:
        if name != SCREEN:
            spec.geom(name).conaffinity |= _BORNE
    placed = []
    for name, thing in zip(object_names(len(scene.objects)), scene.objects, strict=True):
        borne = thing.shape == "cylinder"
        radius, half_length = thing.size[:2] if borne else (0.1, 0.1)
        corner = _INSIDE * radius / math.sqrt(2.0)
        # Of a disc, which is shorter than wide, it bears nothing: one as thick as the disc is wide would stick out.
        thickness = min(radius, 0.99 * half_length)
        sizes = ((corner, corner, half_length), (thickness, half_length - thickness, 0.0))
        for part, size in zip(_BEARINGS, sizes, strict=True):
            geom = spec.geom(f"{part} of {name}")
            geom.size, geom.rgba, geom.group = size, (0.0, 0.0, 0.0, 0.0), _HIDDEN
            geom.contype, geom.conaffinity = _BORNE if borne else _IDLE, 0
            placed.append(geom.name)
    return placed
