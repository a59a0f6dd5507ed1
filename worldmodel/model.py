"""Loading a world model and rolling it out."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from worldmodel.backends.cosmos25 import Cosmos25Backend
from worldmodel.noise import KeyedNoise, check_seeds
from worldmodel.rollout import Rollout
from worldmodel.sampling import PredictPerturb, as_solver, sample
from worldmodel.sampling.budget import planned_nfe
from worldmodel.sampling.sample import check_refine, check_solver

EMBEDDED = {"tiny": Path(__file__).parent / "backends" / "tiny"}


def load(name: str | Path, device: str | None = None) -> WorldModel:
    """Load a world model.

    Args:
        name: "tiny", the model inside this package, or a pipeline folder in the hub's layout.
        device: torch device; a CUDA device if there is one, by default.

    Raises:
        ValueError: no such model, or its files are missing or damaged.
    """
    folder = EMBEDDED.get(str(name), Path(name))
    if str(name) in EMBEDDED and not folder.is_dir():
        raise ValueError(f"model: got no weights of {name} in {folder}, expected them; install worldmodel again")
    if not folder.is_dir():
        raise ValueError(
            f"model: got {str(name)!r}, expected {', '.join(EMBEDDED)} or an existing pipeline folder; check the path"
        )
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return WorldModel(Cosmos25Backend.from_folder(folder, device))


class WorldModel:
    """An image-conditioned video model: first frames in, imagined clips out."""

    def __init__(self, backend: Cosmos25Backend) -> None:
        self.backend = backend
        self.recipe = backend.recipe

    def rollout(
        self,
        frames: np.ndarray,
        *,
        seeds: Sequence[int] | np.ndarray,
        steps: int | None = None,
        solver: str = "euler",
        refine: PredictPerturb | None = None,
        batch_size: int = 32,
        keep_latents: bool = False,
        progress: bool = True,
    ) -> Rollout:
        """Imagine what follows each first frame.

        Args:
            frames: (B, H, W, 3) uint8, or float in [0, 1], of the model's image size.
            seeds: (B,) non-negative integers; up to float rounding a rollout depends on its own only.
            steps: sampling steps; the model's default if None.
            solver: name of a solver in ``worldmodel.sampling.SOLVERS``, with settings as in ``sde:eta=0.5``.
            refine: Predict-and-Perturb plan, or None for the plain solver.
            batch_size: samples denoised at once; changes speed and memory only.
            keep_latents: return the final latents as well.
            progress: show a progress bar of model evaluations.

        Raises:
            ValueError: an argument is malformed; nothing has been computed then.
        """
        images = check_frames(frames, self.recipe.image_size)
        seeds = check_seeds(seeds)
        if len(seeds) != len(images):
            raise ValueError(f"seeds: got {len(seeds)}, expected {len(images)}, one for each first frame; add or drop")
        sigmas = self.check_options(steps, solver, refine, batch_size)
        planned = planned_nfe(sigmas, solver, refine)
        started, parts = time.monotonic(), []
        batches = range(0, len(images), batch_size)
        with tqdm(total=planned * len(images), desc="rollout", unit="NFE", disable=not progress) as bar:
            for first in batches:
                rows = slice(first, first + batch_size)
                parts.append(self._batch(images[rows], seeds[rows], sigmas, solver, refine, bar.update))
                bar.update(planned * min(first + batch_size, len(images)) - bar.n)
        video, latents, nfe = (np.concatenate(part) for part in zip(*parts, strict=True))
        return Rollout(
            video=video,
            fps=self.recipe.fps,
            seeds=seeds,
            nfe=nfe,
            latents=latents if keep_latents else None,
            seconds=time.monotonic() - started,
            provenance=self.provenance(steps, solver, refine),
        )

    def check_options(
        self, steps: int | None, solver: str, refine: PredictPerturb | None, batch_size: int
    ) -> np.ndarray:
        """The noise levels of these options of :meth:`rollout`, or an error that says which is malformed."""
        check_batch_size(batch_size)
        check_solver(solver)
        sigmas = self.backend.sigmas(self.recipe.steps if steps is None else steps)
        check_refine(refine, sigmas)
        return sigmas

    def reconstruct(self, video: np.ndarray, batch_size: int = 16) -> np.ndarray:
        """Videos (B, T, H, W, 3) uint8 after encoding and decoding: the best this model can show."""
        parts = [video[first : first + batch_size] for first in range(0, len(video), batch_size)]
        return np.concatenate([self.backend.decode(self.backend.encode(part)) for part in parts])

    def _batch(
        self,
        images: np.ndarray,
        seeds: np.ndarray,
        sigmas: np.ndarray,
        solver: str,
        refine: PredictPerturb | None,
        advance: Callable[[int], Any],
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Video, latents and evaluations of one batch of first frames (b, H, W, 3)."""
        noise = KeyedNoise(seeds)
        given = self.backend.encode(images[:, None])
        x = noise.initial(given.new_empty(len(images), *self.backend.latent_shape))
        nfe = torch.zeros(len(images), dtype=torch.int64, device=x.device)

        def count(state: dict[str, Any]) -> None:
            nfe.add_(state["evaluations"])
            advance(int(state["evaluations"].sum()))

        denoise = self.backend.denoiser(given)
        z: Tensor = sample(denoise, x, sigmas, solver=solver, refine=refine, noise=noise, callback=count)
        return self.backend.decode(z), z.cpu().numpy(), nfe.cpu().numpy()

    def provenance(
        self, steps: int | None = None, solver: str = "euler", refine: PredictPerturb | None = None
    ) -> dict[str, Any]:
        """What a rollout with these settings depends on beside its frames and seeds, JSON-ready."""
        sigmas = self.backend.sigmas(self.recipe.steps if steps is None else steps)
        return {
            "model": self.recipe.name,
            "weights_sha256": self.backend.weights_hash,
            "solver": str(as_solver(solver)),
            "sigmas": [round(float(sigma), 6) for sigma in sigmas],
            "refine": None if refine is None else refine.describe(),
            "guidance_scale": 1.0,
            "versions": {name: importlib.metadata.version(name) for name in ("worldmodel", "torch", "diffusers")},
            "device": str(self.backend.device),
        }


def check_batch_size(batch_size: int) -> None:
    """Refuse a batch size that is no whole number of at least 1."""
    if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
        raise ValueError(f"batch_size: got {batch_size!r}, expected a whole number of at least 1; 32 suits a CPU")


def check_frames(frames: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """First frames (B, H, W, 3) as uint8, or an error that says what is wrong with them."""
    try:
        frames = np.array(frames)  # a copy: views may have strides that torch refuses
    except ValueError:
        raise ValueError("frames: got images of several sizes, expected one; resize them") from None
    expected = f"(B, {image_size[0]}, {image_size[1]}, 3)"
    if frames.ndim != 4 or frames.shape[1:] != (*image_size, 3) or len(frames) == 0:
        raise ValueError(f"frames: got shape {frames.shape}, expected {expected}; resize, or add a batch axis")
    if frames.dtype == np.uint8:
        return frames
    if not np.issubdtype(frames.dtype, np.floating):
        raise ValueError(f"frames: got dtype {frames.dtype}, expected uint8, or float in [0, 1]; convert them")
    if np.isnan(frames).any():
        raise ValueError("frames: got NaN, expected numbers in [0, 1]; check how they were made")
    if frames.min() < 0.0 or frames.max() > 1.0:
        raise ValueError(
            f"frames: got float values from {frames.min():g} to {frames.max():g}, expected [0, 1]; rescale them"
        )
    return np.round(frames * 255.0).astype(np.uint8)
