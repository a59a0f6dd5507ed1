"""The page a person looks at: one HTML file with every picture inside it, and its plots as SVG files beside it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from worldmodel.evaluators.plots import plots_of, write_plots
from worldmodel.evaluators.report_laws import section
from worldmodel.evaluators.report_outcomes import outcomes
from worldmodel.evaluators.report_scenes import Source, gallery, keyframes, others, watch
from worldmodel.evaluators.report_side import side_columns
from worldmodel.evaluators.report_style import STYLE, slots_of
from worldmodel.evaluators.report_tables import casualties, clips, comparisons, table
from worldmodel.evaluators.verdict import fixed, headline, lower, skill_estimate

MOST_FACTS = 8


def write_report(path: Path, results: Mapping[str, Any], sources: Sequence[Source]) -> None:
    """Write ``results`` as one self-contained HTML page, and ``plots/*.svg`` beside it.

    Args:
        path: of the HTML file; it appears only when it is complete.
        results: from ``build_results``, or its JSON read back.
        sources: where each family's clips are read again, in the order of ``results["families"]``.
    """
    families = results["families"]
    if len(sources) != len(families):
        raise ValueError(f"sources: got {len(sources)}, expected {len(families)}, one a family; pass them in order")
    anchors = [f"f{number}" for number in range(len(families))]
    body = _front(families, anchors)
    for family, source, anchor in zip(families, sources, anchors, strict=True):
        plots = plots_of(family)
        write_plots(path.parent / "plots", _file_name(family["title"]), plots)
        body += _family(family, source, anchor, plots, alone=len(families) == 1)
    labels = {name: row["label"] for family in families for name, row in family["rows"].items()}
    body += "".join(section(law, labels) for law in results["laws"])
    body += _reading() + _provenance(results["provenance"])
    moves = "".join(keyframes(family, anchor) for family, anchor in zip(families, anchors, strict=True))
    title = " · ".join(family["title"] for family in families)
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>worldmodel · {escape(title)}</title><style>{STYLE}{moves}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
    )
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_text(page)
    os.replace(unfinished, path)


def _front(families: Sequence[Mapping[str, Any]], anchors: Sequence[str]) -> str:
    """The top of the page: of one family its verdict, of several a table of their skills."""
    scenes = sum(len(family["scenes"]) for family in families)
    subject = escape(", ".join(family["title"] for family in families))
    eyebrow = f'<p class="eyebrow">worldmodel · {subject} against MuJoCo · {scenes} held-out clips</p>'
    if len(families) == 1:
        verdict, numbers = headline(families[0])
        top = f'<h1>{escape(verdict)}</h1><p class="lead">{escape(numbers)}</p>'
        return f"<header>{eyebrow}{top}{_facts(families[0])}</header>"
    links = "".join(
        f'<li><a href="#{anchor}">{escape(family["title"])}</a>: {escape(headline(family)[0])}</li>'
        for family, anchor in zip(families, anchors, strict=True)
    )
    return f"<header>{eyebrow}<h1>{len(families)} kinds of clips</h1><ul class='lead'>{links}</ul></header>"


def _family(family: Mapping[str, Any], source: Source, anchor: str, plots: Mapping[str, str], *, alone: bool) -> str:
    verdict, numbers = headline(family)
    top = (
        ""
        if alone
        else (
            f'<header class="family" id="{anchor}"><p class="eyebrow">{escape(family["title"])}</p>'
            f'<h1>{escape(verdict)}</h1><p class="lead">{escape(numbers)}</p>{_facts(family)}</header>'
        )
    )
    return "".join(
        (
            top,
            watch(family, source, anchor),
            table(family),
            outcomes(family),
            "<h2>Skill</h2><p>How much of the way from the best row without a model to the true video, with its 95 % "
            f"interval ({skill_estimate(family)}).</p>{_plot(plots, 'skill')}",
            _compared(family, plots),
            _over_time(family, plots),
            "<h2>Clip by clip</h2>"
            + _plot(plots, "distribution")
            + clips(family, anchor)
            + others(family, source, anchor),
            gallery(family, source, anchor),
            casualties(family),
            side_columns(family),
        )
    )


def _facts(family: Mapping[str, Any]) -> str:
    """The skill of the models and of their ceiling, large."""
    slots = slots_of(family["rows"])
    shown = [name for name, row in family["rows"].items() if row["kind"] != "null" and name in family["skill"]]
    facts = []
    for name in shown[-MOST_FACTS:]:
        skill = family["skill"][name]
        value, low, high = ("–" if skill[end] is None else fixed(skill[end], 2) for end in ("value", "low", "high"))
        facts.append(
            f'<div class="fact"><b>{value}</b><small>{low} … {high}</small><span><i class="key {slots[name]}"></i>'
            f"{escape(family['rows'][name]['label'])}</span></div>"
        )
    null = lower(family["rows"][family["best_null"]]["label"]) if family["best_null"] else "no model"
    metric = lower(family["metrics"][family["headline"]]["label"])
    return (
        f'<div class="facts">{"".join(facts)}</div><p class="note">Skill in {escape(metric)}: 0 is {escape(null)}, the '
        f"best row without a model; 1 is the true video through the same evaluator ({skill_estimate(family)}, 95 % "
        "interval).</p>"
    )


def _compared(family: Mapping[str, Any], plots: Mapping[str, str]) -> str:
    if not family["comparisons"]:
        return ""
    return (
        "<h2>The same scenes, side by side</h2><p>Differences within each scene, with 95 % bootstrap intervals. A "
        "scene’s clips and samples are averaged first. A number that only one of the two has counts as the worst that "
        "either has.</p>" + _plot(plots, "differences") + comparisons(family)
    )


def _over_time(family: Mapping[str, Any], plots: Mapping[str, str]) -> str:
    if "error-over-time" not in plots:
        return ""
    return (
        "<h2>Error over time</h2><p>Median over clips, with the band between the quartiles. The axis is logarithmic. "
        "The first frame is given and not scored.</p>" + _plot(plots, "error-over-time")
    )


def _plot(plots: Mapping[str, str], name: str) -> str:
    return f'<div class="plot">{plots[name]}</div>' if name in plots else ""


def _reading() -> str:
    return (
        "<h2>How to read this</h2><p>One evaluator runs on true and imagined video alike, and its error on the true "
        "video is the first column of each table. What an imagined video lacks is charged, not left out: an object "
        "that vanishes, an event that never comes, a file that cannot be read.</p>"
        "<p>Skill is (null − row) / (null − ceiling). The null is whichever of the rows without a model is best: a "
        "frozen first frame, or what moves going straight on. The ceiling is the true video. Scenes in which the two "
        "are no different have no skill.</p>"
        "<p>“Scenes needed” is how many scenes a test would need to find a difference of the observed size in 80 of "
        "100 runs. “Euler, matched evaluations” spends the evaluations that refinement costs on more steps instead.</p>"
    )


def _provenance(provenance: Mapping[str, Any]) -> str:
    items = "".join(f"<dt>{escape(str(key))}</dt><dd>{escape(_flat(value))}</dd>" for key, value in provenance.items())
    return f"<h2>Provenance</h2><dl>{items}</dl>"


def _flat(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_flat(item)}" for key, item in value.items())
    return ", ".join(map(_flat, value)) if isinstance(value, (list, tuple)) else str(value)


def _file_name(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
