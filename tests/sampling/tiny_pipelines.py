"""Stock diffusers pipelines of every kind, tiny and random, and what each computes, as a denoiser of ours."""

from __future__ import annotations

import types
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from diffusers import (
    AutoencoderKLWan,
    Cosmos2_5_PredictBasePipeline,
    Cosmos3OmniPipeline,
    CosmosTransformer3DModel,
    FlowMatchEulerDiscreteScheduler,
    UniPCMultistepScheduler,
    WanImageToVideoPipeline,
    WanPipeline,
    WanTransformer3DModel,
    WanVideoToVideoPipeline,
)
from diffusers.models.transformers import transformer_cosmos
from diffusers.models.transformers.transformer_cosmos3 import Cosmos3OmniTransformer
from diffusers.pipelines.cosmos import pipeline_cosmos2_5_predict
from diffusers.pipelines.cosmos.pipeline_cosmos3_omni import CosmosActionCondition
from PIL import Image
from torch import Tensor, nn

SIZE, FRAMES, PROMPT = 32, 9, 6
FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
SCHEDULERS = {
    "euler": lambda: FlowMatchEulerDiscreteScheduler(shift=3.0),
    "unipc": lambda: UniPCMultistepScheduler(**FLOW, flow_shift=3.0),
    "karras": lambda: UniPCMultistepScheduler(**FLOW, use_karras_sigmas=True, sigma_max=200.0, sigma_min=0.01),
}


@cache
def vae() -> AutoencoderKLWan:
    torch.manual_seed(0)
    return AutoencoderKLWan(
        base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True]
    ).eval()


def wan_transformer(in_channels: int = 16, seed: int = 1) -> WanTransformer3DModel:
    torch.manual_seed(seed)
    return WanTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=in_channels,
        out_channels=16,
        text_dim=32,
        freq_dim=256,
        ffn_dim=32,
        num_layers=2,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        rope_max_seq_len=32,
    ).eval()


def cosmos_transformer(seed: int = 1) -> CosmosTransformer3DModel:
    torch.manual_seed(seed)
    return CosmosTransformer3DModel(
        in_channels=17,
        out_channels=16,
        num_attention_heads=2,
        attention_head_dim=16,
        num_layers=2,
        mlp_ratio=2.0,
        text_embed_dim=32,
        adaln_lora_dim=4,
        max_size=(8, 32, 32),
        patch_size=(1, 2, 2),
        rope_scale=(1.0, 3.0, 3.0),
        concat_padding_mask=True,
        extra_pos_embed_type=None,
        use_crossattn_projection=True,
        crossattn_proj_in_channels=48,
        encoder_hidden_states_channels=32,
    ).eval()


class NoChecker(nn.Module):
    """Stands in for the guardrail, which these tests have no use for."""

    device, dtype = torch.device("cpu"), torch.float32

    def to(self, *_: Any, **__: Any) -> NoChecker:
        return self


def shim_torchvision(monkeypatch) -> None:
    """The two functions of torchvision that diffusers' Cosmos calls, where it is not installed."""

    def to_tensor(image: Image.Image) -> Tensor:
        return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1) / 255.0

    def resize(x: Tensor, size: Any, interpolation: Any = None) -> Tensor:
        return nn.functional.interpolate(x, size=tuple(size), mode="nearest")

    functional = types.SimpleNamespace(to_tensor=to_tensor, resize=resize)
    modes = types.SimpleNamespace(NEAREST="nearest")
    transforms = types.SimpleNamespace(functional=functional, InterpolationMode=modes)
    for module, name, stand_in in (
        (transformer_cosmos, "transforms", transforms),
        (pipeline_cosmos2_5_predict, "torchvision", types.SimpleNamespace(transforms=transforms)),
    ):
        if not hasattr(module, name):
            monkeypatch.setattr(module, name, stand_in, raising=False)


def image() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def embeds(kind: str, batch: int, seed: int) -> Tensor:
    width = 48 if kind.startswith("cosmos") else 32
    return torch.randn(batch, PROMPT, width, generator=torch.Generator().manual_seed(seed))


def pipeline(kind: str, scheduler: str = "unipc") -> Any:
    """A stock pipeline of a kind in KINDS."""
    none: dict[str, Any] = {"tokenizer": None, "text_encoder": None}
    parts: dict[str, Any] = {"vae": vae(), "scheduler": SCHEDULERS[scheduler](), **none}
    if kind.startswith("cosmos"):
        made = Cosmos2_5_PredictBasePipeline(transformer=cosmos_transformer(), safety_checker=NoChecker(), **parts)
    elif kind == "wan-v2v":
        made = WanVideoToVideoPipeline(transformer=wan_transformer(), **parts)
    else:
        made = _wan(kind, parts)
    made.set_progress_bar_config(disable=True)
    return made


def _wan(kind: str, parts: dict[str, Any]) -> Any:
    channels = 36 if kind.startswith("wan-i2v") else 16
    if kind.endswith("two-experts"):
        parts |= {"transformer_2": wan_transformer(channels, seed=2), "boundary_ratio": 0.875}
    if kind == "wan-ti2v":
        parts |= {"expand_timesteps": True}
    of = WanPipeline if kind.startswith("wan-t2v") else WanImageToVideoPipeline
    return of(transformer=wan_transformer(channels), **parts)


KINDS = ("cosmos", "cosmos-image", "wan-t2v", "wan-t2v-two-experts", "wan-i2v", "wan-i2v-two-experts", "wan-ti2v")


def call(kind: str, pipe: Any, x: Tensor, steps: int, guidance: float, **options: Any) -> Tensor:
    """The latents (B, C, T, H, W) that a pipeline makes of the noise x."""
    given = {"image": image()} if kind in ("cosmos-image", "wan-ti2v") or kind.startswith("wan-i2v") else {}
    return pipe(
        **given,
        prompt_embeds=embeds(kind, len(x), 3),
        negative_prompt_embeds=embeds(kind, len(x), 4),
        height=SIZE,
        width=SIZE,
        **({} if kind == "wan-v2v" else {"num_frames": FRAMES}),
        num_inference_steps=steps,
        guidance_scale=guidance,
        latents=x,
        output_type="latent",
        return_dict=False,
        **options,
    )[0]


def noise(batch: int, seed: int = 5) -> Tensor:
    shape = (batch, 16, 1 + (FRAMES - 1) // 4, SIZE // 8, SIZE // 8)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class AsDenoiser:
    """What a stock pipeline evaluates in each step, written down again as x0 = denoise(x, sigma).

    Attributes:
        sigmas: noise levels of its scheduler.
        pinned, given: places (B, 1, T, H, W) that are given, and what is; None if there are none.
    """

    def __init__(self, kind: str, pipe: Any, batch: int, steps: int, guidance: float) -> None:
        self.kind, self.pipe, self.guidance = kind, pipe, guidance
        pipe.scheduler.set_timesteps(steps)
        self.sigmas = pipe.scheduler.sigmas.numpy()
        self.timesteps = dict(zip(self.sigmas.tolist(), pipe.scheduler.timesteps, strict=False))
        self.prompts = embeds(kind, batch, 3), embeds(kind, batch, 4)
        self.pinned: Tensor | None = None
        self.given: Tensor | None = None
        self.extra: Tensor | None = None  # channels beside x
        with torch.no_grad():
            self._condition(batch)

    def _condition(self, batch: int) -> None:
        pipe, like = self.pipe, noise(batch)
        if self.kind.startswith("wan-i2v") or self.kind == "wan-ti2v":
            pixels = pipe.video_processor.preprocess(image(), height=SIZE, width=SIZE).float()
            made = pipe.prepare_latents(pixels, batch, 16, SIZE, SIZE, FRAMES, torch.float32, latents=like)
            self.extra = made[1]
        if self.kind == "wan-ti2v":
            self._pin(made[1])
        if self.kind == "cosmos-image":
            pixels = torch.from_numpy(np.asarray(image()).copy()).permute(2, 0, 1)[None, :, None] / 127.5 - 1.0
            mode = pipe.vae.encode(pixels).latent_dist.mode()
            self._pin((mode - pipe.latents_mean) * pipe.latents_std)

    def _pin(self, first: Tensor) -> None:
        self.given = torch.zeros_like(noise(len(self.prompts[0])))
        self.given[:, :, :1] = first
        self.pinned = torch.zeros_like(self.given[:, :1], dtype=torch.bool)
        self.pinned[:, :, :1] = True

    @torch.no_grad()
    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        seen = x if self.pinned is None else torch.where(self.pinned, self.given, x)
        evaluate = self._cosmos if self.kind.startswith("cosmos") else self._wan
        velocity = evaluate(seen, sigma, self.prompts[0])
        if self.guidance > 1:
            other = evaluate(seen, sigma, self.prompts[1])
            cosmos = self.kind.startswith("cosmos")
            velocity = (velocity if cosmos else other) + self.guidance * (velocity - other)
        x0 = x - sigma * velocity
        return x0 if self.pinned is None else torch.where(self.pinned, self.given, x0)

    def _cosmos(self, x: Tensor, sigma: float, prompt: Tensor) -> Tensor:
        mask = torch.zeros_like(x[:, :1]) if self.pinned is None else self.pinned.float()
        return self.pipe.transformer(
            x,
            timestep=torch.where(mask[..., :1, :1] == 1, 0.0001, sigma),
            encoder_hidden_states=prompt,
            condition_mask=mask,
            padding_mask=x.new_zeros(1, 1, SIZE, SIZE),
            return_dict=False,
        )[0]

    def _wan(self, x: Tensor, sigma: float, prompt: Tensor) -> Tensor:
        t = self.timesteps[sigma]
        timestep = t.expand(len(x))
        if self.kind == "wan-ti2v":
            timestep = (~self.pinned[:, 0, :, ::2, ::2] * t).flatten(1)
        elif self.extra is not None:
            x = torch.cat([x, self.extra], dim=1)
        boundary = self.pipe.config.boundary_ratio if hasattr(self.pipe.config, "boundary_ratio") else None
        low = boundary is not None and t < boundary * 1000
        network = self.pipe.transformer_2 if low else self.pipe.transformer
        return network(x, timestep=timestep, encoder_hidden_states=prompt, return_dict=False)[0]


def counted(network: nn.Module) -> list[float]:
    """A list that grows by the largest timestep of each call of a network."""
    calls: list[float] = []
    hook: Callable[..., None] = lambda module, args, kwargs: calls.append(float(kwargs["timestep"].max()))  # noqa: E731
    network.register_forward_pre_hook(hook, with_kwargs=True)
    return calls


class Words:
    """Stands in for a tokenizer: every prompt is the same four words."""

    eos_token_id = 1

    def convert_tokens_to_ids(self, *_: Any) -> int:
        return 2

    def apply_chat_template(self, *_: Any, **__: Any) -> Any:
        return types.SimpleNamespace(input_ids=[3, 4, 5, 6])


def cosmos3_pipeline() -> Cosmos3OmniPipeline:
    """Cosmos 3, which samples a video and the robot's actions together, each with a scheduler of its own."""
    torch.manual_seed(1)
    transformer = Cosmos3OmniTransformer(
        head_dim=12,
        hidden_size=24,
        intermediate_size=32,
        latent_channel=16,
        latent_patch_size=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        num_hidden_layers=2,
        patch_latent_dim=16,
        rope_axes_dim=[2, 2, 2],
        vocab_size=64,
        action_dim=64,
        action_gen=True,
        num_embodiment_domains=32,
    ).eval()
    parts = {"vae": vae(), "scheduler": SCHEDULERS["unipc"](), "text_tokenizer": Words()}
    made = Cosmos3OmniPipeline(transformer=transformer, enable_safety_checker=False, **parts)
    made.set_progress_bar_config(disable=True)
    return made


def call_cosmos3(pipe: Cosmos3OmniPipeline, steps: int, **options: Any) -> tuple[Tensor, Tensor]:
    """Latents (1, C, T, H, W) and actions (T, A) from an image."""
    domain, tier = "bridge_orig_lerobot", 256
    made = pipe(
        prompt="",
        action=CosmosActionCondition(
            mode="policy", chunk_size=FRAMES - 1, domain_name=domain, resolution_tier=tier, image=image()
        ),
        num_inference_steps=steps,
        guidance_scale=1.0,
        generator=torch.Generator().manual_seed(0),
        output_type="latent",
        add_resolution_template=False,
        add_duration_template=False,
        use_system_prompt=False,
        enable_safety_check=False,
        **options,
    )
    return made.video, made.action[0]
