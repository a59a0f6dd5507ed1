"""The page a person looks at: one HTML file with every picture inside it."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from worldmodel.evaluators.panels import draw_panel, encode, save_animation, sprite
from worldmodel.evaluators.plots import differences, error_over_time
from worldmodel.evaluators.report_style import STYLE
from worldmodel.evaluators.summary import OWN_METRICS, PISA_METRICS, Metric, headline, scores, signed
from worldmodel.evaluators.tracking import Tracks, track

SHOWN = ("truth", "base", "euler_matched", "refined")
INK = {"truth": (30, 32, 36), "base": (15, 157, 120), "euler_matched": (36, 121, 216), "refined": (226, 87, 12)}
PANEL_PX, STILL_PX = 256, 128
PLAYBACK = 0.5  # of real time: a fall takes a third of a second
REST = 8  # frames for which an animation stays on its last picture


def write_report(
    path: Path,
    results: Mapping[str, Any],
    videos: Mapping[str, np.ndarray],
    first_masks: np.ndarray,
) -> None:
    """Write ``results`` (see ``results.py`` for the schema) as one self-contained HTML page.

    Args:
        path: of the HTML file; it appears only when it is complete.
        results: from ``build_results``, or its JSON read back; needs the row "refined".
        videos: row name to (N, T, H, W, 3) uint8, in the order of ``results["scenes"]``;
            "truth" and "refined" at least. The rows of ``SHOWN`` are drawn.
        first_masks: (N, H, W) bool, the object in each true first frame.
    """
    _check(results, videos, first_masks)
    verdict, numbers = headline(results)
    body = "".join(
        (
            _header(results, verdict, numbers),
            _scenes(results, videos, first_masks),
            _table(results),
            _comparisons(results),
            _over_time(results),
            _reading(),
            _provenance(results["provenance"]),
        )
    )
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>worldmodel · free fall</title><style>{STYLE}{_keyframes(results['clip'])}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
    )
    path = Path(path)
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_text(page)
    os.replace(unfinished, path)


def write_animation(
    path: Path, results: Mapping[str, Any], videos: Mapping[str, np.ndarray], first_masks: np.ndarray
) -> None:
    """Write the median scene of the report (same arguments) as one looping GIF, at half speed."""
    _check(results, videos, first_masks)
    index = pick_scenes(results)["Median"]
    clips = {name: videos[name][index] for name in SHOWN if name in videos and name in results["rows"]}
    tracks = {name: track(clip, first_masks[index], clips["truth"][0]) for name, clip in clips.items()}
    panels = {
        "MuJoCo" if name == "truth" else results["rows"][name]["label"]: _drawn(name, clip, tracks, PANEL_PX)
        for name, clip in clips.items()
    }
    save_animation(path, panels, results["clip"]["fps"] / 2)


def pick_scenes(results: Mapping[str, Any]) -> dict[str, int]:
    """Index of the best, the median and the worst scene by the refined row's centroid error."""
    order = np.argsort(scores(results["rows"]["refined"]["scenes"], "centroid_error_px"), kind="stable")
    return {"Best": int(order[0]), "Median": int(order[(len(order) - 1) // 2]), "Worst": int(order[-1])}


def _check(results: Mapping[str, Any], videos: Mapping[str, np.ndarray], first_masks: np.ndarray) -> None:
    for name in ("truth", "refined"):
        if name not in videos or name not in results["rows"]:
            raise ValueError(
                f"videos: got rows {sorted(videos)}, expected {name!r} among them; score and pass that row"
            )
    count = len(results["scenes"])
    for name, value in {**videos, "first_masks": first_masks}.items():
        if len(value) != count:
            raise ValueError(
                f"{name}: got {len(value)} scenes, expected {count} as in results; pass them all, in order"
            )


def _header(results: Mapping[str, Any], verdict: str, numbers: str) -> str:
    facts = []
    for name in ("base", "euler_matched", "refined", "linear"):
        if name in results["table"]:
            d = results["table"][name]["error_diagonal"]
            facts.append(
                f'<div class="fact"><b>{_number(d["value"], 2)} %</b><span><i class="key {name}"></i>'
                f"{escape(results['rows'][name]['label'])}</span></div>"
            )
    return (
        '<header><p class="eyebrow">worldmodel · free fall against MuJoCo · '
        f'{len(results["scenes"])} held-out scenes</p><h1>{escape(verdict)}</h1><p class="lead">{escape(numbers)}</p>'
        f'<div class="facts">{"".join(facts)}</div>'
        '<p class="note">Median centroid error as a share of the picture’s diagonal.</p></header>'
    )


def _scenes(results: Mapping[str, Any], videos: Mapping[str, np.ndarray], first_masks: np.ndarray) -> str:
    rows = [name for name in SHOWN if name in videos and name in results["rows"]]
    cards = [
        _scene_card(title, index, results, {name: videos[name][index] for name in rows}, first_masks[index])
        for title, index in pick_scenes(results).items()
    ]
    return (
        "<h2>Watch</h2><p>The best, the median and the worst scene of the refined rollouts by centroid error, at half "
        "speed. The dark path is MuJoCo’s, the coloured one is what the tracker found in the imagined video; "
        "a red frame means that it found nothing.</p>" + "".join(cards)
    )


def _scene_card(
    title: str, index: int, results: Mapping[str, Any], videos: Mapping[str, np.ndarray], first_mask: np.ndarray
) -> str:
    scene = results["scenes"][index]
    true = videos["truth"]
    tracks = {name: track(video, first_mask, true[0]) for name, video in videos.items()}
    described = " ".join(str(scene[key]) for key in ("colour", "shape") if key in scene)
    panels, strips = [], []
    for name, video in videos.items():
        row = results["rows"][name]
        label = "MuJoCo" if name == "truth" else row["label"]
        panels.append(_panel(name, label, row["scenes"][index], video, tracks))
        stills = _drawn(name, video, tracks, STILL_PX)[:: max(1, len(video) // 8)]
        strips.append(
            f'<div><span>{escape(label)}</span><img alt="{escape(label)}" src="{_uri(sprite(stills))}"></div>'
        )
    return (
        f'<section class="scene"><header><h3>{title}</h3><span class="note">{escape(described)}, '
        f'seed {scene["seed"]}</span></header><div class="panels">{"".join(panels)}</div>'
        f'<div class="strips">{"".join(strips)}</div></section>'
    )


def _panel(name: str, label: str, score: Mapping[str, Any], video: np.ndarray, tracks: Mapping[str, Tracks]) -> str:
    height, width = video.shape[1:3]
    whose = "tracker error " if name == "truth" else "error "
    errors = f"{whose}{_number(score['centroid_error_px'], 2)} px"
    landing = score["impact_error_ms"]
    landed = "no landing" if landing is None or not np.isfinite(landing) else f"landing {signed(landing, 0)} ms"
    return (
        f'<figure><div class="film" role="img" aria-label="{escape(label)}" style="aspect-ratio:{width}/{height};'
        f'--wide:{100 * len(video)}%;background-image:url({_uri(sprite(_drawn(name, video, tracks, PANEL_PX)))})">'
        f'</div><figcaption><i class="key {name}"></i>{escape(label)}'
        f"<span>{errors}, {landed}</span></figcaption></figure>"
    )


def _drawn(name: str, video: np.ndarray, tracks: Mapping[str, Tracks], size_px: int) -> np.ndarray:
    true_tracks = None if name == "truth" else tracks["truth"]
    return draw_panel(video, tracks[name], INK[name], size_px, true_tracks)


def _table(results: Mapping[str, Any]) -> str:
    spent = "<th>Evaluations<small>a clip</small></th><th>Seconds<small>a clip</small></th>"
    return (
        "<h2>Every row, every number</h2><p>Below each number its 95 % interval over scenes. The first row is the "
        "tracker’s own error on MuJoCo’s video, the floor of everything else.</p>"
        + _rows(results, OWN_METRICS, spent, lambda row: f"<td>{row['nfe']:.4g}</td>{_td(row['seconds_per_clip'], 2)}")
        + '<p class="note gap">The numbers that PisaBench’s released code would print for the same clips. They drop '
        "frames in which the object is missing, so they flatter videos that lose it.</p>"
        + _rows(results, PISA_METRICS, "", lambda row: "")
    )


def _rows(
    results: Mapping[str, Any], metrics: tuple[Metric, ...], head: str, start: Callable[[Mapping[str, Any]], str]
) -> str:
    head += "".join(f"<th>{escape(m.label)}<small>{escape(f'{m.unit}, {m.pooled}')}</small></th>" for m in metrics)
    lines = []
    for name, row in results["rows"].items():
        cells = start(row) + "".join(_cell(results["table"][name][m.key], m) for m in metrics)
        title = f'<span class="name"><i class="key {name}"></i>{escape(row["label"])}</span>'
        lines.append(f'<tr class="{name}"><th>{title}</th>{cells}</tr>')
    body = "".join(lines)
    return f'<div class="wide"><table><thead><tr><th>Row</th>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(interval: Mapping[str, Any], metric: Metric) -> str:
    value, low, high = (_number(interval[end], metric.digits) for end in ("value", "low", "high"))
    return f"<td>{value}<small>{low} … {high}</small></td>" if value != "–" else "<td>–</td>"


def _td(value: float | None, digits: int) -> str:
    return f"<td>{_number(value, digits)}</td>"


def _difference(d: Mapping[str, float], digits: int) -> str:
    value, low, high = (signed(d[end], digits) for end in ("value", "low", "high"))
    return f"<td>{value}<small>{low} … {high}</small></td>"


def _comparisons(results: Mapping[str, Any]) -> str:
    rows = []
    for c in results["comparisons"]:
        error, landing = c["centroid_error_px"], c["impact_absolute_error_ms"]
        label = " minus ".join(results["rows"][c[side]]["label"] for side in ("a", "b"))
        cells = "".join(
            _difference(d, digits)
            for d, digits in ((error["mean"], 2), (error["median"], 2), (landing["mean"], 0), (landing["median"], 0))
        )
        rows.append(
            f"<tr><th>{escape(label)}</th>{cells}<td>{signed(error['hodges_lehmann'], 2)}</td>"
            f"<td>{_p(error['holm_p'])}</td><td>{c['impact_within_only_a']} : {c['impact_within_only_b']}"
            f"<small>p {_p(c['mcnemar_p'])}</small></td></tr>"
        )
    return (
        "<h2>The same scenes, side by side</h2><p>Differences within each scene, with 95 % bootstrap intervals. "
        "Below zero the first of the two is closer to MuJoCo.</p>"
        f'<div class="plot">{differences(results)}</div><div class="wide"><table><thead><tr><th>Difference</th>'
        "<th>Centroid error<small>px, mean</small></th><th>Centroid error<small>px, median</small></th>"
        "<th>Landing error<small>ms, mean</small></th><th>Landing error<small>ms, median</small></th>"
        "<th>Hodges-Lehmann<small>px</small></th><th>Wilcoxon<small>p, Holm</small></th>"
        "<th>Landing ± 2 frames<small>only first : only second</small></th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _over_time(results: Mapping[str, Any]) -> str:
    legend = "".join(
        f'<li><i class="key line {name}"></i>{escape(row["label"])}</li>' for name, row in results["rows"].items()
    )
    return (
        "<h2>Error over time</h2><p>Median over scenes, with the band between the quartiles. The axis is logarithmic. "
        "The first frame is given and not scored.</p>"
        f'<div class="plot">{error_over_time(results)}<ul class="legend">{legend}</ul></div>'
    )


def _reading() -> str:
    return (
        "<h2>How to read this</h2><p>The same colour tracker runs on MuJoCo’s and on imagined video. "
        "Centroid error is the distance between the tracked object and MuJoCo’s visible pixels, averaged over the "
        "frames after the first; a frame in which the object is not found is charged the picture’s diagonal. "
        "Centimetres use the known camera and the object’s true depth. The landing time is read off the tracked path "
        "and compared with MuJoCo’s first contact; a landing that never comes is charged the length of the clip, "
        "and left out of the bias.</p><p>The PISA columns repeat the released benchmark code: its L2 is a mean "
        "absolute coordinate error, and it scores the given frame too. “Euler, matched evaluations” spends the "
        "evaluations that refinement costs on more steps instead.</p>"
    )


def _provenance(provenance: Mapping[str, Any]) -> str:
    items = "".join(f"<dt>{escape(str(key))}</dt><dd>{escape(_flat(value))}</dd>" for key, value in provenance.items())
    return f"<h2>Provenance</h2><dl>{items}</dl>"


def _flat(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_flat(item)}" for key, item in value.items())
    return ", ".join(map(_flat, value)) if isinstance(value, (list, tuple)) else str(value)


def _keyframes(clip: Mapping[str, Any]) -> str:
    """Steps through a sprite of all frames; all panels of the page move together."""
    frames = clip["frames"]
    total = frames + REST
    steps = [f"{100 * t / total:.3f}%{{background-position-x:{100 * t / (frames - 1):.4f}%}}" for t in range(frames)]
    seconds = total / (PLAYBACK * clip["fps"])
    return (
        f"@keyframes play{{{''.join(steps)}100%{{background-position-x:100%}}}}"
        f".film{{animation:play {seconds:.3f}s step-end infinite}}"
    )


def _uri(image: np.ndarray) -> str:
    return "data:image/webp;base64," + base64.b64encode(encode(image)).decode()


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None or not np.isfinite(value) else f"{value:.{digits}f}".replace("-", "−")


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
