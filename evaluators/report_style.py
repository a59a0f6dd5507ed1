"""Colours and style sheet of the report: one column, light and dark, readable on a phone."""

from __future__ import annotations

from collections.abc import Iterable

# Name of a colour, on light, on dark. The rows of the demo have colours of their own, other rows the free ones.
COLOURS = {
    "truth": ("#2b2f36", "#e6e8eb"),
    "autoencoder": ("#8f6bd8", "#b197fc"),
    "base": ("#0f9d78", "#38d9a9"),
    "euler_matched": ("#2479d8", "#5aa9ff"),
    "refined": ("#e2570c", "#ff8a47"),
    "pink": ("#c2379b", "#f783d1"),
    "teal": ("#0b8fa8", "#3bc9db"),
    "olive": ("#6b8e23", "#a9d05b"),
    "brown": ("#8d6e63", "#c8a99d"),
    "frozen": ("#9aa3af", "#79828f"),
    "linear": ("#b58a2b", "#d9b45b"),
    "better": ("#0f9d78", "#38d9a9"),
    "worse": ("#d6336c", "#ff7aa8"),
}
FREE = ("base", "euler_matched", "refined", "pink", "teal", "olive", "brown")


def slots_of(rows: Iterable[str]) -> dict[str, str]:
    """Name of the colour of each row."""
    rows = list(rows)
    free = [slot for slot in FREE if slot not in rows]
    others = [name for name in rows if name not in COLOURS]
    chosen = {name: (free or FREE)[number % len(free or FREE)] for number, name in enumerate(others)}
    return {name: chosen.get(name, name) for name in rows}


def ink(slot: str) -> tuple[int, int, int]:
    """RGB of a colour on light, for drawing over frames."""
    hexadecimal = COLOURS[slot][0]
    red, green, blue = (int(hexadecimal[at : at + 2], 16) for at in (1, 3, 5))
    return red, green, blue


def _variables(shade: int) -> str:
    return " ".join(f"--{name}: {shades[shade]};" for name, shades in (COLOURS | _NEUTRAL).items())


_CLASSES = " ".join(f".{name} {{ color: var(--{name}); }}" for name in COLOURS)

_PLOTS = """
svg { font-size: 13px; fill: var(--ink); }
svg .grid, svg .zero { stroke: var(--rule); }
svg .zero { stroke: var(--soft); stroke-dasharray: 3 3; }
svg .lost { stroke: var(--worse); stroke-dasharray: 4 4; opacity: .7; }
svg .soft { fill: var(--soft); } svg .end { text-anchor: end; } svg .middle { text-anchor: middle; }
svg .line { fill: none; stroke: currentColor; stroke-width: 2.4; stroke-linejoin: round; }
svg .band { fill: currentColor; opacity: .13; }
svg .frozen.line, svg .linear.line { stroke-dasharray: 6 4; }
svg g line { stroke-width: 3; stroke-linecap: round; stroke: currentColor; } svg g circle { fill: currentColor; }
svg .open { color: var(--soft); }
svg .label { paint-order: stroke; stroke: var(--card); stroke-width: 5px; }
"""

_NEUTRAL = {
    "page": ("#fbfbfa", "#131417"),
    "card": ("#ffffff", "#1b1d21"),
    "ink": ("#1b1d21", "#eceef1"),
    "soft": ("#667080", "#98a1b0"),
    "rule": ("#e4e6ea", "#2d3138"),
}


def _on_light(style: str) -> str:
    """The same without variables, which few programs that print SVG know."""
    for name, shades in (COLOURS | _NEUTRAL).items():
        style = style.replace(f"var(--{name})", shades[0])
    return style


# Of an SVG file: the page's colours on light, and a face that printers have.
PLOT_STYLE = _on_light(f"svg {{ font-family: Helvetica, Arial, sans-serif; background: #fff; }}{_PLOTS}{_CLASSES}")

STYLE = (
    f"""
:root {{ color-scheme: light dark;
  {_variables(0)} }}
@media (prefers-color-scheme: dark) {{ :root {{
  {_variables(1)} }} }}
"""
    + """
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 1200px; margin: 0 auto; padding: 48px 24px 72px; }
header { padding-bottom: 8px; }
.eyebrow { margin: 0; color: var(--soft); font-size: 14px; letter-spacing: .02em; }
h1 { margin: 10px 0 14px; max-width: 24em; font-size: clamp(26px, 4.4vw, 42px); line-height: 1.14;
  letter-spacing: -.022em; font-weight: 680; text-wrap: balance; }
h2 { margin: 56px 0 6px; font-size: 22px; letter-spacing: -.012em; font-weight: 640; }
h3 { margin: 0; font-size: 16px; font-weight: 620; }
p { margin: 0 0 14px; max-width: 68ch; }
.lead { font-size: 18px; max-width: 66ch; }
.soft, .note { color: var(--soft); }
.note { font-size: 14px; }
.facts + .note { margin-top: 8px; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); gap: 12px; margin-top: 26px; }
.fact { background: var(--card); border: 1px solid var(--rule); border-radius: 12px; padding: 14px 16px; }
.fact b { display: block; font-size: 26px; letter-spacing: -.02em; font-weight: 640; }
.fact small { display: block; color: var(--soft); font-size: 13px; font-variant-numeric: tabular-nums; }
.fact span { display: block; margin-top: 6px; font-size: 14px; }
.scene { background: var(--card); border: 1px solid var(--rule); border-radius: 14px; padding: 18px;
  margin-top: 16px; }
.scene header { display: flex; flex-wrap: wrap; gap: 2px 14px; align-items: baseline; padding: 0 0 12px; }
.panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(165px, 1fr)); gap: 12px; }
.panels figure { margin: 0; max-width: 300px; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 520px), 1fr)); gap: 16px; }
.small { padding: 14px 16px; margin: 0; } .small header { padding-bottom: 8px; }
.small .panels { grid-template-columns: repeat(auto-fit, minmax(105px, 1fr)); gap: 10px; }
.small figure { max-width: 170px; } .small figcaption { font-size: 13px; } .small figcaption span { font-size: 12px; }
.film { background-repeat: no-repeat; border-radius: 8px; width: 100%; }
.film + .film { margin-top: 8px; }
.unseen { aspect-ratio: 1; border: 1px dashed var(--worse); border-radius: 8px; padding: 10px; overflow: hidden;
  color: var(--soft); font-size: 12px; line-height: 1.35; overflow-wrap: anywhere; }
figcaption { margin-top: 6px; font-size: 14px; line-height: 1.35; }
figcaption span { display: block; font-variant-numeric: tabular-nums; color: var(--soft); font-size: 13px; }
.key { display: inline-block; width: 10px; height: 10px; border-radius: 50%; margin-right: 7px;
  background: currentColor; }
.strips { margin-top: 16px; overflow-x: auto; }
.strips div { display: flex; align-items: center; gap: 10px; margin-top: 5px; }
.strips span { flex: 0 0 88px; font-size: 12.5px; line-height: 1.25; color: var(--soft); }
.strips i { flex: 1; min-width: 0; border-radius: 5px; background-size: 100% 100%; }
.wide { overflow-x: auto; background: var(--card); border: 1px solid var(--rule); border-radius: 14px;
  margin-top: 16px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 14px; }
th, td { padding: 9px 8px; text-align: right; white-space: nowrap; border-top: 1px solid var(--rule); }
thead th { border-top: 0; background: var(--card); font-weight: 600; vertical-align: bottom; line-height: 1.3;
  white-space: normal; }
th small, td small { display: block; color: var(--soft); font-weight: 400; font-size: 12px; }
td:last-child, th:last-child { padding-right: 18px; }
th:first-child { padding-left: 16px; text-align: left; position: sticky; left: 0; background: var(--card);
  min-width: 150px; white-space: normal; font-weight: 560; }
th .key { margin-right: 6px; }
.focus { background: color-mix(in srgb, var(--refined) 9%, var(--card)); }
td.better { color: var(--better); font-weight: 560; } td.worse { color: var(--worse); font-weight: 560; }
.tall { max-height: 520px; overflow-y: auto; } .tall thead th { position: sticky; top: 0; z-index: 1; }
.tall thead th:first-child { z-index: 2; } .tall td, .tall tbody th { padding-top: 6px; padding-bottom: 6px; }
.tall tbody th { white-space: nowrap; }
.text td, .text th { text-align: left; } .text td:last-child { white-space: normal; overflow-wrap: anywhere; }
tr.group th { color: var(--soft); font-weight: 500; padding-top: 16px; }
h3 { margin-top: 26px; } header h3, .scene h3 { margin-top: 0; } h3 + .note { margin: 4px 0 0; }
details { margin-top: 14px; } summary { cursor: pointer; line-height: 1.4; }
summary .note { display: block; margin-left: 1.15em; }
.plot + p, .wide + p, .scene + p, .gallery + p { margin-top: 22px; }
a { color: inherit; text-decoration-color: var(--soft); text-underline-offset: 3px; }
header.family { border-top: 1px solid var(--rule); margin-top: 72px; padding-top: 40px; }
.family h1 { font-size: clamp(22px, 3.4vw, 32px); }
ul.lead { padding-left: 1.1em; }
.plot { background: var(--card); border: 1px solid var(--rule); border-radius: 14px; padding: 16px;
  margin-top: 16px;
  overflow-x: auto; }
svg { display: block; width: 100%; min-width: 520px; max-width: 860px; margin: 0 auto; height: auto; }
dl { display: grid; grid-template-columns: minmax(120px, auto) 1fr; gap: 4px 20px; margin: 14px 0 0;
  font-size: 14px; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere;
  font-family: ui-monospace, Menlo, Consolas, monospace;
  font-size: 13px; }
.meanings dd { font: inherit; }
@media (max-width: 720px) { main { padding: 28px 16px 48px; }
  .panels, .small .panels { grid-template-columns: repeat(2, 1fr); }
  h2 { margin-top: 42px; } .scene { padding: 14px; } dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: 8px; } }
@media (prefers-reduced-motion: reduce) { .film { animation: none !important;
  background-position-x: 100% !important; } }
@media print { .tall { max-height: none; } .film { animation: none !important; } }
"""
    + _PLOTS
    + _CLASSES
)
