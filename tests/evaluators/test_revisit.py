import camera_scenes as scenes
import numpy as np
import pytest

from worldmodel.evaluators.revisit import returns, revisit_scores

PICTURE = scenes.texture(64)
EVERYWHERE = np.ones((5, 64, 64), bool)


def along(*sideways_m: float) -> list:
    return [scenes.pinhole((x, 0.0, 0.0)) for x in sideways_m]


@pytest.mark.parametrize(
    "path, pairs",
    [
        ((0, 0.1, 0.2, 0.1, 0), [(1, 3), (0, 4)]),
        ((0, 0.1, 0, 0.1, 0), [(0, 2), (1, 3), (0, 4)]),
        ((0, 0, 0, 0, 0), []),
        ((0, 0.02, 0.04, 0.02, 0.003), []),  # never further than 5 cm away
        ((0, 0.1, 0.2, 0.3, 0.4), []),
    ],
)
def test_returns_of_a_path(path, pairs):
    assert returns(along(*path)) == pairs


def test_a_turn_of_the_camera_counts_too():
    cameras = along(0, 0, 0)
    angle = np.radians(20)
    cameras[1].world_to_camera[:3, :3] = [
        [np.cos(angle), 0, np.sin(angle)],
        [0, 1, 0],
        [-np.sin(angle), 0, np.cos(angle)],
    ]
    assert returns(cameras) == [(0, 2)]


def test_a_place_that_comes_back_brighter_has_its_closed_form():
    video = np.repeat(PICTURE[None] // 2, 5, axis=0)
    video[4] += 5
    psnr, ssim = revisit_scores(video, [(0, 4), (1, 3)], EVERYWHERE)
    assert psnr == pytest.approx((20 * np.log10(255 / 5) + 58.92) / 2, abs=0.01) and 0.9 < ssim < 1


def test_what_moves_does_not_count_and_without_a_pair_there_is_no_number():
    video, scenery = np.repeat(PICTURE[None], 5, axis=0), EVERYWHERE.copy()
    video[4, :30], scenery[4, :34] = 0, False  # windows of the similarity reach 3 px further
    assert revisit_scores(video, [(0, 4)], scenery) == pytest.approx((58.92, 1.0), abs=0.01)
    assert np.isnan(revisit_scores(video, [], scenery)).all()
    assert np.isnan(revisit_scores(video, [(0, 4)], ~EVERYWHERE)).all()
