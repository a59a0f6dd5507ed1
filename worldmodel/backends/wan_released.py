"""Wan2.1 and Wan2.2 as they are released: a diffusers pipeline folder as a backend.

T2V, I2V and TI2V pipelines differ in how they see a first frame, see :mod:`worldmodel.backends.wan`. Wan takes no
actions. Text is told once for many rollouts: ``backend.conditioned(prompt=...)``. Its evaluations are diffusers' own
forward pass, which projects the prompt and makes its keys and values anew each time: 0.05 % of the arithmetic of an
evaluation of the 1.3B at 480p, less of the larger ones.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import diffusers
import numpy as np
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from torch import Tensor

from worldmodel.actions import ActionSpec
from worldmodel.backends.checksum import checked_hash
from worldmodel.backends.cosmos25 import refuse_actions
from worldmodel.backends.pipeline_folder import load_component, read_json, read_scheduler, weight_files
from worldmodel.backends.recipe import Recipe, check_size
from worldmodel.backends.running import Running, check_hooks, fit_clips
from worldmodel.backends.text import Prompts
from worldmodel.backends.video_codec import VideoCodec
from worldmodel.backends.wan import TRAINING_STEPS, Expert, Text, WanDenoiser, first_frame_channels
from worldmodel.backends.wan_text import FirstFrames
from worldmodel.sampling.schedules import flow_sigmas

TEXT_TO_VIDEO, IMAGE_TO_VIDEO = "WanPipeline", "WanImageToVideoPipeline"
RECIPE = Recipe("Wan", (480, 832), 81, 16.0, steps=50)
RECIPE_5B = Recipe("Wan2.2-TI2V-5B", (704, 1280), 121, 24.0, steps=50)
GUIDANCE = 5.0  # diffusers' default
SCHEDULERS = ("UniPCMultistepScheduler", "FlowMatchEulerDiscreteScheduler")


@dataclass(frozen=True)
class Kind:
    """What tells one pipeline of the family from another; from its ``model_index.json``."""

    image_to_video: bool
    boundary_ratio: float | None  # of all timesteps, from which the first of two networks is in charge
    expand_timesteps: bool  # a timestep for each place: TI2V 5B

    @classmethod
    def read(cls, folder: Path) -> Kind:
        """The kind of a pipeline folder."""
        index = read_json(folder / "model_index.json")
        image = index.get("_class_name") == IMAGE_TO_VIDEO
        return cls(image, index.get("boundary_ratio"), bool(index.get("expand_timesteps", False)))

    @property
    def recipe(self) -> Recipe:
        """How it is used where its folder does not say."""
        return RECIPE_5B if self.expand_timesteps else RECIPE

    @property
    def given_latents(self) -> tuple[int, ...]:
        """How many latent frames may be given."""
        return (0, 1) if self.expand_timesteps else (1,) if self.image_to_video else (0,)

    @property
    def by_channels(self) -> bool:
        """Whether a first frame is put on top of the noisy channels."""
        return self.image_to_video and not self.expand_timesteps


class WanBackend:
    """Encode, denoise and decode with the components of one pipeline folder.

    Args:
        transformers: one, or the network for high noise and the one for low noise.
        kind: which pipeline of the family it is.
        first_frames: of networks that attend to CLIP's view of them, or None.
        licence: under which the weights come.
        running: how the model is run.
    """

    action_spec: ActionSpec | None = None

    def __init__(
        self,
        transformers: list[WanTransformer3DModel],
        vae: AutoencoderKLWan,
        scheduler: dict[str, Any],
        recipe: Recipe,
        kind: Kind,
        prompts: Prompts,
        first_frames: FirstFrames | None = None,
        licence: str = "",
        running: Running | None = None,
    ) -> None:
        if len(transformers) != (1 if kind.boundary_ratio is None else 2):
            raise ValueError(
                f"transformers: got {len(transformers)} with boundary_ratio {kind.boundary_ratio}, expected one "
                "without and two with it; fetch transformer_2"
            )
        self.transformers = [each.eval().requires_grad_(False) for each in transformers]
        self.running = (running or Running()).without("cuda_graphs", "first_block_cache", model=recipe.name)
        for each in self.transformers:
            if self.running.attention is not None:
                each.set_attention_backend(self.running.attention)
            if self.running.compile:
                each.compile_repeated_blocks()
        self.codec, self.scheduler, self.recipe, self.kind = VideoCodec(vae), scheduler, recipe, kind
        self.device, self.from_text = self.codec.device, 0 in kind.given_latents
        self.weights_hash = ""
        self._prompts, self._first_frames, self._licence = prompts, first_frames, licence
        self._told: dict[str, Any] = {"prompt": "", "negative_prompt": "", "guidance": GUIDANCE, "guidance_2": None}
        self._check_size(recipe.image_size, recipe.num_frames)

    @classmethod
    def from_folder(
        cls,
        folder: Path,
        device: str,
        dtype: torch.dtype,
        prompts: Prompts,
        name: str = "Wan",
        licence: str = "",
        running: Running | None = None,
    ) -> Self:
        """Load a folder in the hub's layout; the autoencoder runs in float32, as Wan's authors have it.

        Raises:
            ValueError: a file is missing, damaged or of another pipeline.
        """
        kind = Kind.read(folder)
        parts = ["transformer"] if kind.boundary_ratio is None else ["transformer", "transformer_2"]
        files = [file for part in (*parts, "vae") for file in weight_files(folder, part)]
        scheduler, running = read_scheduler(folder, *SCHEDULERS), running or Running()
        transformers = [
            running.place(load_component(WanTransformer3DModel, folder, part, dtype), device, whole=True)
            for part in parts
        ]
        sees = transformers[0].config.image_dim is not None
        backend = cls(
            transformers,
            running.place_codec(load_component(AutoencoderKLWan, folder, "vae"), device),
            scheduler,
            Recipe.of(folder, kind.recipe, name),
            kind,
            prompts,
            FirstFrames(folder, device, dtype) if sees else None,
            licence,
            running,
        )
        backend.weights_hash = checked_hash(folder, files)
        return backend

    def conditioned(
        self,
        *,
        prompt: str | Tensor | None = None,
        negative_prompt: str | Tensor | None = None,
        guidance: float | None = None,
        guidance_2: float | None = None,
        image_size: tuple[int, int] | None = None,
        num_frames: int | None = None,
        **unknown: Any,
    ) -> Self:
        """The same weights told something else; what is not given stays as it was.

        Args:
            prompt: what to imagine, or its embedding (1, S, W).
            negative_prompt: what to keep away from.
            guidance: s of v_negative + s (v - v_negative); 1 or less is off and saves half of the work.
            guidance_2: the same for the network for low noise; ``guidance`` if None.
            image_size: height and width.
            num_frames: of a chunk, 4n + 1.

        Raises:
            ValueError: an option that the model cannot take.
        """
        if unknown:
            raise ValueError(
                f"{', '.join(unknown)}: got it for {self.recipe.name}, expected prompt, negative_prompt, guidance, "
                "guidance_2, image_size or num_frames; leave it out"
            )
        if guidance_2 is not None and len(self.transformers) == 1:
            raise ValueError("guidance_2: got it for one network, expected it with two; use guidance")
        for name, value in (("guidance", guidance), ("guidance_2", guidance_2)):
            if value is not None and not (isinstance(value, int | float) and 0 <= value < np.inf):
                raise ValueError(f"{name}: got {value!r}, expected a finite number of at least 0; 1 is off")
        size = self.recipe.image_size if image_size is None else image_size
        frames = self.recipe.num_frames if num_frames is None else num_frames
        self._check_size(size, frames)
        wanted = {
            "prompt": prompt,
            "negative_prompt": negative_prompt,
            "guidance": guidance,
            "guidance_2": guidance_2,
        }
        told = copy.copy(self)
        told._told = {**self._told, **{name: value for name, value in wanted.items() if value is not None}}
        told.recipe = replace(self.recipe, image_size=(size[0], size[1]), num_frames=frames)
        return told

    @property
    def frames_per_latent(self) -> int:
        """Frames that every latent frame after the first stands for."""
        return self.codec.frames_per_latent

    @property
    def latent_shape(self) -> tuple[int, int, int, int]:
        """(C, T, H, W) of one clip's latents."""
        return self.codec.shape(self.recipe.image_size, self.recipe.num_frames)

    def sigmas(self, steps: int) -> np.ndarray:
        """The schedule (steps + 1,) of diffusers' own scheduler with the model's settings."""
        flow_sigmas(steps)  # refuses what is no number of steps
        scheduler = getattr(diffusers, self._scheduler_class()).from_config(self.scheduler)
        scheduler.set_timesteps(steps)
        return scheduler.sigmas.double().numpy()

    def encode(self, video: np.ndarray) -> Tensor:
        """Normalised latents (B, C, T', H', W') of a video (B, T, H, W, 3) uint8."""
        return self.codec.encode(self.codec.pixels(video))

    def decode(self, latents: Tensor) -> np.ndarray:
        """Video (B, T, H, W, 3) uint8 of normalised latents."""
        return self.codec.decode(latents)

    def denoiser(
        self, given: Tensor, actions: np.ndarray | None = None, frames: np.ndarray | None = None
    ) -> WanDenoiser:
        """Denoiser of clips that begin with the given latents (B, C, k, H, W), k at most 1, and frames."""
        refuse_actions(self, actions)
        for each in self.transformers:
            check_hooks(each, whole=True)
        known, takes = given.shape[2], self.kind.given_latents
        if known not in takes:
            raise ValueError(
                f"frames: got {known} given latent frames, expected {' or '.join(map(str, takes))}; this network was "
                "made for no others"
            )
        batch = len(given)
        whole = self._scheduler_class() == SCHEDULERS[0]
        pinned = given if known == 1 and self.kind.expand_timesteps else None
        return WanDenoiser(
            self._experts(),
            self._text(batch, frames),
            channels=self._channels(frames) if self.kind.by_channels else None,
            given=pinned,
            frames=self.latent_shape[1],
            timestep_for_each_place=self.kind.expand_timesteps,
            whole_timesteps=whole,
        )

    def check_memory(self, batch: int, sparse: bool = False) -> None:
        """Refuse a batch of rollouts that does not fit; this network has no evaluations in part."""
        branches = 2 if any(each.guidance_scale > 1.0 for each in self._experts()) else 1
        self.running = fit_clips(self.running, self.transformers[0], self.codec, self.recipe, branches, batch)

    def provenance(self) -> dict[str, Any]:
        """What a rollout depends on beside the weights."""
        shown = {k: "an embedding" if isinstance(v, Tensor) else v for k, v in self._told.items()}
        return {
            "prompt": shown["prompt"],
            "negative_prompt": shown["negative_prompt"] if self._told["guidance"] > 1 else None,
            "guidance_scale": [each.guidance_scale for each in self._experts()],
            "image_size": list(self.recipe.image_size),
            "dtype": str(self.transformers[0].dtype).removeprefix("torch."),
            "licence": self._licence,
            "running": self.running.describe(),
        }

    def _experts(self) -> list[Expert]:
        first, second = self._told["guidance"], self._told["guidance_2"]
        if self.kind.boundary_ratio is None:
            return [Expert(self.transformers[0], first)]
        boundary = self.kind.boundary_ratio * TRAINING_STEPS
        return [
            Expert(self.transformers[0], first, boundary),
            Expert(self.transformers[1], first if second is None else second),
        ]

    def _text(self, batch: int, frames: np.ndarray | None) -> Text:
        guided = any(each.guidance_scale > 1.0 for each in self._experts())
        image = None
        if self._first_frames is not None:
            image = self._first_frames.embed(self._first(frames)[:, 0])
        negative = self._embedding("negative_prompt", batch) if guided else None
        return Text(self._embedding("prompt", batch), negative, image)

    def _embedding(self, name: str, batch: int) -> Tensor:
        told, width = self._told[name], self.transformers[0].config.text_dim
        embedding = self._prompts.embed(told) if isinstance(told, str) else told
        if embedding.ndim != 3 or embedding.shape[-1] != width:
            raise ValueError(
                f"{name}: got an embedding {tuple(embedding.shape)}, expected (1, S, {width}); embed it anew"
            )
        return embedding.to(self.device, torch.float32).expand(batch, -1, -1)

    def _channels(self, frames: np.ndarray | None) -> Tensor:
        """Mask and latents of the first frame followed by grey ones."""
        first = self.codec.pixels(self._first(frames))
        grey = first.new_zeros(*first.shape[:2], self.recipe.num_frames - 1, *first.shape[3:])
        return first_frame_channels(self.codec.encode(torch.cat([first, grey], dim=2)), self.frames_per_latent)

    @staticmethod
    def _first(frames: np.ndarray | None) -> np.ndarray:
        if frames is None or frames.shape[1] != 1:
            got = "none" if frames is None else str(frames.shape[1])
            raise ValueError(f"frames: got {got}, expected one given frame for each sample; pass its pixels")
        return frames

    def _scheduler_class(self) -> str:
        name = self.scheduler.get("_class_name", "")
        if name not in SCHEDULERS:
            raise ValueError(f"scheduler: got {name!r}, expected {' or '.join(SCHEDULERS)}; use the pipeline's own")
        return name

    def _check_size(self, image_size: tuple[int, int], num_frames: int) -> None:
        config = self.transformers[0].config
        pixels = self.codec.pixels_per_latent * config.patch_size[1]
        check_size(image_size, num_frames, pixels, self.frames_per_latent, config.rope_max_seq_len)
