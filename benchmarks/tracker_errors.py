"""How far the trackers are from MuJoCo's masks, measured on true clips of every family.

    python benchmarks/tracker_errors.py --json runs/tracker_errors.json

For each family, and within it by size and colour of the followed object: median and 95 % quantile of the distance in
px between tracked centroid and centroid of MuJoCo's visible mask; the share of frames with the object in view in which
it is found; and the share of frames from which it is truly absent in which it is found all the same. In view means at
least 35 % of the first frame's visible area. Absent are frames from which the object was cut out after half of the clip
(painted over with the empty scene; its shadow stays), and those in which it hides or has left the picture by itself.
Unless told otherwise each family is followed as its evaluator follows it: by colour, all falling objects together, and
the agents by ``track_ball``, water as the flood's evaluator finds it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import tyro
from tqdm.auto import tqdm

import worldmodel.envs  # noqa: F401  registers the ids
from worldmodel.collect import environment_id
from worldmodel.evaluators.ball_tracking import track_ball
from worldmodel.evaluators.controls import vanish
from worldmodel.evaluators.counts import count_pixels, mean_place
from worldmodel.evaluators.free_fall import MIN_VISIBLE, true_centroid
from worldmodel.evaluators.trackers import tracker_of
from worldmodel.evaluators.water import water_masks
from worldmodel.truth import Truth

SEED = 6_000_000  # of the first scene: no training, validation, demo or certificate has them
SIZES = {"small": (0.0, 0.008), "medium": (0.008, 0.02), "large": (0.02, 1.0)}  # first visible area over the picture's


@dataclass(frozen=True)
class Course:
    """A family's clips: environment, options of it, and the policies under which its scenes are played in turns."""

    env: str
    options: dict[str, Any] = field(default_factory=dict)
    policies: tuple[str, ...] = ("",)
    tracker: str = "colour"


COURSES = {
    "free fall": Course("free-fall"),
    "free fall, 3 objects": Course("free-fall", {"objects": 3}),
    "free fall, gripper": Course("free-fall", {"release": "gripper"}),
    "grasp": Course("grasp", policies=("expert", "no_close")),
    "graph agent": Course("graph-traversal", policies=("shortest", "wrong_branch"), tracker="ball"),
    "graph flood": Course("graph-traversal", {"task": "flood"}, tracker="water"),
    "maze": Course("maze", policies=("shortest", "halfway"), tracker="ball"),
}


@dataclass(frozen=True)
class Settings:
    """Settings of the measurement."""

    scenes: int = 40
    """of each family"""
    families: tuple[str, ...] = tuple(COURSES)
    tracker: str | None = None
    """one of worldmodel.evaluators.trackers, or ball or water, the evaluators' own; each family's own by default"""
    image_size: int = 128
    """height and width in pixels"""
    num_frames: int | None = None
    """of a clip; the environment's default if not given"""
    json: Path | None = None
    """write every number here"""


@dataclass
class Tally:
    """Frames that were counted of one class."""

    clips: int = 0
    errors: list[float] = field(default_factory=list)  # px, of found frames in view
    in_view: int = 0
    absent: int = 0
    false_alarms: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The printed numbers; None where there is no frame to tell."""
        quantiles = np.quantile(self.errors, (0.5, 0.95)).tolist() if self.errors else [None, None]
        return {
            "clips": self.clips,
            "frames_in_view": self.in_view,
            "median_px": quantiles[0],
            "p95_px": quantiles[1],
            "detection_rate": len(self.errors) / self.in_view if self.in_view else None,
            "frames_absent": self.absent,
            "false_alarm_rate": self.false_alarms / self.absent if self.absent else None,
        }


Follow = Callable[[np.ndarray, Truth], tuple[np.ndarray, np.ndarray]]  # to centroid (T, 2) px and detected (T,)


def follower(name: str) -> Follow:
    """How a clip is followed by the tracker called ``name``."""
    if name == "ball":

        def by_ball(video: np.ndarray, truth: Truth) -> tuple[np.ndarray, np.ndarray]:
            tracks = track_ball(video, truth, reach=0.1 * truth.camera.width)
            return tracks.centroid, tracks.detected

        return by_ball
    if name == "water":

        def by_water(video: np.ndarray, truth: Truth) -> tuple[np.ndarray, np.ndarray]:
            wet, _ = water_masks(video, truth)
            return mean_place(*count_pixels(wet)) + 0.5, wet.any(axis=(1, 2))

        return by_water
    tracker = tracker_of(name)

    def by_tracker(video: np.ndarray, truth: Truth) -> tuple[np.ndarray, np.ndarray]:
        falling = len(truth.outcome.get("impact_times", []))
        shown = [label for label in range(1, falling + 1) if (truth.segmentation[0] == label).any()]
        tracks = tracker(video, truth.segmentation[0], truth.video[0], shown or None)[0]
        return tracks.centroid, tracks.detected

    return by_tracker


def measure(truth: Truth, follow: Follow, tallies: list[Tally]) -> None:
    """Count the frames after the first of a true clip, and of the same with the object cut out half-way."""
    area = np.count_nonzero(truth.mask, axis=(1, 2))
    late = np.arange(len(truth)) > 0
    seen, gone = late & (area >= MIN_VISIBLE * area[0]), late & (area == 0)
    centroid, detected = follow(truth.video, truth)
    distance = np.linalg.norm(centroid - true_centroid(truth), axis=1)
    cut = np.arange(len(truth)) >= len(truth) // 2
    _, ghosts = follow(vanish(truth.video, truth.mask), truth)
    for tally in tallies:
        tally.clips += 1
        tally.errors += distance[seen & detected].tolist()
        tally.in_view += int(seen.sum())
        tally.absent += int(gone.sum() + cut.sum())
        tally.false_alarms += int(detected[gone].sum() + ghosts[cut].sum())


def size_class(truth: Truth) -> str:
    """Which of ``SIZES`` the object has in the first frame."""
    share = truth.mask[0].mean()
    return next(name for name, (low, high) in SIZES.items() if low <= share < high)


def measure_family(name: str, settings: Settings) -> dict[str, dict[str, Any]]:
    """Rows of a family: all, by size, by colour."""
    course = COURSES[name]
    clip = {"image_size": settings.image_size} | (
        {} if settings.num_frames is None else {"num_frames": settings.num_frames}
    )
    env: Any = gym.make(environment_id(course.env), disable_env_checker=True, **clip, **course.options).unwrapped
    follow = follower(settings.tracker or course.tracker)
    tallies: dict[str, Tally] = {"all": Tally(), **{f"size {size}": Tally() for size in SIZES}}
    refused = 0
    for number in tqdm(range(settings.scenes), desc=name, unit="clip"):
        policy = course.policies[number % len(course.policies)]
        truth = env.record(seed=SEED + number, **({"policy": policy} if policy else {}))
        alone = "of the water" if course.tracker == "water" else "of the agent"
        classes = ["all", f"size {size_class(truth)}", f"colour {truth.scene.get('colour', alone)}"]
        try:
            measure(truth, follow, [tallies.setdefault(each, Tally()) for each in classes])
        except ValueError as error:
            refused += 1
            tqdm.write(f"{name}, seed {SEED + number}: {error}")
    env.close()
    rows = {key: tally.to_dict() for key, tally in tallies.items() if tally.clips}
    return {key: {**row, "refused": refused if key == "all" else None} for key, row in rows.items()}


def table(families: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Markdown of all rows."""
    lines = [
        "| family | object | clips | frames in view | median px | 95 % px | found | frames absent | false alarms |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for family, rows in families.items():
        for key, row in rows.items():
            cells = [
                family if key == "all" else "",
                key,
                str(row["clips"]),
                str(row["frames_in_view"]),
                _text(row["median_px"], "{:.3f}"),
                _text(row["p95_px"], "{:.3f}"),
                _text(row["detection_rate"], "{:.2%}"),
                str(row["frames_absent"]),
                _text(row["false_alarm_rate"], "{:.2%}"),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _text(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def main(settings: Settings) -> None:
    """Measure, print and write."""
    unknown = sorted(set(settings.families) - set(COURSES))
    if unknown:
        raise SystemExit(f"families: got {unknown[0]!r}, expected some of {', '.join(COURSES)}; correct the name")
    if settings.scenes < 1:
        raise SystemExit(f"scenes: got {settings.scenes}, expected at least 1; ask for more")
    if settings.tracker is not None:
        follower(settings.tracker)  # refuses before anything is rendered
    families = {name: measure_family(name, settings) for name in settings.families}
    tracker = settings.tracker or "each family's own"
    print(f"\ntracker: {tracker}, {settings.image_size} x {settings.image_size} px\n\n{table(families)}")
    if settings.json is not None:
        settings.json.parent.mkdir(parents=True, exist_ok=True)
        document = {"tracker": tracker, "image_size": settings.image_size, "seed": SEED, "families": families}
        settings.json.write_text(json.dumps(document, indent=2))


if __name__ == "__main__":
    main(tyro.cli(Settings))
