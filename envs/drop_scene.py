"""What decides a fall, :class:`DropScene`, and the ranges from which it is drawn, :class:`DropSampler`."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from worldmodel.counts import is_whole
from worldmodel.envs.drop_gripper import room_around
from worldmodel.envs.drop_shapes import OBJECT_SETS, SHAPES, UNSEEN, Size, draw_size, half_extents, least_half, volume
from worldmodel.envs.drop_stage import CAMERA_POSITION, HEIGHTS, SUPPORTS, clear_height, pictures
from worldmodel.envs.options import (
    FRICTION,
    Limits,
    Range,
    check_name,
    check_names,
    check_ranges,
    draw,
    drawn,
    ends,
    expect,
)

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.85, 0.12, 0.10),
    "green": (0.12, 0.62, 0.18),
    "blue": (0.12, 0.28, 0.88),
    "yellow": (0.92, 0.78, 0.08),
    "magenta": (0.80, 0.14, 0.68),
    "cyan": (0.08, 0.68, 0.74),
}
DENSITY = 600.0  # kg/m^3
SCALES = (0.1, 100.0)
SMALL = 0.5  # scale, below which nothing bounces well
CALM_RESTITUTION = 0.47  # above it, things bounce well
LIVELY_HALF = 0.05  # m at scale 1, half the thickness below which nothing bounces well under the Earth's gravity
EARTH = 9.81  # m/s^2
MASSES = (1e-6, 1e6)  # kg
MAX_OBJECTS = 4
RELEASES = ("none", "gripper")
LIMITS = {
    "radius": Limits(0.04, unit="m"),
    "clearance": Limits(0.0, unit="m"),
    "sideways": Limits(unit="m"),
    "depth": Limits(unit="m"),
    "gravity": Limits(0.0, 100.0, "m/s^2"),
    "friction": FRICTION,
    "mass": Limits(0.0, MASSES[1], "kg"),
    "scale": Limits(*SCALES),
}
_ATTEMPTS = 5000  # to find places for all objects
_FURTHER_OUT = 0.3  # m, by which further objects may stand to the sides of the range of the first
_GAP = 0.01  # between two objects in the picture, as a slope seen from the camera

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Bounces:
    """What decides how well things may bounce."""

    objects: int
    support: str
    scale: float
    half: float  # m at scale 1, half of the least thickness of any of the objects
    gravity: float  # m/s^2

    def __str__(self) -> str:
        things = f"{self.objects} object{'s' if self.objects > 1 else ''} at least {2.0 * self.half:.3g} m thick"
        return f"with {things}, gravity {self.gravity:g} m/s^2, support {self.support!r} and scale {self.scale:g}"

    @property
    def restitutions(self) -> tuple[float, float]:
        """The least and the most that there may be.

        The least makes a critically damped floor. Above the most, bounces add energy: at edges, where the normal turns
        while a contact lasts; between others and a support; through the integrator, for which the springs of lively
        contacts are too fast at small scales; and where things are nearly as thin as such a contact gives in, which is
        the more the faster they fall.
        """
        several, above = self.objects > 1, self.support != "none"
        thin = self.half < LIVELY_HALF * math.sqrt(max(1.0, self.gravity / EARTH)) * (1.0 - 1e-9)
        if thin or self.scale < SMALL or (several and above):
            return 0.14, CALM_RESTITUTION
        return 0.14, 0.8 if several or above else 0.9


@dataclass(frozen=True)
class DropObject:
    """One object at t = 0, at rest."""

    shape: str
    size: Size  # m, MuJoCo half sizes, see drop_shapes
    colour: str
    position: Point  # m, centre
    quaternion: tuple[float, float, float, float]  # w, x, y, z
    mass: float = 0.0  # kg; 0: of DENSITY


@dataclass(frozen=True)
class DropScene:
    """Everything that decides a clip. SI units, world frame, z up, the floor at z = 0.

    ``size`` holds MuJoCo half sizes: (x, y, z) of a box or an ellipsoid, (radius, 0, 0) of a
    sphere, (radius, half length, 0) of a cylinder or capsule.

    ``scale`` multiplies every length, the camera's distance and height among them, so the
    picture stays as it is while falls take sqrt(scale) as long. The other lengths are given at
    scale 1. ``mass`` is not scaled.

    What changes no pixel of the first frame: gravity, restitution, friction, mass, scale, and
    the height of a ledge.
    """

    shape: str
    size: Size  # m
    colour: str
    position: Point  # m, centre at t = 0
    quaternion: tuple[float, float, float, float]  # w, x, y, z at t = 0
    gravity: float = EARTH  # m/s^2, downwards
    restitution: float = 0.47  # speed after a central bounce over speed before, but for gravity in the 20 ms it takes
    friction: float = 0.7  # Coulomb coefficient between any two
    mass: float = 0.0  # kg; 0: of DENSITY
    scale: float = 1.0
    others: tuple[DropObject, ...] = ()
    support: str = "none"
    support_height: float = 0.0  # m; of a ledge also 0: there is none
    release: str = "none"  # or gripper: it holds the object and lets go when told to

    @property
    def objects(self) -> tuple[DropObject, ...]:
        """*The* object, then the others."""
        first = DropObject(self.shape, self.size, self.colour, self.position, self.quaternion, self.mass)
        return (first, *self.others)


def mass_of(thing: DropObject, scale: float) -> float:
    """Mass in kg."""
    return thing.mass if thing.mass > 0.0 else DENSITY * volume(thing.shape, thing.size) * scale**3


@dataclass(frozen=True)
class DropSampler:
    """Ranges from which scenes are drawn; a number fixes a value, a pair is uniform.

    ``objects``, ``support`` and ``release`` decide what there is, so they hold for all scenes of
    one environment.
    """

    shapes: tuple[str, ...] | str = SHAPES  # kinds of objects, or the name of a set of them
    colours: tuple[str, ...] = tuple(COLOURS)
    radius: Range = (0.12, 0.19)  # m, of the sphere of about equal volume
    # m, of the lowest point: at least the first above what is beneath it, at most the second above the floor
    clearance: Range = (0.15, 1.0)
    sideways: Range = (-0.45, 0.45)  # m, along the image
    depth: Range = (-0.2, 0.2)  # m, towards and away from the camera
    gravity: Range = EARTH
    restitution: Range = 0.47
    friction: Range = 0.7
    mass: Range = 0.0
    scale: Range = 1.0
    objects: int = 1
    support: str = "none"
    support_height: Range | None = None  # m; None: the support's default range
    release: str = "none"

    def __post_init__(self) -> None:
        if isinstance(self.shapes, str):
            sets = f"a tuple of kinds or one of the sets {', '.join(OBJECT_SETS)}"
            expect(self.shapes in OBJECT_SETS, "shapes", repr(self.shapes), sets)
        else:
            check_names(self, "shapes", OBJECT_SETS["all"])
        check_names(self, "colours", tuple(COLOURS))
        few = is_whole(self.objects) and 1 <= self.objects <= MAX_OBJECTS
        expect(few, "objects", self.objects, f"1 to {MAX_OBJECTS}")
        check_name("support", self.support, SUPPORTS)
        check_name("release", self.release, RELEASES)
        check_ranges(self, {**LIMITS, "support_height": Limits(*HEIGHTS[self.support][1], "m")})
        check_ranges(self, {"restitution": Limits(*self.bounces.restitutions, str(self.bounces))})

    def __call__(self, rng: np.random.Generator) -> DropScene:
        default, _ = HEIGHTS[self.support]
        height = draw(default if self.support_height is None else self.support_height, default, rng)
        first = self._first(rng, height)
        return DropScene(
            **{field.name: getattr(first, field.name) for field in dataclasses.fields(first)},
            gravity=drawn(self, "gravity", rng),
            restitution=drawn(self, "restitution", rng),
            friction=drawn(self, "friction", rng),
            scale=drawn(self, "scale", rng),
            others=self._others(first, height, rng),
            support=self.support,
            support_height=height,
            release=self.release,
        )

    @property
    def bounces(self) -> Bounces:
        """What these options say of how well things may bounce, at the worst."""
        half = min(least_half(kind, ends(self.radius)[0]) for kind in self._kinds)
        return Bounces(self.objects, self.support, ends(self.scale)[0], half, ends(self.gravity)[1])

    @property
    def _kinds(self) -> tuple[str, ...]:
        return OBJECT_SETS[self.shapes] if isinstance(self.shapes, str) else self.shapes

    def _first(self, rng: np.random.Generator, height: float) -> DropObject:
        """*The* object, drawn anew until the camera sees it."""
        for _ in range(_ATTEMPTS):
            one = self._object(rng, ends(self.sideways), self.colours, height)
            if _shown(one):
                return one
        got = f"{self.radius}, {self.clearance}, {self.sideways}, {self.depth} m"
        raise ValueError(
            f"radius, clearance, sideways, depth: got {got} with support {self.support!r}, expected ranges in which "
            "the camera sees a centre; lower radius or clearance, or narrow the others"
        )

    def _object(
        self, rng: np.random.Generator, sideways: tuple[float, float], colours: tuple[str, ...], height: float
    ) -> DropObject:
        kind = str(rng.choice(self._kinds))
        shape = UNSEEN.get(kind, kind)
        size = draw_size(kind, drawn(self, "radius", rng), rng)
        quaternion = rng.normal(size=4)
        quaternion /= np.linalg.norm(quaternion)
        qw, qx, qy, qz = map(float, quaternion)
        half_width, _, lowest = half_extents(shape, size, (qw, qx, qy, qz))
        x, y = float(rng.uniform(*sideways)), drawn(self, "depth", rng)
        gap, highest = ends(self.clearance)
        least = clear_height(self.support, height, x, half_width) + gap
        z = lowest + rng.uniform(least, max(least, highest))
        colour, mass = str(rng.choice(colours)), drawn(self, "mass", rng)
        return DropObject(shape, size, colour, (x, y, float(z)), (qw, qx, qy, qz), mass)

    def _others(self, first: DropObject, height: float, rng: np.random.Generator) -> tuple[DropObject, ...]:
        """Further objects of other colours, apart in the picture from each other and from the gripper."""
        least, most = ends(self.sideways)
        sideways = (least - _FURTHER_OUT, most + _FURTHER_OUT)
        for attempt in range(_ATTEMPTS * (self.objects > 1)):
            if attempt % 100 == 0:  # the first few may stand so that there is no room left
                placed, taken = [first], [_pictured(first, self.release == "gripper")]
            used = {one.colour for one in placed}
            colours = tuple(colour for colour in self.colours if colour not in used) or self.colours
            one = self._object(rng, sideways, colours, height)
            place = _pictured(one, held=False)
            if _shown(one) and all(_apart(place, other) for other in taken):
                placed.append(one)
                taken.append(place)
            if len(placed) == self.objects:
                return tuple(placed[1:])
        if self.objects == 1:
            return ()
        raise ValueError(
            f"objects: got {self.objects}, expected fewer: there is no room for them in the picture; "
            "widen sideways and clearance or lower radius"
        )


def _shown(thing: DropObject) -> bool:
    return pictures(thing.position, half_extents(thing.shape, thing.size, thing.quaternion))


def _pictured(thing: DropObject, held: bool) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper corner (2,) of the view that an object, or the gripper around it, takes, as slopes."""
    half = half_extents(thing.shape, thing.size, thing.quaternion)
    right, forward, up = np.subtract(thing.position, CAMERA_POSITION)
    below, above = room_around(half) if held else (-half[[0, 2]], half[[0, 2]])
    low, high = np.add(below, (right, up)), np.add(above, (right, up))
    near, far = forward - half[1], forward + half[1]
    return np.where(low < 0, low / near, low / far), np.where(high > 0, high / near, high / far)


def _apart(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> bool:
    return bool(((one[0] - other[1] > _GAP) | (other[0] - one[1] > _GAP)).any())
