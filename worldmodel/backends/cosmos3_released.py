"""Cosmos 3 as NVIDIA releases it: text, image and video to world, and forward dynamics of many embodiments.

A folder has the hub's layout (``Cosmos3OmniPipeline``). Text goes into the network as tokens: there is no encoder. Its
wording and templates are those of diffusers' pipeline, which is asked for them.

    model.conditioned(prompt="a red ball falls")                              # a world from text or given frames
    model.conditioned(prompt="put the cup down", domain="bridge_orig_lerobot",  # actions lead from the first frame
                      image_size=(256, 320), num_frames=17, fps=5.0)
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from diffusers import AutoencoderKLWan, Cosmos3OmniPipeline, Cosmos3OmniTransformer, UniPCMultistepScheduler
from diffusers.pipelines.cosmos.pipeline_cosmos3_omni import _ACTION_RESOLUTION_BINS, _ACTION_VIEWPOINT_TEMPLATES
from diffusers.video_processor import VideoProcessor
from torch import Tensor
from torch.nn.functional import pad

from worldmodel.actions import ActionSpec
from worldmodel.backends.checksum import checked_hash
from worldmodel.backends.cosmos3 import Conditions, Cosmos3Denoiser
from worldmodel.backends.cosmos3_actions import DOMAINS, NO_ACTION, action_spec
from worldmodel.backends.cosmos3_network import Cosmos3Network, Text
from worldmodel.backends.licences import Guardrail
from worldmodel.backends.pipeline_folder import (
    UNIPC,
    load_component,
    load_processor,
    read_json,
    read_scheduler,
    weight_files,
)
from worldmodel.backends.recipe import Recipe, check_size
from worldmodel.backends.running import Running, check_hooks, fit_clips
from worldmodel.backends.video_codec import VideoCodec
from worldmodel.sampling.plan import is_number
from worldmodel.sampling.schedules import flow_sigmas

PIPELINE = "Cosmos3OmniPipeline"
BASE = Recipe("Cosmos3", (720, 1280), 189, 24.0, steps=35)
GUIDANCE = 6.0  # diffusers' default for a world from text; with actions there is none
TIERS = tuple(int(tier) for tier in _ACTION_RESOLUTION_BINS)
VIEWS = tuple(_ACTION_VIEWPOINT_TEMPLATES)


@dataclass(frozen=True)
class Told:
    """What rollouts are told; see :meth:`Cosmos3Backend.conditioned`."""

    prompt: str = ""
    negative_prompt: str = ""
    guidance: float | None = None
    domain: str = NO_ACTION
    view: str = VIEWS[0]
    tier: int | None = None
    system_prompt: bool | None = None


class Cosmos3Backend:
    """Encode, denoise and decode with the components of one pipeline.

    Args:
        stock: diffusers' pipeline, whose parts and wording are used.
        recipe: how the model is to be used.
        guardrail: NVIDIA's, or None.
        licence: under which the weights come.
        running: how the model is run.
    """

    from_text = True

    def __init__(
        self,
        stock: Cosmos3OmniPipeline,
        recipe: Recipe,
        guardrail: Guardrail | None = None,
        licence: str = "",
        running: Running | None = None,
    ) -> None:
        if not isinstance(stock.scheduler, UniPCMultistepScheduler):
            raise ValueError(
                f"scheduler: got {type(stock.scheduler).__name__}, expected UniPCMultistepScheduler; use the "
                "pipeline's own"
            )
        self.transformer = stock.transformer.eval().requires_grad_(False)
        self.codec, self.recipe, self.weights_hash = VideoCodec(stock.vae), recipe, ""
        self.device = self.codec.device
        self.told = Told()
        self.running = running or Running()
        self._stock, self._network = stock, Cosmos3Network(self.transformer, self.running)
        self._guardrail, self._licence = guardrail, licence
        self._texts: dict[tuple[int, ...], Text] = {}
        check_size(recipe.image_size, recipe.num_frames, self.codec.pixels_per_latent, self.frames_per_latent)

    @classmethod
    def from_folder(
        cls,
        folder: Path,
        device: str,
        dtype: torch.dtype,
        name: str | None = None,
        guardrail: Guardrail | None = None,
        licence: str = "",
        running: Running | None = None,
    ) -> Self:
        """Load a folder in the hub's layout.

        Raises:
            ValueError: a file is missing, damaged or of another pipeline.
        """
        from transformers import AutoTokenizer

        index = read_json(folder / "model_index.json")
        files = weight_files(folder, "transformer") + weight_files(folder, "vae")
        tokenizer, scheduler = load_processor(AutoTokenizer, folder, "text_tokenizer"), read_scheduler(folder, UNIPC)
        named = ("default_use_system_prompt", "use_native_flow_schedule")
        running = running or Running()
        stock = Cosmos3OmniPipeline(
            transformer=running.place(load_component(Cosmos3OmniTransformer, folder, "transformer", dtype), device),
            text_tokenizer=tokenizer,
            vae=running.place_codec(load_component(AutoencoderKLWan, folder, "vae", dtype), device),
            scheduler=UniPCMultistepScheduler.from_config(scheduler),
            enable_safety_checker=False,  # the guardrail is ours to call
            **{key: index[key] for key in named if key in index},
        )
        backend = cls(stock, Recipe.of(folder, BASE, name), guardrail, licence, running)
        backend.weights_hash = checked_hash(folder, files)
        return backend

    def conditioned(
        self,
        *,
        prompt: str | None = None,
        negative_prompt: str | None = None,
        guidance: float | None = None,
        domain: str | None = None,
        view: str | None = None,
        tier: int | None = None,
        system_prompt: bool | None = None,
        image_size: tuple[int, int] | None = None,
        num_frames: int | None = None,
        fps: float | None = None,
        **unknown: Any,
    ) -> Self:
        """The same weights told something else; what is not given stays as it was.

        Args:
            prompt: what to imagine, or what the robot is to do.
            negative_prompt: what to keep away from; nothing by default.
            guidance: s of v_negative + s (v - v_negative); 1 is off and saves half of the work, and the default with
                actions.
            domain: whose actions lead from the first frame: one of ``DOMAINS``, or "no_action".
            view: with a domain, from where the camera looks: one of ``VIEWS``.
            tier: with a domain, one of ``TIERS``: the canvas of that resolution is filled up by mirroring before the
                first frame is encoded. The least that holds the frame by default.
            system_prompt: whether to put the pipeline's system prompt first; its own choice by default, and not with
                actions.
            image_size: height and width, multiples of the autoencoder's 16 (of 8 where its is 8).
            num_frames: of a chunk, 4n + 1.
            fps: frames per second, which the network is told.

        Raises:
            ValueError: an option that the model cannot take, or a prompt that the guardrail refuses.
        """
        if unknown:
            raise ValueError(
                f"{', '.join(unknown)}: got it for {self.recipe.name}, expected prompt, negative_prompt, guidance, "
                "domain, view, tier, system_prompt, image_size, num_frames or fps; leave it out"
            )
        wanted: dict[str, Any] = {
            "prompt": prompt, "negative_prompt": negative_prompt, "guidance": guidance, "domain": domain, "view": view,
            "tier": tier, "system_prompt": system_prompt,
        }  # fmt: skip
        told = copy.copy(self)
        told.told = replace(self.told, **{name: value for name, value in wanted.items() if value is not None})
        told.recipe = replace(
            self.recipe,
            image_size=self.recipe.image_size if image_size is None else (image_size[0], image_size[1]),
            num_frames=self.recipe.num_frames if num_frames is None else num_frames,
            fps=self.recipe.fps if fps is None else fps,
        )
        told._check()
        if self._guardrail is not None and prompt is not None:
            self._guardrail.check_prompt(prompt)
        return told

    def _check(self) -> None:
        """Refuse what the model cannot take."""
        told, recipe = self.told, self.recipe
        check_size(recipe.image_size, recipe.num_frames, self.codec.pixels_per_latent, self.frames_per_latent)
        if recipe.num_frames == 1:
            raise ValueError("num_frames: got 1, expected at least 5; a world is more than an image")
        if not (is_number(recipe.fps) and 0 < recipe.fps < np.inf):
            raise ValueError(f"fps: got {recipe.fps!r}, expected a finite number above 0; correct it")
        if told.guidance is not None and not (is_number(told.guidance) and 0 <= told.guidance < np.inf):
            raise ValueError(f"guidance: got {told.guidance!r}, expected a finite number of at least 0; 1 is off")
        for name in ("prompt", "negative_prompt"):
            if not isinstance(getattr(told, name), str):
                raise ValueError(f"{name}: got {type(getattr(told, name)).__name__}, expected text; pass a string")
        if told.view not in VIEWS:
            raise ValueError(f"view: got {told.view!r}, expected one of {', '.join(VIEWS)}; choose one")
        if told.tier not in (None, *TIERS):
            raise ValueError(f"tier: got {told.tier!r}, expected one of {', '.join(map(str, TIERS))}; choose one")
        if told.domain != NO_ACTION:
            self._check_domain(action_spec(told.domain, recipe.fps))
        else:
            idle = {"view": told.view != VIEWS[0], "tier": told.tier is not None}
            if any(idle.values()):
                names = ", ".join(name for name, given in idle.items() if given)
                raise ValueError(f"{names}: got it without a domain, expected it with one; say whose actions lead")

    def _check_domain(self, spec: ActionSpec) -> None:
        config = self.transformer.config
        if not config.action_gen:
            raise ValueError(
                f"domain: got {self.told.domain!r} for {self.recipe.name}, expected none, because it takes no actions; "
                "load a checkpoint with action_gen"
            )
        if len(spec.names) > config.action_dim or DOMAINS[self.told.domain] >= config.num_embodiment_domains:
            raise ValueError(
                f"domain: got {self.told.domain!r} with {len(spec.names)} numbers, expected at most "
                f"{config.action_dim} of {config.num_embodiment_domains} domains; choose another, or another checkpoint"
            )
        self.canvas  # noqa: B018  refuses a frame that no canvas holds

    @property
    def action_spec(self) -> ActionSpec | None:
        """Of the domain's actions; None without a domain."""
        return None if self.told.domain == NO_ACTION else action_spec(self.told.domain, self.recipe.fps)

    @property
    def guidance(self) -> float:
        """s of v_negative + s (v - v_negative)."""
        default = GUIDANCE if self.told.domain == NO_ACTION else 1.0
        return float(default if self.told.guidance is None else self.told.guidance)

    @property
    def frames_per_latent(self) -> int:
        """Frames that every latent frame after the first stands for."""
        return self.codec.frames_per_latent

    @property
    def latent_shape(self) -> tuple[int, int, int, int]:
        """(C, T, H, W) of one clip's latents."""
        return self.codec.shape(self.recipe.image_size, self.recipe.num_frames)

    @property
    def canvas(self) -> tuple[int, int]:
        """Height and width of what is encoded: with a domain, the tier's canvas of the nearest aspect ratio.

        Raises:
            ValueError: it is smaller than the image, which would have to be scaled down.
        """
        height, width = self.recipe.image_size
        if self.told.domain == NO_ACTION:
            return height, width
        for tier in TIERS if self.told.tier is None else (self.told.tier,):
            high, wide = VideoProcessor.classify_height_width_bin(height, width, _ACTION_RESOLUTION_BINS[str(tier)])
            if height <= high and width <= wide:
                return high, wide
        raise ValueError(
            f"image_size: got {(height, width)} with a domain, expected at most {(high, wide)} in tier {tier}; scale "
            "the frames down, or choose another tier"
        )

    def sigmas(self, steps: int) -> np.ndarray:
        """The schedule (steps + 1,) of diffusers' own scheduler with the model's settings."""
        flow_sigmas(steps)  # refuses what is no number of steps
        scheduler = UniPCMultistepScheduler.from_config(self._stock.scheduler.config)
        if self._stock.config.use_native_flow_schedule:
            first = 1.0 - 1.0 / scheduler.config.num_train_timesteps
            scheduler.set_timesteps(steps, sigmas=np.linspace(first, 0.0, steps + 1)[:-1])
        else:
            scheduler.set_timesteps(steps)
        return scheduler.sigmas.double().numpy()

    def encode(self, video: np.ndarray) -> Tensor:
        """Normalised latents (B, C, T', H', W') of a video (B, T, H, W, 3) uint8; T' = 0 of no frames."""
        pixels, (height, width) = self.codec.pixels(video), video.shape[2:4]
        right, below = self.canvas[1] - width, self.canvas[0] - height
        if video.shape[1] and (right or below):
            mode = "reflect" if right < width and below < height else "replicate"
            flat = pad(pixels.transpose(1, 2).flatten(0, 1), (0, right, 0, below), mode=mode)
            pixels = flat.unflatten(0, (len(pixels), -1)).transpose(1, 2)
        side = self.codec.pixels_per_latent
        return self.codec.encode(pixels)[..., : height // side, : width // side].contiguous()

    def decode(self, latents: Tensor) -> np.ndarray:
        """Video (B, T, H, W, 3) uint8 of normalised latents, checked by the guardrail, if any."""
        video = self.codec.decode(latents)
        return video if self._guardrail is None else self._guardrail.checked(video)

    def denoiser(
        self, given: Tensor, actions: np.ndarray | None = None, frames: np.ndarray | None = None
    ) -> Cosmos3Denoiser:
        """Denoiser of clips that begin with the given latents (B, C, k, H, W); with actions (B, n, A) k must be 1."""
        check_hooks(self.transformer)
        text, negative = self._read_texts()
        embedded = self._embedded_actions(given, actions)
        conditions = Conditions(text, float(self.recipe.fps), negative, self.guidance, embedded)
        return Cosmos3Denoiser(self._network, given, self.latent_shape[1], conditions)

    def check_memory(self, batch: int, sparse: bool = False) -> None:
        """Refuse a batch of rollouts that does not fit; this network has no evaluations in part."""
        branches = 1 if self.guidance == 1.0 else 2
        self.running = fit_clips(self.running, self.transformer, self.codec, self.recipe, branches, batch)

    def provenance(self) -> dict[str, Any]:
        """What a rollout depends on beside the weights."""
        return {
            "prompt": self.told.prompt,
            "negative_prompt": self.told.negative_prompt if self.guidance != 1.0 else None,
            "guidance_scale": self.guidance,
            "domain": self.told.domain,
            "view": self.told.view if self.action_spec else None,
            "canvas": list(self.canvas),
            "system_prompt": self.told.system_prompt,
            "image_size": list(self.recipe.image_size),
            "dtype": str(self.transformer.dtype).removeprefix("torch."),
            "licence": self._licence,
            "guardrail": "none" if self._guardrail is None else "nvidia",
            "running": self.running.describe(),
        }

    def _embedded_actions(self, given: Tensor, actions: np.ndarray | None) -> Tensor | None:
        spec, expected = self.action_spec, self.recipe.num_frames - 1
        if spec is None:
            if actions is not None:
                raise ValueError(
                    f"actions: got some for {self.recipe.name} without a domain, expected none; say whose they are "
                    "with conditioned(domain=...)"
                )
            return None
        shape = None if actions is None else np.shape(actions)
        if shape != (len(given), expected, len(spec.names)) or given.shape[2] != 1:
            raise ValueError(
                f"actions: got {'none' if shape is None else shape} after {given.shape[2]} given latent frames, "
                f"expected ({len(given)}, {expected}, {len(spec.names)}) after 1, one for each frame after the first; "
                'give them, or say conditioned(domain="no_action")'
            )
        told = torch.from_numpy(spec.check(actions)).float().to(self.device)
        return self._network.embed_actions(told, DOMAINS[self.told.domain])

    def _read_texts(self) -> tuple[Text, Text | None]:
        """Keys and values of the prompts, read once for all rollouts that are told the same."""
        told, (height, width) = self.told, self.canvas
        leads = self.action_spec is not None
        system = False if leads and told.system_prompt is None else told.system_prompt
        wanted, unwanted = self._stock.tokenize_prompt(
            told.prompt, told.negative_prompt, num_frames=self.recipe.num_frames, height=height, width=width,
            fps=self.recipe.fps, use_system_prompt=system, action_mode="forward_dynamics" if leads else None,
            action_view_point=told.view if leads else None,
        )  # fmt: skip
        needed = [tuple(wanted)] if self.guidance == 1.0 else [tuple(wanted), tuple(unwanted)]
        self._texts = {ids: self._texts.get(ids) or self._network.read(list(ids)) for ids in needed}
        texts = [self._texts[ids] for ids in needed]
        return texts[0], None if self.guidance == 1.0 else texts[-1]
