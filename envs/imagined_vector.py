"""Many imagined episodes as one Gymnasium VectorEnv, denoised in one batch of the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from worldmodel.envs.imagined_dream import Chunk, Episode, Reward
from worldmodel.envs.imagined_settings import Imagining, info_of
from worldmodel.envs.imagined_starts import Starts


class ImaginedVectorEnv(VectorEnv):
    """``num_envs`` imagined episodes, all denoised in one batch. For the other arguments see
    :class:`~worldmodel.envs.imagined_settings.Imagining`.

    Sub-environment i started with a seed does what the single environment does, up to float rounding of its batch.

    Args:
        num_envs: number of episodes.
        autoreset_mode: when an ended episode begins anew, a member of Gymnasium's ``AutoresetMode`` or its value; in
            mode ``DISABLED`` the caller resets by ``options={"reset_mask": mask}``.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 16, "autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(
        self,
        num_envs: int = 1,
        model: Any = "tiny",
        starts: str | Starts = "worldmodel/GraphTraversal-v0",
        horizon: int = 96,
        reward: Reward | None = None,
        success: Reward | None = None,
        terminate: bool = False,
        steps: int | None = None,
        solver: str = "euler",
        refine: Any = None,
        stop: Any = None,
        render_mode: str | None = "rgb_array",
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        **options: Any,
    ) -> None:
        if not isinstance(num_envs, int | np.integer) or num_envs < 1:
            raise ValueError(f"num_envs: got {num_envs!r}, expected a whole number of at least 1; give one")
        modes = [mode.value for mode in AutoresetMode]
        if autoreset_mode not in (*AutoresetMode, *modes):
            raise ValueError(f"autoreset_mode: got {autoreset_mode!r}, expected one of {', '.join(modes)}; choose one")
        self.settings = Imagining(
            model, starts, horizon, reward, success, terminate, steps, solver, refine, stop, render_mode, options
        )
        self.num_envs, self.render_mode = int(num_envs), render_mode
        self.autoreset_mode, self.action_spec = AutoresetMode(autoreset_mode), self.settings.action_spec
        fps = self.settings.model.recipe.fps
        self.metadata = {**self.metadata, "render_fps": fps, "autoreset_mode": self.autoreset_mode}
        self.single_observation_space = self.settings.observation_space()
        self.single_action_space = self.settings.action_space()
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._generators: list[Any] = [None] * self.num_envs
        self._episodes: list[Any] = [None] * self.num_envs
        self._ended = np.zeros(self.num_envs, bool)

    @property  # type: ignore[misc]  # an attribute in Gymnasium
    def np_random(self) -> tuple[np.random.Generator | None, ...]:  # type: ignore[override]  # one each
        """The generator of each sub-environment; None before its first reset."""
        return tuple(self._generators)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begin new episodes: all of them, or those of ``options["reset_mask"]`` (num_envs,) bool."""
        options = dict(options or {})
        mask = options.pop("reset_mask", np.ones(self.num_envs, bool))
        if (
            not isinstance(mask, np.ndarray)
            or mask.dtype != np.bool_
            or mask.shape != (self.num_envs,)
            or not mask.any()
        ):
            raise ValueError(f"reset_mask: got {mask!r}, expected bool ({self.num_envs},) with a True; pass one")
        seeds = list(seed) if isinstance(seed, Sequence) else _spread(seed, self.num_envs)
        if len(seeds) != self.num_envs:
            raise ValueError(f"seed: got {len(seeds)} seeds, expected {self.num_envs}; give one a sub-environment")
        for index in np.flatnonzero(mask):
            if seeds[index] is not None or self._generators[index] is None:
                self._generators[index] = gym.utils.seeding.np_random(seeds[index])[0]
        self._begin(np.flatnonzero(mask), options)
        return self._observation(), self._infos({})

    def step(self, actions: Any) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Imagine one chunk of every episode; what has ended is dealt with as ``autoreset_mode`` says."""
        if self._episodes[0] is None:
            raise RuntimeError("step: got no episodes, expected reset() before the first step; call reset()")
        actions, waiting = self.settings.check_actions(actions, self.num_envs), self._ended
        if waiting.any() and self.autoreset_mode == AutoresetMode.DISABLED:
            raise ValueError(
                f"step: got ended sub-environments {np.flatnonzero(waiting).tolist()}, expected them to be reset; "
                'call reset(options={"reset_mask": mask})'
            )
        self._begin(np.flatnonzero(waiting), {})
        moving = np.flatnonzero(~waiting)
        reward = np.zeros(self.num_envs)
        terminated, truncated = np.zeros(self.num_envs, bool), np.zeros(self.num_envs, bool)
        chunks: dict[int, tuple[Chunk, bool]] = {}
        stepped = (
            self.settings.dreamer.step([self._episodes[i] for i in moving], actions[moving]) if len(moving) else []
        )
        for index, (episode, chunk) in zip(moving, stepped, strict=True):
            self._episodes[index] = episode
            reward[index], success, terminated[index], truncated[index] = self.settings.judge(episode, chunk)
            chunks[int(index)] = (chunk, success)
        self._ended = terminated | truncated
        observation, info = self._observation(), self._infos(chunks)
        if self.autoreset_mode == AutoresetMode.SAME_STEP and self._ended.any():
            observation, info = self._restart(observation, info)
        return observation, reward, terminated, truncated, info

    def render(self) -> tuple[np.ndarray, ...] | None:
        """The last frame (H, W, 3) uint8 of every sub-environment."""
        return tuple(each.frame.copy() for each in self._episodes) if self.render_mode == "rgb_array" else None

    def save(self) -> list[Episode]:
        """The episodes as they stand; they are never changed."""
        return list(self._episodes)

    def restore(self, episodes: Sequence[Episode]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Go on from saved or forked episodes; returns what :meth:`reset` does."""
        if len(episodes) != self.num_envs:
            raise ValueError(f"episodes: got {len(episodes)}, expected {self.num_envs}; give one a sub-environment")
        self._episodes, self._ended = list(episodes), np.zeros(self.num_envs, bool)
        return self._observation(), self._infos({})

    def _begin(self, ids: np.ndarray, options: dict[str, Any]) -> None:
        for index in ids:
            self._episodes[index] = self.settings.begin(self._generators[index], options)
        self._ended = self._ended & ~np.isin(np.arange(self.num_envs), ids)

    def _observation(self) -> dict[str, np.ndarray]:
        rows = [self.settings.observe(each) for each in self._episodes]
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}

    def _infos(self, chunks: dict[int, tuple[Chunk, bool]]) -> dict[str, Any]:
        info: dict[str, Any] = {}
        for index, episode in enumerate(self._episodes):
            chunk, success = chunks.get(index, (None, False))
            info = self._add_info(info, info_of(episode, chunk, success), index)
        return info

    def _restart(
        self, observation: dict[str, np.ndarray], info: dict[str, Any]
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        ended = self._ended.copy()
        final = np.full(self.num_envs, None, object)
        for index in np.flatnonzero(ended):
            final[index] = {name: value[index] for name, value in observation.items()}
        self._begin(np.flatnonzero(ended), {})
        whole = {**self._infos({}), "final_obs": final, "final_info": info}
        return self._observation(), {**whole, "_final_obs": ended, "_final_info": ended.copy()}


def _spread(seed: int | None, count: int) -> list[int | None]:
    return [None if seed is None else seed + index for index in range(count)]
