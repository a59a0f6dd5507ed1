"""The numbers of the report: every row's, the paired comparisons, every clip, and what could not be judged."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np

from worldmodel.evaluators.report_picks import (
    badness,
    describe,
    focus_row,
    number,
    pick_failures,
    pick_others,
    pick_scenes,
    worst_entry,
)
from worldmodel.evaluators.report_style import slots_of
from worldmodel.evaluators.verdict import fixed, power, signed, titled

MOST_LISTED = 300  # clips
ARROWS = {"lower": "↓", "higher": "↑", "zero": "→ 0", "none": ""}


def table(family: Mapping[str, Any]) -> str:
    """Every metric of every row, a line a metric."""
    meanings = "".join(
        f"<dt>{escape(titled(m))}</dt><dd>{escape(m['meaning'])}</dd>" for m in family["metrics"].values()
    )
    return (
        "<h2>Every row, every number</h2><p>Below each number its 95 % interval over scenes; an arrow shows which way "
        "is better. The first column is the evaluator’s own error on the true video, the floor of everything else.</p>"
        + "".join(_group(family, group, number) for number, group in enumerate(family["groups"]))
        + f'<details><summary>What each number means</summary><dl class="meanings">{meanings}</dl></details>'
    )


def comparisons(family: Mapping[str, Any]) -> str:
    """Every comparison as a table of its own, folded but for the first."""
    blocks = []
    for position, comparison in enumerate(family["comparisons"]):
        names = [family["rows"][comparison[side]]["label"] for side in ("a", "b")]
        opened = " open" if position == 0 else ""
        blocks.append(
            f"<details{opened}><summary><b>{escape(' minus '.join(names))}</b>"
            f'<span class="note">{escape(power(family, comparison))}</span></summary>'
            f"{_comparison(family, comparison)}</details>"
        )
    return "".join(blocks)


def clips(family: Mapping[str, Any], anchor: str) -> str:
    """The headline metric of every clip and row, the focus row's worst clips first."""
    focus, metric = focus_row(family), family["metrics"][family["headline"]]
    order = np.argsort(-badness(family, focus), kind="stable")[:MOST_LISTED]
    slots = slots_of(family["rows"])
    head = "".join(
        f'<th><i class="key {slots[name]}"></i>{escape(row["label"])}</th>' for name, row in family["rows"].items()
    )
    linked = {*pick_scenes(family).values(), *(clip for clip, _ in pick_failures(family)), *pick_others(family)}
    lines = []
    for index in map(int, order):
        title = escape(describe(family["scenes"][index]))
        title = f'<a href="#{anchor}-{index}">{title}</a>' if index in linked else title
        cells = "".join(_clip_cell(family, name, index, focus) for name in family["rows"])
        lines.append(f"<tr><th>{title}</th>{cells}</tr>")
    rest = len(family["scenes"]) - len(order)
    more = f" The other {rest} are in results.json." if rest > 0 else ""
    return (
        f"<p>{escape(titled(metric))}, clip by clip, the worst of "
        f"{escape(family['rows'][focus]['label'])} first; linked clips can be watched.{more}</p>"
        f'<div class="wide tall"><table><thead><tr><th>Clip</th>{head}</tr></thead><tbody>{"".join(lines)}</tbody>'
        "</table></div>"
    )


def casualties(family: Mapping[str, Any]) -> str:
    """Videos that could not be judged, and clips that were discarded; "" if there are none."""
    failed = [
        (family["rows"][name]["label"], family["scenes"][entry["clip"]]["key"], entry["failure"])
        for name, row in family["rows"].items()
        for entry in row["clips"]
        if entry["failure"]
    ]
    parts = []
    if failed:
        parts.append(
            f"<p>{_count(len(failed), 'video')} could not be judged. Number by number each is charged the worst "
            "that a black video or another row scores on its clip.</p>" + _list(("Row", "Clip", "Reason"), failed)
        )
    discarded = [(each["key"], each["reason"]) for each in family["discards"]]
    if discarded:
        parts.append(
            f"<p>{_count(len(discarded), 'clip')} discarded for all rows, because the true video itself cannot be "
            "judged.</p>" + _list(("Clip", "Reason"), discarded)
        )
    return "".join(parts) or '<p class="note">Every video could be judged, and no clip was discarded.</p>'


def _group(family: Mapping[str, Any], group: Mapping[str, Any], place: int) -> str:
    head = f"<h3>{escape(group['title'])}</h3>" if group["title"] else ""
    note = f'<p class="note">{escape(group["note"])}</p>' if group["note"] else ""
    return head + note + _columns(family, group["metrics"], "" if place else _costs(family))


def _columns(family: Mapping[str, Any], names: list[str], first: str = "") -> str:
    slots, focus = slots_of(family["rows"]), focus_row(family)
    head = "".join(
        f'<th{_mark(name, focus)}><i class="key {slots[name]}"></i>{escape(row["label"])}</th>'
        for name, row in family["rows"].items()
    )
    lines = []
    existing = [name for name in names if any(family["table"][row][name]["n"] for row in family["rows"])]
    for name in existing:
        metric = family["metrics"][name]
        cells = "".join(
            f"<td{_mark(row, focus)}>{interval_cell(family['table'][row][name], metric['digits'])}"
            f"{_fewer(family, row, name)}</td>"
            for row in family["rows"]
        )
        lines.append(
            f"<tr><th>{escape(metric['label'])}<small>{_unit(metric, metric['pooled'])}</small></th>{cells}</tr>"
        )
    return (
        f'<div class="wide"><table><thead><tr><th>Metric</th>{head}</tr></thead>'
        f"<tbody>{first}{''.join(lines)}</tbody></table></div>"
    )


def _costs(family: Mapping[str, Any]) -> str:
    """Lines of the table that say what a row took: skill, evaluations, seconds, failures."""
    focus = focus_row(family)
    none = {"n": 0}
    lines = {
        "Skill<small>0 best row without model, 1 the true video ↑</small>": {
            name: interval_cell(family["skill"].get(name, none), 2) for name in family["rows"]
        },
        "Evaluations<small>a clip</small>": {
            name: plain_cell(r["nfe"], "{:.4g}") for name, r in family["rows"].items()
        },
        "Seconds<small>a clip</small>": {
            name: plain_cell(r["seconds_per_clip"], "{:.2f}") for name, r in family["rows"].items()
        },
        "Failed videos<small>charged</small>": {name: str(r["failures"]) for name, r in family["rows"].items()},
        "Over-refined<small>clips whose settled tone refinement changed</small>": {
            name: str(r.get("over_refined", 0)) for name, r in family["rows"].items()
        },
    }
    empty = {"–", "0"}
    return "".join(
        f"<tr><th>{title}</th>{''.join(f'<td{_mark(n, focus)}>{cell}</td>' for n, cell in cells.items())}</tr>"
        for title, cells in lines.items()
        if set(cells.values()) - empty
    )


def _comparison(family: Mapping[str, Any], comparison: Mapping[str, Any]) -> str:
    lines = []
    for group in family["groups"]:
        names = [name for name in group["metrics"] if name in comparison["metrics"]]
        if names and group["title"]:
            lines.append(f'<tr class="group"><th colspan="8">{escape(group["title"])}</th></tr>')
        lines += [_difference(family["metrics"][name], comparison["metrics"][name]) for name in names]
    return (
        '<div class="wide"><table><thead><tr><th>Difference</th><th>Mean</th><th>Median</th><th>Hodges-Lehmann</th>'
        "<th>p<small>only first : only second</small></th><th>p<small>Holm, this table</small></th>"
        "<th>Scenes needed<small>80 % power</small></th><th>Scenes</th></tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _difference(metric: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    digits, better = metric["digits"], {"a": "better", "b": "worse"}.get(found["better"], "")
    test = f"{found['only_a']} : {found['only_b']}" if found["test"] == "mcnemar" else "Wilcoxon"
    return (
        f"<tr><th>{escape(metric['label'])}<small>{_unit(metric)}</small></th>"
        f'<td class="{better}">{_signed_interval(found["mean"], digits)}</td>'
        f"<td>{_signed_interval(found['median'], digits)}</td><td>{signed(found['hodges_lehmann'], digits)}</td>"
        f"<td>{p_text(found['p'])}<small>{test}</small></td><td>{p_text(found['holm_p'])}</td>"
        f"<td>{_scenes(found['scenes_needed'])}</td><td>{found['n']}</td></tr>"
    )


def _unit(metric: Mapping[str, Any], *more: str) -> str:
    """Unit of a metric, what else is to be said, and which way is better."""
    parts = ", ".join(part for part in (metric["unit"], *more) if part)
    return escape(f"{parts} {ARROWS[metric['better']]}".strip())


def _clip_cell(family: Mapping[str, Any], name: str, index: int, focus: str) -> str:
    entry = worst_entry(family, name, index)
    metric = family["metrics"][family["headline"]]
    text = number(entry["score"].get(family["headline"]), metric)
    return f"<td{_mark(name, focus)}>{'failed' if entry['failure'] else text}</td>"


def interval_cell(interval: Mapping[str, Any], digits: int) -> str:
    """A number with its interval below it; a dash where there is none."""
    if not interval["n"]:
        return "–"
    value, low, high = (fixed(interval[end], digits) for end in ("value", "low", "high"))
    return f"{value}<small>{low} … {high}</small>"


def _signed_interval(interval: Mapping[str, float], digits: int) -> str:
    value, low, high = (signed(interval[end], digits) for end in ("value", "low", "high"))
    return f"{value}<small>{low} … {high}</small>"


def _fewer(family: Mapping[str, Any], row: str, name: str) -> str:
    """How many clips have the number, where it is not all."""
    found, scored = family["table"][row][name]["n"], len(family["rows"][row]["clips"])
    return "" if found in (0, scored) else f"<small>{found} of {scored} clips</small>"


def _list(head: tuple[str, ...], lines: list[Any]) -> str:
    titles = "".join(f"<th>{name}</th>" for name in head)
    body = "".join(f"<tr><th>{escape(str(first))}</th>{_tail(rest)}</tr>" for first, *rest in lines[:MOST_LISTED])
    return f'<div class="wide tall text"><table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>'


def _tail(cells: list[Any]) -> str:
    return "".join(f"<td>{escape(str(cell))}</td>" for cell in cells)


def _mark(name: str, focus: str) -> str:
    return ' class="focus"' if name == focus else ""


def plain_cell(value: float | None, form: str) -> str:
    """A number in a format; a dash where there is none."""
    return "–" if value is None else form.format(value)


def _scenes(needed: float | None) -> str:
    return "–" if needed is None else f"{needed:,.0f}".replace(",", " ")


def p_text(value: float | None) -> str:
    """A p value as printed; a dash where there is none."""
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"
