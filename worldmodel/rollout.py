"""The result of imagining: videos with everything needed to produce them again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Rollout:
    """B imagined videos of T frames; up to float rounding, each depends on its own seed only."""

    video: np.ndarray  # (B, T, H, W, 3) uint8; frame 0 is the given first frame as decoded
    fps: float  # frames per second of model time
    seeds: np.ndarray  # (B,) int64
    nfe: np.ndarray  # (B,) int64, model evaluations spent on each sample
    actions: np.ndarray | None = None  # (B, T-1, A), or None for image-conditioned models
    latents: np.ndarray | None = None  # (B, C, T', H', W') float32, or None when not kept
    seconds: float = float("nan")  # wall-clock time of the whole batch
    provenance: dict[str, Any] = field(default_factory=dict)  # JSON: model, weights, sampler, versions

    def __post_init__(self) -> None:
        batch = len(self.video)
        for name in ("seeds", "nfe", "actions", "latents"):
            value = getattr(self, name)
            if value is not None and len(value) != batch:
                raise ValueError(f"{name}: got {len(value)} entries, expected {batch}, one for each video")

    def __len__(self) -> int:
        return len(self.video)
