"""What a world without depth and a forgotten one look like, by closed forms and on MuJoCo's own flight."""

import camera_scenes as scenes
import numpy as np
import pytest

from worldmodel.evaluators.camera_controls import flat, forgotten, plane_homography
from worldmodel.evaluators.reprojection import reprojection

HERE = scenes.pinhole()
PICTURE = scenes.texture(64)


def test_a_wall_before_a_camera_that_steps_aside_moves_by_f_b_over_z():
    video = np.repeat(PICTURE[None], 3, axis=0)
    cameras = [HERE, scenes.pinhole((0.1, 0.0, 0.0)), scenes.pinhole((0.0, -0.1, 0.0))]
    moved = flat(video, np.full((64, 64), 2.0), cameras)  # 80 px * 0.1 m / 2 m = 4 px
    assert np.array_equal(moved[0], PICTURE)
    assert np.array_equal(moved[1][:, :-4], PICTURE[:, 4:])
    assert np.array_equal(moved[2][4:], PICTURE[:-4])


def test_a_wall_that_is_approached_grows_about_the_middle_of_the_picture():
    matrix = plane_homography(2.0, HERE, scenes.pinhole((0.0, 0.0, 0.5)))
    for point in ([0.0, 0.0], [31.5, 31.5], [10.0, 50.0]):
        u, v, w = matrix @ [*point, 1.0]
        assert np.allclose([u / w, v / w], 31.5 + (np.array(point) - 31.5) * 2.0 / 1.5)


def test_a_flat_world_is_off_where_the_true_one_is_near_or_far():
    flight = scenes.flight()
    truth, scenery = flight.truth, flight.truth.segmentation == 0
    off = reprojection(flat(truth.video, truth.depth[0], flight.cameras), truth.depth[0], flight.cameras, scenery)
    true = reprojection(truth.video, truth.depth[0], flight.cameras, scenery)
    assert off.error_px > 3 * true.error_px and off.mae > 2 * true.mae


def test_a_forgotten_world_is_another_from_half_way_on():
    video, other = np.zeros((5, 8, 8, 3), np.uint8), np.full((5, 8, 8, 3), 9, np.uint8)
    assert forgotten(video, other)[:, 0, 0, 0].tolist() == [0, 0, 9, 9, 9]
    with pytest.raises(ValueError, match="other: got shape"):
        forgotten(video, other[:3])
