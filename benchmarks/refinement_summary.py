"""One line for each task of benchmarks/refinement_study.py that is finished: what refinement changes, and its controls.

python benchmarks/refinement_summary.py --out runs/refinement_study
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import tyro
from refinement_table import MATCHED
from refinement_tasks import TASKS

HEADS = {
    "base": "Euler, base",
    MATCHED: "Euler",
    "unipc": "UniPC",
    "sde": "SDE",
    "restart": "Restart",
    "plain": "P&P",
    "masked": "P&P, masked",
    "tempered": "P&P, masked, own T",
    "candidates_self": "best of 2",
    "candidates_oracle": "oracle's of 2",
}


@dataclass(frozen=True)
class Settings:
    """Where the study lies."""

    out: Path = Path("runs/refinement_study")


def main(settings: Settings) -> None:
    """Print two tables: means of every method, and the refined row minus its controls."""
    found = {task: settings.out / task / "results.json" for task in TASKS}
    studies = {task: json.loads(path.read_text()) for task, path in found.items() if path.exists()}
    if not studies:
        raise SystemExit(
            f"out: got {settings.out} without results.json, expected that of a finished study; run it first"
        )
    print(f"| task, mean error | {' | '.join(HEADS.values())} |\n| {' | '.join(['---'] * (1 + len(HEADS)))} |")
    for task, study in studies.items():
        rows = {"tempered": study["rows"]["masked"], **study["rows"]}  # where 0.5 was the best of temperatures
        means = " | ".join(f"{rows[row]['mean']['value']:.2f}" for row in HEADS)
        print(f"| {task}, {TASKS[task].label}, {TASKS[task].unit} | {means} |")
    print("\n| task | P&P, masked, minus Euler | Holm p | at the temperature chosen | minus Euler | Holm p |")
    print(f"| {' | '.join(['---'] * 6)} |")
    for task, study in studies.items():
        own = "tempered" if "tempered" in study["rows"] else "masked"
        cells = []
        for row in ("masked", own):
            difference = study["differences"][f"{row} - {MATCHED}"]
            cells += [_signed(difference["mean"], TASKS[task].unit), f"{difference['holm_p']:.2g}"]
        temperature = study["methods"][own]["refine"]["temperature"]
        cells.insert(2, f"{temperature:g}")
        print(f"| {task}, {study['clips']} clips a row | {' | '.join(cells)} |")


def _signed(interval: Mapping[str, float], unit: str) -> str:
    return f"{interval['value']:+.2f} [{interval['low']:+.2f}, {interval['high']:+.2f}] {unit}".replace("-", "−")


if __name__ == "__main__":
    main(tyro.cli(Settings))
