"""A number read off pictures by a small network: a reward, a success or an objective where no readout is known.

:func:`worldmodel.training.head.train_head` makes one from recorded clips. It judges imagined pictures as it judges
recorded ones, and is only right about what looks like them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

WEIGHTS, CARD = "head.safetensors", "head.json"
KINDS = ("yes or no", "number")
BATCH = 256  # pictures looked at together


class HeadNetwork(nn.Module):
    """Pictures (B, H, W, 3) in grey levels to one number each; it knows where in the picture a thing is."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        widths = (5, width, 2 * width, 3 * width, 3 * width)
        layers = [
            layer
            for inside, out in zip(widths[:-1], widths[1:], strict=True)
            for layer in (nn.Conv2d(inside, out, 3, stride=2, padding=1), nn.GELU())
        ]
        self.look = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten())
        self.tell = nn.Sequential(nn.Linear(16 * widths[-1], 128), nn.GELU(), nn.Linear(128, 1))

    def forward(self, pictures: Tensor) -> Tensor:
        """(B,) logits, or standardised numbers."""
        x = pictures.float().permute(0, 3, 1, 2) / 127.5 - 1.0
        rows, columns = (torch.linspace(-1.0, 1.0, size, device=x.device) for size in x.shape[-2:])
        places = torch.stack(torch.meshgrid(rows, columns, indexing="ij")).expand(len(x), -1, -1, -1)
        found: Tensor = self.tell(self.look(torch.cat([x, places], dim=1)))
        return found[:, 0]


@dataclass(frozen=True)
class LearnedHead:
    """What the network reads, and how well it read clips that it was not trained on.

    ``head.reward`` and ``head.success`` are what :class:`worldmodel.envs.imagined.ImaginedEnv` takes by these names,
    ``head.objective(...)`` is what to plan with.

    Attributes:
        network: on the device where it is to run.
        signal: of the clips, which it was trained to read.
        unit: of the signal.
        kind: ``yes or no``, then it reads the probability of yes as if both were equally frequent; or ``number``.
        mean, scale: of a number; 0 and 1 of a probability.
        image_size: height and width of its pictures in pixels.
        held_out: on scenes that it was not trained on, of a number the correlation with the true one, of a yes or no
            the balanced accuracy; None where those do not vary.
    """

    network: HeadNetwork
    signal: str
    unit: str
    kind: str
    mean: float
    scale: float
    image_size: tuple[int, int]
    held_out: float | None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind: got {self.kind!r}, expected {' or '.join(map(repr, KINDS))}; train another head")

    def values(self, video: np.ndarray) -> np.ndarray:
        """What is read (...,) of pictures (..., H, W, 3) uint8, in the signal's unit.

        Raises:
            ValueError: they are of another size or type.
        """
        pictures = np.asarray(video)
        if pictures.shape[-3:] != (*self.image_size, 3) or pictures.dtype != np.uint8:
            raise ValueError(
                f"video: got {pictures.dtype} {pictures.shape}, expected uint8 (..., {self.image_size[0]}, "
                f"{self.image_size[1]}, 3), as the head was trained on; resize it, or train another"
            )
        flat = pictures.reshape(-1, *pictures.shape[-3:])
        device = next(self.network.parameters()).device
        with torch.no_grad():
            parts = [
                self.network(torch.from_numpy(np.ascontiguousarray(flat[first : first + BATCH])).to(device)).float()
                for first in range(0, len(flat), BATCH)
            ]
        read = torch.cat(parts) if parts else torch.empty(0)
        told = torch.sigmoid(read) if self.kind == "yes or no" else self.mean + self.scale * read
        return told.double().cpu().numpy().reshape(pictures.shape[:-3])

    def reward(self, chunk: Any) -> float:
        """What is read of an imagined :class:`~worldmodel.envs.imagined_dream.Chunk`, summed over its frames."""
        return float(self.values(chunk.video).sum())

    def success(self, chunk: Any) -> bool:
        """Whether the last frame of a chunk looks more like yes than like no.

        Raises:
            ValueError: the head reads a number.
        """
        if self.kind != "yes or no":
            raise ValueError(
                f"success: got a head that reads a number, {self.signal}, expected one that reads yes or no; compare "
                "head.values with a threshold of your own"
            )
        return bool(self.values(chunk.video[-1]) > 0.5)

    def objective(self, *, maximise: bool) -> HeadObjective:
        """What is read as an objective to plan with: much of it is wanted, such as of a reward, or little."""
        return HeadObjective(self, maximise)

    def save(self, folder: Path) -> None:
        """Write weights and description into a folder, which is made."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: value.cpu() for name, value in self.network.state_dict().items()}, folder / WEIGHTS)
        (folder / CARD).write_text(json.dumps(self._described(), indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> LearnedHead:
        """What :meth:`save` wrote.

        Raises:
            ValueError: a file is missing or holds something else.
        """
        network = HeadNetwork()
        try:
            told = json.loads((folder / CARD).read_text())
            network.load_state_dict(load_file(folder / WEIGHTS))
            return cls(network.to(device).eval(), **{**told, "image_size": tuple(told["image_size"])})
        except (OSError, RuntimeError, KeyError, TypeError, SafetensorError, json.JSONDecodeError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(
                f"{folder}: got no learned head ({reason}), expected {WEIGHTS} and {CARD}; train one"
            ) from None

    def _described(self) -> dict[str, Any]:
        names = ("signal", "unit", "kind", "mean", "scale", "image_size", "held_out")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class HeadObjective:
    """Costs of imagined futures: the mean of what a head reads of their frames.

    Attributes:
        head: that reads.
        maximise: whether much of it is wanted, or little.
    """

    head: LearnedHead
    maximise: bool
    needs = frozenset(("video",))

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the pictures that the head reads."""
        return {"video": (*self.head.image_size, 3)}

    def __call__(self, futures: Any) -> np.ndarray:
        """Costs (K,) of :class:`~worldmodel.planning.dynamics.Futures`."""
        read = self.head.values(futures.video).mean(axis=1)
        return -read if self.maximise else read
