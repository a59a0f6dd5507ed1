"""A Cosmos-Predict2.5 through stock diffusers and through this package: the same weights, noise, steps and output.

    python benchmarks/backends.py                              # a model of middle size, seconds
    python benchmarks/backends.py --clock processor            # of all threads, where others use the machine too
    python benchmarks/backends.py --clips actions --batches 1 8
    python benchmarks/backends.py --model 2b --dtype bfloat16 --steps 35 --clips actions 480p 720p --cuda-graphs

Models are random: ``middle`` has 73 M parameters beside the projection of prompts, ``2b`` is as large as the released
one. Prompts are embeddings as wide as the real ones (``--text-width``: the stock pipeline projects them at every step).
Both sides begin with an image as pixels and end with latents, which are compared; what follows is the same decoder.

    image, guided     13 frames of 256 x 320, guidance 3
    actions           the same size, 12 actions, no guidance, as the released model was trained; the stock pipeline
                      knows no actions and is given none, so that its latents are others
    480p, 720p        93 frames of 480 x 832 and 704 x 1280, guidance 3

Seconds are medians of ``--repeats``; compiling and recording are not counted. Memory is the most that was allocated on
a GPU, weights included. The share of the peak is that of the largest rate at which this device multiplies square
matrices in the same precision; operations are PyTorch's count of matrix products, convolutions and attention. P&P is
that of NVIDIA's 35 steps and 54 evaluations, carried over to ``--steps`` in time, dense and sparse, over our plain
time; what a random network predicts never settles, so a share of the tokens, ``--uncertain``, is made to change and the
rest to rest.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import tyro
from random_cosmos import Unsettled
from random_released import Models, Size, random_models
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from worldmodel.backends.linear import linear
from worldmodel.backends.running import Running
from worldmodel.noise import KeyedNoise
from worldmodel.sampling import SparsePredictPerturb, planned_nfe, preset, sample

GUIDANCE = 3.0
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
COLUMNS = "clip", "batch", "stock s", "ours s", "ratio", "stock GiB", "ours GiB", "TFLOP/s", "of peak", "P&P", "sparse"


@dataclass(frozen=True)
class Clip:
    """What is imagined."""

    size: tuple[int, int]  # height, width
    frames: int
    actions: bool = False


CLIPS = {
    "image": Clip((256, 320), 13),
    "actions": Clip((256, 320), 13, actions=True),
    "480p": Clip((480, 832), 93),
    "720p": Clip((704, 1280), 93),
}


@dataclass(frozen=True)
class Settings:
    """Settings of the benchmark."""

    model: Size = "middle"
    clips: tuple[Literal["image", "actions", "480p", "720p"], ...] = ("image",)
    batches: tuple[int, ...] = (1, 4)
    steps: int = 2
    repeats: int = 1
    device: str = "cuda" if torch.cuda.is_available() else "cpu"
    dtype: Literal["float32", "bfloat16"] = "float32"
    clock: Literal["wall", "processor"] = "wall"
    compile: bool = False
    """compile our blocks"""
    cuda_graphs: bool = False
    """record our evaluations and replay them"""
    refine: bool = False
    """time Predict-and-Perturb too"""
    uncertain: float = 0.25
    """share of the tokens that refinement is made to find uncertain"""
    text_width: int = 100352
    tokens: int = 512


class Run:
    """Clips of one kind in one batch, through either side.

    Args:
        models: both sides.
        clip: what is imagined.
        batch: how many at once.
        settings: of the benchmark.
    """

    def __init__(self, models: Models, clip: Clip, batch: int, settings: Settings) -> None:
        generator = torch.Generator().manual_seed(0)
        shape = 1, settings.tokens, settings.text_width
        dtype = getattr(torch, settings.dtype)
        self.prompts = [torch.randn(shape, generator=generator).to(settings.device, dtype) for _ in range(2)]
        self.models, self.clip, self.steps = models, clip, settings.steps
        self.guidance = 0.0 if clip.actions else GUIDANCE
        rng = np.random.default_rng(0)
        self.frames = rng.integers(0, 255, (1, 1, *clip.size, 3), dtype=np.uint8)
        self.actions = rng.uniform(0, 0.05, (batch, clip.frames - 1, 7)) if clip.actions else None
        self.told = self._told(models.ours)
        self.noise = KeyedNoise(range(batch))
        self.x = self.noise.initial(torch.empty(batch, *self.told.latent_shape, device=settings.device))
        self.sigmas = self.told.sigmas(settings.steps)

    def stock(self) -> Tensor:
        """Latents of the stock pipeline, one after another: it refuses a batch of videos."""
        image = torch.from_numpy(self.frames).permute(0, 4, 1, 2, 3) / 127.5 - 1.0  # it pads this to the whole clip
        height, width = self.clip.size
        return torch.cat(
            [
                self.models.stock(
                    video=image, prompt_embeds=self.prompts[0], negative_prompt_embeds=self.prompts[1], height=height,
                    width=width, num_frames=self.clip.frames, num_inference_steps=self.steps,
                    guidance_scale=self.guidance, num_latent_conditional_frames=1, latents=each[None].clone(),
                    output_type="latent",
                ).frames
                for each in self.x
            ]
        )  # fmt: skip

    def ours(self, refine: SparsePredictPerturb | None = None, share: float | None = None) -> Tensor:
        """Latents of this package, which reads the prompts anew as the stock pipeline does."""
        denoise = self.denoiser(self.told.conditioned(prompt=self.prompts[0]))
        denoise = denoise if share is None else Unsettled(denoise, share)
        return sample(denoise, self.x, self.sigmas, solver="unipc", refine=refine, noise=self.noise)

    def denoiser(self, told: Any) -> Any:
        """Of the whole batch, from pixels on."""
        given = told.encode(self.frames).expand(len(self.x), -1, -1, -1, -1)
        return told.denoiser(given, self.actions, self.frames)

    def operations(self) -> float:
        """Floating-point operations of one evaluation of the batch."""
        denoise = self.denoiser(self._told(self.models.eager))
        with FlopCounterMode(display=False, custom_mapping={torch.ops.mkldnn._linear_pointwise: _product}) as counter:
            denoise(self.x, float(self.sigmas[0]))
        return float(counter.get_total_flops())

    def _told(self, backend: Any) -> Any:
        given = {"prompt": self.prompts[0], "negative_prompt": self.prompts[1], "guidance": self.guidance}
        return backend.conditioned(**given, image_size=self.clip.size, num_frames=self.clip.frames)


def main(settings: Settings) -> None:
    """Print the table."""
    running = Running(compile=settings.compile, cuda_graphs=settings.cuda_graphs)
    dtype = getattr(torch, settings.dtype)
    models = random_models(settings.model, settings.text_width, settings.device, dtype, running)
    peak = matrix_peak(settings.device, dtype, settings.clock)
    where = torch.cuda.get_device_name() if settings.device == "cuda" else platform.processor() or platform.machine()
    print(
        f"{where}, {torch.get_num_threads()} threads, torch {torch.__version__}, {settings.dtype}, peak of matrix "
        f"products {peak / 1e12:.3g} TFLOP/s; {settings.model}, {settings.steps} steps, prompts of {settings.tokens} x "
        f"{settings.text_width}, {'compiled, ' * settings.compile}{'recorded, ' * settings.cuda_graphs}"
        f"medians of {settings.repeats}"
    )
    print(" ".join(f"{name:>9}" for name in COLUMNS) + "  largest difference")
    for name in settings.clips:
        for batch in settings.batches:
            print(row(name, Run(models, CLIPS[name], batch, settings), settings, peak), flush=True)


def row(name: str, run: Run, settings: Settings, peak: float) -> str:
    """One line of the table."""
    run.ours()  # compiles and records
    slow, expected, most = measured(run.stock, settings)
    fast, z, least = measured(run.ours, settings)
    # The prompts' projection and the encoded image are left out of the operations, and so is most of guidance's sum.
    rate = run.operations() * settings.steps / fast
    refined = refinement(run, settings) if settings.refine else ["-", "-"]
    apart = "-" if run.clip.actions else f"{difference(z, expected):.1e}"
    numbers = (
        f"{slow:.2f}",
        f"{fast:.2f}",
        f"{slow / fast:.2f}",
        most,
        least,
        f"{rate / 1e12:.3g}",
        f"{rate / peak:.0%}",
    )
    return " ".join(f"{each:>9}" for each in (name, len(run.x), *numbers, *refined)) + f"  {apart:>18}"


def refinement(run: Run, settings: Settings) -> list[str]:
    """Time of dense and of sparse refinement over plain time, the latter with as many evaluations."""
    published = preset("cosmos-54").in_time(run.told.sigmas(35))
    times = []
    for refine in (published, SparsePredictPerturb.of(published)):
        if planned_nfe(run.sigmas, "unipc", refine) == settings.steps:
            raise SystemExit(f"steps: got {settings.steps}, expected enough for a refined one; use at least 12")
        times.append(measured(lambda refine=refine: run.ours(refine, settings.uncertain), settings)[0])
    plain = measured(lambda: run.ours(share=settings.uncertain), settings)[0]
    return [f"{each / plain:.2f}" for each in times]


def measured(run: Callable[[], Tensor], settings: Settings) -> tuple[float, Tensor, str]:
    """Median of seconds, the result, and GiB at most on a GPU."""
    cuda, clock, seconds = settings.device == "cuda", CLOCKS[settings.clock], []
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    for _ in range(settings.repeats):
        started = clock()
        result = run()
        if cuda:
            torch.cuda.synchronize()
        seconds.append(clock() - started)
    return statistics.median(seconds), result, f"{torch.cuda.max_memory_allocated() / 2**30:.1f}" if cuda else "-"


@torch.no_grad()
def matrix_peak(device: str, dtype: torch.dtype, clock: str, tries: int = 10) -> float:
    """Operations a second of the product of large square matrices, the best of some tries."""
    size = 8192 if device == "cuda" else 2048
    x = torch.randn(size, size, device=device, dtype=dtype)
    layer = torch.nn.Linear(size, size, bias=False, device=device, dtype=dtype).requires_grad_(False)
    best = np.inf
    for _ in range(tries):
        started = CLOCKS[clock]()
        linear(layer, x)
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, CLOCKS[clock]() - started)
    return 2.0 * size**3 / best


def difference(z: Tensor, expected: Tensor) -> float:
    """Largest difference of the imagined latent frames, over the largest value."""
    return float((z - expected)[:, :, 1:].abs().max() / expected[:, :, 1:].abs().max())


def _product(x: torch.Size, weight: torch.Size, *_: Any, **__: Any) -> int:
    """Operations of a product by oneDNN, which PyTorch does not count."""
    return 2 * x.numel() * weight[0]


if __name__ == "__main__":
    main(tyro.cli(Settings))
