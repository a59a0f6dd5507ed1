"""The side columns of the report, apart from every number that decides."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from worldmodel.evaluators.verdict import fixed

COLUMNS = {
    "lpips": ("LPIPS", "to the true frame, lower is nearer", 3),
    "dino_distance": ("DINO distance", "to the true frame, lower is nearer", 3),
    "dino_consistency": ("DINO consistency", "VBench’s subject consistency; frozen has the most", 3),
    "judge": ("Judge", "share of its questions passed", 3),
}


def side_columns(family: Mapping[str, Any]) -> str:
    """A table of the columns, the judge's own error, and what it took; "" where none was asked for."""
    side = family.get("side")
    if not side:
        return ""
    names = [name for name in COLUMNS if any(name in found for found in side["columns"].values())]
    head = "".join(f"<th>{COLUMNS[name][0]}<small>{escape(COLUMNS[name][1])}</small></th>" for name in names)
    lines = "".join(
        f"<tr><th>{escape(family['rows'][row]['label'])}</th>"
        f"{''.join(f'<td>{_cell(found.get(name), COLUMNS[name][2])}</td>' for name in names)}</tr>"
        for row, found in side["columns"].items()
    )
    return (
        "<h2>Beside the headline</h2><p>What networks say of the same videos. They were trained on other pictures, "
        "their errors are their own, and nothing above depends on them.</p>"
        f'<div class="wide"><table><thead><tr><th>Row</th>{head}</tr></thead><tbody>{lines}</tbody></table></div>'
        + (_judge(side["judge"]) if side["judge"] else "")
    )


def side_lines(family: Mapping[str, Any]) -> list[str]:
    """The same for a terminal, a line a row; [] where none was asked for."""
    side = family.get("side")
    if not side:
        return []
    lines = ["Beside the headline:"]
    for row, found in side["columns"].items():
        cells = [f"{COLUMNS[name][0]} {_text(found[name])}" for name in COLUMNS if name in found]
        lines.append(f"{family['rows'][row]['label']}: {', '.join(cells)}")
    if side["judge"]:
        errors = [error for error in side["judge"]["errors"] if error["question"] == "all"]
        errors = [
            error for error in errors if error["unanswered"] < error["tp"] + error["fp"] + error["fn"] + error["tn"]
        ]
        lines += [f"the judge itself on clips of known worth: {_rates(error)}" for error in errors]
        lines += [f"{count} questions without an answer: {why}" for why, count in side["judge"]["failures"].items()]
    return lines


def _judge(judge: Mapping[str, Any]) -> str:
    cost = "unknown" if judge["cost_usd"] is None else f"{judge['cost_usd']:.4f} USD"
    tokens = f"{judge['prompt_tokens']} + {judge['completion_tokens']} tokens"
    lines = "".join(
        f"<tr><th>{escape(error['question'])}</th><td>{error['tp'] + error['fn']}</td>"
        f"<td>{_cell({**error['sensitivity'], 'n': error['tp'] + error['fn']}, 2)}</td>"
        f"<td>{error['tn'] + error['fp']}</td><td>{_cell({**error['specificity'], 'n': error['tn'] + error['fp']}, 2)}"
        f"</td><td>{error['unanswered']}</td></tr>"
        for error in judge["errors"]
    )
    failures = "".join(f"<li>{count} × {escape(why)}</li>" for why, count in judge["failures"].items())
    return (
        f"<h3>The judge’s own error</h3><p class='note'>{escape(judge['model'])} with the rubric "
        f"{escape(judge['rubric'])}, on true clips and on controls made from them; a missing answer is a wrong one. "
        f"{judge['attempts']} requests, {tokens}, cost {cost}.</p>"
        '<div class="wide"><table><thead><tr><th>Question</th><th>Should pass</th><th>Sensitivity</th>'
        f"<th>Should fail</th><th>Specificity</th><th>Unanswered</th></tr></thead><tbody>{lines}</tbody></table></div>"
        + (f"<p>Questions without an answer:</p><ul>{failures}</ul>" if failures else "")
    )


def _cell(interval: Mapping[str, Any] | None, digits: int) -> str:
    if not interval or not interval["n"] or interval["value"] is None:
        return "–"
    value, low, high = (fixed(interval[end], digits) for end in ("value", "low", "high"))
    return f"{value}<small>{low} … {high}</small>"


def _text(interval: Mapping[str, Any]) -> str:
    if interval["value"] is None:
        return "–"
    return "{value:.3f} [{low:.3f}, {high:.3f}]".format(**interval)


def _rates(error: Mapping[str, Any]) -> str:
    rates = {name: error[name]["value"] for name in ("sensitivity", "specificity")}
    return ", ".join(f"{name} {'–' if rate is None else f'{rate:.2f}'}" for name, rate in rates.items())
