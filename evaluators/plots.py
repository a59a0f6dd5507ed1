"""Two plots of the report as inline SVG, coloured by the page's own style."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import Any

import numpy as np

from worldmodel.evaluators.summary import signed

WIDTH, HEIGHT = 760, 380
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 14, 44
FLOOR_PX = 0.03  # below this the logarithmic axis ends


def error_over_time(results: Mapping[str, Any]) -> str:
    """Median centroid error (line) and its quartiles (band) over scenes, by row and time."""
    errors = {name: _frame_errors(row) for name, row in results["rows"].items()}
    clip = results["clip"]
    seconds = np.arange(clip["frames"]) / clip["fps"]
    x = _linear(0.0, seconds[-1], LEFT, WIDTH - RIGHT)
    y = _logarithmic(FLOOR_PX, clip["diagonal_px"], HEIGHT - BOTTOM, TOP)
    parts = [_axes(x, y, seconds[-1], clip["diagonal_px"])]
    for name, error in errors.items():
        seen = np.isfinite(error).any(axis=0)
        low, middle, high = np.nanpercentile(error[:, seen], [25, 50, 75], axis=0)
        across = [x(t) for t in seconds[seen]]
        band = _points(across, map(y, low)) + " " + _points(across[::-1], map(y, high[::-1]))
        parts.append(f'<polygon class="band {name}" points="{band}"/>')
        parts.append(f'<polyline class="line {name}" points="{_points(across, map(y, middle))}"/>')
    title = "Centroid error over time: median and quartiles over scenes"
    return _svg(WIDTH, HEIGHT, title, "".join(parts))


def differences(results: Mapping[str, Any]) -> str:
    """Mean paired difference of the centroid error with its 95 % interval, one line a comparison."""
    comparisons = results["comparisons"]
    found = [c["centroid_error_px"]["mean"] for c in comparisons]
    ends = [0.0] + [d[end] for d in found for end in ("low", "high")]
    margin = 0.08 * (max(ends) - min(ends)) or 1.0
    low, high = min(ends) - margin, max(ends) + margin
    x = _linear(low, high, 20, WIDTH - 20)
    step, bottom = 52, 8 + 52 * len(found)
    parts = [f'<line class="zero" x1="{x(0):.1f}" x2="{x(0):.1f}" y1="24" y2="{bottom}"/>']
    for i, (comparison, d) in enumerate(zip(comparisons, found, strict=True)):
        top = 8 + step * i
        label = " − ".join(results["rows"][comparison[side]]["label"] for side in ("a", "b"))
        side = "better" if d["high"] < 0 else "worse" if d["low"] > 0 else "open"
        parts.append(f'<text x="20" y="{top + 12}">{escape(label)}</text>')
        parts.append(
            f'<g class="{side}"><line x1="{x(d["low"]):.1f}" x2="{x(d["high"]):.1f}" y1="{top + 28}" y2="{top + 28}"/>'
            f'<circle cx="{x(d["value"]):.1f}" cy="{top + 28}" r="5"/></g>'
        )
    for tick in _nice_ticks(low, high):
        parts.append(f'<text x="{x(tick):.1f}" y="{bottom + 18}" class="middle">{signed(tick)}</text>')
    parts.append(
        f'<text x="{x(0):.1f}" y="{bottom + 38}" class="middle soft">px, below zero: the first is better</text>'
    )
    return _svg(WIDTH, bottom + 46, "Mean paired differences of the centroid error", "".join(parts))


def _frame_errors(row: Mapping[str, Any]) -> np.ndarray:
    return np.array([scene["frame_error_px"] for scene in row["scenes"]], dtype=np.float64)


def _linear(start: float, stop: float, first: float, last: float) -> Callable[[float], float]:
    return lambda value: first + (value - start) / (stop - start) * (last - first)


def _logarithmic(start: float, stop: float, first: float, last: float) -> Callable[[float], float]:
    scale = _linear(np.log(start), np.log(stop), first, last)
    return lambda value: scale(np.log(max(value, start)))


def _points(xs: Any, ys: Any) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))


def _axes(x: Callable[[float], float], y: Callable[[float], float], last: float, diagonal: float) -> str:
    parts = []
    for value in (0.1, 1.0, 10.0):
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        parts.append(f'<text class="end" x="{LEFT - 8}" y="{y(value) + 4:.1f}">{value:g}</text>')
    top = y(diagonal)
    parts.append(f'<line class="grid lost" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{top:.1f}" y2="{top:.1f}"/>')
    parts.append(f'<text class="soft" x="{LEFT + 6}" y="{top + 15:.1f}">the diagonal: charged when lost</text>')
    for value in np.arange(0.0, last + 1e-9, 0.25):
        parts.append(f'<text class="middle" x="{x(value):.1f}" y="{HEIGHT - BOTTOM + 20}">{value:g}</text>')
    parts.append(f'<text class="middle soft" x="{x(last / 2):.1f}" y="{HEIGHT - 4}">seconds</text>')
    half = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(f'<text class="middle soft" transform="translate(13 {half}) rotate(-90)">centroid error, px</text>')
    return "".join(parts)


def _nice_ticks(low: float, high: float) -> list[float]:
    """Round values inside an interval around 0, at most 8 of them."""
    unit = 10.0 ** np.floor(np.log10(high - low))
    step = next(unit * m for m in (0.1, 0.2, 0.5, 1.0, 2.0) if (high - low) / (unit * m) <= 7)
    return [float(k * step) for k in range(int(np.ceil(low / step)), int(np.floor(high / step)) + 1)]


def _svg(width: float, height: float, title: str, body: str) -> str:
    return f'<svg viewBox="0 0 {width} {height}" role="img"><title>{escape(title)}</title>{body}</svg>'
