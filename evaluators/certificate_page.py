"""The certificate as one self-contained HTML page: what held, what did not, and every number behind it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from worldmodel.evaluators.metrics import KINDS
from worldmodel.evaluators.report_style import STYLE


def write_page(path: Path, certificate: Mapping[str, Any]) -> None:
    """Write ``certificate`` (the JSON of ``worldmodel certify``) as HTML; the file appears only when complete."""
    declarations = certificate["declarations"]
    broken = [each for each in declarations if not each["holds"]]
    verdict = (
        f"All {len(declarations)} declarations hold." if not broken else f"{len(broken)} of {len(declarations)} fail."
    )
    body = (
        f'<header><p class="eyebrow">worldmodel · certificate of the evaluators · {certificate["scenes"]} scenes a '
        f'family</p><h1>{verdict}</h1><p class="lead">Each metric is run on clips whose worth is known: the true '
        "video, and controls made from it that get the physics wrong in one named way. It must rank them as it "
        f"declares, and no control may score better than the truth.</p>{_drawn(certificate)}</header>"
        + (f"<h2>What fails</h2>{_declarations(broken)}" if broken else "")
        + "".join(f"<h2>Judge of {escape(name)}</h2>{_judge(judge)}" for name, judge in certificate["judges"].items())
        + "".join(f"<h2>{escape(name)}</h2>{_table(table)}" for name, table in certificate["tables"].items())
        + (f"<h2>What is not declared</h2>{_withdrawn(certificate['withdrawn'])}" if certificate["withdrawn"] else "")
        + f"<h2>Every declaration</h2>{_declarations(declarations)}<h2>The clips</h2>{_kinds()}"
    )
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>worldmodel · certificate</title><style>{STYLE}</style></head><body><main>{body}</main></body></html>\n"
    )
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_text(page)
    os.replace(unfinished, path)


def _drawn(certificate: Mapping[str, Any]) -> str:
    """Of which families more scenes were drawn than asked for, and which numbers still exist in fewer."""
    more = [f"{name} {drawn}" for name, drawn in certificate["drawn"].items() if drawn > certificate["scenes"]]
    if not more:
        return ""
    return (
        "<p>Some numbers exist in some scenes only: a restitution where something bounces and flies on, gravity where "
        "a fall is long enough to measure it, slip where MuJoCo grasps, a false success where it fails. So more scenes "
        f"were drawn, until each declaration stands on {certificate['scenes']} scenes that have its number, or on what "
        f"the most scenes that are drawn have: {escape(', '.join(more))}.</p>"
    )


def text_table(certificate: Mapping[str, Any]) -> str:
    """Declarations by family and metric, as text: how many hold, each one that does not, and how good the judge is.

    The last column is the least number of scenes that a declaration of the metric stands on.
    """
    lines = [f"{'family':<14} {'metric':<34} {'declared':>9} {'hold':>5} {'scenes':>7}"]
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for each in certificate["declarations"]:
        groups.setdefault((each["family"], each["metric"]), []).append(each)
    for (family, metric), group in groups.items():
        hold = sum(each["holds"] for each in group)
        lines.append(f"{family:<14} {metric:<34} {len(group):>9} {hold:>5} {min(each['n'] for each in group):>7}")
    for name, drawn in certificate["drawn"].items():
        if drawn > certificate["scenes"]:
            lines.append(f"{name}: {drawn} scenes drawn, so that numbers that few scenes have are in enough of them")
    for each in certificate["declarations"]:
        if not each["holds"]:
            lines.append(f"FAILS: {_claim(each)}: {_difference(each)}")
    for each in certificate["withdrawn"]:
        lines.append(
            f"not declared: {each['family']}, {each['metric']}: {each['above']} above {each['below']}: {each['why']}"
        )
    for name, judge in certificate["judges"].items():
        for side, rate in judge["outcomes"]["success"].items():
            lines.append(f"judge of {name}: {side} {_rate(rate)}")
    return "\n".join(lines)


def _claim(each: Mapping[str, Any]) -> str:
    relation = "above" if each["strict"] else "not below"
    return f"{each['family']}, {each['metric']}: {each['above']} {relation} {each['below']}"


def _difference(each: Mapping[str, Any]) -> str:
    if each["difference"] is None or each["low"] is None:
        return f"no number, n {each['n']}"
    return f"{each['difference']:+.3g} [{each['low']:+.3g}, {each['high']:+.3g}], n {each['n']}"


def _rate(rate: Mapping[str, Any]) -> str:
    if rate["value"] is None:
        return "no clip"
    ends = [f"{name} {low:.4f} to {high:.4f}" for name, (low, high) in _intervals(rate).items()]
    return f"{rate['right']} of {rate['n']} = {rate['value']:.4f} ({'; '.join(ends)})"


def _intervals(rate: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    return {"Wilson": rate["wilson"], "Clopper-Pearson": rate["clopper_pearson"]}


def _judge(judge: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><th>{escape(outcome.capitalize())}</th>{_cells(rates['sensitivity'])}{_cells(rates['specificity'])}</tr>"
        for outcome, rates in judge["outcomes"].items()
    )
    played = ", ".join(
        f"{name.replace('_', ' ')} {counts['right']} of {counts['clips']}" for name, counts in judge["attempts"].items()
    )
    return (
        f"<p>{judge['clips']} clips rendered by MuJoCo, judged from their pixels: whether the grasp succeeds at the "
        f"end, of which both rates must be at least {judge['least']:g}, and which stages it passes. Success judged "
        f'right, by how the clip was played: {escape(played)}.</p><div class="wide"><table><thead><tr><th></th>'
        f"<th>Sensitivity</th>{_INTERVALS}<th>Specificity</th>{_INTERVALS}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
    )


_INTERVALS = "<th>Wilson, 95 %</th><th>Clopper-Pearson</th>"


def _cells(rate: Mapping[str, Any]) -> str:
    if rate["value"] is None:
        return "<td>–</td>" * 3
    ends = "".join(f"<td>{low:.3f} to {high:.3f}</td>" for low, high in _intervals(rate).values())
    return f"<td>{rate['right']} of {rate['n']}: {rate['value']:.3f}</td>{ends}"


def _withdrawn(withdrawn: Sequence[Mapping[str, Any]]) -> str:
    rows = "".join(
        f"<tr><th>{escape(each['family'])}, {escape(each['metric'])}: {escape(each['above'])} above "
        f"{escape(each['below'])}</th><td>{escape(each['why'])}</td></tr>"
        for each in withdrawn
    )
    return f'<div class="wide"><table><tbody>{rows}</tbody></table></div>'


def _declarations(declarations: Sequence[Mapping[str, Any]]) -> str:
    rows = "".join(
        f"<tr><th>{escape(_claim(each))}</th><td>{escape(_difference(each))}</td>"
        f'<td class="{"better" if each["holds"] else "worse"}">{"holds" if each["holds"] else "fails"}</td></tr>'
        for each in declarations
    )
    head = "<thead><tr><th>Claim</th><th>How much better, 95 % interval</th><th></th></tr></thead>"
    return f'<div class="wide"><table>{head}<tbody>{rows}</tbody></table></div>'


def _table(table: Mapping[str, Any]) -> str:
    kinds = list(dict.fromkeys(kind for metric in table.values() for kind in metric["kinds"]))
    order = [kind for kind in KINDS if kind in kinds]
    head = "".join(f"<th>{escape(kind.replace('_', ' '))}</th>" for kind in order)
    rows = "".join(
        f"<tr><th>{escape(metric['label'])} <small>{escape(metric['unit'])}</small></th>"
        + "".join(f"<td>{_number(metric['kinds'].get(kind), metric['digits'])}</td>" for kind in order)
        + "</tr>"
        for metric in table.values()
    )
    return f'<div class="wide"><table><thead><tr><th>Mean</th>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _kinds() -> str:
    rows = "".join(
        f"<tr><th>{escape(kind.replace('_', ' '))}</th><td>{escape(meaning)}</td></tr>"
        for kind, meaning in KINDS.items()
    )
    return f'<div class="wide"><table><tbody>{rows}</tbody></table></div>'
