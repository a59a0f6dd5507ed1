"""Reading a diffusers pipeline folder: what is in it, and whether it is whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file as a dict, or an error that names it."""
    if not path.is_file():
        raise ValueError(f"{path}: got no such file, expected a pipeline folder in the hub's layout; check the path")
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}: got malformed JSON ({error}), expected a pipeline's settings; fetch it again"
        ) from None


def load_component(kind: Any, folder: Path, component: str, dtype: torch.dtype = torch.float32) -> Any:
    """One model of the pipeline, or an error that names its folder."""
    try:
        loaded, notes = kind.from_pretrained(
            folder,
            subfolder=component,
            local_files_only=True,
            use_safetensors=True,
            torch_dtype=dtype,
            output_loading_info=True,
        )
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{folder / component}: got files that do not load ({reason}), expected a {kind.__name__}; fetch them again"
        ) from None
    wrong = sorted({*notes["missing_keys"], *notes["unexpected_keys"]})
    if wrong:
        raise ValueError(
            f"{folder / component}: got weights of another {kind.__name__} ({len(wrong)} names differ), "
            "expected those of its config.json; fetch them again"
        )
    return loaded


def weight_files(folder: Path, component: str) -> list[Path]:
    """The component's safetensors files, each opened once to see that it is whole."""
    files = sorted((folder / component).glob("*.safetensors"))
    if not files:
        raise ValueError(f"{folder / component}: got no *.safetensors file, expected the weights; fetch them again")
    for file in files:
        try:
            with safe_open(file, "pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise ValueError(
                f"{file}: got a truncated or damaged file ({error}), expected whole safetensors; fetch it again"
            ) from None
    return files
