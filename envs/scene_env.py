"""One scene of a family as a Gymnasium environment."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from worldmodel.envs.family import Family, Policy
from worldmodel.envs.options import check_kinds
from worldmodel.envs.recording import record
from worldmodel.envs.rendering import Eye
from worldmodel.envs.simulation import Simulation, Snapshot
from worldmodel.truth import Truth

MIN_SIDE, MAX_SIDE = 16, 8192  # pixels of a picture
RATES = (0.1, 10_000.0)  # frames a second


class Options:
    """What every environment, single or vector, is told beside its family's options; refuses what cannot be.

    Args:
        family: type of the family.
        image_size: height and width of the pictures in pixels, or one number for both.
        fps: frames (and actions) per second; the family's default if None.
        num_frames: length of a clip; the episode is truncated at its last frame.
        pixels: whether observations hold pictures.
        render_mode: ``rgb_array`` or None.
        terminate: whether an episode ends when the task is fulfilled; a clip has a fixed length.
        options: fields of the family's sampler.
    """

    def __init__(
        self,
        family: type[Family],
        image_size: tuple[int, int] | int,
        fps: float | None,
        num_frames: int | None,
        pixels: bool,
        render_mode: str | None,
        terminate: bool,
        options: dict[str, Any],
    ) -> None:
        fps = family.fps if fps is None else fps
        num_frames = family.num_frames if num_frames is None else num_frames
        whole = isinstance(num_frames, (int, np.integer)) and num_frames >= 2
        if not whole or not isinstance(fps, (int, float, np.number)) or not 0 < fps < np.inf:
            raise ValueError(
                f"num_frames, fps: got {num_frames!r}, {fps!r}, expected at least 2 whole frames and "
                "a finite number above 0; change them"
            )
        least, most = RATES
        if not least <= fps <= most:
            raise ValueError(f"fps: got {fps}, expected {least:g} to {most:g} frames a second; change it")
        for name, flag in (("pixels", pixels), ("terminate", terminate)):
            if not isinstance(flag, bool | np.bool_):
                raise ValueError(f"{name}: got {flag!r}, expected True or False; pass one of them")
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode: got {render_mode!r}, expected 'rgb_array' or None; there is no window")
        self.image_size = _height_and_width(image_size)
        self.fps, self.num_frames, self.pixels = float(fps), int(num_frames), pixels
        self.render_mode, self.terminate = render_mode, terminate
        self.family = family(**options)
        spec = self.family.action_spec
        if spec is not None:
            spec = dataclasses.replace(spec, control_hz=self.fps)
        self.action_spec = spec

    def observation_space(self) -> gym.spaces.Dict:
        """Pictures (H, W, 3) uint8 under ``pixels``, and what the family observes."""
        spaces: dict[str, gym.Space] = dict(self.family.observation_spaces)
        if self.pixels:
            spaces["pixels"] = gym.spaces.Box(0, 255, (*self.image_size, 3), np.uint8)
        return gym.spaces.Dict(spaces)

    def action_space(self) -> gym.Space:
        """A box in the units of the action spec; one choice where there is nothing to do."""
        spec = self.action_spec
        if spec is None:
            return gym.spaces.Discrete(1)
        return gym.spaces.Box(np.array(spec.low, np.float32), np.array(spec.high, np.float32), dtype=np.float32)

    def check_action(self, action: Any, num_envs: int | None = None) -> np.ndarray | None:
        """An action, or one for each of ``num_envs``, as float64; None where there is nothing to do.

        Raises:
            ValueError: a wrong shape, NaN or a number out of bounds.
        """
        leading = () if num_envs is None else (num_envs,)
        if self.action_spec is None:
            try:
                nothing = np.shape(action) == leading and np.array_equal(action, np.zeros(leading))
            except ValueError:  # a ragged list
                nothing = False
            if not nothing:
                raise ValueError(f"action: got {action!r}, expected 0 (shape {leading}), the only choice; pass it")
            return None
        expected = (*leading, len(self.action_spec.names))
        checked = self.action_spec.check(action)
        if checked.shape != expected:
            raise ValueError(f"action: got shape {checked.shape}, expected {expected}; pass one action an environment")
        return checked

    def draw(self, rng: np.random.Generator, options: dict[str, Any] | None) -> Any:
        """The scene that ``reset`` starts: drawn, or given whole as ``scene``, single fields replaced."""
        options = as_options(options)
        scene = options.pop("scene", None)
        scene = self.family.sampler(rng) if scene is None else scene
        expected = self.family.scene_type
        if not isinstance(scene, expected):
            raise ValueError(
                f"options: got a scene of type {type(scene).__name__}, expected a {expected.__name__}; build one"
            )
        names = [field.name for field in dataclasses.fields(expected)]
        unknown = sorted(set(options) - set(names))
        if unknown:
            got = ", ".join(f"{name}={options[name]!r}" for name in unknown)
            raise ValueError(f"options: got {got}, expected 'scene' or one of {', '.join(names)}; correct the name")
        scene = dataclasses.replace(scene, **options)
        check_kinds(scene)
        self.family.check(scene)
        return scene


def as_options(options: Any) -> dict[str, Any]:
    """A copy of the options of a reset."""
    if not isinstance(options, Mapping | None):
        raise ValueError(f"options: got {options!r}, expected a dict of what to change in the scene; pass one")
    return dict(options or {})


def _height_and_width(image_size: Any) -> tuple[int, int]:
    sides = image_size if isinstance(image_size, (tuple, list)) else (image_size, image_size)
    whole = len(sides) == 2 and all(isinstance(side, (int, np.integer)) for side in sides)
    if not whole or not MIN_SIDE <= sides[0] <= sides[1] <= MAX_SIDE:
        raise ValueError(
            f"image_size: got {image_size!r}, expected {MIN_SIDE} to {MAX_SIDE} pixels, or a pair of height and "
            "width, not less wide than high: scenes fill a square picture; change it"
        )
    return int(sides[0]), int(sides[1])


class SceneEnv(gym.Env):
    """Base of the environments; a subclass only names its family.

    Observation: ``pixels`` (H, W, 3) uint8 and what the family observes, ``agent_pos`` among
    it. ``info`` holds the family's signals of the frame, the poses of its objects, ``time`` in
    seconds and ``is_success``. For the arguments see :class:`Options`; further ones are fields
    of the family's sampler, such as ``gravity=1.62`` or ``gravity=(1.0, 10.0)``.

    ``reset(options={"scene": scene})`` plays a given scene; other options replace single fields
    of the drawn scene.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 16}
    family_type: ClassVar[type[Family]]

    def __init__(
        self,
        image_size: tuple[int, int] | int = 128,
        fps: float | None = None,
        num_frames: int | None = None,
        pixels: bool = True,
        render_mode: str | None = "rgb_array",
        terminate: bool = False,
        **options: Any,
    ) -> None:
        self.settings = Options(self.family_type, image_size, fps, num_frames, pixels, render_mode, terminate, options)
        self.family = self.settings.family
        self.render_mode = render_mode
        self.fps, self.num_frames = self.settings.fps, self.settings.num_frames
        self.image_size, self.action_spec = self.settings.image_size, self.settings.action_spec
        self.metadata = {**self.metadata, "render_fps": self.fps}
        self._max_episode_steps = self.num_frames - 1  # LeRobot asks for it
        self.observation_space = self.settings.observation_space()
        self.action_space = self.settings.action_space()
        self._simulation = Simulation(self.family, 1, fps=self.fps)
        self._eye: Eye | None = None

    @property
    def scene(self) -> Any:
        """What is being played; None before the first reset."""
        return self._simulation.scenes[0]

    @property
    def task(self) -> str:
        """Name of the task, as LeRobot asks for it."""
        return self.family.id

    @property
    def task_description(self) -> str:
        """What is to be done in the current scene, in a sentence."""
        return self.family.task(self.scene) if self.scene is not None else ""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Start a new scene; see the class for ``options``."""
        super().reset(seed=seed)
        self._simulation.reset([self.settings.draw(self.np_random, options)])
        return self._observation(), self._simulation.info(0)

    def step(self, action: Any) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """One frame later, after 1 / fps seconds of physics."""
        if self.scene is None:
            raise RuntimeError("step: got no scene, expected reset() before the first step; call reset()")
        checked = self.settings.check_action(action)
        self._simulation.step(None if checked is None else checked[None])
        signals = self._simulation.signals
        terminated = self.settings.terminate and bool(signals["success"][0])
        truncated = int(self._simulation.frame[0]) >= self.num_frames - 1
        reward = float(self.family.reward(signals)[0])
        return self._observation(), reward, terminated, truncated, self._simulation.info(0)

    def render(self) -> np.ndarray | None:
        """The current image (H, W, 3) uint8."""
        return self._picture() if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Free the renderer; the env can still be used and makes a new one."""
        if self._eye is not None:
            self._eye.close()
            self._eye = None

    def record(
        self,
        scene: Any = None,
        *,
        seed: int | None = None,
        policy: str | Policy | None = None,
        depth: bool = False,
    ) -> Truth:
        """Play one clip from its first to its last frame and return all that is known of it.

        Args:
            scene: what to play; drawn from ``seed`` if None.
            policy: name of one of the family's scripted policies (the first by default), or a
                function from the info of a frame to the next action. A name that stands for
                another physics, such as ``slip``, changes what no first frame shows.
            depth: record depth images too.
        """
        super().reset(seed=seed)
        scene = self.settings.draw(self.np_random, {} if scene is None else {"scene": scene})
        scene = self.family.attempted(policy, scene)
        chosen = self.family.policy(policy, scene, self.np_random)
        return record(self._simulation, self.eye, [scene], [chosen], self.num_frames, self.action_spec, depth=depth)[0]

    def snapshot(self) -> Snapshot:
        """The running scene between two frames, to go on from more than once."""
        return self._simulation.save(0)

    def restore(self, snapshot: Snapshot) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Go on from a snapshot, bit for bit; returns what :meth:`reset` does."""
        self._simulation.load([snapshot])
        return self._observation(), self._simulation.info(0)

    def render_at(self, scene: Any, qpos: np.ndarray) -> np.ndarray:
        """Video (T, H, W, 3) of a scene put at given poses (T, nq), without physics."""
        self.settings.family.check(scene)
        self._simulation.reset([scene])
        frames = []
        for pose in qpos:
            self._simulation.batch.bind("qpos")[0] = pose
            frames.append(self._picture())
        return np.stack(frames)

    @property
    def eye(self) -> Eye:
        """The renderer, made when it is first needed."""
        if self._eye is None:
            self._eye = Eye(self._simulation, *self.image_size)
        return self._eye

    def _picture(self) -> np.ndarray:
        self.eye.look(0)
        return self.eye.colour()

    def _observation(self) -> dict[str, np.ndarray]:
        observation = {name: value[0].copy() for name, value in self._simulation.observation.items()}
        return {**observation, "pixels": self._picture()} if self.settings.pixels else observation
