"""How fast the free-fall metrics are, and how much memory they take.

    python benchmarks/evaluators.py

For each kind of scene, 17 frames of 128 x 128 px: the processor time of one core that a clip takes, from its frames to
every number of the evaluator (tracking included; decoding and what the certificate's scene metrics take are not), as
median over the clips with each clip's best of several turns, clips a second, and the ratio to the 50 a second that are
asked for. What is known of a true clip is read once, so the first video that is held against it takes longest; an
evaluation holds every row and sample against it, the ceiling and the nulls among them. The last column but one is a
frozen video's. The peak is the most memory that scoring allocates beyond the clip and its truth, in units of the
clip's own uint8 frames, by tracemalloc. The second table has that peak for one clip of each family, of 64 x 64 px and
the family's own length.
"""

from __future__ import annotations

import dataclasses
import time
import tracemalloc
from dataclasses import dataclass
from typing import Any

import cv2
import gymnasium as gym
import numpy as np
import tyro

import worldmodel.envs  # noqa: F401  registers the ids
from worldmodel.envs.free_fall import FreeFallEnv
from worldmodel.evaluators.controls import frozen
from worldmodel.evaluators.free_fall import score_free_fall
from worldmodel.evaluators.metrics import Scorer
from worldmodel.evaluators.registry import family_of, own_evaluator
from worldmodel.evaluators.scene import score_scene
from worldmodel.truth import Truth

SEED = 6_500_000  # of the first scene
FAMILIES: dict[str, dict[str, Any]] = {
    "worldmodel/FreeFall-v0": {},
    "worldmodel/Grasp-v0": {},
    "worldmodel/GraphTraversal-v0": {"task": "agent"},
    "worldmodel/GraphTraversal-v0:flood": {"task": "flood"},
    "worldmodel/Maze-v0": {},
}
WANTED = 50.0  # clips a second
KINDS: dict[str, dict[str, Any]] = {
    "one object": {},
    "on a table": {"support": "table"},
    "gripper": {"release": "gripper"},
    "three objects": {"objects": 3},
}


@dataclass(frozen=True)
class Settings:
    """Settings of the benchmark."""

    clips: int = 20
    """of each kind"""
    turns: int = 5
    """of which the best counts"""
    image_size: int = 128
    """height and width in pixels"""
    num_frames: int = 17
    """of a clip"""


def seconds(video: np.ndarray, truth: Truth, turns: int) -> tuple[float, float]:
    """Processor time of scoring the first video of a truth and a further one, each the best of several turns.

    Of the true video the further one is a copy, in which nothing is recognised.
    """
    spent, copy = [], video.copy()
    for _ in range(turns):
        unread = dataclasses.replace(truth)
        times = [time.process_time()]
        for each in (video, copy):
            score_free_fall(each, unread)
            times.append(time.process_time())
        spent.append(np.diff(times))
    first, further = np.min(spent, axis=0)
    return float(first), float(further)


def peak(score: Scorer, truth: Truth) -> float:
    """Most memory that scoring the true video allocates, over that of its frames."""
    unread = dataclasses.replace(truth)
    tracemalloc.start()
    score(truth.video, unread)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most / truth.video.nbytes


def main(settings: Settings) -> None:
    """Record, measure and print."""
    cv2.setNumThreads(1)
    print("| scene | n | ms, first | clips/s | over 50/s | ms, further | clips/s | over 50/s | frozen/s | peak |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for kind, options in KINDS.items():
        env = FreeFallEnv(image_size=settings.image_size, num_frames=settings.num_frames, **options)
        truths = [env.record(seed=SEED + number) for number in range(settings.clips)]
        score_free_fall(truths[0].video, truths[0])
        spent = np.median([seconds(truth.video, truth, settings.turns) for truth in truths], axis=0)
        still = np.median([seconds(frozen(truth.video), truth, settings.turns)[1] for truth in truths])
        most = max(peak(score_free_fall, truth) for truth in truths[:3])
        both = "".join(f"| {1e3 * s:.1f} | {1 / s:.0f} | {1 / s / WANTED:.2f} " for s in spent)
        print(f"| {kind} | {len(truths)} {both}| {1 / still:.0f} | {most:.1f} |", flush=True)
    print("\n| family | frames | peak, task | peak, picture |\n|---|---|---|---|")
    for family, options in FAMILIES.items():
        truth = gym.make(family.split(":")[0], image_size=64, **options).unwrapped.record(seed=SEED)
        scores = own_evaluator(family).score, score_scene
        for score in scores:
            score(truth.video, truth)  # imports and caches
        own, picture = (peak(score, truth) for score in scores)
        print(f"| {family_of(family).title} | {len(truth)} | {own:.1f} | {picture:.1f} |", flush=True)


if __name__ == "__main__":
    main(tyro.cli(Settings))
