"""A world model as a Gymnasium environment; ``imagined_vector`` has many at once, ``imagined_wrappers`` single steps.

An action is a chunk (n, A), one for each frame that the model imagines at once.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import gymnasium as gym
import numpy as np

from worldmodel.envs.imagined_dream import Episode, Reward, check_episode, fork
from worldmodel.envs.imagined_settings import Imagining, info_of
from worldmodel.envs.imagined_starts import Starts


class ImaginedEnv(gym.Env):
    """One imagined episode at a time. For the arguments see :class:`~worldmodel.envs.imagined_settings.Imagining`.

    ``info`` of a step holds the signals of the last frame and ``video`` (n, H, W, 3) of the chunk; it always holds
    ``is_success``, ``frames`` of the episode, ``model_calls``, ``evaluations``, ``seconds`` and ``uncertainty``, which
    is nan without a stop rule (``stop=StopRule(inf)`` only measures). Options of ``reset`` are those of the starts.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 16}

    def __init__(
        self,
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
        **options: Any,
    ) -> None:
        self.settings = Imagining(
            model, starts, horizon, reward, success, terminate, steps, solver, refine, stop, render_mode, options
        )
        self.render_mode, self.action_spec = render_mode, self.settings.action_spec
        self.fps = self.settings.model.recipe.fps
        self.metadata = {**self.metadata, "render_fps": self.fps}
        self.observation_space, self.action_space = self.settings.observation_space(), self.settings.action_space()
        self._episode: Episode | None = None

    @property
    def scene(self) -> Any:
        """The scene that the episode began with; None where nothing is known of it."""
        return None if self._episode is None else self._episode.start.scene

    @property
    def family(self) -> Any:
        """Of the scenes, or None."""
        return self.settings.starts.family

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begin a new episode."""
        super().reset(seed=seed)
        self._episode = self.settings.begin(self.np_random, dict(options or {}))
        return self.settings.observe(self._episode), info_of(self._episode, None, False)

    def step(self, action: Any) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Imagine one chunk."""
        episode = self._running()
        actions = self.settings.check_actions(np.asarray(action)[None], 1)
        ((following, chunk),) = self.settings.dreamer.step([episode], actions)
        reward, success, terminated, truncated = self.settings.judge(following, chunk)
        self._episode = following
        return self.settings.observe(following), reward, terminated, truncated, info_of(following, chunk, success)

    def render(self) -> np.ndarray | None:
        """The last frame (H, W, 3) uint8."""
        return self._running().frame.copy() if self.render_mode == "rgb_array" else None

    def save(self) -> Episode:
        """The episode as it stands, to be given to :meth:`restore`; it is never changed."""
        return self._running()

    def restore(self, episode: Episode) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Go on from a saved or forked episode; returns what :meth:`reset` does."""
        check_episode(episode)
        # A new object, so that whoever is in the middle of a chunk sees that it is no longer this one.
        self._episode = dataclasses.replace(episode)
        return self.settings.observe(episode), info_of(episode, None, False)

    def fork(self, n: int) -> list[Episode]:
        """``n`` continuations of the episode, to be restored; the first is its own, bit for bit."""
        return fork(self._running(), n)

    def _running(self) -> Episode:
        if self._episode is None:
            raise RuntimeError("episode: got none, expected reset() first; call reset()")
        return self._episode
