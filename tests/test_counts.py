import numpy as np
import pytest

from worldmodel.counts import check_count


@pytest.mark.parametrize("value", [1, 7, np.int64(3), np.uint8(1)])
def test_whole_numbers_of_either_kind_pass(value):
    check_count("n", value)


def test_zero_passes_where_it_is_the_least():
    check_count("n", 0, least=0)


@pytest.mark.parametrize("value", [0, -1, 1.0, True, "1", None, np.float32(2), np.bool_(True), float("nan")])
def test_anything_else_is_refused_by_name_and_value(value):
    with pytest.raises(ValueError, match=r"^n: got .*, expected a whole number of at least 1; 4 is common$"):
        check_count("n", value, "4 is common")


def test_numbers_below_a_least_of_zero_are_refused():
    with pytest.raises(ValueError, match="n: got -1, expected a whole number of at least 0"):
        check_count("n", -1, least=0)
