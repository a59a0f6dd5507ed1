"""What imagined environments are told and check, and how they judge what was imagined."""

from __future__ import annotations

import functools
from typing import Any

import gymnasium as gym
import numpy as np

from worldmodel.actions import ActionSpec
from worldmodel.backends.domains import matched
from worldmodel.counts import check_count
from worldmodel.envs.imagined_dream import Chunk, Dreamer, Episode, Reward
from worldmodel.envs.imagined_starts import EnvStarts, Starts


class Imagining:
    """What both environments are told and check; refuses what cannot be before anything is computed.

    Args:
        model: a loaded :class:`worldmodel.WorldModel`, or a name for ``worldmodel.load``, which is loaded once.
        starts: where episodes begin: a Gymnasium id of this package, or any
            :class:`~worldmodel.envs.imagined_starts.Starts`.
        horizon: frames of an episode; it is truncated once as many have been imagined.
        reward: function from a :class:`~worldmodel.envs.imagined_dream.Chunk` to a number, such as ``reward`` of a
            :class:`~worldmodel.heads.LearnedHead`; that of the scenes' family, summed over the chunk's frames, if None.
        success: function from a chunk to a bool; the signal ``success`` of its last frame if None and it is read.
        terminate: whether an episode ends with success.
        steps, solver, refine, stop: of the model, see :meth:`worldmodel.WorldModel.rollout`; uncertainty is only
            measured under a stop rule, of which ``StopRule(inf)`` ends nothing.
        render_mode: ``rgb_array`` or None.
        options: fields of the sampler of the environment that ``starts`` names; what is left out is as in the scenes
            that the model was trained on.

    A model may imagine what cannot happen, such as a ball that rolls through a wall. Success that is read off its
    pixels only counts if nothing of the kind was seen in the episode before, and only then does the family's reward
    pay for it. A function of a user's own is told by ``chunk.legal`` up to which frame that holds.
    """

    def __init__(
        self,
        model: Any,
        starts: str | Starts,
        horizon: int,
        reward: Reward | None,
        success: Reward | None,
        terminate: bool,
        steps: int | None,
        solver: str,
        refine: Any,
        stop: Any,
        render_mode: str | None,
        options: dict[str, Any],
    ) -> None:
        _check(starts, horizon, {"reward": reward, "success": success}, render_mode, options)
        model = _loaded(model) if isinstance(model, str) else model
        self.starts: Starts = _starts(model, starts, options) if isinstance(starts, str) else starts
        if reward is None and self.starts.family is None:
            raise ValueError(
                "reward: got None for pictures of which nothing is known, expected a function of the imagined chunk; "
                "give one, or begin in an environment of worldmodel.envs"
            )
        # First of all: the rate of the environment's actions is that of its frames.
        self.starts.fit(model.recipe.image_size, model.recipe.fps)
        self.model = matched(model, self.starts.action_spec)
        self.action_spec: ActionSpec = self.model.backend.action_spec
        self.model.check_options(steps, solver, refine, 1)
        if hasattr(self.starts, "check_camera"):
            self.starts.check_camera(self.model.recipe)
        choices = {"steps": steps, "solver": solver, "refine": refine, "stop": stop}
        self.dreamer = Dreamer(self.model, choices)
        self.horizon, self.terminate = int(horizon), terminate
        self._reward = self._family_reward if reward is None else reward
        self._success = _success_read if success is None else success

    def observation_space(self) -> gym.spaces.Dict:
        """``pixels`` (H, W, 3) uint8, the last frame, and what is read off the frames."""
        pixels = gym.spaces.Box(0, 255, (*self.model.recipe.image_size, 3), np.uint8)
        return gym.spaces.Dict({**self.starts.spaces, "pixels": pixels})

    def action_space(self) -> gym.spaces.Box:
        """Chunks (n, A) in the units of the action spec."""
        shape, spec = (self.dreamer.actions, 1), self.action_spec
        low, high = np.tile(np.array(spec.low, np.float32), shape), np.tile(np.array(spec.high, np.float32), shape)
        return gym.spaces.Box(low, high, dtype=np.float32)

    def check_actions(self, actions: Any, num: int) -> np.ndarray:
        """Actions (num, n, A) as float64, or a refusal."""
        checked = self.action_spec.check(actions)
        expected = (num, self.dreamer.actions, len(self.action_spec.names))
        if checked.shape != expected:
            raise ValueError(f"action: got shape {checked.shape}, expected {expected}; pass a chunk an environment")
        return checked

    def begin(self, rng: np.random.Generator, options: dict[str, Any]) -> Episode:
        """A new episode; the seed of its noise is drawn from ``rng`` too."""
        start = self.starts.draw(rng, options)
        return self.dreamer.begin(start, int(rng.integers(2**31)))

    def observe(self, episode: Episode) -> dict[str, np.ndarray]:
        """Observation of an episode as it stands; nothing in it is shared with it."""
        beside = {
            name: np.clip(episode.observation[name], space.low, space.high).astype(space.dtype)
            for name, space in self.starts.spaces.items()
        }
        return {**beside, "pixels": episode.frame.copy()}

    def judge(self, episode: Episode, chunk: Chunk) -> tuple[float, bool, bool, bool]:
        """Reward, success, terminated and truncated after a chunk."""
        reward, success = _answer("reward", self._reward, chunk), bool(_answer("success", self._success, chunk))
        return reward, success, self.terminate and success, chunk.ended or episode.frames >= self.horizon

    def _family_reward(self, chunk: Chunk) -> float:
        return float(np.sum(self.starts.family.reward(chunk.signals)))


def info_of(episode: Episode, chunk: Chunk | None, success: bool) -> dict[str, Any]:
    """What is known of an episode beside its observation: signals of the last frame, and what imagining took.

    Signals are those of the chunk's last frame, under ``signals`` those of all its n. Before the first chunk there are
    neither signals nor ``video``.
    """
    signals = {} if chunk is None else {name: np.copy(value[-1]) for name, value in chunk.signals.items()}
    return {
        **{name: value if value.ndim else value.item() for name, value in signals.items()},
        **({} if chunk is None else {"video": chunk.video.copy(), "signals": dict(chunk.signals)}),
        "is_success": success,
        "frames": episode.frames,
        "model_calls": 0 if chunk is None else 1,
        "evaluations": 0 if chunk is None else chunk.evaluations,
        "seconds": 0.0 if chunk is None else chunk.seconds,
        "uncertainty": float("nan") if chunk is None else chunk.uncertainty,
    }


def _check(
    starts: Any, horizon: Any, functions: dict[str, Reward | None], render_mode: str | None, options: dict[str, Any]
) -> None:
    """Refuse what needs no model to be seen as wrong."""
    check_count("horizon", horizon, "it counts frames")
    if render_mode not in (None, "rgb_array"):
        raise ValueError(f"render_mode: got {render_mode!r}, expected 'rgb_array' or None; there is no window")
    if options and not isinstance(starts, str):
        raise ValueError(f"options: got {', '.join(options)}, expected none beside starts that are made; drop them")
    for name, function in functions.items():
        if function is not None and not callable(function):
            raise ValueError(f"{name}: got {function!r}, expected a function of a Chunk, or None; give one")


def _success_read(chunk: Chunk) -> bool:
    return bool(chunk.signals["success"][-1]) if "success" in chunk.signals else False


def _answer(name: str, function: Reward, chunk: Chunk) -> float:
    """What a function says of a chunk, or a refusal that names it and the signals that it could have read."""
    who = getattr(function, "__qualname__", type(function).__name__)
    remedy = f"expected a finite number or bool; the chunk's signals are {', '.join(chunk.signals) or 'none'}"
    try:
        value = function(chunk)
    except KeyError as error:
        raise ValueError(f"{name}: got KeyError {error} from {who}, {remedy}") from error
    try:
        number = float(value) if np.ndim(value) == 0 and not isinstance(value, str) else np.nan
    except (TypeError, ValueError):
        number = np.nan
    if not np.isfinite(number):
        got = f"an array of shape {np.shape(value)}" if getattr(value, "ndim", 0) else repr(value)
        raise ValueError(f"{name}: got {got} from {who}, {remedy}")
    return number


def _starts(model: Any, env: str, options: dict[str, Any]) -> EnvStarts:
    return EnvStarts(env, **model.recipe.scene(env, **options))


@functools.lru_cache(maxsize=2)
def _loaded(name: str) -> Any:
    import worldmodel

    return worldmodel.load(name)
