"""What refinement did, kept while sampling and drawn over the video afterwards."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from worldmodel.over_refinement import over_refined
from worldmodel.sampling.guard import change, settled
from worldmodel.sampling.uncertainty import share


@dataclass(frozen=True)
class Iteration:
    """One iteration of Predict-and-Perturb for a batch of B samples."""

    step: int
    sigma: float
    iteration: int  # from 1
    active: np.ndarray  # (B,) bool: samples that had not stopped before it
    certain: np.ndarray  # (B,) share of the free places that are kept from it on
    uncertainty: np.ndarray  # (B,) mean over the free places
    cost: np.ndarray  # (B,) in full evaluations, below 1 where only a part of the places was evaluated
    mask: np.ndarray | None  # (B, ...) bool: the certain places; None unless maps are kept
    map: np.ndarray | None  # (B, ...) float16: the uncertainty; None unless maps are kept


@dataclass
class Record:
    """A callback of :func:`worldmodel.sampling.sample` that counts evaluations and keeps what refinement found.

        record = Record(maps=True)
        z = sample(denoise, x, sigmas, refine=refine, callback=record)

    Args:
        maps: keep every mask and uncertainty map too, 3 bytes a place; without, a few numbers a sample.

    Attributes:
        nfe: (B,) int64 evaluations that each sample spent so far; None before the first step.
        iterations: one :class:`Iteration` for each that was made, in order.
    """

    maps: bool = False
    nfe: np.ndarray | None = None
    iterations: list[Iteration] = field(default_factory=list)
    _shift: Tensor | None = field(default=None, init=False, repr=False)  # (B, C) so far
    _log_growth: Tensor | None = field(default=None, init=False, repr=False)  # (B,) so far

    def __call__(self, state: dict[str, Any]) -> None:
        """Take the state after one step."""
        spent = state["evaluations"].cpu().numpy()
        self.nfe = spent if self.nfe is None else self.nfe + spent
        refinement = [found for found in state["refinement"] if "uncertainty" in found]
        self.iterations += [self._kept(state["step"], state["sigma"], found) for found in refinement]
        if refinement:
            first = refinement[0]
            shift, log_growth = change(first["x0"], state["x0"], settled(first["uncertainty"], first["free"]))
            self._shift = shift if self._shift is None else self._shift + shift
            self._log_growth = log_growth if self._log_growth is None else self._log_growth + log_growth

    @property
    def drift(self) -> np.ndarray | None:
        """(B, 2) tone shift and growth of what was settled, see :mod:`worldmodel.sampling.guard`; None unrefined."""
        if self._shift is None or self._log_growth is None:
            return None
        return _array(torch.stack([self._shift.abs().mean(dim=1), torch.expm1(self._log_growth)], dim=1))

    @property
    def over_refined(self) -> np.ndarray | None:
        """(B,) bool, whether either is beyond its limit; None without refinement."""
        return None if self.drift is None else over_refined(self.drift)

    @property
    def effective_nfe(self) -> np.ndarray | None:
        """(B,) what each sample cost in full evaluations: ``nfe``, with partial ones counted as the part they are."""
        if self.nfe is None:
            return None
        return self.nfe + sum(each.cost - each.active for each in self.iterations)

    def _kept(self, step: int, sigma: float, found: dict[str, Any]) -> Iteration:
        free, certain, uncertainty = found["free"], found["certain"], found["uncertainty"]
        count = free.flatten(1).sum(dim=1).clamp(min=1)
        mean = torch.where(free, uncertainty, 0.0).flatten(1).sum(dim=1) / count
        return Iteration(
            step,
            sigma,
            found["iteration"],
            _array(found["active"]),
            _array(share(certain, free)),
            _array(mean),
            _array(found.get("cost", found["active"].float())),
            _array(certain[:, 0]) if self.maps else None,
            _array(uncertainty[:, 0].half()) if self.maps else None,
        )


def overlay(
    video: np.ndarray,
    maps: np.ndarray,
    top: float | None = None,
    colour: tuple[int, int, int] = (255, 120, 0),
    frames_per_latent: int | None = None,
) -> np.ndarray:
    """Latent maps drawn over the decoded video: the higher the value, the more of the colour, up to two thirds.

    The first latent frame stands for the first frame, every further one for the next (T - 1) / (T' - 1), as in
    causal video autoencoders.

    Args:
        video: (B, T, H, W, 3) uint8.
        maps: (B, T', H', W'): bool masks, or values of at least 0.
        top: the value that takes the full colour; the largest one if None.
        frames_per_latent: n, as ``backend.frames_per_latent``, for pieces of a rollout: those of T = n T' frames have
            no first one, and those that were cut have maps to spare. None takes whole clips, n = (T - 1) / (T' - 1).

    Returns:
        (B, T, H, W, 3) uint8.
    """
    batch, frames, height, width, _ = _check_video(video).shape
    if maps.ndim != 4 or len(maps) != batch or (frames_per_latent is None and (maps.shape[1] > 1) != (frames > 1)):
        raise ValueError(
            f"maps: got shape {maps.shape}, expected ({batch}, T', H', W') for this video; check the batch"
        )
    latent_frames, rows, columns = maps.shape[1:]
    latent = _latent_of(frames, latent_frames, frames_per_latent)
    row, column = np.arange(height) * rows // height, np.arange(width) * columns // width
    values = maps[:, latent][:, :, row][:, :, :, column].astype(np.float32)
    top = float(maps.max()) if top is None else top
    alpha = (2 / 3 * np.clip(values / max(top, 1e-12), 0.0, 1.0))[..., None]
    return np.round((1.0 - alpha) * video + alpha * np.array(colour)).astype(np.uint8)


def _latent_of(frames: int, latent_frames: int, frames_per_latent: int | None) -> list[int]:
    """The latent frame of each frame."""
    n, fits = frames_per_latent, True
    if n is None:
        n, left = divmod(frames - 1, max(latent_frames - 1, 1))
        fits = left == 0
    elif frames == n * latent_frames and n > 1:
        return [frame // n for frame in range(frames)]
    if not fits or frames - 1 > n * (latent_frames - 1):
        raise ValueError(
            f"maps: got {latent_frames} latent frames for {frames}, expected 1 + (T - 1) / n; give frames_per_latent"
        )
    return [0, *(1 + (frame - 1) // n for frame in range(1, frames))]


def _check_video(video: np.ndarray) -> np.ndarray:
    if video.ndim != 5 or video.shape[-1] != 3 or video.dtype != np.uint8:
        raise ValueError(f"video: got {video.dtype} of shape {video.shape}, expected uint8 (B, T, H, W, 3); decode it")
    return video


def _array(values: Tensor) -> np.ndarray:
    return values.cpu().numpy()
