"""Arguments that are more than a number or a path."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Plan = tuple[tuple[float, float, int], ...]


def refinement(plan: Plan, threshold: float, quantile: float | None, temperature: float) -> Any:
    """The :class:`worldmodel.sampling.PredictPerturb` of these options, or None without a plan."""
    from worldmodel.sampling import PredictPerturb, Quantile

    if not plan:
        return None
    kept = threshold if quantile is None else Quantile(quantile)
    return PredictPerturb(plan=plan, threshold=kept, temperature=temperature)


def parse_options(pairs: Sequence[str]) -> dict[str, Any]:
    """``["gravity=[1,10]", "layout=wide"]`` as a dictionary; a bare word is text."""
    options: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise ValueError(f"options: got {pair!r}, expected key=value; correct it")
        try:
            options[name] = json.loads(value)
        except ValueError:
            if not value.replace("-", "_").isidentifier():
                raise ValueError(f"options: got {pair!r}, expected a JSON value after the '='; quote it") from None
            options[name] = value
    return options


def parse_rows(pairs: Sequence[str]) -> dict[str, list[Path]]:
    """``["a=x", "b=y", "a=z"]`` as the paths of each name."""
    rows: dict[str, list[Path]] = {}
    for pair in pairs:
        name, _, path = pair.partition("=")
        if not name or not path:
            raise ValueError(f"rows: got {pair!r}, expected name=PATH; name what is to be judged")
        rows.setdefault(name, []).append(Path(path))
    return rows
