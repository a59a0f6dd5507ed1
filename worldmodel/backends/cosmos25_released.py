"""Cosmos-Predict2.5 as NVIDIA releases it: text, image, video and actions in, with guidance.

A folder has the hub's layout; one that :mod:`worldmodel.backends.cosmos25_convert` made holds an action-conditioned
network. Text is told once for many rollouts: ``backend.conditioned(prompt=...)``.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from diffusers import AutoencoderKLWan, CosmosTransformer3DModel, UniPCMultistepScheduler
from torch import Tensor

from worldmodel.actions import ActionSpec
from worldmodel.backends.checksum import checked_hash
from worldmodel.backends.cosmos25 import Cosmos25Backend, refuse_actions
from worldmodel.backends.cosmos25_action_network import ActionCosmosTransformer3DModel, transformer_class
from worldmodel.backends.cosmos25_actions import COSMOS25_ACTIONS, model_numbers
from worldmodel.backends.cosmos25_network import ActionEmbedding, CosmosNetwork, Text
from worldmodel.backends.cosmos25_video import Conditions, VideoDenoiser
from worldmodel.backends.licences import Guardrail
from worldmodel.backends.pipeline_folder import UNIPC, load_component, read_json, read_scheduler, weight_files
from worldmodel.backends.recipe import Recipe, check_size
from worldmodel.backends.running import Running, check_hooks, fit_clips
from worldmodel.backends.text import Prompts
from worldmodel.sampling.plan import is_number
from worldmodel.sampling.schedules import flow_sigmas

BASE = Recipe("Cosmos-Predict2.5", (704, 1280), 93, 16.0, steps=36)
GUIDANCE = 7.0  # of models without actions; those with them were made for none
GIVEN_SIGMA = 1e-4  # of checkpoints with the Karras schedule, NVIDIA's 0.1 thousandths; others tell one sigma for all
GIVEN_LATENTS = (0, 1, 2)


class ReleasedCosmos25(Cosmos25Backend):
    """A Predict2.5 with its text.

    Args:
        prompts: where embeddings come from.
        guardrail: NVIDIA's, or None.
        licence: under which the weights come.
        running: how the model is run.
    """

    from_text = True

    def __init__(
        self,
        transformer: CosmosTransformer3DModel,
        vae: AutoencoderKLWan,
        scheduler: dict[str, Any],
        recipe: Recipe,
        prompts: Prompts,
        guardrail: Guardrail | None = None,
        licence: str = "",
        running: Running | None = None,
    ) -> None:
        super().__init__(transformer, vae, scheduler, recipe)
        check_size(recipe.image_size, recipe.num_frames, places=self._places)
        self.running = running or Running()
        self._network, self._prompts, self._guardrail, self._licence = (
            CosmosNetwork(transformer, self.running),
            prompts,
            guardrail,
            licence,
        )
        self._given_sigma = GIVEN_SIGMA if scheduler.get("use_karras_sigmas") else -1.0
        self._told: dict[str, Any] = {"prompt": "", "negative_prompt": None, "guidance": None}
        self._texts: tuple[Text, Text | None] | None = None

    @classmethod
    def from_released(
        cls,
        folder: Path,
        device: str,
        dtype: torch.dtype,
        prompts: Prompts,
        name: str | None = None,
        guardrail: Guardrail | None = None,
        licence: str = "",
        running: Running | None = None,
    ) -> Self:
        """Load a folder in the hub's layout.

        Raises:
            ValueError: a file is missing, damaged or of another pipeline.
        """
        config = read_json(folder / "transformer" / "config.json")
        recipe = Recipe.of(folder, BASE, name)
        scheduler = read_scheduler(folder, UNIPC)
        files = weight_files(folder, "transformer") + weight_files(folder, "vae")
        running = running or Running()
        backend = cls(
            running.place(load_component(transformer_class(config), folder, "transformer", dtype), device),
            running.place_codec(load_component(AutoencoderKLWan, folder, "vae", dtype), device),
            scheduler,
            recipe,
            prompts,
            guardrail,
            licence,
            running,
        )
        backend.weights_hash = checked_hash(folder, files)
        return backend

    def _prepare(self, transformer: CosmosTransformer3DModel) -> None:
        """Nothing: the network attends to its prompt."""

    @property
    def action_spec(self) -> ActionSpec | None:
        """NVIDIA's recipe, where the network reads actions."""
        return COSMOS25_ACTIONS if isinstance(self.transformer, ActionCosmosTransformer3DModel) else None

    def conditioned(
        self,
        *,
        prompt: str | Tensor | None = None,
        negative_prompt: str | Tensor | None = None,
        guidance: float | None = None,
        image_size: tuple[int, int] | None = None,
        num_frames: int | None = None,
        given_sigma: float | None = None,
        **unknown: Any,
    ) -> Self:
        """The same weights told something else; what is not given stays as it was.

        Args:
            prompt: what to imagine, or its embedding (1, S, W).
            negative_prompt: what to keep away from; NVIDIA's by default.
            guidance: g of v + g (v - v_negative), NVIDIA's convention; 0 is off and saves half of the work.
            image_size: height and width, multiples of 16, at most 2048 of the released models.
            num_frames: of a chunk, 4n + 1, at most 509 of the released models.
            given_sigma: noise level told for given frames; negative: that of all others.

        Raises:
            ValueError: an option that the model cannot take, or a prompt that the guardrail refuses.
        """
        if unknown:
            raise ValueError(
                f"{', '.join(unknown)}: got it for {self.recipe.name}, expected prompt, negative_prompt, guidance, "
                "image_size, num_frames or given_sigma; leave it out"
            )
        told = copy.copy(self)
        wanted = {"prompt": prompt, "negative_prompt": negative_prompt, "guidance": guidance}
        given = {name: value for name, value in wanted.items() if value is not None}
        told._told = {**self._told, **given}
        if given:
            told._texts = None
        if guidance is not None and not (is_number(guidance) and 0 <= guidance < np.inf):
            raise ValueError(f"guidance: got {guidance!r}, expected a finite number of at least 0; 0 is off")
        height, width = self.recipe.image_size if image_size is None else image_size
        frames = self.recipe.num_frames if num_frames is None else num_frames
        check_size((height, width), frames, places=self._places)
        told.recipe = replace(self.recipe, image_size=(height, width), num_frames=frames)
        if given_sigma is not None:
            told._given_sigma = float(given_sigma)
        if self._guardrail is not None and isinstance(prompt, str):
            self._guardrail.check_prompt(prompt)
        return told

    def sigmas(self, steps: int) -> np.ndarray:
        """The schedule (steps + 1,) of diffusers' own scheduler with the model's settings."""
        flow_sigmas(steps)  # refuses what is no number of steps
        scheduler = UniPCMultistepScheduler.from_config(self.scheduler)
        scheduler.set_timesteps(steps)
        return scheduler.sigmas.double().numpy()

    def denoiser(
        self, given: Tensor, actions: np.ndarray | None = None, frames: np.ndarray | None = None
    ) -> VideoDenoiser:
        """Denoiser of clips that begin with the given latents (B, C, k, H, W), k from 0 to 2."""
        refuse_actions(self, actions)
        check_hooks(self.transformer)
        known = given.shape[2]
        if known not in GIVEN_LATENTS:
            raise ValueError(
                f"given: got {known} latent frames, expected 0 (text), 1 (an image) or 2; give 1 or 5 frames"
            )
        with torch.no_grad():
            text, negative = self._read_texts()
        embedded = None if actions is None else self._embedded_actions(actions, known)
        conditions = Conditions(text, negative, self.guidance, self._given_sigma, embedded)
        return VideoDenoiser(self._network, given, self.latent_shape[1], conditions)

    def decode(self, latents: Tensor) -> np.ndarray:
        """Video (B, T, H, W, 3) uint8 of normalised latents, checked by the guardrail, if any."""
        video = super().decode(latents)
        return video if self._guardrail is None else self._guardrail.checked(video)

    def check_memory(self, batch: int, sparse: bool = False) -> None:
        """Refuse a batch of rollouts that does not fit."""
        branches = 2 if self.guidance > 0 else 1
        self.running = fit_clips(self.running, self.transformer, self.codec, self.recipe, branches, batch, sparse)

    @property
    def guidance(self) -> float:
        """g of v + g (v - v_negative)."""
        told = self._told["guidance"]
        return float((GUIDANCE if self.action_spec is None else 0.0) if told is None else told)

    def provenance(self) -> dict[str, Any]:
        """What a rollout depends on beside the weights."""
        shown = {k: v if v is None or isinstance(v, str) else "an embedding" for k, v in self._told.items()}
        return {
            "prompt": shown["prompt"],
            "negative_prompt": (shown["negative_prompt"] or "NVIDIA's default") if self.guidance > 0 else None,
            "guidance_scale": 1.0 + self.guidance,
            "given_sigma": self._given_sigma,
            "image_size": list(self.recipe.image_size),
            "dtype": str(self.transformer.dtype).removeprefix("torch."),
            "licence": self._licence,
            "guardrail": self._checked_by(),
            "running": self.running.describe(),
        }

    @property
    def _places(self) -> int:
        """Along each axis, of diffusers' one table of rotations for all three."""
        config = self.transformer.config
        return max(size // patch for size, patch in zip(config.max_size, config.patch_size, strict=True))

    def _checked_by(self) -> str:
        """The guardrail, which cannot read a prompt that is an embedding."""
        if self._guardrail is None:
            return "none"
        return "nvidia" if isinstance(self._told["prompt"], str) else "nvidia, of videos alone"

    def _read_texts(self) -> tuple[Text, Text | None]:
        """Keys and values of the prompts, read once."""
        if self._texts is None:
            negative = None
            if self.guidance > 0:
                told = self._told["negative_prompt"]
                negative = self._read(default_negative_prompt() if told is None else told)
            self._texts = self._read(self._told["prompt"]), negative
        return self._texts

    def _read(self, prompt: str | Tensor) -> Text:
        embedding = self._prompts.embed(prompt) if isinstance(prompt, str) else prompt
        width = self.transformer.config.crossattn_proj_in_channels
        if embedding.ndim != 3 or embedding.shape[-1] != width:
            raise ValueError(
                f"prompt: got an embedding {tuple(embedding.shape)}, expected (1, S, {width}); embed it anew"
            )
        return self._network.read(embedding.to(self.device))

    def _embedded_actions(self, actions: np.ndarray, known: int) -> ActionEmbedding:
        """Embedded actions of a clip; those between given frames, which change nothing, are taken as none."""
        told = np.asarray(actions, np.float64)
        expected = self.recipe.num_frames - max(1, 1 + (known - 1) * self.frames_per_latent)
        if told.ndim != 3 or told.shape[1] != expected:
            raise ValueError(f"actions: got shape {told.shape}, expected (B, {expected}, A), one for each new frame")
        numbers = model_numbers(told)
        before = np.zeros((len(numbers), self.recipe.num_frames - 1 - expected, numbers.shape[2]), np.float32)
        whole = torch.from_numpy(np.concatenate([before, numbers], axis=1)).to(self.device)
        return self.transformer.embed_actions(whole, known)


def default_negative_prompt() -> str:
    """NVIDIA's, as diffusers has it."""
    from diffusers.pipelines.cosmos.pipeline_cosmos2_5_predict import DEFAULT_NEGATIVE_PROMPT

    return DEFAULT_NEGATIVE_PROMPT
