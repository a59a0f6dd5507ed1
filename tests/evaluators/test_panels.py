"""What is drawn: whole frames, paths in their places, bounded pictures."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from worldmodel.evaluators.panels import (
    LOST,
    draw_panel,
    encode,
    heat_panel,
    overlays_of,
    save_animation,
    shown_frames,
    sprite,
)

GREY = np.full((5, 32, 48, 3), 120, np.uint8)
PATH = np.array([[10.5, 8.5], [12.5, 12.5], [14.5, 16.5], [np.nan, np.nan], [18.5, 24.5]])


def test_frames_are_enlarged_by_whole_numbers():
    noise = np.random.default_rng(0).integers(0, 256, (3, 32, 48, 3), dtype=np.uint8)
    panel = draw_panel(noise, {}, (255, 0, 0), 128)
    assert np.array_equal(panel, noise.repeat(4, axis=1).repeat(4, axis=2))
    assert draw_panel(np.zeros((3, 512, 512, 3), np.uint8), {}, (255, 0, 0), 128).shape == (3, 128, 128, 3)


def test_the_path_is_drawn_where_the_object_is_and_grows():
    panel = draw_panel(GREY, {"object": PATH}, (200, 0, 0), 32)
    red = (panel == (200, 0, 0)).all(axis=-1)
    assert red[0, 8, 10] and not red[0, 12, 12]
    assert red[1, 8, 10] and red[1, 12, 12]
    assert red.sum(axis=(1, 2))[2] > red.sum(axis=(1, 2))[1] > red.sum(axis=(1, 2))[0] > 0


def test_a_frame_that_has_lost_the_object_is_framed_in_red():
    panel = draw_panel(GREY, {"object": PATH, "other": PATH[::-1]}, (0, 0, 200), 64)
    framed = (panel[:, 0] == LOST).all(axis=(1, 2))
    assert framed.tolist() == [False, False, False, True, False]


def test_long_clips_are_thinned_and_wide_ones_shrunk_to_what_webp_takes():
    assert shown_frames(17).tolist() == list(range(17))
    chosen = shown_frames(400)
    assert (len(chosen), chosen[0], chosen[-1]) == (48, 0, 399)
    picture = sprite(draw_panel(np.zeros((100, 90, 320, 3), np.uint8), {}, (0, 0, 0), 256))
    assert picture.shape[1] <= 16383
    assert Image.open(io.BytesIO(encode(picture))).size == picture.shape[1::-1]


def test_pictures_are_lossless_unless_that_takes_too_much():
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    whole, small = encode(noise), encode(noise, 1000)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(whole)).convert("RGB")), noise)
    assert len(small) < len(whole) / 2


def test_heat_maps_go_from_dark_to_bright_and_end_with_the_clip():
    maps = np.stack([np.zeros((4, 4)), np.ones((4, 4))])
    heat = heat_panel(maps, 9, 16, 24)
    assert heat.shape == (9, 16, 24, 3)
    assert heat[0].sum() < 0.1 * heat[-1].sum()
    assert np.array_equal(
        heat_panel(np.full((1, 2, 2), np.nan), 3, 4, 4)[0], heat_panel(np.zeros((1, 2, 2)), 3, 4, 4)[0]
    )


def test_scores_say_what_was_followed():
    tracks = SimpleNamespace(centroid=PATH)
    assert overlays_of(SimpleNamespace(tracks=tracks)) == {"object": PATH}
    assert list(overlays_of(SimpleNamespace(overlays=lambda: {"item": PATH, "hand": PATH}))) == ["item", "hand"]
    assert overlays_of(SimpleNamespace()) == {}


def test_an_animation_is_a_looping_gif_of_all_frames(tmp_path):
    panel = draw_panel(GREY, {"object": PATH}, (30, 32, 36), 128)
    save_animation(tmp_path / "strip.gif", {"MuJoCo": panel, "again": panel}, fps=8.0)
    with Image.open(tmp_path / "strip.gif") as image:
        assert image.is_animated and image.n_frames == 5
        assert image.size == (2 * 192, 128 + 26)
        assert image.info["duration"] == pytest.approx(125, abs=5)
