"""The published Predict-and-Perturb settings by name, as the authors' code has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from worldmodel.sampling.refine import PredictPerturb


@dataclass(frozen=True)
class Preset:
    """Published settings: index windows, which hold for this number of steps only."""

    steps: int  # sampling steps that it was published for
    nfe: int  # evaluations of a sample that does not stop early
    windows: tuple[tuple[int, int, int], ...]  # first, last, iterations; 0-based, inclusive
    threshold: float
    source: str


PRESETS = {
    "wan-t2v-60": Preset(40, 60, ((2, 5, 3), (6, 13, 1)), 0.2, "Wan2.2-T2V-A14B, script"),
    "wan-i2v-63": Preset(40, 63, ((1, 5, 3), (6, 13, 1)), 0.0, "Wan2.2-I2V-A14B, script; no mask, so no stop"),
    "cosmos-54": Preset(35, 54, ((3, 8, 2), (9, 15, 1)), 0.5, "Cosmos-Predict2.5, configuration file"),
    "cosmos-57": Preset(35, 57, ((2, 3, 5), (4, 15, 1)), 0.5, "Cosmos-Predict2.5, docstring; the NFE of the paper"),
}


def preset(name: str, **changes: Any) -> PredictPerturb:
    """The published settings of that name in ``PRESETS``, with changes if any are given.

    The windows are step indices of ``PRESETS[name].steps`` steps; for another number, or another schedule, carry
    them over in time: ``preset(name).in_time(sigmas)`` with the noise levels they were meant for.
    """
    if name not in PRESETS:
        raise ValueError(f"preset: got {name!r}, expected one of {', '.join(PRESETS)}; choose one")
    published = PRESETS[name]
    return PredictPerturb(**{"steps": published.windows, "threshold": published.threshold, **changes})
