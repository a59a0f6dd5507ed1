import numpy as np
import pytest

from worldmodel.evaluators.counts import count_pixels, mean_place


@pytest.mark.parametrize("shape", [(3, 64, 128), (2, 255, 8), (2, 300, 16), (4, 9, 13), (1, 2, 8)])
def test_pixels_are_counted_in_rows_and_columns(shape):
    masks = np.random.default_rng(0).uniform(size=shape) < 0.7
    masks[0] = True  # the most that there can be
    rows, columns = count_pixels(masks)
    assert np.array_equal(rows, masks.sum(axis=2)) and np.array_equal(columns, masks.sum(axis=1))


def test_a_part_of_larger_masks_is_counted_too():
    masks = np.random.default_rng(1).uniform(size=(2, 40, 64)) < 0.5
    rows, columns = count_pixels(masks[:, 3:, 8:40])
    assert np.array_equal(rows, masks[:, 3:, 8:40].sum(axis=2))
    assert np.array_equal(columns, masks[:, 3:, 8:40].sum(axis=1))


def test_the_middle_of_a_rectangle_and_of_nothing():
    masks = np.zeros((2, 16, 24), bool)
    masks[0, 3:6, 8:12] = True
    place = mean_place(*count_pixels(masks))
    assert place[0].tolist() == [9.5, 4.0] and np.isnan(place[1]).all()
