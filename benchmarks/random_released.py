"""A Cosmos-Predict2.5 of random weights: as the stock pipeline and as this package has it, over the same modules."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal

import torch
from diffusers import AutoencoderKLWan, Cosmos2_5_PredictBasePipeline, UniPCMultistepScheduler
from diffusers.models.transformers import transformer_cosmos
from torch import Tensor

from worldmodel.backends.cosmos25_action_network import ActionCosmosTransformer3DModel
from worldmodel.backends.cosmos25_released import ReleasedCosmos25
from worldmodel.backends.recipe import Recipe
from worldmodel.backends.running import Running

Size = Literal["middle", "2b"]
NETWORKS: dict[str, dict[str, int]] = {
    "middle": {"num_attention_heads": 8, "attention_head_dim": 64, "num_layers": 14, "adaln_lora_dim": 64},
    "2b": {},  # the defaults of the class
}
CODECS: dict[str, dict[str, int]] = {"middle": {"base_dim": 16, "z_dim": 16, "num_res_blocks": 1}, "2b": {}}


@dataclass(frozen=True)
class Models:
    """Both over one network and one autoencoder; the stock pipeline leaves the network's action embedders alone."""

    stock: Any
    eager: ReleasedCosmos25  # told to save no time, to count its operations
    ours: ReleasedCosmos25


class NoChecker(torch.nn.Module):
    """Stands where the stock pipeline asks for a guardrail; random weights need none."""

    device, dtype = torch.device("cpu"), torch.float32


def random_models(size: Size, text_width: int, device: str, dtype: torch.dtype, running: Running) -> Models:
    """Both, on a device; ``text_width`` is that of the prompts' embeddings."""
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            network = ActionCosmosTransformer3DModel(**NETWORKS[size], crossattn_proj_in_channels=text_width)
            vae = AutoencoderKLWan(**CODECS[size])
    finally:
        torch.set_default_dtype(torch.float32)
    network, vae = network.eval().requires_grad_(False), vae.eval().requires_grad_(False)
    scheduler = UniPCMultistepScheduler(
        use_karras_sigmas=True, use_flow_sigmas=True, prediction_type="flow_prediction", sigma_max=200.0, sigma_min=0.01
    )
    _resize_without_torchvision()
    stock = Cosmos2_5_PredictBasePipeline(None, None, network, vae, scheduler, NoChecker())
    stock.set_progress_bar_config(disable=True)
    recipe = Recipe("random", (256, 320), 13, 4.0, 35)
    prompts: Any = None  # embeddings are given
    eager, ours = (
        ReleasedCosmos25(network, vae, dict(scheduler.config), recipe, prompts, running=each)
        for each in (Running(), running)
    )
    return Models(stock, eager, ours)


def _resize_without_torchvision() -> None:
    """The stock network resizes a mask of zeros with torchvision; nearest interpolation where that is missing."""
    if hasattr(transformer_cosmos, "transforms"):
        return

    def resize(x: Tensor, size: list[int], interpolation: str) -> Tensor:
        return torch.nn.functional.interpolate(x, size=size, mode=interpolation)

    transformer_cosmos.transforms = SimpleNamespace(
        functional=SimpleNamespace(resize=resize), InterpolationMode=SimpleNamespace(NEAREST="nearest")
    )
