"""Training of the embedded model's video transformer (diffusers' ``CosmosTransformer3DModel``).

First-frame-conditioned flow matching as Cosmos-Predict2.5 does it: the first latent frame is
given clean, a mask channel says so, and the timestep is sigma itself. With
x = (1 - sigma) z + sigma eps the network learns the velocity v = eps - z on the other frames.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import CosmosTransformer3DModel
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from worldmodel.backends.attention import use_short_attention
from worldmodel.backends.cosmos25 import skip_empty_prompt
from worldmodel.training.precision import autocast
from worldmodel.training.run import TrainingRun, cosine_schedule, fingerprint

TINY_TRANSFORMER = {
    "in_channels": 17,  # 16 latent channels and the condition mask
    "out_channels": 16,
    "num_attention_heads": 4,
    "attention_head_dim": 64,
    "num_layers": 8,
    "mlp_ratio": 4.0,
    "text_embed_dim": 16,
    "adaln_lora_dim": 64,
    "max_size": (32, 32, 32),
    "patch_size": (1, 2, 2),
    "rope_scale": (1.0, 1.0, 1.0),
    "concat_padding_mask": False,
    "extra_pos_embed_type": None,
}

LOG_STEPS = 50


@dataclass(frozen=True)
class TransformerSettings:
    """The run that made the embedded transformer."""

    steps: int = 6000
    batch: int = 64
    learning_rate: float = 1e-3  # peak, after the warm-up; falls to zero along a cosine
    warmup_steps: int = 300
    weight_decay: float = 0.01
    sigma_shift: float = 2.0  # training noise levels: shift u / (1 + (shift - 1) u), u uniform
    ema_decay: float = 0.999
    seed: int = 0


def train_transformer(
    latents: np.ndarray, out: Path, settings: TransformerSettings, device: str = "cpu"
) -> CosmosTransformer3DModel:
    """Train on normalised latents (N, C, T, H, W) and return the averaged weights; resumes from ``out``."""
    torch.manual_seed(settings.seed)
    model = CosmosTransformer3DModel(**TINY_TRANSFORMER)
    initialise(model)
    skip_empty_prompt(model)
    if device == "cpu":
        use_short_attention(model)
    model.to(device)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(settings.ema_decay))
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1.0, betas=(0.9, 0.99), weight_decay=settings.weight_decay, fused=True
    )
    described = {**dataclasses.asdict(settings), "data": fingerprint(latents)}
    parts = {"model": model, "average": average, "optimizer": optimizer}
    run = TrainingRun(out, "transformer", described, settings.steps, parts)
    loss_of = torch.compile(flow_matching_loss, dynamic=False)
    recent: list[float] = []
    for step in run.steps():
        z, sigma, eps = (part.to(device) for part in training_batch(latents, settings, step))
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * cosine_schedule(step, settings.warmup_steps, settings.steps)
        with autocast(device):
            loss = loss_of(model, z, sigma, eps)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.update_parameters(model)
        recent.append(loss.item())
        if (step + 1) % LOG_STEPS == 0:
            run.log(step, loss=float(np.mean(recent)))
            recent.clear()
    return average.module


def flow_matching_loss(model: CosmosTransformer3DModel, z: Tensor, sigma: Tensor, eps: Tensor) -> Tensor:
    """Mean squared velocity error on the frames that are not given; z (B, C, T, H, W), sigma (B,)."""
    level = sigma.view(-1, 1, 1, 1, 1)
    x = (1.0 - level) * z + level * eps
    x = torch.cat([z[:, :, :1], x[:, :, 1:]], dim=2)
    mask = torch.zeros_like(z[:, :1])
    mask[:, :, 0] = 1.0
    prompt = z.new_zeros(len(z), 1, model.config.text_embed_dim)
    v = model(x, sigma, prompt, condition_mask=mask, return_dict=False)[0]
    return (v.float() - (eps - z))[:, :, 1:].square().mean()


def training_batch(latents: np.ndarray, settings: TransformerSettings, step: int) -> tuple[Tensor, Tensor, Tensor]:
    """Latents (B, C, T, H, W), noise levels (B,) and noise of one step; the same for the same step."""
    rng = np.random.default_rng((settings.seed, step))
    z = torch.from_numpy(latents[rng.integers(len(latents), size=settings.batch)]).float()
    # Stratified levels: one in each of B equal parts of [0, 1].
    u = (rng.permutation(settings.batch) + rng.random(settings.batch)) / settings.batch
    sigma = settings.sigma_shift * u / (1.0 + (settings.sigma_shift - 1.0) * u)
    eps = rng.standard_normal(z.shape, dtype=np.float32)
    return z, torch.from_numpy(sigma).float(), torch.from_numpy(eps)


def initialise(model: CosmosTransformer3DModel) -> None:
    """Start every block as the identity (adaLN-Zero) and let the time embedding see sigma.

    Sigma in [0, 1] moves its sinusoidal embedding only a little, so the first time layer
    starts with larger weights.
    """
    for block in model.transformer_blocks:
        for norm in (block.norm1, block.norm2, block.norm3):
            torch.nn.init.zeros_(norm.linear_2.weight)
    torch.nn.init.zeros_(model.norm_out.linear_2.weight)
    torch.nn.init.zeros_(model.proj_out.weight)
    torch.nn.init.zeros_(model.time_embed.t_embedder.linear_2.weight)
    with torch.no_grad():
        model.time_embed.t_embedder.linear_1.weight.mul_(4.0)
