"""Cosmos-Predict2.5: a diffusers pipeline folder as a canonical denoiser.

The network sees clean latents on given frames, a mask channel that says which, and sigma as
its timestep; it predicts the velocity v = eps - z. All of that stays in this file: outside,
a model is ``x0 = denoise(x, sigma)`` with given frames pinned exactly.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from diffusers import AutoencoderKLWan, CosmosTransformer3DModel
from torch import Tensor

from worldmodel.actions import ActionSpec
from worldmodel.backends import sparse_cosmos
from worldmodel.backends.attention import use_short_attention
from worldmodel.backends.checksum import checked_hash
from worldmodel.backends.cosmos25_action_network import transformer_class
from worldmodel.backends.cosmos25_guided import Guidance, GuidedDenoiser
from worldmodel.backends.cosmos25_network import ActionEmbedding, CosmosNetwork
from worldmodel.backends.domains import choose
from worldmodel.backends.memory_format import use_channels_last
from worldmodel.backends.pipeline_folder import UNIPC, load_component, read_json, read_scheduler, weight_files
from worldmodel.backends.protocol import Backend
from worldmodel.backends.recipe import Recipe as Recipe
from worldmodel.backends.running import Running, fit_clips
from worldmodel.backends.video_codec import VideoCodec
from worldmodel.sampling.denoiser import Denoise
from worldmodel.sampling.schedules import flow_sigmas, karras_sigmas

PIPELINE = "Cosmos2_5_PredictBasePipeline"


def skip_empty_prompt(transformer: CosmosTransformer3DModel) -> None:
    """Leave out attention to a prompt of zeros: without biases it adds exactly nothing."""
    for block in transformer.transformer_blocks:
        block.attn2.forward = _no_attention


def _no_attention(hidden_states: Tensor, **_: Any) -> Tensor:
    return torch.zeros_like(hidden_states)


class CosmosDenoiser:
    """x0 = denoise(x, sigma) for a batch whose first latent frames are given.

    Args:
        transformer: predicts the velocity.
        given: (B, C, k, H, W) clean latents of the first k latent frames.
        frames: number of latent frames of the whole clip.
    """

    def __init__(self, transformer: CosmosTransformer3DModel, given: Tensor, frames: int) -> None:
        batch, channels, known, height, width = given.shape
        self._transformer = transformer
        self._clean = given.new_zeros(batch, channels, frames, height, width)
        self._clean[:, :, :known] = given
        self.pinned = torch.zeros(batch, 1, frames, height, width, dtype=torch.bool, device=given.device)
        self.pinned[:, :, :known] = True
        self._prompt = given.new_zeros(batch, 1, transformer.config.text_embed_dim)  # whose attention adds nothing
        self._rotation: tuple[Tensor, Tensor] | None = None  # of partial evaluations, once there are some

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """Clean latents (B, C, T, H, W) predicted for x at noise level sigma."""
        velocity = self._transformer(
            torch.where(self.pinned, self._clean, x),
            timestep=x.new_full((len(x),), sigma),
            encoder_hidden_states=self._prompt,
            condition_mask=self.pinned.to(x.dtype),
            return_dict=False,
        )[0]
        return self._predicted(x, sigma, velocity)

    def remember(self, x: Tensor, sigma: float) -> tuple[Tensor, sparse_cosmos.Memory]:
        """The same, and the memory that :meth:`partial` needs; see :mod:`worldmodel.sampling.sparse`."""
        velocity, memory = sparse_cosmos.remember(self._transformer, self._inputs(x, sigma), sigma)
        return self._predicted(x, sigma, velocity), memory

    def partial(self, x: Tensor, sigma: float, places: Tensor, memory: sparse_cosmos.Memory) -> tuple[Tensor, Tensor]:
        """Clean latents at the tokens that hold one of the places (B, 1, T, H, W) bool, and where those are."""
        inputs, free = self._inputs(x, sigma), ~self.pinned
        velocity, computed = sparse_cosmos.partial(self._transformer, inputs, sigma, places, free, memory)
        return self._predicted(x, sigma, velocity), computed

    def _inputs(self, x: Tensor, sigma: float) -> sparse_cosmos.Inputs:
        clean = torch.where(self.pinned, self._clean, x)
        hidden = torch.cat([clean, self.pinned.to(x.dtype)], dim=1)
        self._rotation = self._transformer.rope(hidden) if self._rotation is None else self._rotation
        return sparse_cosmos.Inputs(hidden, x.new_full((len(x), 1), sigma), rotation=self._rotation)

    def _predicted(self, x: Tensor, sigma: float, velocity: Tensor) -> Tensor:
        return torch.where(self.pinned, self._clean, x - sigma * velocity)


def refuse_actions(backend: Backend, actions: np.ndarray | None) -> None:
    """Refuse actions for a model that takes none, or that was not told whose they are."""
    if actions is None or backend.action_spec is not None:
        return
    name, known = backend.recipe.name, ", ".join(domain.name for domain in backend.recipe.domains)
    if known:
        raise ValueError(
            f"actions: got some for {name} without a robot, expected to be told whose they are; say "
            f"model.conditioned(domain=...), one of {known}"
        )
    raise ValueError(
        f"actions: got some for {name}, expected none, because it takes none; leave them out, or load an "
        "action-conditioned model"
    )


class Cosmos25Backend:
    """Encode, denoise and decode with the components of one pipeline folder, such as the embedded one.

    The network is conditioned on given frames and, where it was trained so, on actions; see
    :mod:`worldmodel.backends.cosmos25_released` for those that read text.
    """

    from_text = False

    def __init__(
        self, transformer: CosmosTransformer3DModel, vae: AutoencoderKLWan, scheduler: dict[str, Any], recipe: Recipe
    ) -> None:
        self._prepare(transformer)
        self.transformer = transformer.eval().requires_grad_(False)
        self.codec = VideoCodec(vae)
        if vae.device.type == "cpu":
            use_channels_last(vae)
        self.scheduler = scheduler
        self.recipe = recipe
        self.weights_hash = ""
        self._domain = recipe.domains[0] if len(recipe.domains) == 1 else None
        self._guidance = Guidance()
        self.device = self.codec.device

    def _prepare(self, transformer: CosmosTransformer3DModel) -> None:
        """Leave out what changes nothing."""
        skip_empty_prompt(transformer)
        if transformer.device.type == "cpu":
            use_short_attention(transformer)

    @classmethod
    def from_folder(cls, folder: Path, device: str = "cpu") -> Cosmos25Backend:
        """Load a folder in the hub's layout; float32 on the given device.

        Raises:
            ValueError: a file is missing, damaged or of another pipeline.
        """
        index = read_json(folder / "model_index.json")
        if index.get("_class_name") != PIPELINE:
            raise ValueError(
                f"{folder}: got a {index.get('_class_name')}, expected a {PIPELINE}; choose another folder"
            )
        if index.get("text_encoder", [None])[0] is not None:
            raise ValueError(f"{folder}: got a text-conditioned pipeline, expected one without text_encoder")
        recipe = Recipe.read(folder / "worldmodel.json")
        config = read_json(folder / "transformer" / "config.json")
        scheduler = read_scheduler(folder, UNIPC)
        files = weight_files(folder, "transformer") + weight_files(folder, "vae")
        backend = cls(
            load_component(transformer_class(config), folder, "transformer").to(device),
            load_component(AutoencoderKLWan, folder, "vae").to(device),
            scheduler,
            recipe,
        )
        backend.weights_hash = checked_hash(folder, files)
        return backend

    def sigmas(self, steps: int) -> np.ndarray:
        """The model's own schedule (steps + 1,) from its scheduler settings."""
        if self.scheduler.get("use_karras_sigmas"):
            return karras_sigmas(steps, self.scheduler["sigma_min"], self.scheduler["sigma_max"])
        return flow_sigmas(steps, self.scheduler.get("flow_shift", 1.0))

    def encode(self, video: np.ndarray) -> Tensor:
        """Normalised latents (B, C, T', H', W') of a video (B, T, H, W, 3) uint8; T' = 0 of no frames."""
        return self.codec.encode(self.codec.pixels(video))

    def decode(self, latents: Tensor) -> np.ndarray:
        """Video (B, T, H, W, 3) uint8 of normalised latents (B, C, T', H', W')."""
        return self.codec.decode(latents)

    def denoiser(self, given: Tensor, actions: np.ndarray | None = None, frames: np.ndarray | None = None) -> Denoise:
        """Denoiser of clips that begin with the given latents (B, C, k, H, W)."""
        refuse_actions(self, actions)
        if actions is None and self._guidance.actions > 0:
            raise ValueError(
                f"actions: got None with action_guidance {self._guidance.actions:g}, expected some to make more of; "
                "give them, or leave the guidance out"
            )
        if actions is None and self._guidance.frames == 0:
            return CosmosDenoiser(self.transformer, given, self.latent_shape[1])
        embedded = None if actions is None else self._embedded(actions, given.shape[2])
        return GuidedDenoiser(CosmosNetwork(self.transformer), given, self.latent_shape[1], embedded, self._guidance)

    def conditioned(
        self,
        *,
        domain: str | ActionSpec | None = None,
        action_guidance: float | None = None,
        frame_guidance: float | None = None,
        **unknown: Any,
    ) -> Self:
        """The same weights told whose actions they are to read, and how much to make of what they are told.

        Args:
            domain: name of one of ``recipe.domains``, or an environment's ActionSpec, which chooses one.
            action_guidance: a of v + a (v - v without actions); 0 is off.
            frame_guidance: f of v + f (v - v without given frames); 0 is off.

        Raises:
            ValueError: an option that the model does not take, or a robot that it does not know.
        """
        asked = {"domain": domain, "action_guidance": action_guidance, "frame_guidance": frame_guidance}
        refused = [*unknown, *(k for k, value in asked.items() if value is not None and not self.recipe.domains)]
        if refused:
            expected = ", ".join(asked) if self.recipe.domains else "nothing; it is told frames alone"
            raise ValueError(f"{', '.join(refused)}: got it for {self.recipe.name}, expected {expected}; leave it out")
        told = copy.copy(self)
        if domain is not None:
            told._domain = choose(self.recipe.domains, domain)
        told._guidance = Guidance(
            self._guidance.actions if action_guidance is None else action_guidance,
            self._guidance.frames if frame_guidance is None else frame_guidance,
        )
        return told

    @property
    def action_spec(self) -> ActionSpec | None:
        """Of the domain whose actions it reads; None before ``conditioned(domain=...)`` chose one."""
        return None if self._domain is None else self._domain.spec

    def _embedded(self, actions: np.ndarray, known: int) -> ActionEmbedding:
        """Embedded actions (B, n, A) of the frames after the given ones; those before are taken as none."""
        assert self._domain is not None
        expected = self.recipe.num_frames - 1 - (known - 1) * self.frames_per_latent
        if actions.ndim != 3 or actions.shape[1] != expected:
            raise ValueError(f"actions: got shape {actions.shape}, expected (B, {expected}, A), one for each new frame")
        numbers = self._domain.numbers(actions, self.transformer.config.action_dim)
        whole = np.pad(numbers, ((0, 0), (self.recipe.num_frames - 1 - expected, 0), (0, 0)))
        return self.transformer.embed_actions(torch.from_numpy(whole).to(self.device), known)

    def check_memory(self, batch: int, sparse: bool = False) -> None:
        """Refuse a batch of rollouts that does not fit."""
        branches = 1 + (self._guidance.actions > 0) + (self._guidance.frames > 0)
        fit_clips(Running(), self.transformer, self.codec, self.recipe, branches, batch, sparse)

    def provenance(self) -> dict[str, Any]:
        """What a rollout depends on beside the weights."""
        if not self.recipe.domains:
            return {"guidance_scale": 1.0}
        return {
            "domain": None if self._domain is None else self._domain.name,
            "action_guidance": self._guidance.actions,
            "frame_guidance": self._guidance.frames,
        }

    @property
    def frames_per_latent(self) -> int:
        """Frames that every latent frame after the first stands for."""
        return self.codec.frames_per_latent

    @property
    def latent_shape(self) -> tuple[int, int, int, int]:
        """(C, T, H, W) of one clip's latents."""
        return self.codec.shape(self.recipe.image_size, self.recipe.num_frames)
