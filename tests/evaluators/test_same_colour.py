"""Which region of one colour is which object, from regions made by hand."""

import numpy as np

from worldmodel.evaluators.same_colour import Region, divide


def square(row, column, side=4):
    rows, columns = (each.ravel() for each in np.mgrid[row : row + side, column : column + side])
    return Region(rows, columns, np.ones(side * side))


AREAS = np.array([16.0, 16.0])


def test_more_regions_than_objects_leave_the_far_ones_to_nobody():
    near, other, stray = square(0, 0), square(0, 20), square(40, 40)
    assert divide(np.array([[2.0, 22.0], [2.0, 2.0]]), AREAS, [near, stray, other]) == [other, near]


def test_one_region_of_two_objects_is_parted_between_them():
    both = Region(*(np.concatenate(pair) for pair in zip(square(0, 0), square(0, 4), strict=True)))
    left, right = divide(np.array([[1.5, 1.5], [1.5, 5.5]]), AREAS, [both])
    assert np.array_equal(np.unique(left.columns), range(4)) and np.array_equal(np.unique(right.columns), range(4, 8))


def test_an_object_far_from_every_region_has_none():
    assert divide(np.array([[1.5, 1.5], [50.0, 50.0]]), AREAS, [square(0, 0)])[1] is None
    assert divide(np.array([[1.5, 1.5], [50.0, 50.0]]), AREAS, []) == [None, None]
