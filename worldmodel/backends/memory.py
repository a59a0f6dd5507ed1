"""What a pipeline takes of memory, before it is loaded and before a clip is imagined, and which savings make it fit.

    weights      bytes of every number, or of the largest layer where layers are brought to the device one by one;
    evaluation   of a transformer, for every token of every branch of guidance: between two blocks little is alive,
                 within one either the rotated queries and keys in float32 or the hidden layer of the feed-forward net;
    decoding     the clip twice, and what is alive at full resolution of the four frames under way.

The factors were measured with PyTorch's profiler on small networks in float32 and bfloat16.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from worldmodel.backends.recipe import Recipe

logger = logging.getLogger(__name__)

# Cheapest first, as far as results go.
SAVINGS = {
    "slicing": "clips are decoded one by one; exact",
    "offload": "weights stay in main memory, and each layer is brought to the GPU for its turn; exact, and slower",
    "tiling": "frames are decoded in overlapping tiles; changes a little where they meet",
    "fp8": "linear layers of the transformer are kept in 8 bits and computed in full; changes a little everywhere",
}
OF_WEIGHTS, OF_CLIPS = ("offload", "fp8"), ("slicing", "tiling")
TRANSFORMERS, STAYING = ("transformer", "transformer_2"), ("vae", "image_encoder")
EXTRA = 1.1  # fragments and what was forgotten

ROTATING = 7.2  # widths alive in float32 while queries and keys are rotated
DECODING, FRAMES_UNDER_WAY = 39.0, 4  # times the decoder's width, for every pixel of those frames
TILE = 256  # pixels along a side of diffusers' tiles


@dataclass(frozen=True)
class Weights:
    """Bytes of a pipeline's weights."""

    transformers: int
    layer: int  # the largest of a transformer
    others: int  # the autoencoder and encoders that stay

    def on_device(self, savings: Iterable[str]) -> int:
        """Bytes with these savings."""
        held, chosen = self.transformers, set(savings)
        if "offload" in chosen:
            held = 2 * self.layer  # one at work, the next on its way
        if "fp8" in chosen:
            held //= 2
        return int(EXTRA * (held + self.others))


def weigh(folder: Path, dtype: torch.dtype, in_full: Collection[str] = ()) -> Weights:
    """What the weights of a pipeline folder will take in that precision, from the heads of its files.

    Args:
        in_full: parts that are loaded in float32 whatever the precision of the others.
    """
    bytes_of = {part: (torch.float32 if part in in_full else dtype).itemsize for part in (*TRANSFORMERS, *STAYING)}
    layers, others = (
        [size * bytes_of[part] for part in parts for size in _sizes(folder / part)] for parts in (TRANSFORMERS, STAYING)
    )
    return Weights(sum(layers), max(layers, default=0), sum(others))


@dataclass(frozen=True)
class Clip:
    """Bytes that one sample takes beside the weights."""

    evaluation: int
    decoding: int
    tile: int  # of decoding a tile and putting the clip together
    kept: int = 0  # keys and values of all layers, which evaluations in part go on from

    def needed(self, batch: int, savings: Iterable[str] = ()) -> int:
        """Bytes for a batch with these savings."""
        chosen = set(savings)
        decoding = self.tile if "tiling" in chosen else self.decoding
        sampling, decoded = batch * (self.evaluation + self.kept), decoding * (1 if "slicing" in chosen else batch)
        return int(EXTRA * max(sampling, decoded))


def clip(
    network: dict[str, Any],
    codec: dict[str, Any],
    dtype: torch.dtype,
    recipe: Recipe,
    branches: int,
    codec_dtype: torch.dtype | None = None,
    sparse: bool = False,
) -> Clip:
    """What a clip of a recipe takes.

    Args:
        network, codec: config of the transformer and of the autoencoder.
        dtype: of the transformer.
        branches: evaluations side by side, 2 with guidance.
        codec_dtype: of the autoencoder, if another.
        sparse: whether refinement evaluates a Predict2.5 in part.
    """
    height, width = recipe.image_size
    space, time = codec.get("scale_factor_spatial") or 8, codec.get("scale_factor_temporal") or 4
    patch = network["latent_patch_size"] if "latent_patch_size" in network else network["patch_size"][-1]
    frames = 1 + (recipe.num_frames - 1) // time
    tokens = frames * math.ceil(height / space / patch) * math.ceil(width / space / patch)
    base, pixels = codec.get("decoder_base_dim") or codec["base_dim"], (codec.get("patch_size") or 1) ** 2
    decoded = (codec_dtype or dtype).itemsize
    alive = DECODING * base * FRAMES_UNDER_WAY * decoded / pixels
    whole = 2 * 3 * recipe.num_frames * height * width * decoded
    return Clip(
        int(branches * tokens * _token(network, dtype)),
        int(whole + alive * height * width),
        int(whole + alive * min(height, TILE) * min(width, TILE)),
        branches * tokens * 2 * network["num_layers"] * _width(network) * dtype.itemsize if sparse else 0,
    )


def _token(network: dict[str, Any], dtype: torch.dtype) -> float:
    """Bytes alive for a token while a block is evaluated."""
    if "latent_patch_size" in network:  # Cosmos 3, gated and rotated in the precision of the weights
        return (3.5 * network["hidden_size"] + 3 * network["intermediate_size"]) * dtype.itemsize
    width = _width(network)
    hidden = network.get("ffn_dim") or network["mlp_ratio"] * width
    return max((2.5 * width + 2 * hidden) * dtype.itemsize, ROTATING * width * torch.float32.itemsize)


def _width(network: dict[str, Any]) -> int:
    return network["num_attention_heads"] * network["attention_head_dim"]


def free(device: torch.device) -> int:
    """Bytes that may still be taken."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        found = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return 1 << 62  # a system that does not tell
    return min(found, _left_to_the_container())


def settle_weights(
    weights: Weights,
    device: torch.device,
    chosen: tuple[str, ...] | None,
    room: int,
    usual: Clip | None = None,
    recorded: bool = False,
) -> tuple[str, ...]:
    """The savings of weights to load with: those that were chosen, or with None the first that fit.

    Args:
        usual: a clip as the model was trained to make them, for one of which None leaves room if it can; a choice that
            leaves none is taken, because smaller ones may be asked for, and said.
        recorded: whether evaluations are, which cannot fetch layers.

    Raises:
        ValueError: the weights do not fit, with what would.
    """
    offload = device.type == "cuda" and not recorded
    possible = [each for each in _choices(OF_WEIGHTS) if offload or "offload" not in each]
    own = tuple(each for each in chosen or () if each in OF_WEIGHTS)
    wanted = [own] if chosen is not None else [*_leaving_room(possible, weights, usual, room), *possible]
    for savings in wanted:
        if weights.on_device(savings) <= room:
            _say_what_is_left(room - weights.on_device(savings), chosen, usual)
            return savings
    fitting = [each for each in possible if weights.on_device(each) <= room]
    otherwise = "a smaller model or another device" + (", or leave cuda_graphs out" if recorded else "")
    raise ValueError(
        f"memory: got {_gb(room)} free on {device}, expected {_gb(weights.on_device(wanted[0]))} for the weights; "
        + _advice(chosen, fitting, weights.on_device, otherwise)
    )


def _leaving_room(
    possible: list[tuple[str, ...]], weights: Weights, usual: Clip | None, room: int
) -> list[tuple[str, ...]]:
    """Savings of weights beside which a clip fits: first those without 8 bits, and of these those without tiles."""
    if usual is None:
        return []
    tiles: list[tuple[str, ...]] = [(), ("tiling",)]
    ways = sorted(product(possible, tiles), key=lambda way: ("fp8" in way[0], way[1]))
    return [own for own, tiled in ways if weights.on_device(own) + usual.needed(1, tiled) <= room]


def _say_what_is_left(left: int, chosen: tuple[str, ...] | None, usual: Clip | None) -> None:
    taken = 0 if usual is None else usual.needed(1, OF_CLIPS if chosen is None else chosen)
    if taken > left:
        told = "memory: the weights leave %s, and a clip of the usual size takes %s; ask for smaller ones"
        logger.warning(told, _gb(left), _gb(taken))


def settle_encoder(folder: Path, device: torch.device, dtype: torch.dtype) -> torch.device:
    """Where the text encoder of a pipeline folder fits: on the device, else in main memory, where it is slower.

    Raises:
        ValueError: it fits nowhere.
    """
    needed = int(EXTRA * dtype.itemsize * sum(_sizes(folder / "text_encoder")))
    room = {place: free(place) for place in dict.fromkeys((device, torch.device("cpu")))}
    for place, left in room.items():
        if needed <= left:
            if place != device:
                logger.warning("memory: the text encoder takes %s and runs on the CPU, which is slow", _gb(needed))
            return place
    raise ValueError(
        f"memory: got {' and '.join(f'{_gb(left)} free on {place}' for place, left in room.items())}, expected "
        f"{_gb(needed)} for the text encoder of a new prompt; embed the prompt on a larger machine and keep it with "
        "worldmodel.backends.text.ship_prompt, or give its embedding"
    )


def settle_clip(
    taken: Clip, device: torch.device, chosen: tuple[str, ...] | None, batch: int, room: int
) -> tuple[str, ...]:
    """The savings of clips for a batch: those that were chosen, or with None the first that fit.

    Raises:
        ValueError: the batch does not fit, with what would.
    """
    possible = _choices(OF_CLIPS)
    wanted = possible if chosen is None else [tuple(each for each in chosen if each in OF_CLIPS)]
    for savings in wanted:
        if taken.needed(batch, savings) <= room:
            return savings
    fitting = [each for each in possible if taken.needed(batch, each) <= room]
    most = next((count for count in range(batch - 1, 0, -1) if taken.needed(count, wanted[-1]) <= room), 0)
    fewer = f"batch_size={most}" if most else "a smaller image_size or num_frames"
    raise ValueError(
        f"memory: got {_gb(room)} free on {device}, expected {_gb(taken.needed(batch, wanted[0]))} for {batch} at once "
        f"(evaluation {_gb(batch * (taken.evaluation + taken.kept))}, decoding {_gb(batch * taken.decoding)}); "
        + _advice(chosen, fitting, lambda savings: taken.needed(batch, savings), fewer, always=True)
    )


def _choices(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Every set of savings, small ones first."""
    return [each for count in range(len(names) + 1) for each in combinations(names, count)]


def _advice(
    chosen: tuple[str, ...] | None,
    fitting: list[tuple[str, ...]],
    size: Callable[[tuple[str, ...]], int],
    otherwise: str,
    always: bool = False,
) -> str:
    """What to use: the savings that fit, together with those that were chosen already."""
    both = dict.fromkeys(tuple(dict.fromkeys((*(chosen or ()), *each))) for each in fitting)
    ways = [f"memory={each!r} ({_gb(size(each))})" for each in both]
    if not ways or always:
        ways.append(otherwise)
    return f"use {' or '.join(ways)}"


def _sizes(part: Path) -> Iterable[int]:
    """How many numbers each weight of a component has."""
    for file in sorted(part.glob("*.safetensors")):
        with safe_open(file, "pt") as weights:
            for name in weights.keys():  # noqa: SIM118  no mapping
                yield math.prod(weights.get_slice(name).get_shape())


def _left_to_the_container() -> int:
    """What a control group leaves, if there is one."""
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text().strip()
        used = int((group / "memory.current").read_text())
    except (OSError, ValueError):
        return 1 << 62
    return 1 << 62 if limit == "max" else int(limit) - used


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
