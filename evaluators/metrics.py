"""What a number says of a clip, which way is better, and what it must rank above what to be believed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from worldmodel.truth import Truth

Scorer = Callable[[np.ndarray, Truth], Any]  # (video (T, H, W, 3) uint8, truth) -> a score with ``to_dict()``
OwnRateScorer = Callable[
    [np.ndarray, float, Truth], dict[str, Any]
]  # (video (T', H, W, 3), frames/s, truth) -> numbers

# Kinds of clips that are made from the truth itself. Ceilings are what a perfect model could show.
CEILINGS = {
    "replay": "the true video",
    "h264": "the true video through H.264 and back",
    "autoencoder": "the true video through the embedded autoencoder and back: a ceiling of what that has learned",
}
CONTROLS = {
    "frozen": "the first frame, held",
    "linear": "the object goes on at its first velocity",
    "half_speed": "the true video at half speed",
    "half_gravity": "the same scene under half the gravity",
    "double_gravity": "the same scene under twice the gravity",
    "vanish": "the object disappears half-way",
    "teleport": "the object jumps half-way",
    "reversed": "the first frame, then the true video backwards",
    "shuffled": "the first frame, then the true frames in random order",
    "other_seed": "the first frame, then another scene's video",
    "overdriven": "colour and contrast grow over the true video",
    "sliding": "the whole true video slides",
    "flickering": "every other true frame is brighter",
    "brightening": "the true video grows brighter",
    "zooming": "the whole true video grows larger",
    "twin": "a second object like the first appears half-way",
    "wall_crossing": "the agent goes straight through the walls to its goal",
    "spill": "water spreads over the walls",
    "ghost_lift": "the object rises with a gripper that does not touch it",
    "knock_off": "the object falls off the table",
    "flat": "the first frame, moved by the camera like a picture on a wall",
    "forgotten": "half-way the scene becomes another one",
    "picture_alone": "the same video whatever the size, mass and gravity that the picture does not tell",
    "one_duration": "gravity such that every fall takes as long",
    "heavier_faster": "gravity grows with the object's mass",
    "prior": "one video for each of many sizes drawn from what the picture leaves open",
    "one_future": "as many copies of one video, of one size",
}

# True videos that are not what the actions lead to. They break no law, and a number that says what a video shows is
# right to like one; only those that hold a clip against MuJoCo's must rank it below the replay.
DECEPTIONS = {"done_anyway": "the true video of the same scene in which the task is done, whatever the actions"}
KINDS = CEILINGS | CONTROLS | DECEPTIONS


@dataclass(frozen=True)
class Metric:
    """One number of a score.

    Attributes:
        name: its key in the score's ``to_dict()``.
        label, unit: as printed, ``factor`` times the score with ``digits`` digits.
        pooled: how scenes are put together: their mean, their median, or the share that is true.
        better: ``lower``, ``higher``, nearest to ``zero``, or ``none`` for what only describes.
        meaning: formula, conditions and source.
        ranks: pairs of kinds of clips (see ``KINDS``); the first must score better
            than the second.
    """

    name: str
    label: str
    unit: str
    pooled: Literal["mean", "median", "share"]
    better: Literal["lower", "higher", "zero", "none"]
    meaning: str
    ranks: tuple[tuple[str, str], ...] = ()
    factor: float = 1.0
    digits: int = 2

    def __post_init__(self) -> None:
        unknown = sorted({kind for pair in self.ranks for kind in pair} - set(KINDS))
        if unknown:
            raise ValueError(f"ranks: got {', '.join(unknown)}, expected some of {', '.join(KINDS)}; correct the name")
        if self.ranks and self.better == "none":
            raise ValueError(f"better: got 'none' for {self.name}, which ranks clips; say which way is better")

    @property
    def resolution(self) -> float:
        """Half of the last digit that is printed: means that differ by less are one and the same number."""
        return float(0.5 * 10.0**-self.digits / self.factor)

    def goodness(self, scores: list[Mapping[str, Any]]) -> np.ndarray:
        """Scores (n,) of n clips turned so that more is better; nan where the number does not exist."""
        values = np.array([np.nan if score[self.name] is None else score[self.name] for score in scores], np.float64)
        if self.better == "zero":
            return -np.abs(values)
        return values if self.better == "higher" else -values


@dataclass(frozen=True)
class Evaluator:
    """How clips of one family are scored."""

    family: str  # id of the environment, such as worldmodel/FreeFall-v0
    score: Scorer
    metrics: tuple[Metric, ...]
    headline: str  # name of the metric that decides
    score_own_rate: OwnRateScorer | None = None  # numbers that need the frames a video came with
