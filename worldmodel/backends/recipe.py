"""How a model was trained to be used: image size, frames, speed, steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from worldmodel.backends.cameras import View
from worldmodel.backends.domains import Domain
from worldmodel.backends.pipeline_folder import read_json
from worldmodel.json_values import tuples


@dataclass(frozen=True)
class Recipe:
    """How a model was trained to be used; ``worldmodel.json`` in its folder."""

    name: str
    image_size: tuple[int, int]  # height, width in pixels
    num_frames: int  # 4n + 1, the given first frame included
    fps: float
    steps: int  # default number of sampling steps
    domains: tuple[Domain, ...] = ()  # of the robots whose actions it takes
    # Gymnasium id to options of the scenes that it was trained on; what varied among them is left out.
    scenes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    # Gymnasium id to the camera of its clips, where they share one.
    cameras: Mapping[str, View] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Recipe:
        """The recipe in a JSON file, or an error that names it."""
        values = read_json(path)
        try:
            height, width = values["image_size"]
            domains = tuple(Domain.from_json(each) for each in values.get("domains", ()))
            cameras = {env: View.from_json(each) for env, each in values.get("cameras", {}).items()}
            read = {"image_size": (int(height), int(width)), "domains": domains, "cameras": cameras}
            return cls(**{**values, **read})
        except (AttributeError, KeyError, TypeError, ValueError):
            expected = ", ".join(each.name for each in fields(cls))
            raise ValueError(f"{path}: got {sorted(values)}, expected {expected}; fetch it again") from None

    @classmethod
    def of(cls, folder: Path, base: Recipe, name: str | None = None) -> Recipe:
        """The recipe of a pipeline folder; where it has none that of its family, under the model's name."""
        path = folder / "worldmodel.json"
        return cls.read(path) if path.is_file() else dataclasses.replace(base, name=name or base.name)

    def scene(self, env: str, **options: Any) -> dict[str, Any]:
        """Options of an environment: those asked for, the others as in the scenes of the model's training."""
        return {**{name: tuples(value) for name, value in self.scenes.get(env, {}).items()}, **options}

    def to_json(self) -> dict[str, Any]:
        """What :meth:`read` reads; without domains, scenes and cameras where there are none."""
        values = dataclasses.asdict(self)
        return {k: value for k, value in values.items() if value or k not in ("domains", "scenes", "cameras")}


def check_size(
    image_size: tuple[int, int], num_frames: int, pixels: int = 16, frames: int = 4, places: int | None = None
) -> None:
    """Refuse a clip that no network of that patch size takes, naming the nearest that it does.

    Args:
        pixels: of which height and width must be multiples.
        frames: of which num_frames must be one more than a multiple.
        places: of tokens along each axis that the network can tell apart; None: there is no end to them.
    """
    if not all(isinstance(side, int) and side > 0 and side % pixels == 0 for side in image_size):
        nearest = tuple(max(pixels, round(side / pixels) * pixels) for side in image_size)
        raise ValueError(
            f"image_size: got {tuple(image_size)}, expected multiples of {pixels}; the nearest is {nearest}"
        )
    if not isinstance(num_frames, int) or num_frames < 1 or (num_frames - 1) % frames:
        nearest_count = 1 + max(0, round((num_frames - 1) / frames)) * frames
        raise ValueError(f"num_frames: got {num_frames}, expected {frames}n + 1; the nearest is {nearest_count}")
    if places is None:
        return
    if max(image_size) > places * pixels:
        raise ValueError(
            f"image_size: got {tuple(image_size)}, expected sides of at most {places * pixels}, of which this network "
            "can tell the places apart; choose a smaller one"
        )
    if num_frames > 1 + (places - 1) * frames:
        raise ValueError(
            f"num_frames: got {num_frames}, expected at most {1 + (places - 1) * frames}, which this network can tell "
            "apart; imagine longer clips in chunks, with horizon"
        )
