"""Whether things that fall ever gain energy, over many clips with what the options allow.

    python benchmarks/energy.py

A contact stores energy and gives it back, so times without contact are compared: a clip gains what its energy rises
above the least so far, as a share of what it began with. Every row prints how many of its clips gained more than one
percent, the largest gain, and how far any of them, in contact or not, rose above its beginning.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import tyro
from tqdm import tqdm

from worldmodel.envs.drop_scene import CALM_RESTITUTION, DropSampler, DropScene
from worldmodel.envs.drop_stage import SUPPORTS
from worldmodel.envs.free_fall import FreeFall
from worldmodel.envs.simulation import Simulation

GAIN = 0.01  # of the first energy, from which a clip is counted
STANDARD, ANY, THIN = ("standard", (0.12, 0.19)), ("all", (0.2, 0.24)), ("all", (0.04, 0.12))
KINDS = (  # numbers of objects, the least and the most of their masses in kg (None: by density), which ones, and scales
    (1, None, STANDARD, 1.0),
    (1, None, ANY, 1.0),
    (1, None, THIN, 1.0),
    (3, None, STANDARD, 1.0),
    (3, (0.1, 30.0), STANDARD, 1.0),
    (3, (0.001, 10_000.0), STANDARD, 1.0),
    (4, (0.1, 30.0), THIN, 1.0),
    (4, (0.001, 10_000.0), THIN, 1.0),
    (1, None, STANDARD, 0.5),
    (3, None, STANDARD, 0.5),
    (1, None, STANDARD, 0.1),
    (4, None, THIN, 0.1),
)


@dataclass(frozen=True)
class Settings:
    """Settings of the benchmark."""

    clips: int = 200
    """Of every row."""
    frames: int = 120
    fps: float = 80.0
    first_seed: int = 1000


def main(settings: Settings) -> None:
    """Print the table and its totals."""
    print("support  objects       restitution        mass, kg      radius, m  scale      gained     most above start")
    counted, worst, above = 0, 0.0, 0.0
    rows = [
        (options, restitution, masses)
        for support in SUPPORTS
        for number, masses, (shapes, radius), scale in KINDS
        for options in [{"support": support, "objects": number, "shapes": shapes, "radius": radius, "scale": scale}]
        for least, most in [DropSampler(**options).bounces.restitutions]
        for restitution in ((least, CALM_RESTITUTION), (CALM_RESTITUTION, most), (most, most))
        if most > CALM_RESTITUTION or restitution[0] == least
    ]
    for options, restitution, masses in tqdm(rows, leave=False):
        gains, rises = played({**options, "restitution": restitution, "friction": (0.0, 1.5)}, masses, settings)
        few = int((gains > GAIN).sum())
        kilograms = "by density" if masses is None else f"{masses[0]:g} to {masses[1]:g}"
        bounce, radius = spanned(restitution), spanned(options["radius"])
        tqdm.write(
            f"{options['support']:8} {options['objects']:2} {options['shapes']:8} {bounce} {kilograms:>15} {radius} "
            f"{options['scale']:6g} {few:4} of {len(gains):4} {gains.max():8.2%} {rises.max():11.2%}"
        )
        counted, worst, above = counted + few, max(worst, gains.max()), max(above, rises.max())
    total = len(rows) * settings.clips
    print(f"{counted} of {total} clips gained more than {GAIN:.1%}; the most {worst:.2%}; above the start {above:.2%}")


def spanned(ends: tuple[float, float]) -> str:
    """A range in words."""
    return f"{ends[0]:6.2f} to {ends[1]:4.2f}"


def played(
    options: dict[str, Any], masses: tuple[float, float] | None, settings: Settings
) -> tuple[np.ndarray, np.ndarray]:
    """Largest gain and largest rise above the beginning of every clip, as shares of its first energy."""
    family = FreeFall(**options)
    simulation = Simulation(family, settings.clips, fps=settings.fps, threads=0)
    seeds = range(settings.first_seed, settings.first_seed + settings.clips)
    simulation.reset([drawn(family, masses, np.random.default_rng(seed)) for seed in seeds])
    start = simulation.signals["energy"].copy()
    least, gains, rises = start.copy(), np.zeros(settings.clips), np.zeros(settings.clips)
    for _ in range(settings.frames):
        simulation.step()
        signals = simulation.signals
        energy, free = signals["energy"], ~(signals["contacts"] | signals["collisions"]).any(axis=1)
        gains = np.maximum(gains, np.where(free, (energy - least) / start, 0.0))
        rises = np.maximum(rises, (energy - start) / start)
        least = np.where(free, np.minimum(least, energy), least)
    return gains, rises


def drawn(family: FreeFall, masses: tuple[float, float] | None, rng: np.random.Generator) -> DropScene:
    """A scene in which every object has a mass of its own, of any order of magnitude alike."""
    scene = family.sampler(rng)
    if masses is None:
        return scene
    first, *others = np.exp(rng.uniform(*np.log(masses), len(scene.objects)))
    heavier = [dataclasses.replace(other, mass=float(mass)) for other, mass in zip(scene.others, others, strict=True)]
    return dataclasses.replace(scene, mass=float(first), others=tuple(heavier))


if __name__ == "__main__":
    main(tyro.cli(Settings))
