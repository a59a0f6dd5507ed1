"""Actions one by one for an imagined environment, and in chunks for any other: a policy runs unchanged in both."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker

from worldmodel.actions import repeated
from worldmodel.counts import check_count
from worldmodel.envs.imagined import ImaginedEnv
from worldmodel.envs.imagined_dream import Chunk, Episode, fork
from worldmodel.envs.imagined_settings import info_of


@dataclass(frozen=True)
class Midway:
    """An episode between two single steps; nothing in it is changed by going on from it.

    Attributes:
        episode: before the chunk.
        given: actions (A,) of the chunk so far.
        seen: the episode as it shows itself after them.
    """

    episode: Episode
    given: tuple[np.ndarray, ...]
    seen: Episode


class SingleSteps(gym.Wrapper):
    """An imagined environment that takes actions one by one.

    After k actions of a chunk the model imagines it with those that are still missing held, under the chunk's own
    noise, and the frame after action k is shown; with the last action the chunk is the one that the wrapped
    environment imagines. That costs a call of the model a step, n times as many as chunks do.

    Args:
        env: an :class:`~worldmodel.envs.imagined.ImaginedEnv`, also one that ``gymnasium.make`` made; other wrappers
            go around this one.
    """

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        inner = env.unwrapped
        if not isinstance(inner, ImaginedEnv):
            raise ValueError(
                f"env: got {type(inner).__name__}, expected an ImaginedEnv; other environments step singly"
            )
        _check_bare(env)
        self._inner, spec = inner, inner.action_spec
        self.action_space = gym.spaces.Box(np.array(spec.low, np.float32), np.array(spec.high, np.float32))
        self._midway: Midway | None = None

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Imagine the next frame."""
        settings, now = self._inner.settings, self._now()
        checked = self._inner.action_spec.check(action)
        if checked.shape != self.action_space.shape:
            raise ValueError(f"action: got shape {checked.shape}, expected {self.action_space.shape}; pass one action")
        given, whole = (*now.given, checked), settings.dreamer.actions
        ((after, chunk),) = settings.dreamer.step([now.episode], repeated(np.stack(given), whole)[None])
        seen, shown = _shown(now.episode, after, chunk, len(given)), _last(chunk, len(given))
        reward, success, terminated, truncated = settings.judge(seen, shown)
        if len(given) == whole:
            self._inner.restore(after)
        else:
            self._midway = Midway(now.episode, given, seen)
        return settings.observe(seen), reward, terminated, truncated, info_of(seen, shown, success)

    def render(self) -> Any:
        """The last frame that was shown (H, W, 3) uint8."""
        return self._now().seen.frame.copy() if self.render_mode == "rgb_array" else None

    def save(self) -> Midway:
        """The episode as it stands, to be given to :meth:`restore`; it is never changed."""
        return self._now()

    def restore(self, midway: Midway) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Go on from a saved or forked episode; returns what :meth:`reset` does."""
        if not isinstance(midway, Midway):
            got = type(midway).__name__
            raise ValueError(f"episode: got {got}, expected Midway; restore what save() or fork() returned")
        self._inner.restore(midway.episode)
        self._midway = dataclasses.replace(midway, episode=self._inner.save())
        return self._inner.settings.observe(midway.seen), info_of(midway.seen, None, False)

    def fork(self, n: int) -> list[Midway]:
        """``n`` continuations of the episode, to be restored; the first is its own, bit for bit.

        Raises:
            ValueError: a chunk has begun, whose frames that were shown are of the chunk's one noise.
        """
        now, whole = self._now(), self._inner.settings.dreamer.actions
        if now.given:
            raise ValueError(
                f"fork: got an episode {len(now.given)} of {whole} actions into a chunk, expected one between chunks; "
                f"fork {whole - len(now.given)} steps later, or before"
            )
        return [Midway(each, (), each) for each in fork(now.episode, n)]

    def _now(self) -> Midway:
        episode = self._inner.save()
        # It is another one after a reset, and where the environment underneath was stepped or restored.
        if self._midway is None or self._midway.episode is not episode:
            self._midway = Midway(episode, (), episode)
        return self._midway


class ChunkActions(gym.Wrapper):
    """Any environment with actions in chunks (n, A): they are taken one after the other until the episode ends.

    The reward is the sum; ``info`` is the last one, with ``video`` (m, H, W, 3) of the m frames that were seen, and
    under ``signals`` its numbers and flags (m, ...) in each of them.

    Args:
        env: with a box of actions and ``pixels`` among its observations.
        n: actions of a chunk.
    """

    def __init__(self, env: gym.Env, n: int) -> None:
        super().__init__(env)
        space = env.action_space
        if not isinstance(space, gym.spaces.Box) or space.shape is None or len(space.shape) != 1:
            raise ValueError(f"env: got the action space {space}, expected a box (A,); wrap another environment")
        check_count("n", n)
        self.n = n
        low, high = np.tile(space.low, (n, 1)), np.tile(space.high, (n, 1))
        self.action_space = gym.spaces.Box(low, high, dtype=space.low.dtype.type)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take all actions of a chunk, or those until the end."""
        total, video, infos = 0.0, [], []
        for each in np.asarray(action):
            observation, reward, terminated, truncated, info = self.env.step(each)
            total += float(reward)
            video.append(observation["pixels"])
            infos.append(info)
            if terminated or truncated:
                break
        kinds = (bool, int, float, np.generic, np.ndarray)
        names = [name for name, value in info.items() if isinstance(value, kinds)]
        signals = {name: np.stack([each[name] for each in infos]) for name in names}
        return observation, total, terminated, truncated, {**info, "video": np.stack(video), "signals": signals}


def _check_bare(env: gym.Env) -> None:
    """Refuse wrappers that single steps, which the environment itself does not know, would pass by."""
    while isinstance(env, gym.Wrapper):
        if not isinstance(env, OrderEnforcing | PassiveEnvChecker):
            raise ValueError(
                f"env: got {type(env).__name__} inside, expected the environment itself, as single steps pass by what "
                "is between; wrap SingleSteps in it instead"
            )
        env = env.env


def _last(chunk: Chunk, count: int) -> Chunk:
    """The frame after ``count`` actions of a chunk, as one of its own."""
    row = slice(count - 1, count)
    signals = {name: value[row] for name, value in chunk.signals.items()}
    return dataclasses.replace(
        chunk, video=chunk.video[row], actions=chunk.actions[row], signals=signals, legal=chunk.legal[row]
    )


def _shown(before: Episode, after: Episode, chunk: Chunk, count: int) -> Episode:
    """The episode as it is seen after ``count`` actions of a chunk."""
    readout = before.start.readout
    observation = before.observation
    if readout is not None and chunk.signals:
        rows = {name: value[None] for name, value in chunk.signals.items()}
        observation = {name: value[0, count - 1] for name, value in readout.observe(rows).items()}
    return dataclasses.replace(
        after, frames=before.frames + count, frame=chunk.video[count - 1].copy(), observation=observation
    )
