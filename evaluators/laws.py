"""Laws that show only across clips: how landing times follow height, size, mass and gravity, and many futures of one.

A law needs clips that differ in one cause and look alike at the start: the same seeds recorded with other values of
it. They may lie in one truth store or in several that are judged together.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from worldmodel.evaluators.fall_laws import (
    InterventionEffect,
    intervention_effect,
    mass_placebo,
    root_height_slope,
    size_slope,
)
from worldmodel.evaluators.impact_distribution import impact_distribution, prior_impact_times
from worldmodel.evaluators.intervals import bootstrap_mean

FALLS = "worldmodel/FreeFall-v0"
EFFECTS = ("gravity", "support_height")  # causes of the landing time whose effect is held against MuJoCo's
Range = tuple[float, float]
Family = Mapping[str, Any]


@dataclass(frozen=True)
class Fall:
    """One judged clip whose true object falls from rest at the start and lands in view."""

    scene: Mapping[str, Any]  # what builds it again
    mass: float  # kg, which a scene may leave to the density; 0 if it is not known
    picture: str  # hash of the first frame
    clip: tuple[int, int]  # family and clip
    sample: int
    true: float  # s, landing that MuJoCo's own path shows
    time: float  # s, the one that is seen; nan for none

    def cause(self, name: str) -> float:
        """Value of a field of the scene."""
        return self.mass if name == "mass" else float(self.scene.get(name, 0.0))


def laws(families: Sequence[Family], priors: Sequence[Range | None], rng: np.random.Generator) -> list[dict[str, Any]]:
    """The laws of falling over all families of falls.

    Args:
        families: as in ``results.py``.
        priors: of each family the range of sizes (``scale``) that the first frame leaves open; None for one size.
        rng: of the prior's draws and the bootstrap.

    Returns:
        Of each kind of clips that has laws {"family", "titles", "rows": {row: {"root_height", "size", "mass": slopes of
        ln time on ln of the cause as {"value", "low", "high", "n", "lost"}, "effects": {cause: {"slope", "intercept",
        "sign_accuracy"}}, "distribution": [see ``_distribution``]}}}; what there are no clips for is left out.
    """
    falls = [each for each in zip(families, priors, strict=True) if each[0]["family"].split(":")[0] == FALLS]
    names = dict.fromkeys(name for family, _ in falls for name in family["rows"])
    rows = {name: _row(falls, name, rng) for name in names}
    rows = {name: found for name, found in rows.items() if found}
    return [{"family": FALLS, "titles": [family["title"] for family, _ in falls], "rows": rows}] if rows else []


def _row(families: Sequence[tuple[Family, Range | None]], name: str, rng: np.random.Generator) -> dict[str, Any]:
    falls = [fall for number, (family, _) in enumerate(families) for fall in falls_of(family, name, number)]
    found: dict[str, Any] = {}
    # From rest and until the landing, h / g = t^2 / 2 whatever the gravity.
    heights = np.array([fall.true**2 / 2 for fall in falls])
    if len(set(heights)) > 1:
        found["root_height"] = asdict(root_height_slope(heights, _times(falls), _pictures(falls)))
    for law, cause, slope in (("size", "scale", size_slope), ("mass", "mass", mass_placebo)):
        groups = _differing(falls, cause)
        if groups:
            kept = [fall for group in groups for fall in group]
            labels = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
            found[law] = asdict(slope(np.array([fall.cause(cause) for fall in kept]), _times(kept), labels))
    effects = {cause: _effect(_differing(falls, cause), cause) for cause in EFFECTS}
    found["effects"] = {cause: asdict(effect) for cause, effect in effects.items() if effect}
    ensembles = [_distribution(family, name, prior, rng) for family, prior in families]
    found["distribution"] = [each for each in ensembles if each]
    return {law: value for law, value in found.items() if value}


def falls_of(family: Family, name: str, number: int = 0) -> list[Fall]:
    """The clips of a row that fall from rest at the start and land in view in MuJoCo."""
    falls = []
    for entry in family["rows"][name]["clips"] if name in family["rows"] else ():
        described = family["scenes"][entry["clip"]]
        scene, score = described["scene"], entry["score"]
        hidden = scene.get("support") == "ledge" or scene.get("release", "none") != "none"
        if hidden or score["true_landing_ms"] is None or not scene.get("gravity", 0.0) > 0:
            continue
        seen = None if entry["failure"] else score["impact_time_ms"]
        falls.append(
            Fall(
                scene=scene,
                mass=float(described.get("outcome", {}).get("mass_kg", scene.get("mass", 0.0))),
                picture=described["first_frame_sha256"],
                clip=(number, entry["clip"]),
                sample=entry["sample"],
                true=score["true_landing_ms"] / 1000.0,
                time=float("nan") if seen is None else seen / 1000.0,
            )
        )
    return falls


def _times(falls: Sequence[Fall]) -> np.ndarray:
    return np.array([fall.time for fall in falls])


def _pictures(falls: Sequence[Fall]) -> np.ndarray:
    """Label (n,) of the first frame of each: samples and variants of one scene are not independent."""
    return np.unique([fall.picture for fall in falls], return_inverse=True)[1]


def _differing(falls: Sequence[Fall], cause: str) -> list[list[Fall]]:
    """Groups of clips with one first frame whose scenes differ in nothing but a cause, which is above 0."""
    groups: dict[str, list[Fall]] = defaultdict(list)
    for fall in falls:
        if fall.cause(cause) > 0:
            rest = {field: value for field, value in fall.scene.items() if field != cause}
            groups[json.dumps([fall.picture, rest], sort_keys=True)].append(fall)
    return [group for group in groups.values() if len({fall.cause(cause) for fall in group}) > 1]


def _effect(groups: Sequence[Sequence[Fall]], cause: str) -> InterventionEffect | None:
    """How the landing time changes from the smallest value of a cause to each larger one, against MuJoCo."""
    shown, true, which = [], [], []
    for number, group in enumerate(groups):
        least = min(fall.cause(cause) for fall in group)
        first = {fall.sample: fall for fall in group if fall.cause(cause) == least}
        for fall in group:
            if fall.cause(cause) > least and fall.sample in first:
                shown.append(fall.time - first[fall.sample].time)
                true.append(fall.true - first[fall.sample].true)
                which.append(number)
    return intervention_effect(np.array(shown), np.array(true), np.array(which)) if shown else None


def _distribution(family: Family, name: str, prior: Range | None, rng: np.random.Generator) -> dict[str, Any] | None:
    """Landing times of all samples of a clip against the one that came; None with one sample of each.

    Returns:
        {"title", "n" clips, "m" samples, "crps_s": {"value", "low", "high"}, "prior": [low, high] of the sizes or None,
        "prior_crps_s", "skill", "coverage": {level: interval or None}, "never": share that never lands}
    """
    clips: dict[tuple[int, int], list[Fall]] = defaultdict(list)
    for fall in falls_of(family, name):
        clips[fall.clip].append(fall)
    m = min(map(len, clips.values()), default=0)
    if m < 2:
        return None
    first = [group[0] for group in clips.values()]
    sizes = [np.full(m, fall.scene["scale"]) if prior is None else rng.uniform(*prior, m) for fall in first]
    expected = [
        prior_impact_times(fall.true, fall.scene["scale"], size) for fall, size in zip(first, sizes, strict=True)
    ]
    found = impact_distribution(
        np.stack([_times(group[:m]) for group in clips.values()]),
        np.array([fall.true for fall in first]),
        np.stack(expected),
        (family["clip"]["frames"] - 1) / family["clip"]["fps"],
    )
    return {
        "title": family["title"],
        "n": found.n,
        "m": found.m,
        "crps_s": asdict(bootstrap_mean(found.crps, rng)),
        "prior": prior,
        "prior_crps_s": float(found.prior_crps.mean()) if prior else None,
        "skill": found.skill if prior else None,
        "coverage": {str(level): interval and asdict(interval) for level, interval in found.coverage.items()},
        "never": found.never,
    }
