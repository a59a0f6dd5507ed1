"""Many scenes of a family as one Gymnasium VectorEnv on MuJoCo's batch."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from worldmodel.envs.family import Family
from worldmodel.envs.rendering import Eye
from worldmodel.envs.scene_env import Options
from worldmodel.envs.simulation import Simulation


class SceneVectorEnv(VectorEnv):
    """``num_envs`` scenes stepped together; a subclass only names its family.

    Sub-environment i started with a seed does bit for bit what the single environment does.
    ``reset(seed=s)`` seeds them with s, s + 1, ...; a list gives each its own. For the other
    arguments see :class:`~worldmodel.envs.scene_env.Options`.

    Args:
        num_envs: number of scenes.
        autoreset_mode: when an ended scene starts anew, a member of Gymnasium's ``AutoresetMode``
            or its value; in mode ``DISABLED`` the caller resets by ``options={"reset_mask": mask}``.
        threads: physics threads, 0 for one a core.
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
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        threads: int = 0,
        **options: Any,
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs: got {num_envs}, expected at least 1; ask for one or more")
        self.settings = Options(self.family_type, image_size, fps, num_frames, pixels, render_mode, terminate, options)
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
        self._generators: list[np.random.Generator] | None = None
        self._ended = np.zeros(num_envs, bool)
        self._eye: Eye | None = None

    @property
    def scenes(self) -> tuple[Any, ...]:
        """What is being played in each sub-environment."""
        return tuple(self._simulation.scenes)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Start new scenes: all of them, or those of ``options["reset_mask"]`` (num_envs,) bool."""
        options = dict(options or {})
        mask = self._mask(options.pop("reset_mask", None))
        self._seed(seed)
        self._start(np.nonzero(mask)[0], options)
        return self._observation(), self._info()

    def step(self, actions: Any) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One frame later everywhere; what has ended is dealt with as ``autoreset_mode`` says."""
        if self._generators is None:
            raise RuntimeError("step: got no scenes, expected reset() before the first step; call reset()")
        actions = self._checked(actions)
        waiting = self._ended.copy()
        if waiting.any() and self.autoreset_mode == AutoresetMode.DISABLED:
            raise ValueError(
                f"step: got ended sub-environments {np.nonzero(waiting)[0].tolist()}, expected them to be reset; "
                'call reset(options={"reset_mask": mask})'
            )
        moving = np.nonzero(~waiting)[0]
        if waiting.any():
            self._start(np.nonzero(waiting)[0], {})
        if len(moving):
            self._simulation.step(None if actions is None else actions[moving], moving)
        signals = self._simulation.signals
        reward = np.where(waiting, 0.0, self.family.reward(signals))
        terminated = ~waiting & signals["success"] & self.settings.terminate
        truncated = ~waiting & (self._simulation.frame >= self.settings.num_frames - 1)
        self._ended = terminated | truncated
        if self._ended.any() and self.autoreset_mode == AutoresetMode.SAME_STEP:
            final = {"final_obs": self._observation(), "final_info": self._info(), "_final_obs": self._ended.copy()}
            final["_final_info"] = self._ended.copy()
            self._start(np.nonzero(self._ended)[0], {})
            return self._observation(), reward, terminated, truncated, {**self._info(), **final}
        return self._observation(), reward, terminated, truncated, self._info()

    def render(self) -> tuple[np.ndarray, ...] | None:
        """The current image (H, W, 3) uint8 of every sub-environment."""
        return tuple(self._pictures()) if self.render_mode == "rgb_array" else None

    def close_extras(self, **kwargs: Any) -> None:
        """Free the renderer."""
        if self._eye is not None:
            self._eye.close()
            self._eye = None

    def _mask(self, mask: Any) -> np.ndarray:
        if mask is None:
            return np.ones(self.num_envs, bool)
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (self.num_envs,):
            raise ValueError(f"reset_mask: got {mask!r}, expected a bool array of shape ({self.num_envs},); pass one")
        if not mask.any():
            raise ValueError("reset_mask: got no True, expected at least one sub-environment; leave the call out")
        if self._generators is None and not mask.all():
            raise ValueError("reset_mask: got some sub-environments, expected all in the first reset; leave it out")
        return mask

    def _seed(self, seed: int | list[int | None] | None) -> None:
        seeds = (
            [None if seed is None else seed + i for i in range(self.num_envs)] if not isinstance(seed, list) else seed
        )
        if len(seeds) != self.num_envs:
            raise ValueError(f"seed: got {len(seeds)} seeds, expected {self.num_envs}; give one a sub-environment")
        known: list[np.random.Generator | None] = list(self._generators or [None] * self.num_envs)
        self._generators = [
            gym.utils.seeding.np_random(new)[0] if old is None or new is not None else old
            for old, new in zip(known, seeds, strict=True)
        ]

    def _start(self, ids: np.ndarray, options: dict[str, Any]) -> None:
        assert self._generators is not None
        scenes = [self.settings.draw(self._generators[index], options) for index in ids]
        self._simulation.reset(scenes, ids)
        self._ended[ids] = False

    def _checked(self, actions: Any) -> np.ndarray | None:
        if self.action_spec is None:
            return None
        checked = self.action_spec.check(actions)
        if checked.shape[0] != self.num_envs or checked.ndim != 2:
            raise ValueError(
                f"actions: got shape {checked.shape}, expected {(self.num_envs, len(self.action_spec.names))}; "
                "pass one action a sub-environment"
            )
        return checked

    def _pictures(self) -> list[np.ndarray]:
        if self._eye is None:
            self._eye = Eye(self._simulation, *self.settings.image_size)
        pictures = []
        for index in range(self.num_envs):
            self._eye.look(index)
            pictures.append(self._eye.colour())
        return pictures

    def _observation(self) -> dict[str, np.ndarray]:
        observation = {name: value.copy() for name, value in self._simulation.observation.items()}
        return {**observation, "pixels": np.stack(self._pictures())} if self.settings.pixels else observation

    def _info(self) -> dict[str, Any]:
        signals = self._simulation.signals
        values = {**self._simulation.objects(), **{name: value.copy() for name, value in signals.items()}}
        values |= {"time": self._simulation.time(), "is_success": signals["success"].astype(bool)}
        present = {f"_{name}": np.ones(self.num_envs, bool) for name in values}
        return {**values, **present}
