"""From the summary of a family to words: the sentence above the numbers, and the table for a README."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

METHOD, CONTROL = "refined", "euler_matched"
CENTROID, LANDING = "centroid_error_px", "impact_absolute_error_ms"


def headline(family: Mapping[str, Any]) -> tuple[str, str]:
    """A verdict on the rows of one family (see ``results.py``) and the numbers behind it.

    Where Predict-and-Perturb was run beside Euler with as many model evaluations, that is the question.
    Otherwise it is which row is best, and whether it beats what needs no model. Either way one number decides,
    the mean paired difference of the headline metric (of falls, of the centroid error in px) or the skill: better
    or worse only if its 95 % interval lies on one side of 0.
    """
    name = CENTROID if CENTROID in family["metrics"] else family["headline"]
    found = find_comparison(family, METHOD, CONTROL, name)
    if found:
        return _method_against_control(family, found, name)
    models = [name for name, row in family["rows"].items() if row["kind"] == "model"]
    if not models:
        return f"No model was judged on {family['title']}.", "Every row is a ceiling or needs no model."
    return _against_null(family, models[0]) if len(models) == 1 else _among(family, models)


def find_comparison(family: Mapping[str, Any], a: str, b: str, name: str) -> Mapping[str, Any] | None:
    """The paired comparison of two rows, in this order, if there is one with this metric."""
    return next((c for c in family["comparisons"] if (c["a"], c["b"]) == (a, b) and name in c["metrics"]), None)


def lower(label: str) -> str:
    """A label within a sentence; abbreviations stay as they are."""
    return label if label[:2].isupper() else label[:1].lower() + label[1:]


def titled(metric: Mapping[str, Any]) -> str:
    """Label and unit of a metric."""
    return ", ".join(part for part in (metric["label"], metric["unit"]) if part)


def fixed(value: float, digits: int) -> str:
    """A number with so many digits, as text for people."""
    text = f"{value:.{digits}f}"
    return (text if float(text) else text.lstrip("-")).replace("-", "−")


def signed(value: float | None, digits: int | None = None) -> str:
    """A number with its sign, as text for people."""
    if value is None:
        return "–"
    text = f"{value:+g}" if digits is None else f"{value:+.{digits}f}"
    if not float(text):
        text = text[1:]
    return text.replace("-", "−")


def spread(interval: Mapping[str, float | None], digits: int) -> str:
    """A signed number with its interval."""
    value, low, high = (signed(interval[end], digits) for end in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def markdown_table(family: Mapping[str, Any]) -> str:
    """The short table of a family as Markdown: a line a row, value and 95 % interval of the printed metrics."""
    metrics = {name: family["metrics"][name] for name in family["printed"]}
    spent = any(row["nfe"] for row in family["rows"].values())
    failed = any(row["failures"] for row in family["rows"].values())
    header = ["", *["evaluations"] * spent, *["failed videos"] * failed]
    header += [lower(titled(metric)) for metric in metrics.values()]
    lines = [header, ["---"] * len(header)]
    for name, row in family["rows"].items():
        evaluations = "–" if row["nfe"] is None else f"{row['nfe']:.3g}"
        cells = [row["label"], *[evaluations] * spent, *[str(row["failures"])] * failed]
        table = family["table"][name]
        lines.append(cells + [_interval_text(table[key], metric["digits"]) for key, metric in metrics.items()])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _interval_text(interval: Mapping[str, float], digits: int) -> str:
    if interval["n"] == 0:
        return "–"
    value, low, high = (f"{interval[key]:.{digits}f}" for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def power(family: Mapping[str, Any], comparison: Mapping[str, Any]) -> str:
    """The headline difference of a comparison in a line, and how many scenes it would need; "" without one."""
    found = comparison["metrics"].get(family["headline"])
    if not found:
        return ""
    metric, needed = family["metrics"][family["headline"]], found["scenes_needed"]
    size = "no number of scenes would show it"
    if found["mean"]["value"]:
        size = "too few scenes to tell how many it would take"
    if needed is not None:
        size = f"80 % power would take {needed:,.0f} scenes".replace(",", " ")
    text = f"{lower(metric['label'])} {spread(found['mean'], metric['digits'])} {metric['unit']}"
    return f"{text}; {size}, these are {found['n']}"


def open_questions(family: Mapping[str, Any]) -> list[str]:
    """Of every comparison whose headline difference may be chance, a line with the scenes that it would need."""
    lines = []
    for comparison in family["comparisons"]:
        found = comparison["metrics"].get(family["headline"])
        if found and found["better"] == "open":
            names = " minus ".join(family["rows"][comparison[side]]["label"] for side in ("a", "b"))
            lines.append(f"open: {names}, {power(family, comparison)}.")
    return lines


def _method_against_control(family: Mapping[str, Any], comparison: Mapping[str, Any], name: str) -> tuple[str, str]:
    decisive = comparison["metrics"][name]
    word = {"a": "beats", "b": "loses to", "open": "does not beat"}[decisive["better"]]
    nfe = [family["rows"][row]["nfe"] for row in (METHOD, CONTROL)]
    metric = family["metrics"][name]
    parts = [
        f"Refined minus matched-NFE Euler over {decisive['n']} scenes: mean {_named(metric, decisive['mean'])} "
        f"(95 % interval), median {spread(decisive['median'], metric['digits'])} {metric['unit']}"
    ]
    landing = comparison["metrics"].get(LANDING)
    if landing:
        parts.append(f"mean {_named(family['metrics'][LANDING], landing['mean'])}")
    if None not in nfe:
        parts.append(f"with {nfe[0]:.4g} against {nfe[1]:.4g} evaluations a clip")
    side = "Above" if metric["better"] == "higher" else "Below"
    return (
        f"Predict-and-Perturb {word} Euler at the same number of model evaluations.",
        f"{', '.join(parts)}. {side} zero is better.",
    )


def _against_null(family: Mapping[str, Any], model: str) -> tuple[str, str]:
    skill, null = family["skill"][model], family["best_null"]
    label = family["rows"][model]["label"]
    if null is None or skill["value"] is None:
        return f"{label} on {family['title']}.", _pooled(family, [model])
    word = "beats" if skill["low"] > 0 else "loses to" if skill["high"] < 0 else "cannot be told from"
    verdict = f"{label} {word} {lower(family['rows'][null]['label'])} on {family['title']}."
    return verdict, f"{_skills(family, [model])} {_pooled(family, [model, null])}"


def _among(family: Mapping[str, Any], models: list[str]) -> tuple[str, str]:
    ranked = family["ranking"]
    first, second = ranked[:2]
    comparison = find_comparison(family, first, second, family["headline"])
    mirrored = find_comparison(family, second, first, family["headline"])
    sides = {"a": first, "b": second} if comparison else {"a": second, "b": first}
    found = comparison or mirrored
    winner = sides.get(found["metrics"][family["headline"]]["better"]) if found else None
    labels = {name: family["rows"][name]["label"] for name in models}
    if winner is None:
        verdict = f"{labels[first]} and {labels[second]} cannot be told apart on {family['title']}."
    else:
        other = second if winner == first else first
        rest = f", the next of {len(models)}," if len(models) > 2 else ""
        verdict = f"{labels[winner]} beats {labels[other]}{rest} on {family['title']}."
    return verdict, f"{_skills(family, ranked)} {_pooled(family, ranked)}"


def _skills(family: Mapping[str, Any], names: list[str]) -> str:
    null = family["best_null"]
    if null is None:
        return ""
    texts = []
    for name in names:
        texts.append(f"{family['rows'][name]['label']} {_interval_text(family['skill'][name], 2).replace('-', '−')}")
    return (
        f"Skill, from 0 for {lower(family['rows'][null]['label'])} to 1 for the true video through the same tracker: "
        f"{'; '.join(texts)} ({skill_estimate(family)}, 95 % interval)."
    )


def skill_estimate(family: Mapping[str, Any]) -> str:
    """How skill is put together over scenes."""
    return "ratio of rates" if family["metrics"][family["headline"]]["pooled"] == "share" else "IQM over scenes"


def _pooled(family: Mapping[str, Any], names: list[str]) -> str:
    metric = family["metrics"][family["headline"]]
    table, texts = family["table"], []
    for name in names:
        interval = _interval_text(table[name][family["headline"]], metric["digits"]).replace("-", "−")
        texts.append(f"{family['rows'][name]['label']} {interval}")
    return f"{titled(metric)}: {'; '.join(texts)}."


def _named(metric: Mapping[str, Any], interval: Mapping[str, float]) -> str:
    return f"{lower(metric['label'])} {spread(interval, metric['digits'])} {metric['unit']}".rstrip()
