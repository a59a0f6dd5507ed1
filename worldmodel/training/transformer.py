"""Training of the embedded model's video transformer.

Flow matching as Cosmos-Predict2.5 does it: the first latent frames are given clean, a mask channel says so, and the
timestep is sigma itself. With x = (1 - sigma) z + sigma eps the network learns the velocity v = eps - z on the other
frames, above all where things are or move: most of a picture stays as it was given, and a ball is one latent of 64.
What it is told varies from sample to sample, so that one network serves them all: one given latent frame, two
(a moving start), or none; actions, or nothing of them. The last of each are what guidance compares with.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from worldmodel.backends.cosmos25_action_network import ACTIONS_PER_LATENT, ActionCosmosTransformer3DModel
from worldmodel.backends.cosmos25_network import ActionEmbedding, CosmosNetwork
from worldmodel.backends.running import Running
from worldmodel.counts import check_count
from worldmodel.training.gradients import Gradients
from worldmodel.training.latents import Windows
from worldmodel.training.muon import muon_and_adam
from worldmodel.training.precision import autocast
from worldmodel.training.run import TrainingRun, cosine_schedule, fingerprint, fingerprint_of

ACTION_DIM = 7  # numbers that the embedded model reads of an action, for all its robots together
PATCH = 2  # latents along each side of a token
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
    "patch_size": (1, PATCH, PATCH),
    "rope_scale": (1.0, 1.0, 1.0),
    "concat_padding_mask": False,
    "extra_pos_embed_type": None,
    "use_crossattn_projection": False,
    "action_width": ACTIONS_PER_LATENT * ACTION_DIM,
    "action_dim": ACTION_DIM,
}

ENDS = ("patch_embed", "time_embed", "action_embedder", "norm_out", "proj_out")  # trained by AdamW
LOG_STEPS = 50


@dataclass(frozen=True)
class TransformerSettings:
    """A run that makes an embedded transformer; by default the one for CPUs."""

    steps: int = 5500
    batch: int = 64
    learning_rate: float = 4e-3  # of Muon; peak, after the warm-up; falls to zero along a cosine
    adam_share: float = 0.5  # of it for AdamW, which trains biases, gains and what leads in and out
    warmup_steps: int = 300
    sigma_shift: float = 2.0  # training noise levels: shift u / (1 + (shift - 1) u), u uniform
    given: tuple[float, ...] = (0.05, 0.7, 0.25)  # share of samples with 0, 1, 2 given latent frames
    untold: float = 0.1  # share of samples with actions that are not told them
    object_weight: float = 4.0  # extra weight of latents on objects and what moves
    ema_decay: float = 0.999
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "warmup_steps"):
            check_count(name, getattr(self, name))
        if not 0.0 < self.learning_rate < float("inf"):
            raise ValueError(f"learning_rate: got {self.learning_rate}, expected above 0; 0.001 to 0.004 is usual")


@dataclass(frozen=True)
class Batch:
    """What one step learns from.

    Attributes:
        z: (B, C, T, H, W) clean latents.
        sigma: (B,) noise levels.
        eps: like ``z``, noise.
        given: (B, T) bool, latent frames that are given.
        actions: (B, 4 (T - 1), A) the model's numbers.
        told: (B,) bool, whether the network is told them.
        weight: (B, T, H, W) of the errors.
    """

    z: Tensor
    sigma: Tensor
    eps: Tensor
    given: Tensor
    actions: Tensor
    told: Tensor
    weight: Tensor

    @property
    def tensors(self) -> list[Tensor]:
        """All of them, in their order."""
        return [getattr(self, each.name) for each in dataclasses.fields(self)]


def train_transformer(
    windows: Windows,
    out: Path,
    settings: TransformerSettings,
    device: str = "cpu",
    start: torch.nn.Module | None = None,
) -> ActionCosmosTransformer3DModel:
    """Train on windows with normalised latents and return the averaged weights; resumes from ``out``.

    Args:
        windows: latents and actions.
        out: folder of the checkpoint and the log.
        settings: of the run.
        device: torch device.
        start: a transformer of the same shape to go on from, with or without action embedders; a new one if None.
    """
    torch.manual_seed(settings.seed)
    model = new_transformer(start)
    model.to(device)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(settings.ema_decay))
    muon, adam = muon_and_adam(model, ENDS)
    described = {
        **dataclasses.asdict(settings),
        "data": fingerprint(*(getattr(windows, each.name) for each in dataclasses.fields(windows))),
    }
    described["given"] = list(settings.given)
    described["start"] = "" if start is None else fingerprint_of(start)
    parts = {"model": model, "average": average, "muon": muon, "adam": adam}
    run = TrainingRun(out, "transformer", described, settings.steps, parts)
    network = CosmosNetwork(model, Running(compile=True))

    def losses(inputs: Sequence[Tensor]) -> list[Tensor]:
        with autocast(device):
            return [flow_matching_loss(network, Batch(*inputs))]

    gradients = Gradients(losses, model, device)
    batches = batches_of(windows, settings, device)
    recent: list[Tensor] = []
    for step in run.steps():
        loss = gradients(batches(step).tensors)
        rate = settings.learning_rate * cosine_schedule(step, settings.warmup_steps, settings.steps)
        muon.param_groups[0]["lr"], adam.param_groups[0]["lr"] = rate, settings.adam_share * rate
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        muon.step()
        adam.step()
        average.update_parameters(model)
        recent.append(loss)
        if (step + 1) % LOG_STEPS == 0:
            run.log(step, loss=torch.cat(recent).mean().item())
            recent.clear()
    averaged: ActionCosmosTransformer3DModel = average.module  # type: ignore[assignment]  # AveragedModel forgets
    return averaged


def flow_matching_loss(network: CosmosNetwork, batch: Batch) -> Tensor:
    """Weighted mean of the squared velocity error on the latent frames that are not given."""
    level, given = batch.sigma.view(-1, 1, 1, 1, 1), batch.given[:, None, :, None, None]
    x = torch.where(given, batch.z, (1.0 - level) * batch.z + level * batch.eps)
    mask = given.to(x.dtype).expand_as(x[:, :1])
    embedded = network.transformer.embed_actions(batch.actions, given=0)
    heard = (batch.told[:, None] & ~batch.given)[..., None].to(embedded.sinusoid.dtype)
    actions = ActionEmbedding(embedded.sinusoid * heard, embedded.modulation * heard)
    v = network(torch.cat([x, mask], dim=1), batch.sigma[:, None], None, actions)
    error = (v.float() - (batch.eps - batch.z)).square().mean(dim=1)
    weight = batch.weight * ~batch.given[:, :, None, None]
    return (error * weight).sum() / weight.sum()


def batches_of(windows: Windows, settings: TransformerSettings, device: str = "cpu") -> Callable[[int], Batch]:
    """What each step learns from, made on the device; the same for the same step and kind of device."""
    latents, actions, acts, focus, chance = (
        torch.from_numpy(each).to(device)
        for each in (windows.latents, windows.actions, windows.acts, windows.focus, windows.chance)
    )
    below = chance.cumsum(0)
    shares = torch.tensor(settings.given, device=device)
    size, times = settings.batch, latents.shape[2]
    frames = torch.arange(times, device=device)
    generator = torch.Generator(device)

    def uniform() -> Tensor:
        return torch.rand(size, generator=generator, device=device)

    def batch_of(step: int) -> Batch:
        generator.manual_seed(int(np.random.SeedSequence((settings.seed, step)).generate_state(1)[0]))
        rows = torch.searchsorted(below, uniform().double(), right=True).clamp(max=len(below) - 1)
        z = latents[rows].float()
        # Stratified levels: one in each of B equal parts of [0, 1].
        u = (torch.randperm(size, generator=generator, device=device) + uniform()) / size
        sigma = settings.sigma_shift * u / (1.0 + (settings.sigma_shift - 1.0) * u)
        eps = torch.randn(z.shape, generator=generator, device=device)
        # At least one latent frame is left to be learned.
        known = torch.multinomial(shares, size, replacement=True, generator=generator).clamp(max=times - 1)
        told = acts[rows] & (uniform() >= settings.untold)
        weight = 1.0 + settings.object_weight * focus[rows]
        return Batch(z, sigma, eps, frames < known[:, None], actions[rows], told, weight)

    return batch_of


def new_transformer(start: torch.nn.Module | None = None) -> ActionCosmosTransformer3DModel:
    """The network before the first step: new, or with the weights of another and what that lacks new."""
    model = ActionCosmosTransformer3DModel(**TINY_TRANSFORMER)
    initialise(model)
    if start is not None:
        own, given = ({key: value.shape for key, value in each.state_dict().items()} for each in (model, start))
        other = [key for key in own if own[key] != given.get(key) and not key.startswith("action_embedder")]
        other += [key for key in given if own.get(key) != given[key]]
        if other:
            raise ValueError(
                f"start: got a transformer with other parts ({other[0]}), expected the "
                "embedded model's; start from one of its kind, or from nothing"
            )
        model.load_state_dict(copy.deepcopy(start.state_dict()), strict=False)
    return model


def initialise(model: ActionCosmosTransformer3DModel) -> None:
    """Start every block as the identity (adaLN-Zero), deaf to actions, and let the time embedding see sigma.

    Sigma in [0, 1] moves its sinusoidal embedding only a little, so the first time layer
    starts with larger weights.
    """
    for block in model.transformer_blocks:
        for norm in (block.norm1, block.norm2, block.norm3):
            torch.nn.init.zeros_(norm.linear_2.weight)
    torch.nn.init.zeros_(model.norm_out.linear_2.weight)
    torch.nn.init.zeros_(model.proj_out.weight)
    torch.nn.init.zeros_(model.time_embed.t_embedder.linear_2.weight)
    for embedder in (model.action_embedder_B_D, model.action_embedder_B_3D):
        torch.nn.init.zeros_(embedder.fc2.weight)
        torch.nn.init.zeros_(embedder.fc2.bias)
    with torch.no_grad():
        model.time_embed.t_embedder.linear_1.weight.mul_(4.0)
