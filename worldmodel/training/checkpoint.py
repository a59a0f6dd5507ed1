"""Training state on disk: written whole or not at all, so that a killed run resumes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` beside ``path``, then move it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    os.replace(partial, path)


def load_checkpoint(path: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """The state saved at ``path``, or None when there is none.

    Raises:
        ValueError: the checkpoint belongs to a run with other settings.
    """
    if not path.exists():
        return None
    state = torch.load(path, map_location="cpu", weights_only=True)
    if state["settings"] != settings:
        changed = sorted(k for k in settings | state["settings"] if settings.get(k) != state["settings"].get(k))
        raise ValueError(
            f"{path}: got a checkpoint of other settings ({', '.join(changed)}), expected those of this run; "
            "choose another output folder or repeat the settings"
        )
    return state
