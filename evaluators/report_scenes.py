"""The pictures of the report: single clips, all rows side by side, with what was tracked drawn over them."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from worldmodel.evaluators.panels import (
    draw_panel,
    encode,
    heat_panel,
    save_animation,
    shown_frames,
    sprite,
)
from worldmodel.evaluators.report_picks import (
    describe,
    focus_row,
    numbers,
    pick_failures,
    pick_others,
    pick_scenes,
    short_label,
    shown_rows,
    worst_entry,
)
from worldmodel.evaluators.report_style import ink, slots_of
from worldmodel.evaluators.verdict import lower
from worldmodel.truth import Truth

LARGE_PX, SMALL_PX = 256, 128
LARGE_BYTES, SMALL_BYTES = 200_000, 60_000  # of a picture without loss; a larger one is compressed
STRIP_PX = 48  # of a frame in a strip, at least
REST = 8  # frames for which an animation stays on its last picture


class Source(Protocol):
    """Where the report reads the few clips that it shows once more."""

    def truth(self, key: str) -> Truth:
        """A true clip."""

    def read(self, name: str, key: str, sample: int, truth: Truth) -> Any:
        """A row's clip, with ``video`` (T, H, W, 3) uint8 and ``uncertainty`` (T', H', W') in 0..1 or None."""


@dataclass(frozen=True)
class Shot:
    """One row's clip, drawn."""

    label: str
    slot: str  # name of its colour
    numbers: str  # HTML
    failure: str | None  # why there is nothing to draw
    frames: np.ndarray | None  # (n, h, w, 3) uint8 with what was tracked
    heat: np.ndarray | None  # (n, h, w, 3) uint8, its uncertainty where that was recorded


def watch(family: Mapping[str, Any], source: Source, anchor: str) -> str:
    """The best, the median and the worst clip of the focus row."""
    label, metric = family["rows"][focus_row(family)]["label"], family["metrics"][family["headline"]]
    cards = [_large_card(title, index, family, source, anchor) for title, index in pick_scenes(family).items()]
    speed = ", at half speed" if playback(family["clip"]) < 1 else ""
    return (
        f"<h2>Watch</h2><p>The best, the median and the worst clip of {escape(label)} by "
        f"{escape(lower(metric['label']))}{speed}. The dark path is the true one, the coloured one what was tracked in "
        "the imagined video; a red frame means that nothing was found.</p>" + "".join(cards)
    )


def gallery(family: Mapping[str, Any], source: Source, anchor: str) -> str:
    """The worst clips of all models, small."""
    cards = []
    for place, (index, culprit) in enumerate(pick_failures(family), 1):
        cards.append(_small_card(f"{place}", index, culprit, family, source, anchor))
    return (
        "<h2>Failures</h2><p>The worst clips of all models shown, each with the row that was worst there. "
        f'Videos that could not be judged come first.</p><div class="gallery">{"".join(cards)}</div>'
    )


def others(family: Mapping[str, Any], source: Source, anchor: str) -> str:
    """Every other clip, small and folded; "" where all have been shown."""
    cards = [_small_card("", index, None, family, source, anchor) for index in pick_others(family)]
    if not cards:
        return ""
    return (
        f'<details><summary>Watch the other {len(cards)} clips</summary><div class="gallery">{"".join(cards)}</div>'
        "</details>"
    )


def write_animation(path: Path, family: Mapping[str, Any], source: Source) -> None:
    """Write the median clip of the report as one looping GIF, at the report's speed."""
    shots = _shots(family, source, pick_scenes(family)["Median"], LARGE_PX)
    clip = family["clip"]
    rate = clip["fps"] * len(shown_frames(clip["frames"])) / clip["frames"]
    panels = {shot.label: shot.frames for shot in shots if shot.frames is not None}
    save_animation(path, panels, playback(clip) * rate)


def playback(clip: Mapping[str, Any]) -> float:
    """Speed of the animations against real time: a fall takes a third of a second."""
    return 0.5 if clip["frames"] / clip["fps"] < 3.0 else 1.0


def keyframes(family: Mapping[str, Any], anchor: str) -> str:
    """CSS that steps through a sprite of all frames; all panels of a family move together."""
    clip = family["clip"]
    frames = len(shown_frames(clip["frames"]))
    total = frames + REST
    steps = [f"{100 * t / total:.3f}%{{background-position-x:{100 * t / (frames - 1):.4f}%}}" for t in range(frames)]
    seconds = total / (playback(clip) * clip["fps"]) * clip["frames"] / frames
    return (
        f"@keyframes {anchor}{{{''.join(steps)}100%{{background-position-x:100%}}}}"
        f".{anchor} .film{{animation:{anchor} {seconds:.3f}s step-end infinite;background-size:{100 * frames}% 100%}}"
    )


def _large_card(title: str, index: int, family: Mapping[str, Any], source: Source, anchor: str) -> str:
    """A clip as films, and below them as strips of frames."""
    shots = _shots(family, source, index, LARGE_PX)
    strips = "".join(_strip(shot, at) for at, shot in enumerate(shots))
    body = f'{_panels(shots)}<div class="strips">{strips}</div>'
    head = f'<h3>{title}</h3><span class="note">{escape(describe(family["scenes"][index]))}</span>'
    return (
        f'<section class="scene {anchor}" id="{anchor}-{index}" style="{_pictures(shots, LARGE_BYTES)}">'
        f"<header>{head}</header>{body}</section>"
    )


def _small_card(
    title: str, index: int, culprit: str | None, family: Mapping[str, Any], source: Source, anchor: str
) -> str:
    """A clip as small films, and which row was worst where that is why it is shown."""
    shots = _shots(family, source, index, SMALL_PX, facts=1 if culprit else 3)
    place = "" if culprit and index in pick_scenes(family).values() else f' id="{anchor}-{index}"'
    worst = f"; worst: {escape(short_label(family, culprit))}" if culprit else ""
    head = f'<h3>{title}</h3><span class="note">{escape(describe(family["scenes"][index]))}{worst}</span>'
    pictures = _pictures(shots, SMALL_BYTES if culprit else 0)
    return (
        f'<section class="scene small {anchor}"{place} style="{pictures}">'
        f"<header>{head}</header>{_panels(shots)}</section>"
    )


def _shots(family: Mapping[str, Any], source: Source, index: int, size_px: int, facts: int = 3) -> list[Shot]:
    """The shown rows of a clip, read once more and drawn with what was tracked."""
    key, slots = family["scenes"][index]["key"], slots_of(family["rows"])
    truth = source.truth(key)
    true_paths = _paths(worst_entry(family, "truth", index))
    shots = []
    for name in shown_rows(family):
        entry = worst_entry(family, name, index)
        frames = heat = None
        if not entry["failure"]:
            clip = source.read(name, key, entry["sample"], truth)
            below = None if name == "truth" else true_paths
            frames = draw_panel(clip.video, _paths(entry), ink(slots[name]), size_px, below)
            if clip.uncertainty is not None:
                heat = heat_panel(clip.uncertainty, len(clip.video), *frames.shape[1:3])
        text = numbers(family, entry, facts)
        shots.append(Shot(short_label(family, name), slots[name], text, entry["failure"], frames, heat))
    return shots


def _paths(entry: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {name: np.array(points, dtype=np.float64).reshape(-1, 2) for name, points in entry["tracks"].items()}


def _pictures(shots: Sequence[Shot], lossless_bytes: int) -> str:
    """The sprites as CSS variables, since films and strips show the same ones."""
    drawn = [(at, shot.frames) for at, shot in enumerate(shots) if shot.frames is not None]
    return "".join(f"--s{at}:{_url(sprite(frames), lossless_bytes)};" for at, frames in drawn)


def _panels(shots: Sequence[Shot]) -> str:
    return f'<div class="panels">{"".join(_panel(shot, at) for at, shot in enumerate(shots))}</div>'


def _panel(shot: Shot, at: int) -> str:
    name = f'<i class="key {shot.slot}"></i>{escape(shot.label)}'
    if shot.frames is None:
        return (
            f'<figure><div class="unseen">{escape(shot.failure or "")}</div>'
            f"<figcaption>{name}<span>failed, charged</span></figcaption></figure>"
        )
    films, caption = _film(shot.label, f"var(--s{at})", shot.frames), shot.numbers
    if shot.heat is not None:
        films += _film(f"{shot.label}: uncertainty", _url(sprite(shot.heat), 0), shot.heat)
        caption += "; lower film: uncertainty, from dark 0 to bright 1"
    return f"<figure>{films}<figcaption>{name}<span>{caption}</span></figcaption></figure>"


def _film(label: str, picture: str, frames: np.ndarray) -> str:
    height, width = frames.shape[1:3]
    style = f"aspect-ratio:{width}/{height};background-image:{picture}"
    return f'<div class="film" role="img" aria-label="{escape(label)}" style="{style}"></div>'


def _strip(shot: Shot, at: int) -> str:
    if shot.frames is None:
        return ""
    count, height, width = shot.frames.shape[:3]
    style = f"aspect-ratio:{count * width}/{height};background-image:var(--s{at})"
    label = escape(shot.label)
    picture = f'<i role="img" aria-label="{label}, frame by frame" style="{style}"></i>'
    return f'<div style="min-width:{STRIP_PX * count}px"><span>{label}</span>{picture}</div>'


def _url(image: np.ndarray, lossless_bytes: int) -> str:
    return f"url(data:image/webp;base64,{base64.b64encode(encode(image, lossless_bytes)).decode()})"
