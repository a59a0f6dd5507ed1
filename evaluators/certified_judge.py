"""How often the judge of grasps is right on clips whose outcome MuJoCo knows, and whether that is often enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from worldmodel.evaluators.certificate import Declaration
from worldmodel.evaluators.confusion import Confusion, confusion
from worldmodel.evaluators.grasp_stages import STAGES
from worldmodel.evaluators.statistics import Interval, clopper_pearson, wilson

LEAST = 0.98  # sensitivity and specificity of success on rendered truth, see ../shared/reference/evaluation.md, 5.2
OUTCOMES = ("success", *STAGES)


def certify_judge(family: str, verdicts: Sequence[Mapping[str, Any]]) -> tuple[list[Declaration], dict[str, Any]]:
    """Sensitivity and specificity of every outcome, and the declaration that those of success are at least ``LEAST``.

    Args:
        family: as named in the declarations.
        verdicts: one a clip: ``attempt`` (how it was played), ``judged`` and ``true``, each bools by ``OUTCOMES``.
    """
    table = {
        outcome: _rates(
            confusion(
                judged=np.array([each["judged"][outcome] for each in verdicts], bool),
                truth=np.array([each["true"][outcome] for each in verdicts], bool),
            )
        )
        for outcome in OUTCOMES
    }
    attempts: dict[str, dict[str, int]] = {}
    for each in verdicts:
        counts = attempts.setdefault(each["attempt"], {"clips": 0, "right": 0})
        counts["clips"] += 1
        counts["right"] += each["judged"]["success"] == each["true"]["success"]
    success = table["success"]
    declarations = [_declaration(family, name, success[name]) for name in ("sensitivity", "specificity")]
    return declarations, {"least": LEAST, "clips": len(verdicts), "outcomes": table, "attempts": attempts}


def _rates(counts: Confusion) -> dict[str, Any]:
    return {
        "sensitivity": _rate(counts.tp, counts.tp + counts.fn),
        "specificity": _rate(counts.tn, counts.tn + counts.fp),
    }


def _rate(right: int, n: int) -> dict[str, Any]:
    """A share with Wilson's interval and the exact one; nan without clips."""
    nothing = Interval(np.nan, np.nan, np.nan)
    score, exact = (wilson(right, n), clopper_pearson(right, n)) if n else (nothing, nothing)
    return {
        "right": right,
        "n": n,
        "value": score.value,
        "wilson": [score.low, score.high],
        "clopper_pearson": [exact.low, exact.high],
    }


def _declaration(family: str, name: str, rate: Mapping[str, Any]) -> Declaration:
    low, high = (end - LEAST for end in rate["wilson"])
    difference = rate["value"] - LEAST
    return Declaration(
        family, f"judge_{name}", "replay", f"{LEAST:g}", False, rate["n"], difference, low, high, difference >= 0
    )
