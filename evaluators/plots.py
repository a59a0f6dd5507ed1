"""Plots of one family as SVG: inside the report they take the page's colours, as files they bring their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from worldmodel.evaluators.report_style import PLOT_STYLE, slots_of
from worldmodel.evaluators.verdict import lower, signed, titled

WIDTH, HEIGHT = 760, 380
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 14, 44
FLOOR_PX = 0.03  # below this the logarithmic axis of errors ends
STEP = 52  # px from line to line of a forest plot
LEGEND_LINE, LETTER = 20, 7.2  # px, of a legend's lines and about of a letter
Scale = Callable[[float], float]


def plots_of(family: Mapping[str, Any]) -> dict[str, str]:
    """Every plot that the numbers of a family allow, as SVG by name."""
    made = {
        "skill": skills(family),
        "differences": differences(family),
        "error-over-time": error_over_time(family),
        "distribution": distribution(family),
    }
    return {name: svg for name, svg in made.items() if svg}


def write_plots(folder: Path, name: str, plots: Mapping[str, str]) -> None:
    """Save plots as ``name-PLOT.svg`` files that need no style sheet."""
    folder.mkdir(parents=True, exist_ok=True)
    for plot, svg in plots.items():
        styled = svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
        styled = styled.replace("</title>", f"</title><style>{PLOT_STYLE}</style>", 1)
        (folder / f"{name}-{plot}.svg").write_text(styled + "\n")


def skills(family: Mapping[str, Any]) -> str:
    """Skill of every row with its 95 % interval, between the best null (0) and the ceiling (1)."""
    found = {name: s for name, s in family["skill"].items() if s["n"] and family["rows"][name]["kind"] != "null"}
    slots = slots_of(family["rows"])
    lines = [(family["rows"][name]["label"], slots[name], skill) for name, skill in found.items()]
    null = lower(family["rows"][family["best_null"]]["label"]) if family["best_null"] else ""
    title = "Skill: 0 is the best row without a model, 1 the true video through the same tracker"
    return _forest(lines, (0.0, 1.0), f"skill: 0 {null}, 1 the true video", title)


def differences(family: Mapping[str, Any]) -> str:
    """Mean paired difference of the headline metric with its 95 % interval, one line a comparison."""
    metric, name = family["metrics"][family["headline"]], family["headline"]
    lines = []
    for comparison in (c for c in family["comparisons"] if name in c["metrics"]):
        found = comparison["metrics"][name]
        label = " − ".join(family["rows"][comparison[side]]["label"] for side in ("a", "b"))
        lines.append((label, {"a": "better", "b": "worse"}.get(found["better"], "open"), found["mean"]))
    side = "above" if metric["better"] == "higher" else "below"
    title = f"Mean paired differences: {lower(metric['label'])}"
    return _forest(lines, (0.0,), ", ".join(filter(None, (metric["unit"], f"{side} zero: the first is better"))), title)


def error_over_time(family: Mapping[str, Any]) -> str:
    """Median error of each frame (line) and its quartiles (band) over clips, by row; "" if it was not scored."""
    clip, slots = family["clip"], slots_of(family["rows"])
    seconds = np.arange(clip["frames"]) / clip["fps"]
    x = _linear(0.0, seconds[-1], LEFT, WIDTH - RIGHT)
    y = _logarithmic(FLOOR_PX, clip["diagonal_px"], HEIGHT - BOTTOM, TOP)
    parts = [_decades(y, FLOOR_PX, clip["diagonal_px"]), _lost(y(clip["diagonal_px"]))]
    parts += [_across(x, _nice_ticks(0.0, seconds[-1]), "seconds"), _upright("error, px")]
    drawn = False
    for name, row in family["rows"].items():
        frames = [entry["score"].get("frame_error_px") for entry in row["clips"]]
        error = np.array([each for each in frames if each is not None], dtype=np.float64)
        if error.shape[1:] != seconds.shape or not np.isfinite(error).any():
            continue
        seen = np.isfinite(error).any(axis=0)
        low, middle, high = np.nanpercentile(error[:, seen], [25, 50, 75], axis=0)
        across = [x(t) for t in seconds[seen]]
        band = _points(across, map(y, low)) + " " + _points(across[::-1], map(y, high[::-1]))
        parts.append(f'<polygon class="band {slots[name]}" points="{band}"/>')
        parts.append(f'<polyline class="line {slots[name]}" points="{_points(across, map(y, middle))}"/>')
        drawn = True
    title = "Error over time: median and quartiles over clips"
    return _with_legend(family, title, parts) if drawn else ""


def distribution(family: Mapping[str, Any]) -> str:
    """Share of clips (y) whose headline metric is at most x, by row; "" for a yes-or-no metric."""
    metric, slots = family["metrics"][family["headline"]], slots_of(family["rows"])
    if metric["pooled"] == "share":
        return ""
    found = {name: _sorted_values(row, family["headline"], metric["factor"]) for name, row in family["rows"].items()}
    found = {name: values for name, values in found.items() if len(values)}
    low, high = min(v[0] for v in found.values()), max(v[-1] for v in found.values())
    high = high if high > low else low + 1.0
    logarithmic = low > 0 and high > 20 * low
    x = (_logarithmic if logarithmic else _linear)(low, high, LEFT, WIDTH - RIGHT)
    y = _linear(0.0, 1.0, HEIGHT - BOTTOM, TOP)
    ticks = _decade_ticks(low, high) if logarithmic else _nice_ticks(low, high)
    parts = [_across(x, ticks, lower(titled(metric))), _upright("% of clips")]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(_gridline(y(share), f"{100 * share:g}"))
    for name, values in found.items():
        across = np.repeat([x(value) for value in values], 2)
        up = np.repeat(np.arange(len(values) + 1) / len(values), 2)[1:-1]
        parts.append(f'<polyline class="line {slots[name]}" points="{_points(across, map(y, up))}"/>')
    return _with_legend(family, f"Distribution over clips: {lower(metric['label'])}", parts)


def _sorted_values(row: Mapping[str, Any], name: str, factor: float) -> np.ndarray:
    values = [entry["score"].get(name) for entry in row["clips"]]
    return np.sort([factor * value for value in values if value is not None])


def _forest(
    lines: Sequence[tuple[str, str, Mapping[str, float]]], marks: Sequence[float], axis: str, title: str
) -> str:
    """A labelled interval a line over a shared axis; "" of none."""
    if not lines:
        return ""
    ends = [*marks, *(interval[end] for _, _, interval in lines for end in ("low", "high"))]
    margin = 0.08 * (max(ends) - min(ends)) or 1.0
    low, high = min(ends) - margin, max(ends) + margin
    x, bottom = _linear(low, high, 20, WIDTH - 20), 8 + STEP * len(lines)
    parts = [f'<line class="zero" x1="{x(at):.1f}" x2="{x(at):.1f}" y1="24" y2="{bottom}"/>' for at in marks]
    for number, (label, colour, interval) in enumerate(lines):
        top = 8 + STEP * number
        parts.append(f'<text class="label" x="20" y="{top + 12}">{escape(label)}</text>')
        parts.append(
            f'<g class="{colour}"><line x1="{x(interval["low"]):.1f}" x2="{x(interval["high"]):.1f}" '
            f'y1="{top + 28}" y2="{top + 28}"/>'
            f'<circle cx="{x(interval["value"]):.1f}" cy="{top + 28}" r="5"/></g>'
        )
    for tick in _nice_ticks(low, high):
        text = signed(tick) if len(marks) == 1 else f"{tick:g}".replace("-", "−")
        parts.append(f'<text x="{x(tick):.1f}" y="{bottom + 18}" class="middle">{text}</text>')
    parts.append(f'<text x="{WIDTH / 2}" y="{bottom + 38}" class="middle soft">{escape(axis)}</text>')
    return _svg(WIDTH, bottom + 46, title, "".join(parts))


def _with_legend(family: Mapping[str, Any], title: str, parts: Sequence[str]) -> str:
    """The drawn parts, and below them the name and line of every row."""
    slots, x, y, entries = slots_of(family["rows"]), float(LEFT), HEIGHT + 26.0, []
    for name, row in family["rows"].items():
        width = LEGEND_LINE + 14 + LETTER * len(row["label"])
        if x > LEFT and x + width > WIDTH:
            x, y = float(LEFT), y + 22
        entries.append(
            f'<polyline class="line {slots[name]}" points="{x:.0f},{y - 4:.0f} {x + LEGEND_LINE:.0f},{y - 4:.0f}"/>'
            f'<text x="{x + LEGEND_LINE + 6:.0f}" y="{y:.0f}">{escape(row["label"])}</text>'
        )
        x += width
    return _svg(WIDTH, y + 10, title, "".join([*parts, *entries]))


def _linear(start: float, stop: float, first: float, last: float) -> Scale:
    return lambda value: first + (value - start) / (stop - start) * (last - first)


def _logarithmic(start: float, stop: float, first: float, last: float) -> Scale:
    scale = _linear(np.log(start), np.log(stop), first, last)
    return lambda value: scale(np.log(max(value, start)))


def _points(xs: Any, ys: Any) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))


def _gridline(y: float, text: str) -> str:
    line = f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
    return f'{line}<text class="end" x="{LEFT - 8}" y="{y + 4:.1f}">{text}</text>'


def _decades(y: Scale, low: float, high: float) -> str:
    return "".join(_gridline(y(value), f"{value:g}") for value in _decade_ticks(low, high))


def _lost(y: float) -> str:
    return (
        f'<line class="grid lost" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="soft" x="{LEFT + 6}" y="{y + 15:.1f}">the diagonal: charged when lost</text>'
    )


def _across(x: Scale, ticks: Sequence[float], label: str) -> str:
    texts = [f'<text class="middle" x="{x(at):.1f}" y="{HEIGHT - BOTTOM + 20}">{at:g}</text>' for at in ticks]
    middle = (LEFT + WIDTH - RIGHT) / 2
    return "".join(texts) + f'<text class="middle soft" x="{middle}" y="{HEIGHT - 4}">{escape(label)}</text>'


def _upright(label: str) -> str:
    half = (TOP + HEIGHT - BOTTOM) / 2
    return f'<text class="middle soft" transform="translate(13 {half}) rotate(-90)">{escape(label)}</text>'


def _decade_ticks(low: float, high: float) -> list[float]:
    """Powers of ten in an interval above 0."""
    exponents = range(int(np.ceil(np.log10(low) - 1e-9)), int(np.floor(np.log10(high) + 1e-9)) + 1)
    return [10.0**exponent for exponent in exponents]


def _nice_ticks(low: float, high: float) -> list[float]:
    """Round values in an interval, at most 8 of them."""
    unit = 10.0 ** np.floor(np.log10(high - low))
    step = next(unit * m for m in (0.1, 0.2, 0.5, 1.0, 2.0) if (high - low) / (unit * m) <= 7)
    return [round(float(k * step), 12) for k in range(int(np.ceil(low / step)), int(np.floor(high / step)) + 1)]


def _svg(width: float, height: float, title: str, body: str) -> str:
    return f'<svg viewBox="0 0 {width:g} {height:g}" role="img"><title>{escape(title)}</title>{body}</svg>'
