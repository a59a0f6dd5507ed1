"""What the embedded model is trained on: which scenes, under which policies, how many."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worldmodel.collect import collect

FIRST_SEED = 250  # seeds from 1 000 000 are for validation, from 2 000 000 for tests
BALL = ("shortest", "straight", "wrong_branch", "halfway", "random")
NAMED_FAILURES = (
    "offset_left",
    "offset_right",
    "offset_high",
    "early_close",
    "late_close",
    "wrong_width",
    "no_close",
)


@dataclass(frozen=True)
class Source:
    """One store: arguments of :func:`worldmodel.collect.collect`."""

    name: str
    env: str
    episodes: int
    seed: int = FIRST_SEED
    policies: tuple[str, ...] = ()
    num_frames: int | None = None
    options: dict[str, Any] = field(default_factory=dict)


# At 64 pixels the ball of the default graphs is three of them wide, too few to be followed; this one has five.
WIDE = {"channel_width": 0.11, "node_radius": 0.08}
LARGE = {"ball_radius": 0.04, **WIDE}

INTERVENTIONS = {"gravity": [3.0, 15.0], "friction": [0.1, 1.0], "scale": [0.4, 2.5]}

# Scripted grasps that succeed and that fail are about as many; one drop in five meets another physics.
EMBEDDED = (
    Source("agent", "graph-traversal", 6000, policies=BALL, num_frames=49, options={"task": "agent", **LARGE}),
    Source("flood", "graph-traversal", 1200, options={"task": "flood", **WIDE}),
    Source("maze", "maze", 6000, policies=BALL, num_frames=49),
    Source("grasp_success", "grasp", 1600),
    Source("grasp_failure", "grasp", 1050, seed=2250, policies=NAMED_FAILURES),
    Source("grasp_perturbed", "grasp", 1600, seed=3250, policies=("perturbed", "random")),
    Source("grasp_searching", "grasp", 3000, seed=5250, policies=("searching",), num_frames=49),
    Source("drop", "free-fall", 6000),
    Source("drop_long", "free-fall", 800, seed=7250, num_frames=33),
    Source("drop_physics", "free-fall", 1000, seed=8250, options={"gravity": [3.0, 15.0]}),
    Source("drop_interventions", "free-fall", 1000, seed=9250, options=INTERVENTIONS),
)


def collect_all(
    out: Path,
    sources: Sequence[Source] = EMBEDDED,
    *,
    share: float = 1.0,
    image_size: int = 64,
    workers: int | None = None,
) -> Path:
    """Record every source into a store of its own in ``out``; resumes what was interrupted.

    Args:
        out: folder of the stores.
        sources: what to record.
        share: of the episodes of each source, above 0 and up to 1.
        image_size: height and width in pixels.
        workers: processes; one for each core if None.

    Raises:
        ValueError: ``share`` is out of range, or a store holds something else.
    """
    if not 0.0 < share <= 1.0:
        raise ValueError(
            f"share: got {share}, expected above 0 and up to 1; 1 is what the embedded model was meant for"
        )
    for source in sources:
        asked = {
            key: value for key, value in dataclasses.asdict(source).items() if key not in ("name", "env", "episodes")
        }
        episodes = max(1, round(share * source.episodes))
        collect(out / source.name, source.env, episodes=episodes, image_size=image_size, workers=workers, **asked)
    return out
