import camera_scenes as scenes
import cv2
import numpy as np
import pytest

from worldmodel.evaluators.drift import background_drift

SIDE = 96
PICTURE = cv2.cvtColor(scenes.texture(SIDE), cv2.COLOR_RGB2GRAY)
REGION = np.ones((1, SIDE, SIDE), bool)
CENTRE = (SIDE - 1) / 2


def moved(matrices: list[np.ndarray]) -> np.ndarray:
    flags = {"flags": cv2.INTER_CUBIC, "borderMode": cv2.BORDER_REFLECT}
    return np.stack([cv2.warpAffine(PICTURE, np.float32(matrix), (SIDE, SIDE), **flags) for matrix in matrices])


def shifts(*offsets: tuple[float, float]) -> np.ndarray:
    return moved([[[1, 0, u], [0, 1, v]] for u, v in offsets])


def drift(video: np.ndarray, reference: np.ndarray = PICTURE, region: np.ndarray = REGION) -> np.ndarray:
    return background_drift(video, reference[None], region)


def test_a_shift_is_its_length_to_a_twentieth_of_a_pixel():
    found = drift(shifts((0, 0), (0.5, 0), (1, -1), (3, 4), (-8, 6)))
    assert found == pytest.approx([0, 0.5, np.sqrt(2), 5, 10], abs=0.05)


def test_the_same_picture_has_not_moved_at_all():
    assert (drift(np.stack([PICTURE] * 3)) == 0).all()


@pytest.mark.parametrize("degrees, growth", [(1.5, 1.0), (0.0, 1.03), (-1.0, 0.98)])
def test_turn_and_growth_move_a_point_by_its_distance_from_the_centre(degrees, growth):
    matrix = cv2.getRotationMatrix2D((CENTRE, CENTRE), degrees, growth)
    v, u = np.indices((SIDE, SIDE))
    distance = np.hypot(u - CENTRE, v - CENTRE).mean() * abs(growth * np.exp(1j * np.radians(degrees)) - 1)
    assert drift(moved([matrix]))[0] == pytest.approx(distance, rel=0.06)  # textured points are not quite all


def test_a_change_of_light_and_contrast_is_no_motion():
    lit = np.clip(np.rint(0.7 * PICTURE + 30), 0, 255).astype(np.uint8)
    assert drift(lit[None])[0] < 0.02


def test_noise_and_blur_are_hardly_motion():
    noise = np.random.default_rng(0).integers(-6, 7, PICTURE.shape)
    rough = np.clip(cv2.GaussianBlur(PICTURE, (3, 3), 0) + noise, 0, 255).astype(np.uint8)
    assert drift(rough[None])[0] < 0.1


def test_a_stray_object_does_not_pull_the_background_along():
    video = shifts((2, 0))
    video[0, 20:40, 30:55] = 255
    assert drift(video)[0] == pytest.approx(2, abs=0.1)


def test_what_moves_outside_of_the_region_does_not_matter():
    video, region = np.stack([PICTURE] * 2), REGION.copy()
    video[1, :40] = np.roll(video[1, :40], 7, axis=1)
    region[:, :40] = False
    assert drift(video, region=region)[1] == 0


def test_along_an_edge_nothing_can_be_seen():
    edge = np.repeat(np.where(np.arange(SIDE) < 40, 60, 180).astype(np.uint8)[:, None], SIDE, axis=1)
    assert drift(np.roll(edge, 2, axis=0)[None], edge)[0] == pytest.approx(2, abs=0.1)
    assert drift(np.roll(edge, 9, axis=1)[None], edge)[0] == 0


def test_a_lost_background_is_charged_the_picture_s_height_and_can_be_found_again():
    lost = cv2.cvtColor(scenes.texture(SIDE, seed=1), cv2.COLOR_RGB2GRAY)
    found = drift(np.stack([PICTURE, lost, np.full_like(PICTURE, 90), PICTURE]))
    assert found.tolist() == [0, SIDE, SIDE, 0]


def test_without_texture_there_is_no_number():
    flat = np.full((2, SIDE, SIDE), 90, np.uint8)
    assert np.isnan(background_drift(flat, flat[:1], REGION)).all()
    assert np.isnan(drift(PICTURE[None], region=np.zeros_like(REGION))).all()


def test_each_frame_can_have_its_own_reference():
    reference = shifts((0, 0), (6, 0), (12, 0))
    video = shifts((0, 0), (6, 1), (12, -2))
    found = background_drift(video, reference, np.repeat(REGION, 3, axis=0))
    assert found == pytest.approx([0, 1, 2], abs=0.05)
