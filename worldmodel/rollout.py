"""The result of imagining: videos with everything needed to produce them again."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

PER_SAMPLE = ("video", "seeds", "nfe", "actions", "latents", "uncertainty", "uncertainty_maps", "drift", "ends")


@dataclass(frozen=True)
class Rollout:
    """B imagined videos of T frames; up to float rounding, each depends on its own seed only."""

    video: np.ndarray  # (B, T, H, W, 3) uint8; frame 0 is the given first frame as decoded
    fps: float  # frames per second of model time
    seeds: np.ndarray  # (B,) int64
    nfe: np.ndarray  # (B,) int64, model evaluations spent on each sample
    actions: np.ndarray | None = None  # (B, T-1, A), nan between given frames; None where nothing was told of them
    latents: np.ndarray | None = None  # (B, C, T', H', W') float32, or None when not kept
    seconds: float = float("nan")  # wall-clock time of the whole batch
    provenance: dict[str, Any] = field(default_factory=dict)  # JSON: model, weights, sampler, versions
    uncertainty: np.ndarray | None = None  # (B, chunks) latent units; nan after the end; None without a stop rule
    uncertainty_maps: np.ndarray | None = None  # (B, T', H', W') float16 latent units; None without refinement
    drift: np.ndarray | None = None  # (B, chunks, 2) tone shift, growth: see sampling.guard; None without refinement
    ends: np.ndarray | None = None  # (B,) int64, frames until the stop rule ended it, T where it did not

    def __post_init__(self) -> None:
        batch = len(self.video)
        for name in PER_SAMPLE:
            value = getattr(self, name)
            if value is not None and len(value) != batch:
                raise ValueError(f"{name}: got {len(value)} entries, expected {batch}, one for each video")

    def __len__(self) -> int:
        return len(self.video)

    def select(self, rows: np.ndarray | slice) -> Rollout:
        """The samples of these rows, in their order."""
        values: dict[str, Any] = {name: getattr(self, name) for name in PER_SAMPLE}
        chosen: dict[str, Any] = {k: None if value is None else value[rows] for k, value in values.items()}
        return dataclasses.replace(self, **chosen)

    def cut(self, frames: int) -> Rollout:
        """The first ``frames`` frames of each video; latents stay whole."""
        dropped = max(0, self.video.shape[1] - frames)
        actions = None if self.actions is None else self.actions[:, : max(self.actions.shape[1] - dropped, 0)]
        ends = None if self.ends is None else np.minimum(self.ends, frames)
        return dataclasses.replace(self, video=self.video[:, :frames], actions=actions, ends=ends)


def in_sequence(pieces: Sequence[Rollout]) -> Rollout:
    """Pieces of the same samples, one after the other, as one rollout."""
    return dataclasses.replace(
        pieces[0],
        video=np.concatenate([piece.video for piece in pieces], axis=1),
        nfe=np.sum([piece.nfe for piece in pieces], axis=0),
        latents=_joined([piece.latents for piece in pieces], axis=2),
        actions=_joined([piece.actions for piece in pieces], axis=1),
        uncertainty=_joined([piece.uncertainty for piece in pieces], axis=1),
        uncertainty_maps=_joined([piece.uncertainty_maps for piece in pieces], axis=1),
        drift=_joined([piece.drift for piece in pieces], axis=1),
        ends=None if pieces[0].ends is None else np.sum([np.asarray(piece.ends) for piece in pieces], axis=0),
        seconds=sum(piece.seconds for piece in pieces),
    )


def side_by_side(batches: Sequence[Rollout]) -> Rollout:
    """Batches of the same settings as one."""
    values: dict[str, Any] = {name: _joined([getattr(batch, name) for batch in batches], axis=0) for name in PER_SAMPLE}
    return dataclasses.replace(batches[0], **values)


def _joined(arrays: Sequence[np.ndarray | None], axis: int) -> np.ndarray | None:
    present = [array for array in arrays if array is not None]
    return np.concatenate(present, axis=axis) if len(present) == len(arrays) else None
