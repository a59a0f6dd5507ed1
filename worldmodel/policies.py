"""The seam to robot pipelines: what a policy is, an episode under it, and how long its answers took.

A policy is what openpi's servers offer: ``reset()``, and ``infer(observation) -> {"actions": (n, A)}``. Observations
are dictionaries of arrays, such as those of this package's environments (``pixels``, ``agent_pos``); LeRobot's are
turned into them by :func:`from_lerobot`. Planners are policies too, see :mod:`worldmodel.planning.control`.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from worldmodel.counts import check_count


class Policy(Protocol):
    """Actions of what is seen."""

    def reset(self) -> None:
        """Forget the episode; called after each reset of the environment."""
        ...

    def infer(self, observation: Mapping[str, Any]) -> Mapping[str, Any]:
        """``actions`` (n, A) in the units of the environment's spec, n at least 1, and what else is to be recorded."""
        ...


@dataclass(frozen=True)
class Episode:
    """What came of a policy in an environment.

    Attributes:
        success: of the last frame; False where the policy failed.
        reward: summed.
        actions: (T - 1, A) that were taken.
        video: (T, H, W, 3) uint8, the first frame included.
        stages: name to whether a signal of that name was ever true, errors notwithstanding; of a chunk, in any frame
            where the info has ``signals``, else in its last.
        seconds: of each call of ``infer`` that was answered.
        answers: what ``infer`` returned beside its actions, one a call.
        error: what the policy raised, or "".
    """

    success: bool
    reward: float
    actions: np.ndarray
    video: np.ndarray
    stages: dict[str, bool]
    seconds: np.ndarray
    answers: tuple[dict[str, Any], ...]
    error: str = ""


def run_episode(
    env: Any,
    policy: Policy,
    *,
    seed: int,
    options: Mapping[str, Any] | None = None,
    execute: int | None = None,
    stages: Sequence[str] = (),
    until_success: bool = True,
) -> Episode:
    """Play one episode of an environment that takes single actions, or chunks of them, under a policy.

    A policy that raises, in its reset too, or answers with what is no action, ends its episode, which is recorded as
    failed. What it does to an observation changes nothing but its own copy.

    Args:
        env: with ``pixels`` among its observations and ``is_success`` in its info. One that takes chunks has ``video``
            (m, H, W, 3) of their frames in its info, and may have ``signals``, name to (m, ...) of the same frames.
        policy: whose chunks are executed.
        seed, options: of the environment's reset.
        execute: actions of a chunk to take before the policy is asked again; all if None. Environments with actions in
            chunks take whole ones.
        stages: signals of the info to be recorded.
        until_success: end the episode with success.

    Raises:
        ValueError: ``execute`` is no whole number of at least 1.
    """
    _check_execute(execute)
    chunked = len(env.action_space.shape) == 2
    observation, info = env.reset(seed=seed, options=dict(options or {}))
    record = _Record(observation["pixels"], stages)
    try:
        policy.reset()
        while not record.over:
            seen = copy.deepcopy(observation)
            began = time.monotonic()
            answer = dict(policy.infer(seen))
            record.asked(time.monotonic() - began, answer)
            actions = checked_actions(answer.pop("actions", None), env.action_space, chunked)
            for action in [actions] if chunked else actions[:execute]:
                observation, reward, terminated, truncated, info = env.step(action)
                frames = info["video"] if chunked else observation["pixels"][None]
                record.stepped(action if chunked else action[None], frames, float(reward), info)
                record.over = terminated or truncated or (until_success and bool(info.get("is_success", False)))
                if record.over:
                    break
    except Exception as error:  # whatever a policy raises
        return record.episode(f"{type(error).__name__}: {error}")
    return record.episode()


class _Record:
    def __init__(self, frame: np.ndarray, stages: Sequence[str]) -> None:
        self.video, self.actions, self.seconds, self.answers = [frame[None]], [], [], []  # type: ignore[var-annotated]
        self.reward, self.success, self.over = 0.0, False, False
        self.stages = dict.fromkeys(stages, False)

    def asked(self, seconds: float, answer: Mapping[str, Any]) -> None:
        self.seconds.append(seconds)
        self.answers.append({name: value for name, value in answer.items() if name != "actions"})

    def stepped(self, actions: np.ndarray, frames: np.ndarray, reward: float, info: Mapping[str, Any]) -> None:
        self.actions.append(actions[: len(frames)])
        self.video.append(frames)
        self.reward += reward
        self.success = bool(info.get("is_success", False))
        signals = {**info, **info.get("signals", {})}
        self.stages = {name: seen or bool(np.any(signals.get(name, False))) for name, seen in self.stages.items()}

    def episode(self, error: str = "") -> Episode:
        actions = np.concatenate(self.actions) if self.actions else np.zeros((0, 0))
        video, seconds = np.concatenate(self.video), np.array(self.seconds)
        success = self.success and not error
        return Episode(success, self.reward, actions, video, self.stages, seconds, tuple(self.answers), error)


def _check_execute(execute: int | None) -> None:
    if execute is not None:
        check_count("execute", execute, "None takes all actions")


def checked_actions(actions: Any, space: Any, chunked: bool) -> np.ndarray:
    """A policy's actions (n, A) as float64, or a refusal of what does not fit the space of an environment."""
    if actions is None:
        raise ValueError("policy: got an answer without actions, expected them under 'actions'; return them")
    values = np.array(actions, np.float64)  # a policy may fill the same array again
    expected = space.shape if chunked else ("n", *space.shape)
    if (
        values.ndim != 2
        or values.shape[-1] != space.shape[-1]
        or len(values) < 1
        or (chunked and values.shape != space.shape)
    ):
        raise ValueError(f"policy: got actions of shape {values.shape}, expected {expected}; match the environment")
    if not np.isfinite(values).all():
        raise ValueError("policy: got NaN or infinite actions, expected finite ones; look at what it saw")
    return values


def from_lerobot(observation: Mapping[str, Any], camera: str | None = None) -> dict[str, np.ndarray]:
    """An observation of LeRobot's, single or a batch of one, as this package's environments have it.

    Args:
        observation: ``observation.images.<camera>`` (3, H, W) float in [0, 1] or (H, W, 3) uint8,
            ``observation.state`` (S,); or the keys of its environments, ``pixels`` (an array, or one for each camera)
            and ``agent_pos``. Tensors of any floating type, on any device, are taken as arrays.
        camera: which, where there are several.

    Raises:
        ValueError: no picture, several without a choice, or a shape that is no picture.
    """
    prefix = "observation.images."
    pictures = {key.removeprefix(prefix): value for key, value in observation.items() if key.startswith(prefix)}
    if "pixels" in observation:
        pixels = observation["pixels"]
        pictures |= dict(pixels) if isinstance(pixels, Mapping) else {"pixels": pixels}
    if "observation.image" in observation:
        pictures["image"] = observation["observation.image"]
    name = camera or (next(iter(pictures)) if len(pictures) == 1 else None)
    if name not in pictures:
        raise ValueError(
            f"camera: got {camera!r}, expected one of {', '.join(pictures) or 'none: there is no picture'}; say which"
        )
    state = observation.get("observation.state", observation.get("agent_pos"))
    beside = {} if state is None else {"agent_pos": _single(state, 1).astype(np.float64)}
    return {"pixels": _picture(_single(pictures[name], 3)), **beside}


def _single(value: Any, ndim: int) -> np.ndarray:
    array = _array(value)
    return array[0] if array.ndim == ndim + 1 and len(array) == 1 else array


def _array(value: Any) -> np.ndarray:
    """An array or a tensor as an array; NumPy has no bfloat16."""
    if _is_tensor(value):
        value = value.detach().cpu()
        value = value.double() if value.is_floating_point() else value
    return np.asarray(value)


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "detach")  # so that torch need not be imported where there is none


def _picture(array: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 of a picture in either order."""
    if array.ndim == 3 and array.shape[0] == 3 and array.shape[-1] != 3:
        array = np.moveaxis(array, 0, -1)
    if array.ndim != 3 or array.shape[-1] != 3:
        raise ValueError(f"picture: got shape {array.shape}, expected (H, W, 3) or (3, H, W); drop other channels")
    if array.dtype == np.uint8:
        return array
    if not np.isfinite(array).all() or array.min() < 0.0 or array.max() > 1.0:
        raise ValueError(f"picture: got {array.dtype} from {array.min()} to {array.max()}, expected 0 to 1; rescale it")
    return np.rint(array * 255.0).astype(np.uint8)


class LeRobotPolicy:
    """A policy of this package behind LeRobot's ``reset`` and ``select_action``: one action at a time.

    Args:
        policy: whose chunks are played out.
        camera: which picture it sees, where there are several.
        execute: actions of a chunk to take before the policy is asked again; all if None.
    """

    def __init__(self, policy: Policy, camera: str | None = None, execute: int | None = None) -> None:
        _check_execute(execute)
        self.policy, self.camera, self.execute = policy, camera, execute
        self._left: list[np.ndarray] = []

    def reset(self) -> None:
        """Forget the episode."""
        self.policy.reset()
        self._left = []

    def select_action(self, batch: Mapping[str, Any]) -> Any:
        """The next action (1, A) float32, as LeRobot's policies return for a batch of one.

        It is a tensor, on the same device, where the batch holds tensors, and an array where it holds arrays.
        """
        if not self._left:
            answer = self.policy.infer(from_lerobot(batch, self.camera))
            self._left = list(np.array(_array(answer["actions"]), np.float32)[: self.execute])
        action = self._left.pop(0)[None]
        pixels = batch.get("pixels")
        values = [*batch.values(), *(pixels.values() if isinstance(pixels, Mapping) else ())]
        tensor = next(filter(_is_tensor, values), None)
        if tensor is None:
            return action
        import torch

        return torch.from_numpy(action).to(tensor.device)


def latency(seconds: Sequence[float] | np.ndarray) -> dict[str, float]:
    """Percentiles of what calls took, in seconds: p50, p90, p95, p99 and max, and how many calls there were."""
    values = np.asarray(seconds, np.float64)
    if values.size == 0:
        raise ValueError("seconds: got no calls, expected at least one; run an episode first")
    names = {"p50": 50, "p90": 90, "p95": 95, "p99": 99, "max": 100}
    return {"calls": float(values.size), **{name: float(np.percentile(values, q)) for name, q in names.items()}}
