"""Successes in the report: against MuJoCo's, stage by stage, policy by policy, and of several attempts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from worldmodel.evaluators.report_style import slots_of
from worldmodel.evaluators.report_tables import interval_cell, p_text, plain_cell

RATES = {
    "sensitivity": "Sensitivity<small>%</small>",
    "specificity": "Specificity<small>%</small>",
    "false_success": "False success<small>%</small>",
}
ALL_RATES = ("judged_rate", "true_rate", *RATES)


def outcomes(family: Mapping[str, Any]) -> str:
    """Judged success against MuJoCo's, and attempts; "" where nothing succeeds or fails."""
    parts = []
    if family["outcomes"]:
        head = "".join(
            f"<th>{title}</th>" for title in ("Judged", "In MuJoCo", *RATES.values(), "MCC", "Bias<small>p</small>")
        )
        lines = "".join(_outcome(family, name, found) for name, found in family["outcomes"].items())
        parts.append(
            "<h2>Success against MuJoCo</h2><p>The line of the true video is the judge’s own error; in the others a "
            "model is held against the simulator under the same actions. False success is the share of what fails in "
            "MuJoCo that succeeds in the video. Wilson intervals where every "
            "clip is of another scene, else scenes are drawn; McNemar’s test of the bias.</p>"
            f'<div class="wide"><table><thead><tr><th>Row</th>{head}</tr></thead><tbody>{lines}</tbody></table></div>'
        )
        parts.append(_stages(family) + _policies(family))
    if family["passes"]:
        counts = sorted({int(k) for found in family["passes"].values() for at in found["pass"].values() for k in at})
        head = "".join(f"<th>pass@{k}</th>" for k in counts)
        lines = "".join(_attempts(family, name, found, counts) for name, found in family["passes"].items())
        parts.append(
            "<h2>Several attempts</h2><p>Chance that one of k samples of a clip passes, estimated without bias from "
            "all of them.</p>"
            f'<div class="wide"><table><thead><tr><th>Row</th><th>What passes</th><th>Samples</th>{head}</tr>'
            f"</thead><tbody>{lines}</tbody></table></div>"
        )
    return "".join(parts)


def _outcome(family: Mapping[str, Any], name: str, found: Mapping[str, Any], *first: str) -> str:
    percent = {
        rate: {end: value and 100 * value for end, value in found[rate].items()} for rate in found if rate in ALL_RATES
    }
    cells = "".join(
        f"<td>{interval_cell({**percent[rate], 'n': percent[rate]['value'] is not None}, 1)}</td>" for rate in ALL_RATES
    )
    counts = f"<small>{found['fp']} : {found['fn']}</small>"
    titles = "".join(f"<td>{escape(title)}</td>" for title in first)
    mcc = f"{found['mcc']:.2f}"
    return f"<tr>{_row_head(family, name)}{titles}{cells}<td>{mcc}</td><td>{p_text(found['bias_p'])}{counts}</td></tr>"


def _stages(family: Mapping[str, Any]) -> str:
    """Every stage of the task held against MuJoCo's, folded; "" where there are none."""
    if not family["stages"]:
        return ""
    head = "".join(
        f"<th>{title}</th>" for title in ("Seen", "In MuJoCo", *RATES.values(), "MCC", "Bias<small>p</small>")
    )
    lines = "".join(
        _outcome(family, name, found, stage) for name, each in family["stages"].items() for stage, found in each.items()
    )
    return (
        "<details><summary>Stage by stage</summary><div class='wide'><table><thead><tr><th>Row</th><th>Stage</th>"
        f"{head}</tr></thead><tbody>{lines}</tbody></table></div></details>"
    )


def _policies(family: Mapping[str, Any]) -> str:
    """How each row ranks the policies; "" with one policy."""
    if not family["policies"]:
        return ""
    lines = []
    for name, found in family["policies"].items():
        r = found["pearson"]
        rates = ", ".join(f"{p} {100 * e['judged']:.0f} : {100 * e['true']:.0f}" for p, e in found["rates"].items())
        pearson, tau = interval_cell({**r, "n": 1}, 2) if r else "–", plain_cell(found["kendall_tau_b"], "{:.2f}")
        lines.append(
            f"<tr>{_row_head(family, name)}<td>{found['n']}</td><td>{pearson}</td><td>{tau}</td>"
            f"<td>{found['mmrv']:.3f}</td><td>{escape(rates)}</td></tr>"
        )
    return (
        "<h3>Policies ranked</h3><p class='note'>Success rates of the clips under each policy, in the video and in "
        "MuJoCo. Pearson’s r with Fisher’s interval needs 4 policies with different rates; MMRV is SIMPLER’s mean "
        "maximum rank violation, in the unit of the rates, 0 is best.</p>"
        '<div class="wide"><table><thead><tr><th>Row</th><th>Policies</th><th>Pearson r</th><th>Kendall τ<sub>b</sub>'
        "</th><th>MMRV</th><th>Rates<small>% video : MuJoCo</small></th></tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _attempts(family: Mapping[str, Any], name: str, found: Mapping[str, Any], counts: Sequence[int]) -> str:
    lines = []
    for metric, at in found["pass"].items():
        percent = {k: {end: 100 * value for end, value in interval.items()} for k, interval in at.items()}
        cells = "".join(
            f"<td>{interval_cell({**percent[str(k)], 'n': 1}, 1) if str(k) in percent else '–'}</td>" for k in counts
        )
        label = escape(family["metrics"][metric]["label"])
        lines.append(f"<tr>{_row_head(family, name)}<td>{label}</td><td>{found['n']}</td>{cells}</tr>")
    return "".join(lines)


def _row_head(family: Mapping[str, Any], name: str) -> str:
    slot = slots_of(family["rows"])[name]
    return f'<th><i class="key {slot}"></i>{escape(family["rows"][name]["label"])}</th>'
