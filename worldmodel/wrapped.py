"""Other people's MuJoCo environments: pixels, an action spec and recorded clips, for an imagined twin of them.

``worldmodel collect Reacher-v5`` and ``worldmodel train`` make a model that takes the environment's actions;
:class:`PixelEnv` is the true side and :class:`GymStarts` where the imagined side begins.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np

from worldmodel.actions import ActionSpec
from worldmodel.envs.imagined_starts import Start
from worldmodel.truth import Camera, Truth

MEMORY = 0.7  # of a random action in the next, so that a clip moves


class PixelEnv(gym.Env):
    """A Gymnasium MuJoCo environment seen through its own camera, at a rate that a model knows.

    Observations are ``pixels`` (H, W, 3) uint8 and ``state``, its own. An action is held for as many of the
    environment's steps as come nearest to a frame; rewards are summed over them.

    Args:
        env: Gymnasium id, or a function that is called with ``render_mode="rgb_array"``, ``width``, ``height`` and the
            options, and makes one; a time limit of its own ends episodes here too. What it makes has, unwrapped,
            ``model`` (``mujoco.MjModel``), ``data`` (``mujoco.MjData``), ``dt`` (seconds of a step) and
            ``mujoco_renderer``, Gymnasium's, through which its ``render()`` draws.
        image_size: height and width in pixels.
        fps: frames, and actions, a second; what the environment's step allows comes nearest to it is taken.
        options: of ``gymnasium.make``, or of the function.

    Raises:
        ValueError: the environment lacks something of what is needed, or its actions are no box of finite bounds.
    """

    def __init__(
        self, env: str | Any, image_size: tuple[int, int] = (64, 64), fps: float = 16.0, **options: Any
    ) -> None:
        name = env if isinstance(env, str) else getattr(env, "__name__", "env")
        settings: dict[str, Any] = {"render_mode": "rgb_array", "height": image_size[0], "width": image_size[1]}
        make: Any = functools.partial(gym.make, env, max_episode_steps=10**9) if isinstance(env, str) else env
        self._env = make(**settings, **options)
        inner: Any = self._env.unwrapped
        _check_mujoco(name, inner)
        space = self._env.action_space
        if (
            not isinstance(space, gym.spaces.Box)
            or len(space.shape) != 1
            or not np.isfinite([space.low, space.high]).all()
        ):
            raise ValueError(
                f"env: got the action space {space}, expected a box (A,) of finite bounds; wrap the actions"
            )
        self.repeat = max(1, round(1.0 / (float(inner.dt) * fps)))
        self.fps = 1.0 / (float(inner.dt) * self.repeat)
        self.image_size, self.task_name = image_size, name
        self.action_spec = _spec(inner.model, space, name, self.fps)
        pixels = gym.spaces.Box(0, 255, (*image_size, 3), np.uint8)
        self.observation_space = gym.spaces.Dict({"pixels": pixels, "state": self._env.observation_space})
        self.action_space, self.render_mode = space, "rgb_array"
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": self.fps}
        self._labels: mujoco.Renderer | None = None
        # Gymnasium's free camera looks where the first picture's bodies were: that must not be a clip's own.
        self._env.reset(seed=0)
        self._picture()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin a new episode."""
        super().reset(seed=seed)
        state, info = self._env.reset(seed=seed, options=options)
        return {"pixels": self._picture(), "state": state}, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One frame later."""
        checked = self.action_spec.check(action).astype(np.float32)
        total = 0.0
        for _ in range(self.repeat):
            state, reward, terminated, truncated, info = self._env.step(checked)
            total += float(reward)
            if terminated or truncated:
                break
        return {"pixels": self._picture(), "state": state}, total, terminated, truncated, info

    def render(self) -> np.ndarray:
        """The current picture (H, W, 3) uint8."""
        return self._picture()

    def close(self) -> None:
        """Free the renderers."""
        # Left to the garbage collector, MuJoCo's objects would be deleted in whatever context is current by then.
        for viewer in self.inner.mujoco_renderer._viewers.values():
            viewer.make_context_current()
            viewer.con.free()
        self._env.close()
        if self._labels is not None:
            self._labels.close()
            self._labels = None

    def record(self, seed: int, num_frames: int = 17) -> Truth:
        """A clip of aimless actions (T - 1, A) with all that MuJoCo knows of its bodies, and the signal ``reward``.

        Raises:
            ValueError: the episode ends before ``num_frames``.
        """
        rng = np.random.default_rng(seed)
        observation, _ = self.reset(seed=seed)
        spec, moving = self.action_spec, _moving(self.inner.model)
        half = (np.array(spec.high) - np.array(spec.low)) / 2.0
        middle, push = np.array(spec.low) + half, np.zeros(len(half))
        frames, actions, rewards = [self._snapshot(observation["pixels"], moving)], [], [0.0]
        renderer = self._labeller()
        segmentation, camera = [self._segmentation(renderer, moving)], self._camera(renderer)
        for _ in range(num_frames - 1):
            push = MEMORY * push + np.sqrt(1.0 - MEMORY**2) * rng.normal(size=len(half))
            actions.append(np.clip(middle + 0.7 * half * push, spec.low, spec.high))
            observation, reward, terminated, truncated, _ = self.step(actions[-1])
            rewards.append(reward)
            if (terminated or truncated) and len(actions) < num_frames - 1:
                raise ValueError(
                    f"num_frames: got {num_frames}, expected at most {len(actions) + 1}: the episode of seed {seed} "
                    "ends there; record shorter clips"
                )
            frames.append(self._snapshot(observation["pixels"], moving))
            segmentation.append(self._segmentation(renderer, moving))
        stacked: dict[str, Any] = {name: np.stack([frame[name] for frame in frames]) for name in frames[0]}
        return Truth(
            **stacked,
            segmentation=np.stack(segmentation),
            objects=tuple(self.inner.model.body(body).name or f"body {body}" for body in moving),
            fps=self.fps,
            camera=camera,
            scene={"env": self.task_name, "seed": seed, "repeat": self.repeat},
            signals={"reward": np.array(rewards)},
            units={"reward": "the environment's own, summed over the steps of a frame"},
            actions=np.stack(actions),
            action_spec=spec,
        )

    @property
    def inner(self) -> Any:
        """The environment itself, with its ``model`` and ``data``."""
        return self._env.unwrapped

    def _picture(self) -> np.ndarray:
        viewer = self.inner.mujoco_renderer.viewer
        if viewer is not None:  # it draws into whatever context was used last
            viewer.make_context_current()
        return np.array(self._env.render(), np.uint8)

    def _snapshot(self, pixels: np.ndarray, moving: list[int]) -> dict[str, np.ndarray]:
        model, data = self.inner.model, self.inner.data
        speeds = np.zeros((len(moving), 6))
        for row, body in zip(speeds, moving, strict=True):
            mujoco.mj_objectVelocity(model, data, mujoco.mjtObj.mjOBJ_BODY, body, row, 0)
        return {
            "video": pixels,
            "time": np.float64(data.time),
            "qpos": data.qpos.copy(),
            "qvel": data.qvel.copy(),
            "position": data.xipos[moving].copy(),
            "quaternion": data.xquat[moving].copy(),
            "velocity": speeds[:, 3:],
            "angular_velocity": speeds[:, :3],
        }

    def _labeller(self) -> mujoco.Renderer:
        if self._labels is None:
            self._labels = mujoco.Renderer(self.inner.model, *self.image_size)
        return self._labels

    def _segmentation(self, renderer: mujoco.Renderer, moving: list[int]) -> np.ndarray:
        """Labels (H, W) uint8: i + 1 where the moving body i is the nearest surface, else 0."""
        viewer, model = self.inner.mujoco_renderer.viewer, self.inner.model
        renderer.update_scene(self.inner.data, viewer.cam, viewer.vopt)
        renderer.enable_segmentation_rendering()
        pixels = renderer.render()
        renderer.disable_segmentation_rendering()
        labels = np.zeros(model.ngeom + 1, np.uint8)
        for label, body in enumerate(moving, start=1):
            labels[:-1][model.geom_bodyid == body] = label
        is_geom = pixels[..., 1] == int(mujoco.mjtObj.mjOBJ_GEOM)
        return labels[np.where(is_geom, pixels[..., 0], -1)]

    def _camera(self, renderer: mujoco.Renderer) -> Camera:
        """The pinhole camera of the scene that was drawn last."""
        (height, width), eyes = self.image_size, renderer.scene.camera
        position, forward, up = (
            np.mean([getattr(eye, name) for eye in eyes], axis=0) for name in ("pos", "forward", "up")
        )
        focal = 0.5 * height / np.tan(0.5 * np.deg2rad(self.inner.model.vis.global_.fovy))
        rotation = np.stack([np.cross(forward, up), -up, forward])
        world_to_camera = np.eye(4)
        world_to_camera[:3, :3], world_to_camera[:3, 3] = rotation, -rotation @ position
        intrinsics = np.array([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])
        return Camera(intrinsics, world_to_camera, height, width)


class GymStarts:
    """First frames of a :class:`PixelEnv`, for its imagined twin; the reward is a function of the pixels.

    Args:
        env: as that of :class:`PixelEnv`.
        options: of ``gymnasium.make``.
    """

    family = None

    def __init__(self, env: str | Any, **options: Any) -> None:
        self._name, self._options = env, options
        self.spaces: dict[str, gym.spaces.Box] = {}
        self._make((64, 64), 16.0)

    def fit(self, image_size: tuple[int, int], fps: float) -> None:
        """Make the environment with pictures of that size, at the rate that comes nearest."""
        self._env.close()
        self._make(image_size, fps)

    def _make(self, image_size: tuple[int, int], fps: float) -> None:
        self._env = PixelEnv(self._name, image_size, fps, **self._options)
        self.action_spec: ActionSpec | None = self._env.action_spec

    def draw(self, rng: np.random.Generator, options: Mapping[str, Any]) -> Start:
        """The first frame of an episode."""
        observation, _ = self._env.reset(seed=int(rng.integers(2**31)), options=dict(options) or None)
        return Start(observation["pixels"], task=self._env.task_name)


def _check_mujoco(name: str, inner: Any) -> None:
    """Refuse an environment without what pictures and clips are made of, and say what that is."""
    needed = {
        "model (mujoco.MjModel)": isinstance(getattr(inner, "model", None), mujoco.MjModel),
        "data (mujoco.MjData)": isinstance(getattr(inner, "data", None), mujoco.MjData),
        "dt (seconds of a step)": hasattr(inner, "dt"),
        "mujoco_renderer (gymnasium.envs.mujoco.mujoco_rendering.MujocoRenderer)": hasattr(inner, "mujoco_renderer"),
    }
    missing = [each for each, there in needed.items() if not there]
    if missing:
        raise ValueError(
            f"env: got {name} without {', '.join(missing)}, expected all of {', '.join(needed)} on the unwrapped "
            "environment; choose another, or pass a function that makes it, sets mujoco_renderer = MujocoRenderer("
            "model, data, width=width, height=height) and lets render() return mujoco_renderer.render('rgb_array'); "
            "robosuite's model and data are sim.model._model and sim.data._data, its dt is 1 / control_freq"
        )


def _spec(model: mujoco.MjModel, space: gym.spaces.Box, name: str, fps: float) -> ActionSpec:
    """Numbers named as the actuators, in the environment's own control units."""
    width = space.shape[0]
    own = [model.actuator(index).name for index in range(model.nu)] if model.nu == width else []
    names = own if all(own) and len(set(own)) == width else [f"action {index}" for index in range(width)]
    return ActionSpec(
        names=tuple(names),
        units=("control",) * width,
        low=tuple(map(float, space.low)),
        high=tuple(map(float, space.high)),
        frame=name,
        control_hz=fps,
    )


def _moving(model: mujoco.MjModel) -> list[int]:
    """Bodies that joints can move."""
    return [body for body in range(1, model.nbody) if model.body_weldid[body] != 0]
