"""The names, the version and the refusals that every part of the store shares."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

FORMAT = "worldmodel-episodes"
FORMAT_VERSION = 2
KINDS = ("truth", "rollout")


class StoreError(ValueError):
    """A store that cannot be used as asked: says what was got, what was expected and what to do."""


def as_json(name: str, value: Any) -> Any:
    """``value`` as it comes back from JSON (tuples as lists), or a refusal that names the place."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise StoreError(f"{name}: got the key {key!r}, expected text keys as JSON has; write it as str")
        return {key: as_json(f"{name}.{key}", item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(f"{name}[{index}]", item) for index, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise StoreError(f"{name}: got {value}, expected a finite number as JSON has; use None")
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise StoreError(f"{name}: got {type(value).__name__}, expected JSON (dict, list, text, number, None); convert it")


def optional_float(value: float) -> float | None:
    """JSON has no NaN: it is written as null."""
    return None if math.isnan(value) else float(value)


def float_or_nan(value: float | None) -> float:
    """The inverse of :func:`optional_float`."""
    return math.nan if value is None else float(value)


def header(kind: str) -> dict[str, Any]:
    """The attributes that open every group, of the store and of each episode."""
    return {"format": FORMAT, "format_version": FORMAT_VERSION, "kind": kind}


def check_header(name: str, attributes: dict[str, Any], kind: str | None) -> None:
    """Refuse attributes of another format, version or kind (any kind if None)."""
    got = attributes.get("format")
    if got != FORMAT:
        raise StoreError(f"{name}: got format {got!r}, expected {FORMAT!r}; give the folder of a worldmodel store")
    version = attributes.get("format_version")
    if version != FORMAT_VERSION:
        raise StoreError(
            f"{name}: got format version {version!r}, expected {FORMAT_VERSION}; "
            "use the worldmodel release that wrote it, or write the store again elsewhere"
        )
    got, kinds = attributes.get("kind"), KINDS if kind is None else (kind,)
    if got not in kinds:
        raise StoreError(f"{name}: got kind {got!r}, expected {' or '.join(map(repr, kinds))}; give another folder")


def read_group_attributes(folder: Path) -> dict[str, Any] | None:
    """Attributes of the zarr 3 group at ``folder``; None if there is none.

    Reads the one file by which zarr 3 defines a group: listing thousands of episodes is
    ten times faster than opening each.
    """
    path = folder / "zarr.json"
    try:
        document = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        raise StoreError(f"{path}: got damaged JSON, expected zarr metadata; restore or remove {folder}") from None
    if not isinstance(document, dict) or document.get("node_type") != "group":
        return None
    return document.get("attributes", {})


def first_difference(name: str, got: Any, stored: Any) -> tuple[str, Any, Any] | None:
    """The first place where two JSON values differ, as (place, got, stored)."""
    if isinstance(got, dict) and isinstance(stored, dict):
        for key in sorted(got.keys() | stored.keys()):
            found = first_difference(f"{name}.{key}", got.get(key), stored.get(key))
            if found or (key in got) != (key in stored):
                return found or (f"{name}.{key}", got.get(key), stored.get(key))
        return None
    # The type is compared too, or True would equal 1.
    return None if type(got) is type(stored) and got == stored else (name, got, stored)


def short(value: Any) -> str:
    """``repr`` that keeps an error message on one line."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
