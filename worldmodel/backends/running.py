"""How a model is run: what saves memory, what saves time, and that what was asked for has an effect.

    load("nvidia/Cosmos-Predict2.5-14B", running=Running(memory=("fp8",), attention="flash", compile=True))

diffusers takes several such settings without a word where they do nothing; here they are refused.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from diffusers import AutoencoderKLWan, ModelMixin
from torch import nn

from worldmodel.backends import memory
from worldmodel.backends.attention import check_kernel
from worldmodel.backends.memory import SAVINGS, TILE
from worldmodel.backends.recipe import Recipe
from worldmodel.backends.video_codec import VideoCodec
from worldmodel.sampling.plan import is_number

logger = logging.getLogger(__name__)

LOSSY = ("fp8", "tiling")


@dataclass(frozen=True)
class Running:
    """How a released model is run.

    Attributes:
        memory: of ``worldmodel.backends.memory.SAVINGS``: slicing, tiling, offload, fp8. None takes what is needed to
            fit, exact ones first, and says so.
        attention: kernel of diffusers' attention backends, such as "flash", "sage" or "_native_cudnn"; PyTorch's
            choice by default.
        compile: whether blocks are compiled, which takes a minute at the first evaluation of each shape.
        cuda_graphs: whether an evaluation is recorded once for each shape and replayed; CUDA only.
        first_block_cache: lossy; evaluations whose first block has changed by less than this share since the last
            whole one reuse what the other blocks added then. 0 is off; see ``benchmarks/lossy.py`` for what it costs.
    """

    memory: tuple[str, ...] | None = ()
    attention: str | None = None
    compile: bool = False
    cuda_graphs: bool = False
    first_block_cache: float = 0.0

    def __post_init__(self) -> None:
        unknown = [each for each in self.memory or () if each not in SAVINGS]
        if isinstance(self.memory, str) or unknown:
            raise ValueError(
                f"memory: got {self.memory!r}, expected a tuple of {', '.join(SAVINGS)}, or None for what is needed; "
                "correct it"
            )
        if not (is_number(self.first_block_cache) and 0 <= self.first_block_cache < 1):
            raise ValueError(
                f"first_block_cache: got {self.first_block_cache!r}, expected a share of at least 0 and below 1; 0 is "
                "off"
            )

    def checked(self, device: str) -> Running:
        """The same, refused where the device makes nothing of it."""
        kind = torch.device(device).type
        if kind != "cuda":
            idle = [
                name
                for name, asked in (("cuda_graphs", self.cuda_graphs), ("offload", self._saves("offload")))
                if asked
            ]
            if idle:
                raise ValueError(
                    f"{', '.join(idle)}: got it on {kind}, expected a CUDA device, where alone it has an effect; leave "
                    "it out"
                )
        if self.cuda_graphs and (self._saves("offload") or self.first_block_cache):
            raise ValueError(
                "cuda_graphs: got it with offload or first_block_cache, expected neither, because a recorded "
                "evaluation can neither fetch nor skip layers; choose one"
            )
        if self.attention is not None:
            check_kernel(self.attention, torch.device(device))
        return self

    def without(self, *names: str, model: str) -> Running:
        """The same, refused where a model has no such option."""
        given = {"memory": self.memory != (), **{k: bool(v) for k, v in asdict(self).items() if k != "memory"}}
        refused = [name for name in names if given[name]]
        if refused:
            raise ValueError(f"{', '.join(refused)}: got it for {model}, expected none; it has no such option")
        return self

    def place(self, transformer: ModelMixin, device: str) -> Any:
        """A transformer where and as its weights are to be kept."""
        if self._saves("fp8"):
            transformer.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=transformer.dtype)
            _must(_share(transformer, torch.float8_e4m3fn) > 0, "fp8", transformer)
        if not self._saves("offload"):
            return transformer.to(device)
        transformer.enable_group_offload(
            onload_device=torch.device(device), offload_device=torch.device("cpu"), offload_type="leaf_level",
            use_stream=torch.device(device).type == "cuda",
        )  # fmt: skip
        hooked = [each for each in transformer.modules() if _hooks(each) & {"group_offloading"}]
        _must(bool(hooked), "offload", transformer)
        return transformer

    def place_codec(self, vae: AutoencoderKLWan, device: str) -> AutoencoderKLWan:
        """An autoencoder on its device, which decodes in slices or tiles if asked to."""
        if self._saves("slicing"):
            vae.enable_slicing()
        if self._saves("tiling"):
            vae.enable_tiling()
        return vae.to(device)

    def settled(self, savings: tuple[str, ...]) -> Running:
        """The same with these savings beside its own."""
        return replace(self, memory=tuple(dict.fromkeys((*(self.memory or ()), *savings))))

    def describe(self) -> dict[str, Any]:
        """What provenance says of it: the settings, and which of them change results by more than rounding."""
        lossy = [each for each in self.memory or () if each in LOSSY]
        if self.first_block_cache:
            lossy.append("first_block_cache")
        return {**asdict(self), "memory": list(self.memory or ()), "lossy": lossy}

    def _saves(self, name: str) -> bool:
        return name in (self.memory or ())


def usual_device() -> str:
    """A CUDA device if there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def check_tiles(running: Running, image_size: tuple[int, int]) -> None:
    """Refuse tiles that are as large as the frame."""
    if "tiling" in (running.memory or ()) and max(image_size) <= TILE:
        raise ValueError(
            f"memory: got 'tiling' for frames of {image_size[0]} x {image_size[1]}, expected more than {TILE} pixels "
            "along a side, because tiles are as large as that; leave it out"
        )


def fit_clips(
    running: Running, transformer: ModelMixin, codec: VideoCodec, recipe: Recipe, branches: int, batch: int
) -> None:
    """Refuse a batch that does not fit, or with ``memory=None`` switch on what makes it fit.

    Raises:
        ValueError: so, with what would fit.
    """
    check_tiles(running, recipe.image_size)
    taken = memory.clip(transformer.config, codec.vae.config, codec.vae.dtype, recipe, branches)
    chosen, device = running.memory, codec.device
    needed = memory.settle_clip(taken, device, chosen, batch, memory.free(device))
    if chosen is None and needed:
        logger.warning("memory: %s, to fit %d at once", "; ".join(f"{k}, {SAVINGS[k]}" for k in needed), batch)
        replace(running, memory=needed).place_codec(codec.vae, str(device))


def check_hooks(blocks: nn.ModuleList) -> None:
    """Refuse hooks on whole blocks, such as diffusers' caches and block-wise offload set.

    Evaluations of Cosmos go through a block's parts, where they are never called; those of Wan have both branches of
    the guidance in one pass, and would find what another rollout left behind.
    """
    found = sorted(set().union(*(_hooks(block) for block in blocks)))
    if found:
        raise ValueError(
            f"transformer: got blocks with hooks of diffusers ({', '.join(found)}), expected none, because they would "
            "have no effect, or a wrong one; use worldmodel.backends.running.Running instead"
        )


def compiled(function: Callable[..., Any], running: Running) -> Callable[..., Any]:
    """A block's evaluation, compiled if asked to."""
    return torch.compile(function, dynamic=False) if running.compile else function


def _hooks(module: nn.Module) -> set[str]:
    registry = getattr(module, "_diffusers_hook", None)
    return set() if registry is None else set(registry.hooks)


def _share(module: nn.Module, dtype: torch.dtype) -> float:
    sizes = [(each.numel(), each.dtype == dtype) for each in module.parameters()]
    return sum(count for count, fits in sizes if fits) / max(1, sum(count for count, _ in sizes))


def _must(works: bool, name: str, module: nn.Module) -> None:
    if not works:
        raise ValueError(
            f"memory: got {name!r} for a {type(module).__name__}, expected an effect, and diffusers made none; leave "
            "it out"
        )
