"""What decides a fall, :class:`DropScene`, and the ranges from which it is drawn, :class:`DropSampler`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from worldmodel.envs.drop_gripper import room_around
from worldmodel.envs.drop_shapes import OBJECT_SETS, SHAPES, UNSEEN, Size, draw_size, half_extents, volume
from worldmodel.envs.drop_stage import CAMERA_POSITION, HEIGHTS, SUPPORTS, clear_height

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.85, 0.12, 0.10),
    "green": (0.12, 0.62, 0.18),
    "blue": (0.12, 0.28, 0.88),
    "yellow": (0.92, 0.78, 0.08),
    "magenta": (0.80, 0.14, 0.68),
    "cyan": (0.08, 0.68, 0.74),
}
DENSITY = 600.0  # kg/m^3
MAX_OBJECTS = 4
RELEASES = ("none", "gripper")
_ATTEMPTS = 5000  # to find places for all objects
_FURTHER_OUT = 0.3  # m, by which further objects may stand to the sides of the range of the first
_GAP = 0.01  # between two objects in the picture, as a slope seen from the camera

Range = float | tuple[float, float]
Point = tuple[float, float, float]


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
    gravity: float = 9.81  # m/s^2, downwards
    restitution: float = 0.47  # speed after a central bounce over speed before
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
    radius: tuple[float, float] = (0.12, 0.19)  # m, of the sphere of about equal volume
    # m, of the lowest point: at least the first above what is beneath it, at most the second above the floor
    clearance: tuple[float, float] = (0.15, 1.0)
    sideways: tuple[float, float] = (-0.45, 0.45)  # m, along the image
    depth: tuple[float, float] = (-0.2, 0.2)  # m, towards and away from the camera
    gravity: Range = 9.81
    restitution: Range = 0.47
    friction: Range = 0.7
    mass: Range = 0.0
    scale: Range = 1.0
    objects: int = 1
    support: str = "none"
    support_height: Range | None = None  # m; None: the support's default range
    release: str = "none"

    def __post_init__(self) -> None:
        def refuse(name: str, expected: str) -> None:
            raise ValueError(f"{name}: got {getattr(self, name)!r}, expected {expected}; correct the option")

        if isinstance(self.shapes, str) and self.shapes not in OBJECT_SETS:
            refuse("shapes", f"a tuple of kinds or one of the sets {', '.join(OBJECT_SETS)}")
        unknown = set(self._kinds) - set(OBJECT_SETS["all"])
        if unknown or not self._kinds:
            refuse("shapes", f"some of {', '.join(OBJECT_SETS['all'])}")
        if not 1 <= self.objects <= MAX_OBJECTS:
            refuse("objects", f"1 to {MAX_OBJECTS}")
        if self.support not in SUPPORTS:
            refuse("support", f"one of {', '.join(SUPPORTS)}")
        if self.release not in RELEASES:
            refuse("release", f"one of {', '.join(RELEASES)}")

    def __call__(self, rng: np.random.Generator) -> DropScene:
        default, _ = HEIGHTS[self.support]
        height = _draw(default if self.support_height is None else self.support_height, rng)
        first = self._object(rng, self.sideways, self.colours, height)
        return DropScene(
            **{field.name: getattr(first, field.name) for field in dataclasses.fields(first)},
            gravity=_draw(self.gravity, rng),
            restitution=_draw(self.restitution, rng),
            friction=_draw(self.friction, rng),
            scale=_draw(self.scale, rng),
            others=self._others(first, height, rng),
            support=self.support,
            support_height=height,
            release=self.release,
        )

    @property
    def _kinds(self) -> tuple[str, ...]:
        return OBJECT_SETS[self.shapes] if isinstance(self.shapes, str) else tuple(self.shapes)

    def _object(
        self, rng: np.random.Generator, sideways: tuple[float, float], colours: tuple[str, ...], height: float
    ) -> DropObject:
        kind = str(rng.choice(self._kinds))
        shape = UNSEEN.get(kind, kind)
        size = draw_size(kind, rng.uniform(*self.radius), rng)
        quaternion = rng.normal(size=4)
        quaternion /= np.linalg.norm(quaternion)
        qw, qx, qy, qz = map(float, quaternion)
        half_width, _, lowest = half_extents(shape, size, (qw, qx, qy, qz))
        x, y = rng.uniform(*sideways), rng.uniform(*self.depth)
        least = clear_height(self.support, height, x, half_width) + self.clearance[0]
        z = lowest + rng.uniform(least, max(least, self.clearance[1]))
        colour, mass = str(rng.choice(colours)), _draw(self.mass, rng)
        return DropObject(shape, size, colour, (float(x), float(y), float(z)), (qw, qx, qy, qz), mass)

    def _others(self, first: DropObject, height: float, rng: np.random.Generator) -> tuple[DropObject, ...]:
        """Further objects of other colours, apart in the picture from each other and from the gripper."""
        sideways = (self.sideways[0] - _FURTHER_OUT, self.sideways[1] + _FURTHER_OUT)
        for attempt in range(_ATTEMPTS * (self.objects > 1)):
            if attempt % 100 == 0:  # the first few may stand so that there is no room left
                placed, taken = [first], [_pictured(first, self.release == "gripper")]
            used = {one.colour for one in placed}
            colours = tuple(colour for colour in self.colours if colour not in used) or self.colours
            one = self._object(rng, sideways, colours, height)
            place = _pictured(one, held=False)
            if all(_apart(place, other) for other in taken):
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


def _draw(value: Range, rng: np.random.Generator) -> float:
    return float(rng.uniform(*value)) if isinstance(value, tuple) else float(value)


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
