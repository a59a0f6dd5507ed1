"""How thick things are, against the boxes that just hold them."""

import numpy as np
import pytest

from worldmodel.envs.drop_shapes import OBJECT_SETS, UNSEEN, draw_size, half_extents, least_half, thinnest_half


@pytest.mark.parametrize("kind", OBJECT_SETS["all"])
def test_nothing_is_drawn_thinner_than_said(kind):
    rng = np.random.default_rng(0)
    halves = [thinnest_half(UNSEEN.get(kind, kind), draw_size(kind, 0.15, rng)) for _ in range(2000)]
    assert least_half(kind, 0.15) <= min(halves) * (1 + 1e-12)
    assert min(halves) == pytest.approx(least_half(kind, 0.15), rel=0.02)


@pytest.mark.parametrize("kind", OBJECT_SETS["all"])
def test_a_shape_is_thinnest_where_the_box_around_it_is(kind):
    shape, rng = UNSEEN.get(kind, kind), np.random.default_rng(1)
    size = draw_size(kind, 0.15, rng)
    turns = rng.normal(size=(4000, 4))
    turns = [(1.0, 0.0, 0.0, 0.0), *(turns / np.linalg.norm(turns, axis=1, keepdims=True))]
    least = min(half_extents(shape, size, tuple(turn)).min() for turn in turns)
    assert least == pytest.approx(thinnest_half(shape, size), rel=1e-9)
