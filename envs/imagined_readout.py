"""What an imagined clip shows, as the signals that MuJoCo would give: a policy, a reward or a plan needs no others.

A readout knows the scene that a clip began with, sees its pixels, and knows the actions. What it reads goes through
the same code that measures MuJoCo's scenes, so that a signal of one name means one thing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True)
class Reading:
    """What is remembered of B clips between two pieces of them; nothing in it is changed by reading on."""

    memory: dict[str, np.ndarray]  # (B, ...) each

    def __len__(self) -> int:
        return len(next(iter(self.memory.values())))

    def select(self, rows: np.ndarray) -> Reading:
        """The clips of these rows, in their order."""
        return Reading({name: value[rows] for name, value in self.memory.items()})

    def repeat(self, n: int) -> Reading:
        """The first clip ``n`` times."""
        return self.select(np.zeros(n, np.int64))


def join(readings: Sequence[Reading]) -> Reading:
    """Readings of several clips as one."""
    names = readings[0].memory
    return Reading({name: np.concatenate([each.memory[name] for each in readings]) for name in names})


class Readout(Protocol):
    """Reads the signals of a family off pixels.

    Attributes:
        signals: names of what :meth:`read` returns; ``success`` is among them.
    """

    signals: tuple[str, ...]

    def begin(self, observation: Mapping[str, np.ndarray]) -> Reading:
        """What is known of one clip that begins with an observation of its environment."""
        ...

    def read(self, reading: Reading, video: np.ndarray, actions: np.ndarray) -> tuple[Reading, dict[str, np.ndarray]]:
        """Signals (B, n, ...) of the next n frames (B, n, H, W, 3) uint8 under actions (B, n, A)."""
        ...

    def observe(self, signals: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Observations (B, n, ...) beside the pixels, as the environment names them."""
        ...


def centroids(shares: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of shares (..., H, W): centroid (..., 2) px as (u, v), mass (...,) px and radius of gyration (...,) px.

    The centroid and the radius are nan where there is nothing.
    """
    height, width = shares.shape[-2:]
    v, u = np.arange(height) + 0.5, np.arange(width) + 0.5
    mass = shares.sum(axis=(-2, -1))
    with np.errstate(invalid="ignore", divide="ignore"):
        along_u, along_v = shares.sum(axis=-2) / mass[..., None], shares.sum(axis=-1) / mass[..., None]
    centre = np.stack([along_u @ u, along_v @ v], axis=-1)
    spread = along_u @ u**2 + along_v @ v**2 - (centre**2).sum(axis=-1)
    return centre, mass, np.sqrt(np.maximum(spread, 0.0))


def readout_for(env: Any, scene: Any = None) -> Readout:
    """The readout of an environment's current scene, or of another one of its family.

    Raises:
        ValueError: none is known for its family or its task.
    """
    from worldmodel.envs.imagined_ball import BallReadout
    from worldmodel.envs.imagined_grasp import GraspReadout

    makers: dict[str, Callable[..., Readout]] = {
        "worldmodel/GraphTraversal-v0": BallReadout,
        "worldmodel/Maze-v0": BallReadout,
        "worldmodel/Grasp-v0": GraspReadout,
    }
    name = getattr(getattr(env, "family", None), "id", type(env).__name__)
    if name not in makers or env.action_spec is None:
        raise ValueError(
            f"env: got {name}, expected one of {', '.join(makers)} with actions; pass a readout of your own, or use a "
            "reward of the pixels"
        )
    return makers[name](env.family, env.scene if scene is None else scene, env.image_size, env.fps)
