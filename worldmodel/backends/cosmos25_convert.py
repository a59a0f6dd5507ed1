"""NVIDIA's action-conditioned checkpoint, one ``.pt`` file, as a pipeline folder in the hub's layout.

    convert(Path("38c6c645-..._ema_bf16.pt"), base=Path("Cosmos-Predict2.5-2B"), out=Path("cosmos25-action"))

The file is read with ``weights_only``, so that nothing in it is run. Every name in it is accounted for: renamed,
dropped because it is no weight, or a reason to refuse.
"""

from __future__ import annotations

import dataclasses
import json
import pickle
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import UniPCMultistepScheduler
from torch import Tensor

from worldmodel.backends.cosmos25 import PIPELINE
from worldmodel.backends.cosmos25_action_network import ActionCosmosTransformer3DModel, action_kind
from worldmodel.backends.pipeline_folder import read_json, weight_files
from worldmodel.backends.recipe import Recipe
from worldmodel.backends.running import usual_device
from worldmodel.backends.text import SHIPPED, Prompts, ship_prompt

ACTION_RECIPE = Recipe("Cosmos-Predict2.5-action", (256, 320), 13, 4.0, steps=35)
EMBEDDED = torch.bfloat16  # precision of the encoder, as NVIDIA runs it
FLOW_SHIFT = 5.0  # of the rectified-flow experiment that trained it, without the Karras grid

# In this order: adaln's names contain those of the attention that they modulate.
RENAMES = (
    (r"^net\.", ""),
    (r"^t_embedder\.1\.", "time_embed.t_embedder."),
    (r"^t_embedding_norm\.", "time_embed.norm."),
    (r"^x_embedder\.proj\.1\.", "patch_embed.proj."),
    (r"^final_layer\.adaln_modulation\.([12])\.", r"norm_out.linear_\1."),
    (r"^final_layer\.linear\.", "proj_out."),
    (r"^blocks\.", "transformer_blocks."),
    (r"\.adaln_modulation_self_attn\.([12])\.", r".norm1.linear_\1."),
    (r"\.adaln_modulation_cross_attn\.([12])\.", r".norm2.linear_\1."),
    (r"\.adaln_modulation_mlp\.([12])\.", r".norm3.linear_\1."),
    (r"\.self_attn\.", ".attn1."),
    (r"\.cross_attn\.", ".attn2."),
    (r"\.([qkv])_proj\.", r".to_\1."),
    (r"\.output_proj\.", ".to_out.0."),
    (r"\.([qk])_norm\.", r".norm_\1."),
    (r"\.mlp\.layer1\.", ".ff.net.0.proj."),
    (r"\.mlp\.layer2\.", ".ff.net.2."),
)
NO_WEIGHTS = re.compile(
    r"^(net\.)?(accum_.*|pos_embedder\.(seq|dim_spatial_range|dim_temporal_range))$|(^|[._])_?extra_state$"
)


@dataclass(frozen=True)
class Report:
    """What became of every name in a checkpoint."""

    renamed: dict[str, str]  # NVIDIA's name to diffusers'
    dropped: tuple[str, ...]  # counters and tables that are no weights
    kind: str  # chunk or global

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return dataclasses.asdict(self)


def convert(
    checkpoint: Path, base: Path, out: Path, recipe: Recipe = ACTION_RECIPE, device: str | None = None
) -> Report:
    """Write the checkpoint as a pipeline folder, with the autoencoder of another; returns what became of every name.

    The empty prompt, which the model was trained with, goes with it as an embedding: that of ``base/prompts``, or else
    the one that the text encoder of the base makes of it.

    Args:
        checkpoint: NVIDIA's ``.pt`` file.
        base: folder of a Predict2.5 pipeline, such as the snapshot of the hub, whose autoencoder it shares.
        out: new folder.
        recipe: image size, frames and rate that it was trained on.
        device: where a text encoder runs; a CUDA device if there is one, by default.

    Raises:
        ValueError: the file is no such checkpoint, ``base`` is no such pipeline or has neither the embedding nor the
            encoder, or ``out`` exists; nothing has been written then.
    """
    check_paths(checkpoint, out)
    weight_files(base, "vae")
    settings = read_json(base / "transformer" / "config.json")
    state, report = converted(load_checkpoint(checkpoint))
    network = build(state, settings)
    empty = Prompts(base, device or usual_device(), EMBEDDED).embed("")
    network.save_pretrained(out / "transformer")
    for part in ("vae", "tokenizer", SHIPPED):
        if (base / part).is_dir():
            shutil.copytree(base / part, out / part)
    ship_prompt(out, "", empty)
    UniPCMultistepScheduler(
        use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=FLOW_SHIFT
    ).save_pretrained(out / "scheduler")
    _write_json(out / "worldmodel.json", dataclasses.asdict(recipe))
    _write_json(out / "conversion.json", {"checkpoint": checkpoint.name, **report.to_json()})
    _write_json(out / "model_index.json", _index())
    return report


def check_paths(checkpoint: Path, out: Path) -> None:
    """Refuse a checkpoint that is not there, and a folder that is."""
    if out.exists():
        raise ValueError(f"out: got {out}, which exists, expected a new folder; choose another")
    if not checkpoint.is_file():
        raise ValueError(f"checkpoint: got no file {checkpoint}, expected NVIDIA's .pt; check the path")


def load_checkpoint(path: Path) -> dict[str, Tensor]:
    """The tensors of NVIDIA's file, read without running anything in it.

    Raises:
        ValueError: no file, or it holds something else than tensors.
    """
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"checkpoint: got {path}, which does not load as weights alone ({reason}), expected tensors; fetch it again"
        ) from None
    for wrapper in ("model", "state_dict"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
    if not isinstance(loaded, Mapping) or not loaded:
        raise ValueError(f"checkpoint: got a {type(loaded).__name__}, expected names and tensors; choose another file")
    return dict(loaded)


def converted(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Report]:
    """The weights under diffusers' names, and the report.

    Raises:
        ValueError: two names become one, or there is no embedder of actions of 7 numbers.
    """
    renamed, dropped, weights = {}, [], {}
    for name, value in state.items():
        if NO_WEIGHTS.search(name):
            dropped.append(name)
            continue
        new = diffusers_name(name)
        if new in weights:
            raise ValueError(f"checkpoint: got two weights that become {new}, expected one; choose another file")
        renamed[name], weights[new] = new, value
    first = weights.get("action_embedder_B_D.fc1.weight")
    if first is None:
        raise ValueError(
            "checkpoint: got no action_embedder_B_D.fc1, expected an action-conditioned model; load one without "
            "actions through the hub"
        )
    return weights, Report(renamed, tuple(dropped), action_kind(first.shape[1]))


def diffusers_name(name: str) -> str:
    """diffusers' name of a weight that NVIDIA calls ``name``."""
    for pattern, replacement in RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def build(weights: Mapping[str, Tensor], settings: Mapping[str, Any]) -> ActionCosmosTransformer3DModel:
    """The network with these weights.

    Args:
        settings: of the transformer that it was made from, as in its config.json.

    Raises:
        ValueError: a weight is missing, unexpected or of another shape.
    """
    width = weights["action_embedder_B_D.fc1.weight"].shape[1]
    known = ActionCosmosTransformer3DModel._get_init_keys(ActionCosmosTransformer3DModel)
    base = {name: value for name, value in settings.items() if name in known}
    with torch.device("meta"):
        network = ActionCosmosTransformer3DModel(**base | {"action_width": width})
    expected = network.state_dict()
    missing, unexpected = sorted(expected.keys() - weights.keys()), sorted(weights.keys() - expected.keys())
    if missing or unexpected:
        raise ValueError(
            f"checkpoint: got {len(missing)} names missing ({_some(missing)}) and {len(unexpected)} unexpected "
            f"({_some(unexpected)}), expected those of the base's config.json; choose the base of this checkpoint"
        )
    other = [name for name, value in expected.items() if value.shape != weights[name].shape]
    if other:
        raise ValueError(
            f"checkpoint: got {other[0]} of shape {tuple(weights[other[0]].shape)}, expected "
            f"{tuple(expected[other[0]].shape)}; choose the base of this checkpoint (2B or 14B)"
        )
    network.load_state_dict(dict(weights), strict=True, assign=True)
    return network.eval()


def _index() -> dict[str, Any]:
    return {
        "_class_name": PIPELINE,
        "_diffusers_version": diffusers.__version__,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "UniPCMultistepScheduler"],
        "text_encoder": [None, None],
        "tokenizer": [None, None],
        "transformer": ["worldmodel.backends.cosmos25_action_network", "ActionCosmosTransformer3DModel"],
        "vae": ["diffusers", "AutoencoderKLWan"],
    }


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2) + "\n")


def _some(names: Iterable[str]) -> str:
    shown = list(names)
    return ", ".join(shown[:3]) + (", ..." if len(shown) > 3 else "") if shown else "none"
