"""Stored episodes at a glance: a contact sheet or a video of truth or rollouts, labelled with how they went."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from worldmodel.counts import check_count
from worldmodel.storage import EpisodeStore, StoreError
from worldmodel.storage.export import write_mp4, write_png

COLUMNS = 6  # frames of an episode in a contact sheet
SMALLEST = 96  # screen pixels, to which smaller pictures are enlarged
LABEL_WIDTH = 190  # screen pixels
LINE = 15  # screen pixels
GAP = 4  # screen pixels
INK, FAINT, SUCCESS, FAILURE = (20, 20, 20), (110, 110, 110), (0, 110, 40), (170, 20, 20)

Line = tuple[str, tuple[int, int, int]]  # text and its colour


@dataclass(frozen=True)
class Clip:
    """What is drawn of an episode."""

    video: np.ndarray  # (T, H, W, 3) uint8
    fps: float
    label: tuple[Line, ...]


def show(
    path: Path,
    out: Path | None = None,
    *,
    episodes: int = 8,
    columns: int = COLUMNS,
    across: int = 1,
    overwrite: bool = False,
) -> Path:
    """Draw the first ``episodes`` of the store at ``path`` and return the picture's path.

    Args:
        path: a store of truth or rollouts.
        out: a ``.png`` for a contact sheet with one row an episode, an ``.mp4`` for all of them
            playing side by side; ``path`` with ``.png`` added if None.
        columns: frames of an episode in a contact sheet, evenly spread from the first to the last.
        across: episodes side by side in a contact sheet.
        overwrite: replace an existing file.

    Raises:
        ValueError: nothing to draw, or ``out`` cannot be written; nothing has been written then.
    """
    out = path.with_name(path.resolve().name + ".png") if out is None else out
    for name, value in (("episodes", episodes), ("columns", columns), ("across", across)):
        check_count(name, value)
    if out.suffix.lower() not in (".png", ".mp4"):
        raise ValueError(f"out: got {str(out)!r}, expected a name that ends in .png or .mp4; rename it")
    store = EpisodeStore.open(path)
    keys = store.keys()
    if not keys:
        raise StoreError(f"{path}: got no finished episode, expected some; write them first")
    clips = [_read(store, key) for key in keys[:episodes]]
    title = f"{_subject(store)}, {len(clips)} of {len(keys)} {store.kind} episodes, {clips[0].fps:g} frames/s"
    if out.suffix.lower() == ".mp4":
        write_mp4(out, video_grid(clips), clips[0].fps, overwrite=overwrite)
    else:
        write_png(out, contact_sheet(clips, title, columns, across), overwrite=overwrite)
    return out


def contact_sheet(clips: list[Clip], title: str, columns: int = COLUMNS, across: int = 1) -> np.ndarray:
    """Image (H, W, 3) with, for each clip, its label and ``columns`` frames with their times."""
    height, width = (side * _scale(clips) for side in _size(clips))
    cell_width = LABEL_WIDTH + columns * (width + GAP) + GAP
    cell_height = LINE + max(height, LINE * max(len(clip.label) for clip in clips)) + GAP
    size = (across * cell_width, 2 * LINE + -(-len(clips) // across) * cell_height)
    sheet = Image.new("RGB", size, (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, GAP), title, INK, _font())
    for number, clip in enumerate(clips):
        side, top = (number % across) * cell_width, 2 * LINE + (number // across) * cell_height
        _write(draw, (side + GAP, top + LINE), clip.label)
        for column, frame in enumerate(np.linspace(0, len(clip.video) - 1, columns).round().astype(int)):
            left = side + LABEL_WIDTH + column * (width + GAP)
            draw.text((left, top), f"{frame / clip.fps:.2f} s", FAINT, _font())
            sheet.paste(_enlarged(clip.video[frame], height, width), (left, top + LINE))
    return np.asarray(sheet)


def video_grid(clips: list[Clip]) -> np.ndarray:
    """Video (T, H, W, 3) of all clips side by side, each under its label; a shorter one stands still at its end."""
    height, width = (side * _scale(clips) for side in _size(clips))
    across = int(np.ceil(np.sqrt(len(clips))))
    down = -(-len(clips) // across)
    lines = max(len(clip.label) for clip in clips)
    cell = max(width, LABEL_WIDTH) + GAP, height + LINE * lines + GAP
    # Video encoders want even sides.
    canvas = Image.new("RGB", (across * cell[0] // 2 * 2 + 2, down * cell[1] // 2 * 2 + 2), (255, 255, 255))
    draw = ImageDraw.Draw(canvas)
    corners = [(GAP + (n % across) * cell[0], (n // across) * cell[1]) for n in range(len(clips))]
    for clip, (left, top) in zip(clips, corners, strict=True):
        _write(draw, (left, top), clip.label)
    frames = []
    for moment in range(max(len(clip.video) for clip in clips)):
        for clip, (left, top) in zip(clips, corners, strict=True):
            picture = clip.video[min(moment, len(clip.video) - 1)]
            canvas.paste(_enlarged(picture, height, width), (left, top + LINE * lines))
        frames.append(np.array(canvas))
    return np.stack(frames)


def _read(store: EpisodeStore, key: str) -> Clip:
    attributes = store.attributes(key)
    label: list[Line] = [(key, INK)]
    if store.kind == "truth":
        outcome = dict(attributes["outcome"])
        success = outcome.pop("success", None)
        if success is not None:
            label.append(("success", SUCCESS) if success else ("failure", FAILURE))
        plain = [(name, value) for name, value in outcome.items() if isinstance(value, (bool, int, float, str))]
        label += [(f"{name}: {_short(value)}", FAINT) for name, value in plain[:3]]
    else:
        label += [(f"seed {attributes['seed']}", FAINT), (f"{attributes['nfe']} evaluations", FAINT)]
    return Clip(store.array(key, "video").data, attributes["fps"], tuple(label))


def _subject(store: EpisodeStore) -> str:
    """The environment of truth, the model of rollouts."""
    settings = store.settings
    return str(settings.get("env") or settings.get("model") or store.path.resolve().name)


def _short(value: Any) -> str:
    text = f"{value:.3g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 16 else text[:13] + "..."


def _size(clips: list[Clip]) -> tuple[int, int]:
    return max(clip.video.shape[1] for clip in clips), max(clip.video.shape[2] for clip in clips)


def _scale(clips: list[Clip]) -> int:
    return max(1, -(-SMALLEST // min(_size(clips))))


def _enlarged(picture: np.ndarray, height: int, width: int) -> Image.Image:
    """Whole screen pixels to a pixel, so that what is seen is what was stored."""
    scale = min(height // picture.shape[0], width // picture.shape[1])
    return Image.fromarray(picture.repeat(scale, axis=0).repeat(scale, axis=1))


def _write(draw: ImageDraw.ImageDraw, corner: tuple[int, int], lines: tuple[Line, ...]) -> None:
    for number, (text, colour) in enumerate(lines):
        draw.text((corner[0], corner[1] + number * LINE), text, colour, _font())


def _font() -> Any:
    return ImageFont.load_default(size=12)
