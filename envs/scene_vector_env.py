"""Many scenes of a family as one Gymnasium VectorEnv on MuJoCo's batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from worldmodel.counts import check_count
from worldmodel.envs.family import Family
from worldmodel.envs.render_pool import RenderPool
from worldmodel.envs.rendering import Eye
from worldmodel.envs.scene_env import Options, as_options
from worldmodel.envs.simulation import Simulation


class SceneVectorEnv(VectorEnv):
    """``num_envs`` scenes stepped together; a subclass only names its family.

    Sub-environment i started with a seed does bit for bit what the single environment does.
    ``reset(seed=s)`` seeds them with s, s + 1, ...; a list gives each its own. For the other
    arguments see :class:`~worldmodel.envs.scene_env.Options`.

    Args:
        num_envs: number of scenes.
        max_episode_steps: actions after which an episode is truncated, where that is before ``num_frames``;
            Gymnasium's ``make_vec`` passes it on.
        autoreset_mode: when an ended scene starts anew, a member of Gymnasium's ``AutoresetMode``
            or its value; in mode ``DISABLED`` the caller resets by ``options={"reset_mask": mask}``.
        threads: physics threads, 0 for one a core.
        render_workers: processes that render; 0 renders in this one. See
            :class:`~worldmodel.envs.render_pool.RenderPool`.
    """

    metadata = {
        "render_modes": ["rgb_array"],
        "render_fps": 16,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }
    family_type: ClassVar[type[Family]]

    def __init__(
        self,
        num_envs: int = 1,
        image_size: tuple[int, int] | int = 128,
        fps: float | None = None,
        num_frames: int | None = None,
        pixels: bool = True,
        render_mode: str | None = "rgb_array",
        terminate: bool = False,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        threads: int = 0,
        render_workers: int = 0,
        **options: Any,
    ) -> None:
        check_count("num_envs", num_envs)
        check_count("threads", threads, "0 is one a core", least=0)
        check_count("render_workers", render_workers, "0 renders in this process", least=0)
        modes = [mode.value for mode in AutoresetMode]
        if autoreset_mode not in (*AutoresetMode, *modes):
            raise ValueError(f"autoreset_mode: got {autoreset_mode!r}, expected one of {', '.join(modes)}; choose one")
        self.settings = Options(self.family_type, image_size, fps, num_frames, pixels, render_mode, terminate, options)
        if max_episode_steps is not None:
            check_count("max_episode_steps", max_episode_steps)
            self.settings.num_frames = min(self.settings.num_frames, max_episode_steps + 1)
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.num_envs, self.render_mode = num_envs, render_mode
        self.family, self.action_spec = self.settings.family, self.settings.action_spec
        self.metadata = {
            **self.metadata,
            "render_fps": self.settings.fps,
            "autoreset_mode": self.autoreset_mode,
        }
        self.single_observation_space = self.settings.observation_space()
        self.single_action_space = self.settings.action_space()
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._simulation = Simulation(self.family, num_envs, fps=self.settings.fps, threads=threads)
        self._generators: list[np.random.Generator | None] = [None] * num_envs
        self._ended = np.zeros(num_envs, bool)
        self._max_episode_steps = self.settings.num_frames - 1  # LeRobot asks for it
        self._eye: Eye | None = None
        self._render_workers = render_workers
        self._pool: RenderPool | None = None

    @property  # type: ignore[misc]  # an attribute in Gymnasium
    def np_random(self) -> tuple[np.random.Generator | None, ...]:  # type: ignore[override]  # one each
        """The generator of each sub-environment; None before its first reset."""
        return tuple(self._generators)

    @property
    def scenes(self) -> tuple[Any, ...]:
        """What is being played in each sub-environment."""
        return tuple(self._simulation.scenes)

    def call(self, name: str) -> tuple[Any, ...]:
        """What LeRobot asks each sub-environment for: ``task``, ``task_description`` or ``_max_episode_steps``.

        Raises:
            ValueError: another name.
        """
        if name == "task_description":
            return tuple("" if scene is None else self.family.task(scene) for scene in self.scenes)
        known = {"task": self.family.id, "_max_episode_steps": self._max_episode_steps}
        if name not in known:
            raise ValueError(
                f"call: got {name!r}, expected one of {', '.join((*known, 'task_description'))}; what else there is "
                "holds for all of them, or is in what step() returns"
            )
        return (known[name],) * self.num_envs

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Start new scenes: all of them, or those of ``options["reset_mask"]`` (num_envs,) bool."""
        options = as_options(options)
        mask = self._mask(options.pop("reset_mask", None))
        ids = np.nonzero(mask)[0]
        self._seed(seed, ids)
        self._start(ids, options)
        return self._observation(), self._info(mask)

    def step(self, actions: Any) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One frame later everywhere; what has ended is dealt with as ``autoreset_mode`` says."""
        if self._generators[0] is None:
            raise RuntimeError("step: got no scenes, expected reset() before the first step; call reset()")
        actions = self.settings.check_action(actions, self.num_envs)
        waiting = self._ended
        if waiting.any() and self.autoreset_mode == AutoresetMode.DISABLED:
            raise ValueError(
                f"step: got ended sub-environments {np.nonzero(waiting)[0].tolist()}, expected them to be reset; "
                'call reset(options={"reset_mask": mask})'
            )
        moving = np.nonzero(~waiting)[0]
        self._start(np.nonzero(waiting)[0], {})
        if len(moving):
            self._simulation.step(None if actions is None else actions[moving], moving)
        signals = self._simulation.signals
        reward = np.where(waiting, 0.0, self.family.reward(signals))
        terminated = ~waiting & signals["success"] & self.settings.terminate
        truncated = ~waiting & (self._simulation.frame >= self.settings.num_frames - 1)
        self._ended = terminated | truncated
        observation, info = self._observation(), self._info()
        if self.autoreset_mode == AutoresetMode.SAME_STEP and self._ended.any():
            observation, info = self._restart(observation)
        return observation, reward, terminated, truncated, info

    def render(self) -> tuple[np.ndarray, ...] | None:
        """The current image (H, W, 3) uint8 of every sub-environment."""
        return tuple(self._pictures()) if self.render_mode == "rgb_array" else None

    def close_extras(self, **kwargs: Any) -> None:
        """Free the renderer."""
        for each in (self._eye, self._pool):
            if each is not None:
                each.close()
        self._eye = self._pool = None

    def _mask(self, mask: Any) -> np.ndarray:
        if mask is None:
            return np.ones(self.num_envs, bool)
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (self.num_envs,):
            raise ValueError(f"reset_mask: got {mask!r}, expected a bool array of shape ({self.num_envs},); pass one")
        if not mask.any():
            raise ValueError("reset_mask: got no True, expected at least one sub-environment; leave the call out")
        if self._generators[0] is None and not mask.all():
            raise ValueError("reset_mask: got some sub-environments, expected all in the first reset; leave it out")
        return mask

    def _seed(self, seed: int | Sequence[int | None] | None, ids: np.ndarray) -> None:
        seeds = (
            list(seed)
            if isinstance(seed, Sequence)
            else [None if seed is None else seed + i for i in range(self.num_envs)]
        )
        if len(seeds) != self.num_envs:
            raise ValueError(f"seed: got {len(seeds)} seeds, expected {self.num_envs}; give one a sub-environment")
        for index in ids:
            if seeds[index] is not None or self._generators[index] is None:
                self._generators[index] = gym.utils.seeding.np_random(seeds[index])[0]

    def _start(self, ids: np.ndarray, options: dict[str, Any]) -> None:
        if len(ids):
            self._simulation.reset([self.settings.draw(self._generators[index], options) for index in ids], ids)
            if self._pool is not None:
                self._pool.start(ids)
        self._ended = self._ended.copy()
        self._ended[ids] = False

    def _restart(self, final: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Start anew what has just ended; its last frame goes into the info."""
        ended = self._ended
        final_obs = np.full(self.num_envs, None, object)
        for index in np.nonzero(ended)[0]:
            final_obs[index] = {name: value[index] for name, value in final.items()}
        info = {"final_obs": final_obs, "final_info": self._info(ended)}
        self._start(np.nonzero(ended)[0], {})
        info |= {"_final_obs": ended, "_final_info": ended.copy()}
        return self._observation(final, ended), {**self._info(), **info}

    def _pictures(self, earlier: np.ndarray | None = None, changed: np.ndarray | None = None) -> np.ndarray:
        """Images (num_envs, H, W, 3); with ``earlier`` ones, only those that ``changed`` are rendered again."""
        ids = np.arange(self.num_envs) if changed is None else np.nonzero(changed)[0]
        if self._render_workers:
            return self._render_elsewhere(ids)
        if self._eye is None:
            self._eye = Eye(self._simulation, *self.settings.image_size)
        shape = (self.num_envs, *self.settings.image_size, 3)
        pictures = np.empty(shape, np.uint8) if earlier is None else earlier.copy()
        for index in ids:
            self._eye.look(int(index))
            pictures[index] = self._eye.colour()
        return pictures

    def _render_elsewhere(self, ids: np.ndarray) -> np.ndarray:
        if self._pool is None:
            self._pool = RenderPool(self._simulation, *self.settings.image_size, self._render_workers)
            self._pool.start(np.arange(self.num_envs))
        return self._pool.render(ids)

    def _observation(
        self, earlier: dict[str, np.ndarray] | None = None, changed: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        observation = {name: value.copy() for name, value in self._simulation.observation.items()}
        if self.settings.pixels:
            observation["pixels"] = self._pictures(earlier["pixels"] if earlier else None, changed)
        return observation

    def _info(self, known: np.ndarray | None = None) -> dict[str, Any]:
        """Everything known of the sub-environments; the masks say of which (``known``, all if None)."""
        signals = self._simulation.signals
        values = self._simulation.objects() | {name: value.copy() for name, value in signals.items()}
        values |= {"time": self._simulation.time(), "is_success": signals["success"].astype(bool)}
        known = np.ones(self.num_envs, bool) if known is None else known
        return values | {f"_{name}": known.copy() for name in values}
