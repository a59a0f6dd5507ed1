"""Reading a diffusers pipeline folder: what is in it, whether it is whole, and its hash."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

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
            raise ValueError(f"{file}: got a truncated or damaged file ({error}), fetch it again") from None
    return files


def weights_hash(files: list[Path]) -> str:
    """SHA-256 over the weight files in the given order."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()
