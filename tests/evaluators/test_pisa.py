import numpy as np
import pytest

from worldmodel.evaluators.pisa import pair_frames, pisa_scores


def square(row: int, column: int, size: int = 256) -> np.ndarray:
    mask = np.zeros((size, size), dtype=bool)
    mask[row : row + 10, column : column + 10] = True
    return mask


def scores(true, made):
    return pisa_scores(np.stack(true), np.stack(made), true_fps=16.0, fps=16.0)


def test_vertical_40_px_at_256_px_gives_the_published_formula():
    result = scores([square(50, 50)] * 4, [square(90, 50)] * 4)
    assert result["pisa_l2"] == pytest.approx((40 + 0) / 2 / (np.sqrt(2) * 256))  # 0.055, not 0.110
    assert result["pisa_iou"] == 0


def test_chamfer_of_two_pixels_is_twice_their_distance():
    a, b = np.zeros((1, 20, 20), bool), np.zeros((1, 20, 20), bool)
    a[0, 5, 5], b[0, 8, 9] = True, True
    assert pisa_scores(a, b, true_fps=1.0, fps=1.0)["pisa_cd"] == pytest.approx(2 * 5 / (np.sqrt(2) * 20))


def test_iou_of_half_shifted_squares_is_a_third():
    assert scores([square(50, 50)], [square(55, 50)])["pisa_iou"] == pytest.approx(1 / 3)


def test_lost_frames_leave_l2_and_cd_as_they_are():
    true, empty = [square(50, 50)] * 8, np.zeros((256, 256), bool)
    whole = scores(true, [square(90, 50)] * 8)
    half = scores(true, [square(90, 50)] * 4 + [empty] * 4)
    assert half["pisa_l2"] == pytest.approx(whole["pisa_l2"]) and half["pisa_cd"] == pytest.approx(whole["pisa_cd"])
    never = scores(true, [empty] * 8)
    assert np.isnan(never["pisa_l2"]) and np.isnan(never["pisa_cd"]) and never["pisa_iou"] == 0
    assert scores([empty], [empty])["pisa_iou"] == 1


def test_frames_pair_by_truncated_time():
    assert pair_frames(17, 10, 24.0, 16.0).tolist() == [0, 1, 3, 4, 6, 7, 9, 10, 12, 13]
    assert pair_frames(5, 10, 16.0, 16.0).tolist() == [0, 1, 2, 3, 4]
