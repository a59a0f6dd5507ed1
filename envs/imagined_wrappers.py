"""Actions one by one for an imagined environment, and in chunks for any other: a policy runs unchanged in both."""

from __future__ import annotations

import dataclasses
from typing import Any

import gymnasium as gym
import numpy as np

from worldmodel.actions import repeated
from worldmodel.envs.imagined import ImaginedEnv
from worldmodel.envs.imagined_dream import Chunk, Episode
from worldmodel.envs.imagined_settings import info_of


class SingleSteps(gym.Wrapper):
    """An imagined environment that takes actions one by one.

    After k actions of a chunk the model imagines it with those that are still missing held, under the chunk's own
    noise, and the frame after action k is shown; with the last action the chunk is the one that the wrapped
    environment imagines. That costs a call of the model a step, n times as many as chunks do.
    """

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        inner = env.unwrapped
        if not isinstance(inner, ImaginedEnv):
            raise ValueError(
                f"env: got {type(inner).__name__}, expected an ImaginedEnv; other environments step singly"
            )
        self._inner, spec = inner, inner.action_spec
        self.action_space = gym.spaces.Box(np.array(spec.low, np.float32), np.array(spec.high, np.float32))
        self._given: list[np.ndarray] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin a new episode."""
        self._given = []
        return super().reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Imagine the next frame."""
        settings, before = self._inner.settings, self._inner.save()
        self._given.append(self._inner.action_spec.check(action))
        count, whole = len(self._given), settings.dreamer.actions
        actions = repeated(np.stack(self._given), whole)
        ((after, chunk),) = settings.dreamer.step([before], actions[None])
        if count == whole:
            self._given = []
            self._inner.restore(after)
        signals = {name: value[count - 1 : count] for name, value in chunk.signals.items()}
        cut = _shown(before, after, chunk, count)
        shown = Chunk(
            chunk.video[count - 1 : count],
            actions[count - 1 : count],
            signals,
            chunk.uncertainty,
            chunk.ended,
            chunk.evaluations,
            chunk.seconds,
        )
        reward, success, terminated, truncated = settings.judge(cut, shown)
        return settings.observe(cut), reward, terminated, truncated, info_of(cut, shown, success)


class ChunkActions(gym.Wrapper):
    """Any environment with actions in chunks (n, A): they are taken one after the other until the episode ends.

    The reward is the sum; ``info`` is the last one, with ``video`` (m, H, W, 3) of the m frames that were seen.

    Args:
        env: with a box of actions and ``pixels`` among its observations.
        n: actions of a chunk.
    """

    def __init__(self, env: gym.Env, n: int) -> None:
        super().__init__(env)
        space = env.action_space
        if not isinstance(space, gym.spaces.Box) or space.shape is None or len(space.shape) != 1:
            raise ValueError(f"env: got the action space {space}, expected a box (A,); wrap another environment")
        if not isinstance(n, int) or n < 1:
            raise ValueError(f"n: got {n!r}, expected a whole number of at least 1; give one")
        self.n = n
        low, high = np.tile(space.low, (n, 1)), np.tile(space.high, (n, 1))
        self.action_space = gym.spaces.Box(low, high, dtype=space.low.dtype.type)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take all actions of a chunk, or those until the end."""
        total, video = 0.0, []
        for each in np.asarray(action):
            observation, reward, terminated, truncated, info = self.env.step(each)
            total += float(reward)
            video.append(observation["pixels"])
            if terminated or truncated:
                break
        return observation, total, terminated, truncated, {**info, "video": np.stack(video)}


def _shown(before: Episode, after: Episode, chunk: Chunk, count: int) -> Episode:
    """The episode as it is seen after ``count`` actions of a chunk."""
    readout = before.start.readout
    observation = before.observation
    if readout is not None and chunk.signals:
        rows = {name: value[None] for name, value in chunk.signals.items()}
        observation = {name: value[0, count - 1] for name, value in readout.observe(rows).items()}
    return dataclasses.replace(
        after, frames=before.frames + count, frame=chunk.video[count - 1], observation=observation
    )
