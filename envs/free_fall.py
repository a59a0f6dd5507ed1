"""Free fall: one object dropped from rest onto a floor, seen by a static camera.

The first frame decides the fall, so a video model that is given the first frame can be
judged frame by frame against MuJoCo. The scene is built from parameters only
(:class:`DropScene`), and the same parameters give the same pixels.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np

from worldmodel.envs.rendering import OffscreenRenderer, camera_of
from worldmodel.truth import Truth

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.85, 0.12, 0.10),
    "green": (0.12, 0.62, 0.18),
    "blue": (0.12, 0.28, 0.88),
    "yellow": (0.92, 0.78, 0.08),
    "magenta": (0.80, 0.14, 0.68),
    "cyan": (0.08, 0.68, 0.74),
}
SHAPES = ("box", "sphere", "cylinder", "capsule")
CAMERA = "front"
MAX_TIMESTEP = 0.00125  # s
CONTACT_DURATION = 0.02  # s, how long a bounce takes; sets the floor's stiffness
DENSITY = 600.0  # kg/m^3

_GEOM_TYPES = {
    "box": mujoco.mjtGeom.mjGEOM_BOX,
    "sphere": mujoco.mjtGeom.mjGEOM_SPHERE,
    "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
    "capsule": mujoco.mjtGeom.mjGEOM_CAPSULE,
}

_DIMENSIONS = {"box": 3, "sphere": 1, "cylinder": 2, "capsule": 2}  # half sizes that matter

_STAGE = f"""
<mujoco model="free_fall">
  <!-- Without it the extent follows the object, and with it the clipping planes and shadows. -->
  <statistic extent="2.05" center="0 0 0.23" meansize="0.17"/>
  <visual>
    <headlight ambient="0.42 0.42 0.42" diffuse="0.28 0.28 0.28" specular="0 0 0"/>
    <quality shadowsize="512" offsamples="4"/>
    <map shadowclip="1.2" znear="0.05" zfar="40"/>
  </visual>
  <asset>
    <texture type="skybox" builtin="gradient" rgb1="0.66 0.70 0.74" rgb2="0.86 0.87 0.88" width="64" height="64"/>
  </asset>
  <worldbody>
    <light name="sun" type="directional" pos="0 0 4" dir="0 0 -1" diffuse="0.5 0.5 0.5" castshadow="true"/>
    <geom name="floor" type="plane" size="8 8 0.1" rgba="0.62 0.60 0.58 1"/>
    <camera name="{CAMERA}" pos="0 -3.1 0.95" xyaxes="1 0 0 0 0.1 1" fovy="34"/>
    <body name="object"><freejoint/><geom name="object" type="sphere" size="0.1"/></body>
  </worldbody>
</mujoco>
"""


@dataclass(frozen=True)
class DropScene:
    """Everything that decides a clip. SI units, world frame, z up, the floor at z = 0.

    ``size`` holds MuJoCo half sizes: (x, y, z) of a box, (radius, 0, 0) of a sphere,
    (radius, half length, 0) of a cylinder or capsule.
    """

    shape: str
    size: tuple[float, float, float]  # m
    colour: str
    position: tuple[float, float, float]  # m, centre at t = 0
    quaternion: tuple[float, float, float, float]  # w, x, y, z at t = 0
    gravity: float = 9.81  # m/s^2, downwards
    restitution: float = 0.47  # speed after a central bounce over speed before
    friction: float = 0.7  # Coulomb coefficient against the floor


@dataclass(frozen=True)
class DropSampler:
    """Ranges from which scenes are drawn; a number fixes a value, a pair is uniform."""

    shapes: tuple[str, ...] = SHAPES
    colours: tuple[str, ...] = tuple(COLOURS)
    radius: tuple[float, float] = (0.12, 0.19)  # m, of the sphere of about equal volume
    clearance: tuple[float, float] = (0.15, 1.0)  # m, lowest point above the floor
    sideways: tuple[float, float] = (-0.45, 0.45)  # m, along the image
    depth: tuple[float, float] = (-0.2, 0.2)  # m, towards and away from the camera
    gravity: float | tuple[float, float] = 9.81
    restitution: float | tuple[float, float] = 0.47
    friction: float | tuple[float, float] = 0.7

    def __call__(self, rng: np.random.Generator) -> DropScene:
        shape = str(rng.choice(self.shapes))
        size = _half_sizes(shape, rng.uniform(*self.radius), rng)
        quaternion = rng.normal(size=4)
        quaternion /= np.linalg.norm(quaternion)
        lowest = _extent_below_centre(shape, size, quaternion)
        x, y = rng.uniform(*self.sideways), rng.uniform(*self.depth)
        z = lowest + rng.uniform(*self.clearance)
        qw, qx, qy, qz = map(float, quaternion)
        return DropScene(
            shape=shape,
            size=size,
            colour=str(rng.choice(self.colours)),
            position=(float(x), float(y), float(z)),
            quaternion=(qw, qx, qy, qz),
            gravity=_draw(self.gravity, rng),
            restitution=_draw(self.restitution, rng),
            friction=_draw(self.friction, rng),
        )


def _draw(value: float | tuple[float, float], rng: np.random.Generator) -> float:
    return float(rng.uniform(*value)) if isinstance(value, tuple) else float(value)


def _half_sizes(shape: str, radius: float, rng: np.random.Generator) -> tuple[float, float, float]:
    if shape == "box":
        half = 0.8 * radius * rng.uniform(0.8, 1.25, size=3)
        return (float(half[0]), float(half[1]), float(half[2]))
    if shape == "sphere":
        return (float(radius), 0.0, 0.0)
    thickness, length = (0.8, rng.uniform(0.8, 1.2)) if shape == "cylinder" else (0.7, rng.uniform(0.5, 0.9))
    return (float(thickness * radius), float(length * radius), 0.0)


def _extent_below_centre(shape: str, size: tuple[float, float, float], quaternion: np.ndarray) -> float:
    """Height in metres of the centre when the rotated shape touches the floor."""
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, quaternion)
    down = np.abs(rotation.reshape(3, 3)[2])  # the world's z axis in body coordinates
    radius, half_length, _ = size
    if shape == "box":
        return float(down @ np.asarray(size))
    if shape == "sphere":
        return radius
    if shape == "capsule":
        return float(radius + half_length * down[2])
    return float(radius * np.hypot(down[0], down[1]) + half_length * down[2])


def contact_reference(restitution: float) -> tuple[float, float]:
    """MuJoCo ``solref`` (negative: stiffness, damping) of a bounce with the given restitution.

    A mass on a damped spring that cannot pull leaves when the force ends, with a share
    e = exp(-zeta (pi - 2 asin zeta) / sqrt(1 - zeta^2)) of its speed. The stiffness is such
    that half an undamped period takes ``CONTACT_DURATION``.
    """
    grid = np.linspace(0.0, 1.0, 20_001)[1:-1]
    left = np.exp(-grid * (np.pi - 2.0 * np.arcsin(grid)) / np.sqrt(1.0 - grid**2))
    zeta = float(np.interp(-restitution, -left, grid))
    omega = np.pi / CONTACT_DURATION
    return -float(omega**2), -float(2.0 * zeta * omega)


def _compile(scene: DropScene) -> mujoco.MjModel:
    spec = mujoco.MjSpec.from_string(_STAGE)
    spec.option.gravity = (0.0, 0.0, -scene.gravity)
    body, geom, floor = spec.body("object"), spec.geom("object"), spec.geom("floor")
    body.pos, body.quat = scene.position, scene.quaternion
    geom.type = _GEOM_TYPES[scene.shape]
    geom.size = scene.size
    geom.density = DENSITY
    geom.rgba = (*COLOURS[scene.colour], 1.0)
    stiffness, damping = contact_reference(scene.restitution)
    for each in (geom, floor):
        each.friction = (scene.friction, 0.003, 0.0005)
        each.condim = 6
        each.solref = (stiffness, damping)
        each.solimp = (0.99, 0.999, 0.001, 0.5, 2.0)
    return spec.compile()


_PLACEHOLDER = DropScene("sphere", (0.1, 0.0, 0.0), "red", (0.0, 0.0, 1.0), (1.0, 0.0, 0.0, 0.0))


def _check_scene(scene: DropScene) -> None:
    def refuse(name: str, got: Any, expected: str) -> None:
        raise ValueError(f"{name}: got {got!r}, expected {expected}; change it in the scene or its options")

    if scene.shape not in SHAPES:
        refuse("shape", scene.shape, f"one of {', '.join(SHAPES)}")
    if scene.colour not in COLOURS:
        refuse("colour", scene.colour, f"one of {', '.join(COLOURS)}")
    if len(scene.size) != 3 or not all(half > 0 for half in scene.size[: _DIMENSIONS[scene.shape]]):
        refuse("size", scene.size, f"three half sizes in metres, the first {_DIMENSIONS[scene.shape]} above 0")
    if len(scene.position) != 3 or not np.isfinite(scene.position).all():
        refuse("position", scene.position, "three finite coordinates in metres")
    if len(scene.quaternion) != 4 or not 0.999 < np.linalg.norm(scene.quaternion) < 1.001:
        refuse("quaternion", scene.quaternion, "four numbers of norm 1")
    if not 0.14 <= scene.restitution < 1.0:
        refuse("restitution", scene.restitution, "at least 0.14 (a critically damped floor) and below 1")
    if not scene.gravity >= 0.0:
        refuse("gravity", scene.gravity, "m/s^2 downwards, at least 0")
    if not scene.friction >= 0.0:
        refuse("friction", scene.friction, "at least 0")
    lowest = _extent_below_centre(scene.shape, scene.size, np.asarray(scene.quaternion))
    if scene.position[2] < lowest:
        refuse("position", scene.position, f"a centre at least {lowest:.3f} m above the floor")


class FreeFallEnv(gym.Env):
    """One object falls, bounces and comes to rest; the only action is to watch.

    Args:
        image_size: height and width of the observation in pixels.
        fps: frames (steps) per second.
        num_frames: length of a clip; the episode is truncated at its last frame.
        sampler: ranges of the scenes that ``reset`` draws.
        ranges: single fields of :class:`DropSampler`, such as ``gravity=1.62``,
            ``restitution=(0.3, 0.8)``, ``radius=(0.1, 0.2)`` or ``clearance=(0.5, 1.0)``.

    Observation: image (H, W, 3) uint8. Reward: 0. ``reset(options={"scene": DropScene})``
    plays a given scene; ``options={"gravity": 1.62}`` and the like replace single values of
    the drawn scene, which leaves the first frame as it is for gravity, restitution and
    friction.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 16}

    def __init__(
        self,
        image_size: tuple[int, int] | int = 128,
        fps: float = 16.0,
        num_frames: int = 17,
        sampler: DropSampler | None = None,
        render_mode: str | None = "rgb_array",
        **ranges: Any,
    ) -> None:
        height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
        if min(height, width) < 16:
            raise ValueError(f"image_size: got {image_size}, expected at least 16 x 16 pixels; ask for a larger image")
        if num_frames < 2 or fps <= 0:
            raise ValueError(f"num_frames, fps: got {num_frames}, {fps}, expected at least 2 frames and fps above 0")
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode: got {render_mode!r}, expected 'rgb_array' or None; there is no window")
        unknown = set(ranges) - {field.name for field in dataclasses.fields(DropSampler)}
        if unknown:
            raise ValueError(f"ranges: got {sorted(unknown)}, expected fields of DropSampler; correct the name")
        self.metadata = {**self.metadata, "render_fps": fps}
        self.render_mode = render_mode
        self.fps = float(fps)
        self.num_frames = num_frames
        self.sampler = dataclasses.replace(sampler or DropSampler(), **ranges)
        self.image_size = (int(height), int(width))
        self.observation_space = gym.spaces.Box(0, 255, (*self.image_size, 3), np.uint8)
        self.action_space = gym.spaces.Discrete(1)
        self._substeps = int(np.ceil(1.0 / (self.fps * MAX_TIMESTEP) - 1e-9))
        self._wrench = np.zeros(6)
        # One model for all scenes, because a renderer is bound to its model and slow to make.
        self._model = _compile(_PLACEHOLDER)
        self._data = mujoco.MjData(self._model)
        self._geom = mujoco.mj_name2id(self._model, mujoco.mjtObj.mjOBJ_GEOM, "object")
        self._renderer: OffscreenRenderer | None = None
        self.scene: DropScene | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Hold an object of a new scene above the floor; see the class for ``options``."""
        super().reset(seed=seed)
        options = dict(options or {})
        scene = options.pop("scene", None) or self.sampler(self.np_random)
        if not isinstance(scene, DropScene):
            raise ValueError(f"options: got a scene of type {type(scene).__name__}, expected a DropScene; build one")
        unknown = set(options) - {f.name for f in dataclasses.fields(DropScene)}
        if unknown:
            raise ValueError(
                f"options: got {sorted(unknown)}, expected 'scene' or fields of DropScene; correct the name"
            )
        self._start(dataclasses.replace(scene, **options))
        return self._image(), self._info()

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One frame later, after 1 / fps seconds of physics."""
        if self.scene is None:
            raise RuntimeError("step: got no scene, expected reset() before the first step; call reset()")
        self._advance()
        truncated = self._frame >= self.num_frames - 1
        return self._image(), 0.0, False, truncated, self._info()

    def render(self) -> np.ndarray | None:
        """The current image (H, W, 3) uint8."""
        return self._image() if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Free the renderer; the env can still be used and makes a new one."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def record(self, scene: DropScene | None = None, *, seed: int | None = None) -> Truth:
        """Play one clip from its first to its last frame and return all that is known of it."""
        self.reset(seed=seed, options={"scene": scene} if scene is not None else None)
        frames = [self._snapshot()]
        for _ in range(self.num_frames - 1):
            self._advance()
            frames.append(self._snapshot())
        assert self.scene is not None
        return Truth(
            **{name: np.stack([frame[name] for frame in frames]) for name in frames[0]},
            impact_time=self._impact_time,
            fps=self.fps,
            camera=camera_of(self._model, self._data, CAMERA, *self.image_size),
            scene={"env": "worldmodel/FreeFall-v0", **dataclasses.asdict(self.scene)},
        )

    def render_at(self, scene: DropScene, positions: np.ndarray, quaternions: np.ndarray) -> np.ndarray:
        """Video (T, H, W, 3) of the object put at given poses (T, 3) m and (T, 4), without physics."""
        self._start(scene)
        frames = []
        for position, quaternion in zip(positions, quaternions, strict=True):
            self._data.qpos[:3], self._data.qpos[3:7] = position, quaternion
            mujoco.mj_forward(self._model, self._data)
            frames.append(self._image())
        return np.stack(frames)

    def _start(self, scene: DropScene) -> None:
        _check_scene(scene)
        compiled = _compile(scene)
        compiled.opt.timestep = 1.0 / (self.fps * self._substeps)
        _copy_numbers(compiled, self._model)
        mujoco.mj_resetData(self._model, self._data)
        mujoco.mj_forward(self._model, self._data)
        self.scene = scene
        self._frame = 0
        self._touched, self._force, self._impact_time = False, 0.0, float("nan")

    def _advance(self) -> None:
        self._touched, forces = False, []
        for _ in range(self._substeps):
            mujoco.mj_step(self._model, self._data)
            force = self._floor_force()
            forces.append(force)
            if force > 0.0:
                self._touched = True
                if np.isnan(self._impact_time):
                    self._impact_time = float(self._data.time)
        self._force = float(np.mean(forces))
        self._frame += 1
        # Poses and contacts of the frame itself, not of the step before it.
        mujoco.mj_forward(self._model, self._data)

    def _floor_force(self) -> float:
        total = 0.0
        for index in range(self._data.ncon):
            mujoco.mj_contactForce(self._model, self._data, index, self._wrench)
            total += self._wrench[0]
        return total

    def _eye(self) -> OffscreenRenderer:
        if self._renderer is None:
            self._renderer = OffscreenRenderer(self._model, *self.image_size, CAMERA)
        return self._renderer

    def _image(self) -> np.ndarray:
        return self._eye().colour(self._data)

    def _snapshot(self) -> dict[str, Any]:
        data = self._data
        velocity = np.zeros(6)
        body = self._model.geom_bodyid[self._geom]
        mujoco.mj_objectVelocity(self._model, data, mujoco.mjtObj.mjOBJ_BODY, body, velocity, 0)
        return {
            "video": self._image(),
            "mask": self._eye().mask(data, self._geom),
            "time": data.time,
            "qpos": data.qpos.copy(),
            "qvel": data.qvel.copy(),
            "position": data.xipos[body].copy(),
            "quaternion": data.xquat[body].copy(),
            "velocity": velocity[3:],
            "angular_velocity": velocity[:3],
            "contact": self._touched,
            "contact_force": self._force,
        }

    def _info(self) -> dict[str, Any]:
        return {
            "time": float(self._data.time),
            "position": self._data.qpos[:3].copy(),
            "quaternion": self._data.qpos[3:7].copy(),
            "contact": bool(self._touched),
        }


def _copy_numbers(source: mujoco.MjModel, target: mujoco.MjModel) -> None:
    """Overwrite a model by another of the same structure, array by array."""
    for name in dir(source):
        if name.startswith(("body_", "geom_", "dof_", "jnt_", "bvh_")) or name in ("qpos0", "qpos_spring"):
            value = getattr(source, name)
            if isinstance(value, np.ndarray) and value.size:
                getattr(target, name)[...] = value
    target.opt.gravity[:] = source.opt.gravity
    target.opt.timestep = source.opt.timestep
    target.stat.meanmass, target.stat.meaninertia = source.stat.meanmass, source.stat.meaninertia
