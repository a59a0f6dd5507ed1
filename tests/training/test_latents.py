"""Which latents have something under them, and latents of unit scale."""

import dataclasses

import numpy as np
import pytest

from worldmodel.training.latents import as_windows, encode_sets, normalised, pooled


def test_a_latent_is_marked_where_one_of_its_pixels_is():
    focus = np.zeros((1, 9, 32, 16), bool)
    focus[0, 0, 31, 0] = focus[0, 4, 0, 15] = focus[0, 5, 8, 0] = True
    found = pooled(focus, (3, 4, 2))
    assert np.argwhere(found).tolist() == [[0, 0, 3, 0], [0, 1, 0, 1], [0, 2, 1, 0]]


def test_windows_keep_what_belongs_together(tmp_path, clip_set):
    def encode(clips):
        return clips.mean(axis=-1)[:, None, ::4, ::8, ::8].astype(np.float16)

    stretches = encode_sets(encode, "", [clip_set], tmp_path, frames=5, stride=4)
    plain, mirrored = stretches
    assert np.array_equal(mirrored.focus, plain.focus[..., ::-1])
    windows = as_windows(stretches, (), 7)
    assert windows.latents.shape == (6, 1, 2, 2, 2)
    assert np.array_equal(windows.focus[:3], windows.focus[3:, ..., ::-1])
    assert not windows.acts.any()
    other = [dataclasses.replace(each, env="drop") for each in stretches]
    assert windows.chance == pytest.approx(np.full(6, 1 / 6))
    both = as_windows([*stretches, *other, other[0]], (), 7).chance
    assert both == pytest.approx([1 / 12] * 6 + [1 / 18] * 9), "each environment as often as another"
    both = as_windows([*stretches, *other], (), 7, {"drop": 3.0}).chance
    assert both == pytest.approx([1 / 24] * 6 + [3 / 24] * 6), "or as often as is said"


def test_clips_that_succeed_are_drawn_as_often_as_those_that_fail(tmp_path, clip_set):
    def encode(clips):
        return np.zeros((len(clips), 1, 2, 2, 2), np.float16)

    first, second = encode_sets(encode, "", [clip_set], tmp_path, frames=5, stride=4)
    rare = dataclasses.replace(first, success=np.array([True, False, False]))
    failing = dataclasses.replace(second, success=np.zeros(3, bool))
    unknown = dataclasses.replace(first, env="drop")
    chance = as_windows([rare, failing, unknown], (), 7).chance
    assert chance == pytest.approx([1 / 4, *[1 / 20] * 5, *[1 / 6] * 3])
    assert as_windows([failing, unknown], (), 7).chance == pytest.approx([1 / 6] * 6), "where none succeeds, evenly"
    many = dataclasses.replace(
        rare,
        video=np.repeat(rare.video, 33, axis=0),
        focus=np.repeat(rare.focus, 33, axis=0),
        success=np.arange(99) < 1,
        latents=np.repeat(rare.latents, 33, axis=0),
    )
    once, other = as_windows([many], (), 7).chance[:2]
    assert 4.0 < once / other < 10.0, "one clip in a hundred is not half of everything"
    mixed = [rare, dataclasses.replace(second, success=None)]
    assert as_windows(mixed, (), 7).chance == pytest.approx([1 / 4, 1 / 8, 1 / 8, *[1 / 6] * 3])


def test_normalised_latents_have_no_mean_and_unit_scale():
    raw = (np.random.default_rng(0).normal(size=(50, 2, 3, 4, 4)) * 3 + 5).astype(np.float16)
    mean, std = raw.astype(float).mean(axis=(0, 2, 3, 4)), raw.astype(float).std(axis=(0, 2, 3, 4))
    found = normalised(raw, mean.tolist(), std.tolist()).astype(float)
    assert found.mean(axis=(0, 2, 3, 4)) == pytest.approx(0.0, abs=1e-2)
    assert found.std(axis=(0, 2, 3, 4)) == pytest.approx(1.0, abs=1e-2)
