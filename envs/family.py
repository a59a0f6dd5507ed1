"""What is particular to one family of scenes; all else is shared by every environment.

A family draws scenes, builds their MuJoCo models, turns actions into controls and reads
quantities off the sensors. It never steps physics itself, so the same family runs one scene
(:class:`~worldmodel.envs.scene_env.SceneEnv`) or thousands
(:class:`~worldmodel.envs.scene_vector_env.SceneVectorEnv`) with bit-equal results.

Throughout, n is the number of simulations handled in one call, and all scenes of one family
object compile to models of the same sizes (the same bodies, geoms and sensors).
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import gymnasium as gym
import mujoco
import numpy as np

from worldmodel.actions import ActionSpec
from worldmodel.json_values import tuples
from worldmodel.truth import Camera

Memory = dict[str, np.ndarray]  # (n, ...) each: constants of the scenes and running values
Signals = dict[str, np.ndarray]  # (n, ...) each: what is known at a frame
Policy = Callable[[Mapping[str, Any]], Any]  # from the info of a frame to the next action
PolicyMaker = Callable[[Any, np.random.Generator], Policy]  # from a scene
SceneChange = Callable[[Any], Mapping[str, Any]]  # from a scene to fields of it that no first frame shows


class Readings:
    """What the sensors of n simulations said at a frame and at every physics step before it."""

    def __init__(
        self, time: np.ndarray, now: np.ndarray, before: np.ndarray, columns: dict[str, slice], timestep: float
    ) -> None:
        self.time = time  # (n,) s, of the frame
        self.timestep = timestep  # s
        self._now, self._before, self._columns = now, before, columns

    def __getitem__(self, sensor: str) -> np.ndarray:
        """Values (n, dim) at the frame."""
        return self._now[:, self._columns[sensor]]

    def before(self, sensor: str) -> np.ndarray:
        """Values (n, substeps, dim) in each physics step since the frame before; no substeps at a reset.

        Forces are those that acted during the step, poses and velocities those at its start.
        """
        return self._before[:, :, self._columns[sensor]]

    def times_before(self) -> np.ndarray:
        """Times (n, substeps) in s at the end of each of those physics steps."""
        substeps = self._before.shape[1]
        return self.time[:, None] - self.timestep * np.arange(substeps - 1, -1, -1.0)


class Family(ABC):
    """Base class; an instance holds the ranges from which scenes are drawn.

    Args:
        sampler: draws scenes; the family's default ranges if None.
        ranges: replace single fields of the sampler.
    """

    id: ClassVar[str]  # as registered with Gymnasium
    sampler_type: ClassVar[type[Any]]  # a dataclass; called with a Generator it returns a scene
    scene_type: ClassVar[type[Any]]  # a frozen dataclass of JSON values: all that decides a clip
    signals: ClassVar[Mapping[str, str]]  # what `measure` returns, with units
    policies: ClassVar[Mapping[str, PolicyMaker]]  # scripted, the default first
    changes: ClassVar[Mapping[str, SceneChange]] = {}  # of policies that are to meet another physics
    camera: ClassVar[str] = "front"
    max_timestep: float = 0.002  # s, of physics
    num_frames: ClassVar[int] = 17  # of a clip, by default
    fps: ClassVar[float] = 16.0  # frames and actions per second, by default

    def __init__(self, sampler: Any = None, **ranges: Any) -> None:
        allowed = [field.name for field in dataclasses.fields(self.sampler_type)]
        unknown = sorted(set(ranges) - set(allowed))
        if unknown:
            got = ", ".join(f"{name}={ranges[name]!r}" for name in unknown)
            raise ValueError(f"options: got {got}, expected one of {', '.join(allowed)}; correct the name")
        if sampler is not None and not isinstance(sampler, self.sampler_type):
            raise ValueError(
                f"sampler: got {type(sampler).__name__}, expected {self.sampler_type.__name__}; give ranges instead"
            )
        self.sampler: Any = dataclasses.replace(sampler or self.sampler_type(), **ranges)

    def policy(self, choice: str | Policy | None, scene: Any, rng: np.random.Generator) -> Policy:
        """A scripted policy by name (the family's default if None); a function is returned as it is."""
        if callable(choice):
            return choice
        name = next(iter(self.policies)) if choice is None else choice
        if name not in self.policies:
            raise ValueError(f"policy: got {name!r}, expected one of {', '.join(self.policies)}; choose one of them")
        return self.policies[name](scene, rng)

    def attempted(self, choice: str | Policy | None, scene: Any) -> Any:
        """The scene in which a policy is played: one by name that has ``changes`` of its own meets another physics."""
        change = self.changes.get(choice) if isinstance(choice, str) else None
        return scene if change is None else dataclasses.replace(scene, **change(scene))

    @property
    def objects(self) -> tuple[str, ...]:
        """Names of the bodies whose poses and pixels are recorded; the first is *the* object."""
        return ("object",)

    @property
    def action_spec(self) -> ActionSpec | None:
        """Meaning of the actions at ``fps`` actions a second; None where there is nothing to do."""
        return None

    @property
    def observation_spaces(self) -> dict[str, gym.spaces.Box]:
        """Spaces of what :meth:`observe` returns, for one simulation."""
        return {"agent_pos": gym.spaces.Box(0.0, np.inf, (1,), np.float64)}

    @abstractmethod
    def check(self, scene: Any) -> None:
        """Raise ValueError (``name: got, expected; what to do``) for a scene that cannot be."""

    @abstractmethod
    def build(self, scene: Any) -> mujoco.MjSpec:
        """The scene as a model; its first keyframe, if it has one, is the start."""

    @abstractmethod
    def memory(self, scene: Any) -> dict[str, Any]:
        """Constants and first running values of one scene, passed to the methods below as (n, ...) arrays."""

    def command(self, actions: np.ndarray, memory: Memory, substeps: int) -> dict[str, np.ndarray]:
        """State fields (``ctrl``, ``mocap_pos``, ``eq_active``, ...) from actions (n, A).

        A field is (n, ...) and held, or (n, substeps, ...) with a value for each physics step.
        """
        return {}

    @abstractmethod
    def measure(self, readings: Readings, memory: Memory) -> Signals:
        """What is known at a frame, one array (n, ...) for each of ``signals``, ``success`` among them.

        Running values are kept by assigning new arrays to ``memory``; those in it are read-only.
        """

    def observe(self, readings: Readings, memory: Memory, signals: Signals) -> dict[str, np.ndarray]:
        """Observations (n, ...) beside the pixels; a scene without an agent shows its clock."""
        return {"agent_pos": readings.time[:, None].copy()}

    def reward(self, signals: Signals) -> np.ndarray:
        """Rewards (n,); 1 while the task is fulfilled."""
        return signals["success"].astype(np.float64)

    def outcome(self, scene: Any, time: np.ndarray, signals: Signals) -> dict[str, Any]:
        """JSON facts of a whole clip from its times (T,) and signals (T, ...)."""
        return {"success": bool(signals["success"][-1])}

    def maps(self, scene: Any, camera: Camera) -> dict[str, np.ndarray]:
        """Label images (H, W) of what stands still in the picture."""
        return {}

    def painted(self, model: mujoco.MjModel, scene: Any, time: float) -> mujoco.MjModel:
        """The model as it looks ``time`` seconds into the clip: a copy where something is drawn but not simulated."""
        return model

    def scale(self, scene: Any) -> float:
        """By how much every length of a scene, the camera's distance too, is multiplied; pictures do not show it."""
        return 1.0

    def task(self, scene: Any) -> str:
        """What is to be done, in a sentence."""
        return ""

    def scene_from_json(self, document: Mapping[str, Any]) -> Any:
        """The scene that ``Truth.scene`` describes."""
        names = {field.name for field in dataclasses.fields(self.scene_type)}
        return self.scene_type(**{name: tuples(value) for name, value in document.items() if name in names})
