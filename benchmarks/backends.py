"""A Cosmos-Predict2.5 through stock diffusers and through this package: the same weights, noise, steps and output.

    python benchmarks/backends.py                    # seconds
    python benchmarks/backends.py --cpu-seconds      # of all threads, where others use the machine too
    python benchmarks/backends.py --compile          # our blocks compiled, once before the clock runs

The model is random, of middle size (73 M parameters beside the prompt's projection, 1280 tokens: 13 frames of 256 x
320), with prompt embeddings as wide as the real ones. Both sides begin with an image as pixels and end with latents.
``--text-width`` sets the width of the embeddings: the stock pipeline projects them at every step, and much of its time
is that. Times are medians of ``--repeats``, compilation is not counted.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLWan, Cosmos2_5_PredictBasePipeline, CosmosTransformer3DModel, UniPCMultistepScheduler
from diffusers.models.transformers import transformer_cosmos
from torch import Tensor

from worldmodel.backends.cosmos25_released import ReleasedCosmos25
from worldmodel.backends.recipe import Recipe
from worldmodel.backends.running import Running
from worldmodel.noise import KeyedNoise
from worldmodel.sampling import sample

SIZE, FRAMES, GUIDANCE = (256, 320), 13, 3.0


class NoChecker(torch.nn.Module):
    """Stands where the stock pipeline asks for a guardrail; random weights need none."""

    device, dtype = torch.device("cpu"), torch.float32


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--cpu-seconds", action="store_true", help="of all threads, for a machine that is shared")
    parser.add_argument("--compile", action="store_true", help="compile our blocks")
    parser.add_argument("--text-width", type=int, default=100352)
    parser.add_argument("--tokens", type=int, default=512)
    asked = parser.parse_args()
    _resize_without_torchvision()
    pipe, backend = _models(asked.text_width, Running(compile=asked.compile))
    weights = sum(each.numel() for each in pipe.transformer.parameters())
    print(
        f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}; "
        f"{weights / 1e6:.0f} M parameters, {asked.steps} steps, guidance {GUIDANCE:g}, prompts of "
        f"{asked.tokens} x {asked.text_width}, medians of {asked.repeats}{', compiled' * asked.compile}"
    )
    print(f"{'batch':>5} {'stock s':>9} {'ours s':>9} {'ratio':>6} {'largest difference':>19}")
    clock = time.process_time if asked.cpu_seconds else time.perf_counter
    for batch in asked.batches:
        stock, ours = _contestants(pipe, backend, batch, asked)
        if asked.compile:
            ours()
        (slow, expected), (fast, z) = (_median(run, asked.repeats, clock) for run in (stock, ours))
        difference = float((z - expected)[:, :, 1:].abs().max() / expected[:, :, 1:].abs().max())
        print(f"{batch:>5} {slow:>9.2f} {fast:>9.2f} {slow / fast:>6.2f} {difference:>19.1e}", flush=True)


def _contestants(
    pipe: Any, backend: ReleasedCosmos25, batch: int, asked: argparse.Namespace
) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    """Both ways from one image and B noises to B latents."""
    generator = torch.Generator().manual_seed(0)
    prompts = [torch.randn(1, asked.tokens, asked.text_width, generator=generator) for _ in range(2)]
    frames = np.random.default_rng(0).integers(0, 255, (1, 1, *SIZE, 3), dtype=np.uint8)
    told = backend.conditioned(prompt=prompts[0], negative_prompt=prompts[1], guidance=GUIDANCE)
    x = KeyedNoise(range(batch)).initial(torch.empty(batch, *told.latent_shape))
    image = torch.from_numpy(frames).permute(0, 4, 1, 2, 3) / 127.5 - 1.0  # the stock pipeline pads it to the clip

    def stock() -> Tensor:
        # A batch of videos is refused, so that samples go one by one, as a user of the pipeline would do it.
        return torch.cat(
            [
                pipe(
                    video=image, prompt_embeds=prompts[0], negative_prompt_embeds=prompts[1], height=SIZE[0],
                    width=SIZE[1], num_frames=FRAMES, num_inference_steps=asked.steps, guidance_scale=GUIDANCE,
                    num_latent_conditional_frames=1, latents=each[None].clone(), output_type="latent",
                ).frames
                for each in x
            ]
        )  # fmt: skip

    def ours() -> Tensor:
        anew = told.conditioned(prompt=prompts[0])  # reads the prompts again, as the stock pipeline does
        given = anew.encode(frames).expand(batch, -1, -1, -1, -1)
        return sample(anew.denoiser(given), x, anew.sigmas(asked.steps), solver="unipc")

    return stock, ours


def _models(text_width: int, running: Running) -> tuple[Any, ReleasedCosmos25]:
    torch.manual_seed(0)
    network = CosmosTransformer3DModel(
        in_channels=17,
        out_channels=16,
        num_attention_heads=8,
        attention_head_dim=64,
        num_layers=14,
        text_embed_dim=1024,
        adaln_lora_dim=64,
        rope_scale=(1.0, 3.0, 3.0),
        extra_pos_embed_type=None,
        use_crossattn_projection=True,
        crossattn_proj_in_channels=text_width,
    ).eval()
    vae = AutoencoderKLWan(base_dim=16, z_dim=16, num_res_blocks=1).eval()
    scheduler = UniPCMultistepScheduler(
        use_karras_sigmas=True, use_flow_sigmas=True, prediction_type="flow_prediction", sigma_max=200.0, sigma_min=0.01
    )
    pipe = Cosmos2_5_PredictBasePipeline(None, None, network, vae, scheduler, NoChecker())
    pipe.set_progress_bar_config(disable=True)
    recipe = Recipe("random", SIZE, FRAMES, 4.0, 35)
    prompts: Any = None  # embeddings are given
    return pipe, ReleasedCosmos25(network, vae, dict(scheduler.config), recipe, prompts, running=running)


def _median(run: Callable[[], Tensor], repeats: int, clock: Callable[[], float]) -> tuple[float, Tensor]:
    seconds = []
    for _ in range(repeats):
        started = clock()
        result = run()
        seconds.append(clock() - started)
    return statistics.median(seconds), result


def _resize_without_torchvision() -> None:
    """The stock network resizes a mask of zeros with torchvision; nearest interpolation where that is missing."""
    if hasattr(transformer_cosmos, "transforms"):
        return

    def resize(x: Tensor, size: list[int], interpolation: str) -> Tensor:
        return torch.nn.functional.interpolate(x, size=size, mode=interpolation)

    transformer_cosmos.transforms = SimpleNamespace(
        functional=SimpleNamespace(resize=resize), InterpolationMode=SimpleNamespace(NEAREST="nearest")
    )


if __name__ == "__main__":
    main()
