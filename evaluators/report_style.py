"""The style sheet of the report: one column, light and dark, readable on a phone."""

STYLE = """
:root { color-scheme: light dark;
  --page: #fbfbfa; --card: #ffffff; --ink: #1b1d21; --soft: #667080; --rule: #e4e6ea;
  --truth: #2b2f36; --autoencoder: #8f6bd8; --base: #0f9d78; --euler_matched: #2479d8;
  --refined: #e2570c; --frozen: #9aa3af; --linear: #b58a2b; --better: #0f9d78; --worse: #d6336c; }
@media (prefers-color-scheme: dark) { :root {
  --page: #131417; --card: #1b1d21; --ink: #eceef1; --soft: #98a1b0; --rule: #2d3138;
  --truth: #e6e8eb; --autoencoder: #b197fc; --base: #38d9a9; --euler_matched: #5aa9ff;
  --refined: #ff8a47; --frozen: #79828f; --linear: #d9b45b; --better: #38d9a9; --worse: #ff7aa8; } }
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
.lead { font-size: 18px; max-width: 62ch; }
.soft, .note { color: var(--soft); }
.note { font-size: 14px; }
.facts + .note { margin-top: 8px; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); gap: 12px; margin-top: 26px; }
.fact { background: var(--card); border: 1px solid var(--rule); border-radius: 12px; padding: 14px 16px; }
.fact b { display: block; font-size: 26px; letter-spacing: -.02em; font-weight: 640; }
.fact span { color: var(--soft); font-size: 14px; }
.scene { background: var(--card); border: 1px solid var(--rule); border-radius: 14px; padding: 18px;
  margin-top: 16px; }
.scene header { display: flex; flex-wrap: wrap; gap: 2px 14px; align-items: baseline; padding: 0 0 12px; }
.panels { display: grid; grid-template-columns: repeat(4, 1fr); gap: 12px; }
.panels figure { margin: 0; }
.film { background-size: var(--wide) 100%; background-repeat: no-repeat; border-radius: 8px; width: 100%; }
figcaption { margin-top: 6px; font-size: 14px; line-height: 1.35; }
figcaption span { display: block; font-variant-numeric: tabular-nums; color: var(--soft); font-size: 13px; }
.key { display: inline-block; width: 10px; height: 10px; border-radius: 50%; margin-right: 7px;
  background: currentColor; }
.key.line { width: 18px; height: 3px; border-radius: 2px; vertical-align: 3px; }
.strips { margin-top: 16px; overflow-x: auto; }
.strips div { display: flex; align-items: center; gap: 10px; min-width: 620px; margin-top: 5px; }
.strips span { flex: 0 0 88px; font-size: 12.5px; line-height: 1.25; color: var(--soft); }
.strips img { flex: 1; min-width: 0; width: 100%; border-radius: 5px; display: block; }
.wide { overflow-x: auto; background: var(--card); border: 1px solid var(--rule); border-radius: 14px;
  margin-top: 16px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 14px; }
th, td { padding: 9px 8px; text-align: right; white-space: nowrap; border-top: 1px solid var(--rule); }
thead th { border-top: 0; font-weight: 600; vertical-align: bottom; line-height: 1.3; white-space: normal; }
thead small, td small { display: block; color: var(--soft); font-weight: 400; font-size: 12px; }
td:last-child, th:last-child { padding-right: 18px; }
th:first-child { padding-left: 16px; text-align: left; position: sticky; left: 0; background: var(--card);
  min-width: 150px;
  white-space: normal; font-weight: 560; }
th .name { display: flex; gap: 9px; align-items: baseline; } th .key { flex: none; margin: 0; }
.gap { margin: 22px 0 0; }
tr.refined th, tr.refined td { background: color-mix(in srgb, var(--refined) 9%, var(--card)); }
.plot { background: var(--card); border: 1px solid var(--rule); border-radius: 14px; padding: 16px;
  margin-top: 16px;
  overflow-x: auto; }
svg { display: block; width: 100%; min-width: 520px; max-width: 860px; margin: 0 auto; height: auto;
  font-size: 13px; fill: var(--ink); }
svg .grid, svg .zero { stroke: var(--rule); }
svg .zero { stroke: var(--soft); stroke-dasharray: 3 3; }
svg .lost { stroke: var(--worse); stroke-dasharray: 4 4; opacity: .7; }
svg .soft { fill: var(--soft); } svg .end { text-anchor: end; } svg .middle { text-anchor: middle; }
svg .line { fill: none; stroke: currentColor; stroke-width: 2.4; stroke-linejoin: round; }
svg .band { fill: currentColor; opacity: .13; }
svg .frozen.line, svg .linear.line { stroke-dasharray: 6 4; }
svg g line { stroke-width: 3; stroke-linecap: round; stroke: currentColor; } svg g circle { fill: currentColor; }
svg .better { color: var(--better); } svg .worse { color: var(--worse); } svg .open { color: var(--soft); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; font-size: 14px; margin: 10px 0 0; padding: 0;
  list-style: none; }
.truth { color: var(--truth); } .autoencoder { color: var(--autoencoder); } .base { color: var(--base); }
.euler_matched { color: var(--euler_matched); } .refined { color: var(--refined); }
.frozen { color: var(--frozen); } .linear { color: var(--linear); }
tr.truth, tr.autoencoder, tr.base, tr.euler_matched, tr.refined, tr.frozen, tr.linear { color: inherit; }
dl { display: grid; grid-template-columns: minmax(120px, auto) 1fr; gap: 4px 20px; margin: 14px 0 0;
  font-size: 14px; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere;
  font-family: ui-monospace, Menlo, Consolas, monospace;
  font-size: 13px; }
@media (max-width: 720px) { main { padding: 28px 16px 48px; } .panels { grid-template-columns: repeat(2, 1fr); }
  h2 { margin-top: 42px; } .scene { padding: 14px; } dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: 8px; } }
@media (prefers-reduced-motion: reduce) { .film { animation: none !important;
  background-position-x: 100% !important; } }
"""
