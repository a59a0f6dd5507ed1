"""The laws across clips, certified: worlds that keep each law and worlds that break it are rendered and scored.

Every scene is a drop that is recorded five times, with the same first frame: as drawn, twice as large, light, heavy,
and under half the gravity. Of each recording videos of known worth are made, and the landing times that the evaluator
reads off them must follow the laws where the world does, and must not where it does not. A sixth recording, of a size
drawn from a prior, is held against ensembles of futures.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from worldmodel.ceilings import through_autoencoder
from worldmodel.envs.free_fall import FreeFallEnv
from worldmodel.envs.scene_env import SceneEnv
from worldmodel.evaluators import controls
from worldmodel.evaluators.certificate import Declaration
from worldmodel.evaluators.fall_laws import (
    height_ratio_error,
    intervention_effect,
    mass_placebo,
    root_height_slope,
    size_slope,
)
from worldmodel.evaluators.free_fall import score_free_fall
from worldmodel.evaluators.impact_distribution import ImpactDistribution, impact_distribution
from worldmodel.evaluators.intervals import RESAMPLES
from worldmodel.evaluators.metrics import CONTROLS, Metric
from worldmodel.evaluators.results import plain, write_results
from worldmodel.storage.video_files import through_h264
from worldmodel.truth import Truth

NAME = "laws of falls"
OPTIONS: dict[str, Any] = {"shapes": ("sphere",), "clearance": (0.4, 1.0), "restitution": (0.5, 0.8)}
NUM_FRAMES = 25  # twice the size or half the gravity take longest, 0.64 s, and half speed twice that
LARGER, LIGHT, HEAVY, WEAKER = 2.0, 0.1, 2.0, 0.5  # times the size; kg; kg; times the gravity
VARIANTS: dict[str, dict[str, float]] = {
    "plain": {},
    "large": {"scale": LARGER},
    "light": {"mass": LIGHT},
    "heavy": {"mass": HEAVY},
    "weak": {"gravity": 9.81 * WEAKER},
}
ONE_DURATION = 0.5  # s, of every fall in the world where height, size and gravity do not matter
PULL = 0.4  # exponent of mass in the gravity of the world where the heavier fall faster
PRIOR = (0.5, 2.0)  # sizes, uniform
Rank = tuple[str, str]  # kinds of clips, of which the first keeps a law better
MEMBERS = 19  # of an ensemble: the fewest that have a central 90 %


@dataclass(frozen=True)
class Times:
    """Landing times in s that the evaluator reads off one kind of clips of n scenes; nan for none.

    Attributes:
        true, shown: variant -> (n,), MuJoCo's and the clip's.
        observed: (n,) MuJoCo's, at the size drawn from the prior.
        members: (n, MEMBERS) of the ensemble; None for kinds that have none.
    """

    true: Mapping[str, np.ndarray]
    shown: Mapping[str, np.ndarray]
    observed: np.ndarray
    members: np.ndarray | None

    def at(self, scenes: np.ndarray) -> Times:
        """Of some scenes."""
        true, shown = ({name: times[scenes] for name, times in each.items()} for each in (self.true, self.shown))
        members = None if self.members is None else self.members[scenes]
        return Times(true, shown, self.observed[scenes], members)


@dataclass(frozen=True)
class Law:
    """A law as it is certified: by how much a kind of clips breaks it, and what must break it more than what."""

    metric: Metric
    error: Callable[[Times], float]


def _law(name: str, label: str, unit: str, meaning: str, error: Callable[[Times], float], *ranks: Rank) -> Law:
    return Law(Metric(name, label, unit, "mean", "lower", meaning, ranks, digits=3), error)


def _of_height(times: Times) -> float:
    return abs(root_height_slope(times.true["plain"] ** 2 / 2, times.shown["plain"]).value - 0.5)


def _of_ratios(times: Times) -> float:
    return height_ratio_error(times.true["plain"] ** 2 / 2, times.shown["plain"])


def _within(slope: Callable[..., Any], causes: Mapping[str, float], times: Times) -> float:
    """A slope within scenes on a cause, from the variants that have it."""
    n = len(times.observed)
    values = np.repeat(list(causes.values()), n)
    return float(slope(values, np.concatenate([times.shown[name] for name in causes]), np.tile(np.arange(n), 2)).value)


def _of_size(times: Times) -> float:
    return abs(_within(size_slope, {"plain": 1.0, "large": LARGER}, times) - 0.5)


def _of_mass(times: Times) -> float:
    return abs(_within(mass_placebo, {"light": LIGHT, "heavy": HEAVY}, times))


def _of_gravity(times: Times) -> float:
    shown, true = (each["weak"] - each["plain"] for each in (times.shown, times.true))
    return abs(intervention_effect(shown, true).slope.value - 1.0)


def _crps(times: Times) -> float:
    found = _distribution(times)
    return float("nan") if found is None else float(found.crps.mean())


def _miscoverage(times: Times) -> float:
    found = _distribution(times)
    coverage = None if found is None else found.coverage[0.9]
    return float("nan") if coverage is None else abs(coverage.value - 0.9)


def _distribution(times: Times) -> ImpactDistribution | None:
    if times.members is None:
        return None
    duration = (NUM_FRAMES - 1) / FreeFallEnv.metadata["render_fps"]
    return impact_distribution(times.members, times.observed, times.members, duration)


LAWS = (
    _law(
        "root_height",
        "Root of height",
        "off 1/2",
        "slope of ln time on ln height",
        _of_height,
        ("replay", "one_duration"),
    ),
    _law(
        "height_ratio",
        "Height ratios",
        "off 1",
        "median over pairs of (t1^2 / t2^2) / (h1 / h2)",
        _of_ratios,
        ("replay", "one_duration"),
    ),
    _law(
        "size",
        "Size",
        "off 1/2",
        "slope of ln time on ln size within scenes",
        _of_size,
        ("replay", "picture_alone"),
        ("replay", "one_duration"),
    ),
    _law(
        "mass",
        "Mass placebo",
        "off 0",
        "slope of ln time on ln mass within scenes",
        _of_mass,
        ("replay", "heavier_faster"),
    ),
    _law(
        "gravity_effect",
        "Effect of gravity",
        "off 1",
        "change of the landing time over the true change",
        _of_gravity,
        ("replay", "picture_alone"),
        ("replay", "one_duration"),
        ("replay", "half_speed"),
    ),
    _law(
        "crps",
        "CRPS of landing",
        "s",
        "ensembles against the fall that came",
        _crps,
        ("replay", "prior"),
        ("prior", "one_future"),
        ("prior", "frozen"),
    ),
    _law("coverage", "Coverage", "off 0.9", "of the central 90 % of ensembles", _miscoverage, ("prior", "one_future")),
)


def score_laws(folder: Path, seed: int, image_size: int) -> None:
    """Score all clips of one scene; ``<seed>.json`` appears only when it is complete."""
    env = FreeFallEnv(image_size=image_size, num_frames=NUM_FRAMES, **OPTIONS)
    drawn = env.record(seed=seed)
    row: dict[str, Any] = {"true": {}, "shown": {}}
    for name, changes in VARIANTS.items():
        truth = _changed(env, drawn, **changes) if changes else drawn
        replay = score_free_fall(truth.video, truth)
        row["true"][name] = landing = replay.true_landing_ms / 1000.0
        row["shown"].setdefault("replay", {})[name] = replay.impact_time_ms / 1000.0
        for kind, video in _worlds(env, truth, drawn, landing):
            row["shown"].setdefault(kind, {})[name] = _landing(video, truth)
    write_results(folder / f"{seed}.json", plain(row | _ensembles(env, drawn, np.random.default_rng(seed))))


def _changed(env: FreeFallEnv, truth: Truth, **changes: float) -> Truth:
    """The truth's scene with other causes, which change nothing in the first frame."""
    return env.record(env.family.scene_from_json({**truth.scene, **changes}))


def changed_video(env: SceneEnv, truth: Truth, **changes: float) -> np.ndarray:
    """The video (T, H, W, 3) of the truth's scene with other causes, under the truth's actions."""
    observation, _ = env.reset(options={"scene": env.family.scene_from_json({**truth.scene, **changes})})
    actions = [0] * (len(truth) - 1) if truth.actions is None else truth.actions
    return np.stack([observation["pixels"], *(env.step(action)[0]["pixels"] for action in actions)])


def _worlds(env: FreeFallEnv, truth: Truth, drawn: Truth, landing: float) -> Iterator[tuple[str, np.ndarray]]:
    """Name and video of what is shown of a recording, that lands at a time in s, beside its replay."""
    gravity = truth.scene["gravity"]
    yield "h264", through_h264(truth.video, truth.fps)
    yield "autoencoder", through_autoencoder(truth.video)
    yield "frozen", controls.frozen(truth.video)
    yield "half_speed", controls.half_speed(truth.video, truth.mask)
    yield "picture_alone", drawn.video
    yield "one_duration", changed_video(env, truth, gravity=gravity * (landing / ONE_DURATION) ** 2)
    pulled = truth.scene["mass"] > LIGHT
    pull = (HEAVY / LIGHT) ** PULL
    yield "heavier_faster", changed_video(env, truth, gravity=gravity * pull) if pulled else truth.video


def _ensembles(env: FreeFallEnv, truth: Truth, rng: np.random.Generator) -> dict[str, Any]:
    """The landing at a size drawn from the prior, and ensembles of those that are shown."""
    came = _changed(env, truth, scale=float(rng.uniform(*PRIOR)))
    futures = [changed_video(env, truth, scale=float(size)) for size in rng.uniform(*PRIOR, MEMBERS)]
    shown = {
        "replay": [came.video],
        "prior": futures,
        "one_future": [truth.video],
        "frozen": [controls.frozen(truth.video)],
    }
    times = {kind: [_landing(video, came) for video in videos] for kind, videos in shown.items()}
    members = {kind: each * (MEMBERS // len(each)) for kind, each in times.items()}
    return {"observed": score_free_fall(came.video, came).true_landing_ms / 1000.0, "members": members}


def _landing(video: np.ndarray, truth: Truth) -> float:
    return score_free_fall(video, truth).impact_time_ms / 1000.0


def read_times(rows: Sequence[Mapping[str, Any]]) -> dict[str, Times]:
    """Kind of clips -> the landing times of all scenes, from what ``score_laws`` wrote of each."""
    kinds = {**rows[0]["shown"], **rows[0]["members"]}
    true = {name: _numbers(row["true"][name] for row in rows) for name in VARIANTS}
    observed = _numbers(row["observed"] for row in rows)
    lost = dict.fromkeys(VARIANTS, np.full(len(rows), np.nan))
    found = {}
    for kind in kinds:
        shown, members = lost, None
        if kind in rows[0]["shown"]:
            shown = {name: _numbers(row["shown"][kind][name] for row in rows) for name in VARIANTS}
        if kind in rows[0]["members"]:
            members = np.stack([_numbers(row["members"][kind]) for row in rows])
        found[kind] = Times(true, shown, observed, members)
    return found


def _numbers(values: Any) -> np.ndarray:
    """Of JSON, in which nan is null."""
    return np.array([np.nan if value is None else value for value in values], np.float64)


def certify_laws(times: Mapping[str, Times], rng: np.random.Generator) -> list[Declaration]:
    """Check what each law declares, and that no control keeps it better than what keeps it; scenes are drawn whole."""
    n = len(next(iter(times.values())).observed)
    draws = rng.integers(n, size=(RESAMPLES, n))
    checked = []
    for law in LAWS:
        ranks = law.metric.ranks
        best, declared = ranks[0][0], {below for _, below in ranks}
        broken = [kind for kind in times if kind in CONTROLS and kind not in declared | {best}]
        others = [kind for kind in broken if np.isfinite(law.error(times[kind]))]
        named = {kind for pair in ranks for kind in pair} | set(others)
        errors = {kind: _drawn(law, times[kind], draws) for kind in named}
        checked += [_check(law, above, below, errors, n, strict=True) for above, below in ranks]
        checked += [_check(law, best, below, errors, n, strict=False) for below in others]
    return checked


def _drawn(law: Law, times: Times, draws: np.ndarray) -> np.ndarray:
    """Errors (1 + draws,) of a kind of clips, of all scenes and of each draw of them."""
    return np.array([law.error(times), *(law.error(times.at(scenes)) for scenes in draws)])


def _check(law: Law, above: str, below: str, errors: Mapping[str, np.ndarray], n: int, *, strict: bool) -> Declaration:
    worse = errors[below] - errors[above]
    difference = float(worse[0])
    low, high = np.percentile(worse[1:], [2.5, 97.5]).tolist()
    holds = bool(low > 0 if strict else difference >= -law.metric.resolution)  # of nan neither
    return Declaration(NAME, law.metric.name, above, below, strict, n, difference, low, high, holds)


def law_table(times: Mapping[str, Times]) -> dict[str, Any]:
    """By how much each kind of clips breaks each law, in the form of ``worldmodel.certify.summarise``."""
    table: dict[str, Any] = {}
    for law in LAWS:
        metric = law.metric
        errors = {kind: law.error(each) for kind, each in times.items()}
        table[metric.name] = {
            "label": metric.label,
            "unit": metric.unit,
            "digits": metric.digits,
            "kinds": {kind: error if np.isfinite(error) else None for kind, error in errors.items()},
        }
    return table


def read_rows(folder: Path, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """What ``score_laws`` wrote."""
    return [json.loads((folder / f"{seed}.json").read_text()) for seed in seeds]
