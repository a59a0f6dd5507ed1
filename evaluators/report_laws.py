"""The laws across clips, as a section of the report and as lines for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from worldmodel.evaluators.verdict import fixed

SLOPES = {
    "root_height": ("√h law", "slope of ln time on ln(h/g), ideal 0.5"),
    "size": ("Size", "slope of ln time on ln size, ideal 0.5"),
    "mass": ("Mass placebo", "slope of ln time on ln mass, ideal 0"),
}
EFFECTS = {
    "gravity": ("Gravity", "shown over true change of landing time, ideal 1"),
    "support_height": ("Hidden support", "shown over true change of landing time, ideal 1"),
}


def section(law: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    """Every law of one kind of clips: a line a row, then the landing times of several samples."""
    rows = law["rows"]
    slopes = [name for name in SLOPES if any(name in found for found in rows.values())]
    effects = [cause for cause in EFFECTS if any(cause in found.get("effects", {}) for found in rows.values())]
    head = [SLOPES[name] for name in slopes] + [EFFECTS[cause] for cause in effects]
    lines = {
        labels.get(row, row): [_slope(found.get(name)) for name in slopes]
        + [_effect(found.get("effects", {}).get(cause)) for cause in effects]
        for row, found in rows.items()
    }
    return (
        f"<h2>Laws across clips</h2><p>{escape(', '.join(law['titles']))}. What no single clip can show: clips that "
        "begin with the same picture and differ in one cause, taken together. Below each number its 95 % interval and "
        "how many videos it stands on; a fall that is never seen to end is left out and counted.</p>"
        + _table(head, lines)
        + _ensembles(rows, labels)
    )


def law_lines(law: Mapping[str, Any], labels: Mapping[str, str]) -> list[str]:
    """The same for a terminal: a line for each row in which anything lands."""
    lines = []
    for row, found in law["rows"].items():
        parts = [
            f"{SLOPES[name][0]} {_text(found[name])} ({found[name]['n']} videos)"
            for name in SLOPES
            if _seen(found.get(name))
        ]
        parts += [
            f"{EFFECTS[cause][0]} {_text(each['slope'])}"
            for cause, each in found.get("effects", {}).items()
            if _seen(each["slope"])
        ]
        for each in found.get("distribution", ()):
            skill = "" if each["skill"] is None else f", skill {fixed(each['skill'], 2)} over the prior"
            parts.append(f"CRPS {_text(each['crps_s'], 3)} s of {each['m']} samples{skill}")
        if parts:
            lines.append(f"{labels.get(row, row)}: {'; '.join(parts)}.")
    return ["Laws across clips (slopes of ln time: √h and size 0.5, mass 0; effects 1):", *lines]


def _ensembles(rows: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    lines, priors = {}, []
    for row, found in rows.items():
        for each in found.get("distribution", ()):
            lines[f"{labels.get(row, row)}, {each['title']}"] = [
                f"{each['m']}<small>{each['n']} clips</small>",
                _interval(each["crps_s"], 3),
                _plain(each["prior_crps_s"], 3),
                _plain(each["skill"], 2),
                *(_percent(each["coverage"][level]) for level in ("0.5", "0.9")),
                fixed(100.0 * each["never"], 1),
            ]
            priors.append(each["prior"])
    if not lines:
        return ""
    head = [
        ("Samples", "a clip"),
        ("CRPS", "s, lower is better"),
        ("CRPS of the prior", "s"),
        ("Skill", "0 is the prior’s own"),
        ("50 % interval covers", "% of clips"),
        ("90 % interval covers", "% of clips"),
        ("Never lands", "% of samples"),
    ]
    known = sorted({f"{low:g} to {high:g}" for low, high in filter(None, priors)})
    prior = (
        f"The prior on size is uniform, {escape(' and '.join(known))} times"
        if known
        else "All scenes are of one size, so there is no prior to compare with (--size-prior sets one)"
    )
    return (
        "<h3>Landing times of several samples</h3><p class='note'>A scene scaled by s about the camera looks the same "
        "and falls take √s as long, so the first frame allows a distribution, not a time. CRPS = E|X − y| − "
        f"½ E|X − X′|. {prior}. A 50 % interval needs 3 samples, a 90 % interval 19.</p>" + _table(head, lines)
    )


def _table(head: Sequence[tuple[str, str]], lines: Mapping[str, Sequence[str]]) -> str:
    titles = "".join(f"<th>{escape(title)}<small>{escape(unit)}</small></th>" for title, unit in head)
    filled = {row: "".join(f"<td>{cell}</td>" for cell in cells) for row, cells in lines.items()}
    body = "".join(f"<tr><th>{escape(row)}</th>{cells}</tr>" for row, cells in filled.items())
    return f'<div class="wide"><table><thead><tr><th>Row</th>{titles}</tr></thead><tbody>{body}</tbody></table></div>'


def _seen(slope: Mapping[str, Any] | None) -> bool:
    return slope is not None and slope["value"] is not None


def _slope(slope: Mapping[str, Any] | None) -> str:
    if slope is None:
        return "–"
    lost = f", {slope['lost']} left out" if slope["lost"] else ""
    return f"{_interval(slope, 3)}<small>{slope['n']} videos{lost}</small>"


def _effect(effect: Mapping[str, Any] | None) -> str:
    if effect is None:
        return "–"
    right = effect["sign_accuracy"]
    signs = f"<small>right direction {fixed(100.0 * right['value'], 0)} %</small>" if right else ""
    return _slope(effect["slope"]) + signs


def _interval(interval: Mapping[str, Any], digits: int) -> str:
    value, low, high = (_plain(interval[end], digits) for end in ("value", "low", "high"))
    return value if value == "–" else f"{value}<small>{low} … {high}</small>"


def _percent(interval: Mapping[str, float] | None) -> str:
    return "–" if interval is None else _interval({end: 100.0 * interval[end] for end in interval}, 1)


def _text(interval: Mapping[str, Any], digits: int = 2) -> str:
    value, low, high = (_plain(interval[end], digits) for end in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def _plain(value: float | None, digits: int) -> str:
    return "–" if value is None else fixed(value, digits)
