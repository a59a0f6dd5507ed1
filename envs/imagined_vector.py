"""Many imagined episodes as one Gymnasium VectorEnv, denoised in one batch of the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from worldmodel.counts import check_count
from worldmodel.envs.imagined_dream import Episode, Reward, check_episode
from worldmodel.envs.imagined_settings import Imagining, info_of
from worldmodel.envs.imagined_starts import Starts


class ImaginedVectorEnv(VectorEnv):
    """``num_envs`` imagined episodes, all denoised in one batch. For the other arguments see
    :class:`~worldmodel.envs.imagined_settings.Imagining`.

    Sub-environment i started with a seed does what the single environment does, up to float rounding of its batch.
    ``info`` is Gymnasium's: ``_name`` (num_envs,) tells which rows have ``name``. Those that have just begun have
    neither signals nor ``video`` (num_envs, n, H, W, 3). In mode ``SAME_STEP``, ``final_obs`` and ``final_info`` hold
    what the ended ones had.

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
        check_count("num_envs", num_envs)
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
        without = [index for index in np.flatnonzero(~mask).tolist() if self._episodes[index] is None]
        if without:
            raise ValueError(
                f"reset_mask: got {mask.tolist()} with sub-environments {without} without an episode, expected all "
                "True the first time; call reset() without a mask"
            )
        for index in np.flatnonzero(mask):
            if seeds[index] is not None:
                self._generators[index] = gym.utils.seeding.np_random(seeds[index])[0]
        self._begin(np.flatnonzero(mask), options)
        return self._observation(), self._infos(self._begun())

    def step(self, actions: Any) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Imagine one chunk of every episode; what has ended is dealt with as ``autoreset_mode`` says."""
        self._running()
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
        stepped = (
            self.settings.dreamer.step([self._episodes[i] for i in moving], actions[moving]) if len(moving) else []
        )
        judged, told = [self.settings.judge(*each) for each in stepped], self._begun()
        for index, (episode, chunk), verdict in zip(moving, stepped, judged, strict=True):
            reward[index], success, terminated[index], truncated[index] = verdict
            self._episodes[index], told[index] = episode, info_of(episode, chunk, success)
        self._ended = terminated | truncated
        if self.autoreset_mode == AutoresetMode.SAME_STEP:
            self._restart(told)
        return self._observation(), reward, terminated, truncated, self._infos(told)

    def render(self) -> tuple[np.ndarray, ...] | None:
        """The last frame (H, W, 3) uint8 of every sub-environment."""
        return tuple(each.frame.copy() for each in self._running()) if self.render_mode == "rgb_array" else None

    def save(self) -> list[Episode]:
        """The episodes as they stand; they are never changed."""
        return list(self._running())

    def restore(self, episodes: Sequence[Episode]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Go on from saved or forked episodes; returns what :meth:`reset` does."""
        if len(episodes) != self.num_envs:
            raise ValueError(f"episodes: got {len(episodes)}, expected {self.num_envs}; give one a sub-environment")
        for each in episodes:
            check_episode(each)
        self._episodes, self._ended = list(episodes), np.zeros(self.num_envs, bool)
        return self._observation(), self._infos(self._begun())

    def _running(self) -> list[Episode]:
        if self._episodes[0] is None:
            raise RuntimeError("episodes: got none, expected reset() first; call reset()")
        return self._episodes

    def _begin(self, ids: np.ndarray, options: dict[str, Any]) -> None:
        for index in ids:
            if self._generators[index] is None:
                self._generators[index] = gym.utils.seeding.np_random()[0]
            self._episodes[index] = self.settings.begin(self._generators[index], options)
        self._ended = self._ended & ~np.isin(np.arange(self.num_envs), ids)

    def _observation(self) -> dict[str, np.ndarray]:
        rows = [self.settings.observe(each) for each in self._episodes]
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}

    def _begun(self) -> list[dict[str, Any]]:
        """Infos of the sub-environments as if all had just begun."""
        return [info_of(episode, None, False) for episode in self._episodes]

    def _infos(self, told: list[dict[str, Any]]) -> dict[str, Any]:
        """Those of the sub-environments as one."""
        info: dict[str, Any] = {}
        for index, each in enumerate(told):
            info = self._add_info(info, each, index)
        return info

    def _restart(self, told: list[dict[str, Any]]) -> None:
        """Begin anew what has ended, and only there change what is told."""
        ended = np.flatnonzero(self._ended)
        finals = [{"final_obs": self.settings.observe(self._episodes[i]), "final_info": told[i]} for i in ended]
        self._begin(ended, {})
        for index, final in zip(ended, finals, strict=True):
            told[index] = {**info_of(self._episodes[index], None, False), **final}


def _spread(seed: int | None, count: int) -> list[int | None]:
    return [None if seed is None else seed + index for index in range(count)]
