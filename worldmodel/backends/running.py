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
from worldmodel.backends.memory import OF_CLIPS, SAVINGS, TILE
from worldmodel.backends.recipe import Recipe
from worldmodel.backends.video_codec import VideoCodec
from worldmodel.sampling.plan import is_number

logger = logging.getLogger(__name__)

LOSSY = ("fp8", "tiling")
TRACING = ("lazy_prefetch_group_offloading", "layer_execution_tracker")  # diffusers' names of its hooks
HOOKS = ("group_offloading", *TRACING, "layerwise_casting")  # those of offload and fp8


@dataclass(frozen=True)
class Running:
    """How a released model is run.

    Sparse refinement evaluates layers in a way of its own, with the attention kernel and what saves memory, but neither
    compiled nor recorded nor cached; the evaluations of steps without refinement are.

    Attributes:
        memory: of ``worldmodel.backends.memory.SAVINGS``: slicing, tiling, offload, fp8. None takes what is needed to
            fit, exact ones first, and says so: of weights at load, of clips for each batch.
        attention: kernel of diffusers' attention backends, such as "flash", "sage" or "_native_cudnn"; PyTorch's
            choice by default.
        compile: whether blocks are compiled, which takes a minute at the first evaluation of each shape.
        cuda_graphs: whether an evaluation is recorded once for each shape and replayed; CUDA only.
        first_block_cache: lossy; evaluations whose first block has changed by less than this share since the last
            whole one reuse what the other blocks added then. 0 is off; see ``benchmarks/lossy.py`` for what it costs.
        settled: with ``memory=None`` what has been taken; backends fill it in.
    """

    memory: tuple[str, ...] | None = ()
    attention: str | None = None
    compile: bool = False
    cuda_graphs: bool = False
    first_block_cache: float = 0.0
    settled: tuple[str, ...] = ()

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
        if self.settled and self.memory is not None:
            raise ValueError(
                f"settled: got {self.settled!r} with memory={self.memory!r}, expected it with None alone; leave it out"
            )
        if self.cuda_graphs and (self._saves("offload") or self.first_block_cache):
            raise ValueError(
                "cuda_graphs: got it with offload or first_block_cache, expected neither, because a recorded "
                "evaluation can neither fetch nor skip layers; choose one"
            )

    @property
    def savings(self) -> tuple[str, ...]:
        """What saves memory: what was chosen, or has been taken so far."""
        return self.settled if self.memory is None else self.memory

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

    def place(self, transformer: ModelMixin, device: str, whole: bool = False) -> Any:
        """A transformer where and as its weights are to be kept.

        Args:
            whole: whether its own forward pass is called; else its layers are, one by one.
        """
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
        if not whole:
            _hold(transformer, torch.device(device))
        return transformer

    def place_codec(self, vae: AutoencoderKLWan, device: str) -> AutoencoderKLWan:
        """An autoencoder on its device, which decodes in slices or tiles if asked to, and not otherwise."""
        vae.use_slicing, vae.use_tiling = self._saves("slicing"), self._saves("tiling")
        return vae.to(device)

    def taking(self, savings: tuple[str, ...], kind: tuple[str, ...]) -> Running:
        """With ``memory=None``, the same with these savings in place of others of their kind."""
        return replace(self, settled=(*(each for each in self.settled if each not in kind), *savings))

    def describe(self) -> dict[str, Any]:
        """What provenance says of it: the settings, and which of them change results by more than rounding."""
        lossy = [each for each in self.savings if each in LOSSY]
        if self.first_block_cache:
            lossy.append("first_block_cache")
        settings = {k: v for k, v in asdict(self).items() if k != "settled"}
        return {**settings, "memory": list(self.savings), "lossy": lossy}

    def _saves(self, name: str) -> bool:
        return name in self.savings


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
    running: Running,
    transformer: ModelMixin,
    codec: VideoCodec,
    recipe: Recipe,
    branches: int,
    batch: int,
    sparse: bool = False,
) -> Running:
    """How a batch is to be run: with ``memory=None`` what makes it fit is on from now, and what one before needed off.

    Raises:
        ValueError: the batch does not fit, with what would.
    """
    check_tiles(running, recipe.image_size)
    vae, device = codec.vae, codec.device
    taken = memory.clip(transformer.config, vae.config, transformer.dtype, recipe, branches, vae.dtype, sparse)
    needed = memory.settle_clip(taken, device, running.memory, batch, memory.free(device))
    if running.memory is not None:
        return running
    if needed:
        logger.warning("memory: %s, to fit %d at once", "; ".join(f"{k}, {SAVINGS[k]}" for k in needed), batch)
    running = running.taking(needed, OF_CLIPS)
    running.place_codec(vae, str(device))
    return running


def check_hooks(transformer: ModelMixin, whole: bool = False) -> None:
    """Refuse diffusers' caches and all its hooks but those that a :class:`Running` sets.

    Evaluations of Cosmos go through a network's parts, and hooks on what has parts itself are never called; those of
    Wan (``whole``) have both branches of the guidance in one pass, and would find what another rollout left behind.
    """
    found = {
        name
        for module in transformer.modules()
        for name in _hooks(module)
        if name not in HOOKS or (not whole and _has_parts(module))
    }
    if getattr(transformer, "is_cache_enabled", False):
        found.add(type(transformer._cache_config).__name__)
    if found:
        raise ValueError(
            f"transformer: got hooks or a cache of diffusers ({', '.join(sorted(found))}), expected none, because they "
            "would have no effect, or a wrong one; use worldmodel.backends.running.Running instead"
        )


def compiled(function: Callable[..., Any], running: Running) -> Callable[..., Any]:
    """A block's evaluation, compiled if asked to."""
    return torch.compile(function, dynamic=False) if running.compile else function


def _hooks(module: nn.Module) -> set[str]:
    registry = getattr(module, "_diffusers_hook", None)
    return set() if registry is None else set(registry.hooks)


def _has_parts(module: nn.Module) -> bool:
    return next(module.children(), None) is not None


def _hold(transformer: nn.Module, device: torch.device) -> None:
    """Keep what modules with parts hold beside them on the device: no call would bring it there. Trace no calls."""
    for module in transformer.modules():
        registry, outer = getattr(module, "_diffusers_hook", None), _has_parts(module)
        if registry is not None:
            for name in (*TRACING, "group_offloading") if outer else TRACING:
                registry.remove_hook(name, recurse=False)
        if outer:
            for held in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
                held.data = held.data.to(device)


def _share(module: nn.Module, dtype: torch.dtype) -> float:
    sizes = [(each.numel(), each.dtype == dtype) for each in module.parameters()]
    return sum(count for count, fits in sizes if fits) / max(1, sum(count for count, _ in sizes))


def _must(works: bool, name: str, module: nn.Module) -> None:
    if not works:
        raise ValueError(
            f"memory: got {name!r} for a {type(module).__name__}, expected an effect, and diffusers made none; leave "
            "it out"
        )
