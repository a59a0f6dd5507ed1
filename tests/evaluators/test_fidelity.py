import camera_scenes as scenes
import cv2
import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from worldmodel.evaluators.fidelity import mean_absolute_error, psnr_db, ssim_map

RNG = np.random.default_rng(0)
PICTURE = scenes.texture(64)
NOISY = np.clip(PICTURE + RNG.integers(-20, 21, PICTURE.shape), 0, 255).astype(np.uint8)
GREY = np.full((32, 40, 3), 100, np.uint8)


@pytest.mark.parametrize("step", [1, 5, 51])
def test_psnr_of_an_even_step_has_its_closed_form(step):
    assert psnr_db(GREY + np.uint8(step), GREY) == pytest.approx(20 * np.log10(255 / step))


def test_psnr_is_scikit_image_s_and_equal_pictures_stay_finite():
    assert psnr_db(NOISY, PICTURE) == pytest.approx(peak_signal_noise_ratio(PICTURE, NOISY, data_range=255))
    assert psnr_db(PICTURE, PICTURE) == pytest.approx(10 * np.log10(255**2 * 12)) == pytest.approx(58.92, abs=0.01)


def test_psnr_of_a_region_forgets_the_rest():
    other, region = GREY.copy(), np.ones(GREY.shape[:2], bool)
    other[:16], region[:16] = 0, False
    other[16:] += 5
    assert psnr_db(other, GREY, region) == pytest.approx(20 * np.log10(255 / 5))
    assert np.isnan(psnr_db(other, GREY, np.zeros_like(region)))


@pytest.mark.parametrize("other", [NOISY, 255 - PICTURE, cv2.GaussianBlur(PICTURE, (5, 5), 0), PICTURE])
def test_ssim_is_scikit_image_s(other):
    a, b = (cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (PICTURE, other))
    assert ssim_map(a, b).shape == (58, 58)
    assert ssim_map(a, b).mean() == pytest.approx(structural_similarity(a, b), abs=1e-5)


def test_ssim_of_dark_and_flat_pictures_is_scikit_image_s():
    dark, flat = np.zeros((20, 20), np.uint8), np.full((20, 20), 250, np.uint8)
    for a, b in ((dark, flat), (flat, flat), (dark, dark + np.eye(20, dtype=np.uint8))):
        assert ssim_map(a, b).mean() == pytest.approx(structural_similarity(a, b), abs=1e-4)


def test_mean_absolute_error_is_taken_over_the_region_of_all_frames():
    video = np.repeat(GREY[None], 3, axis=0)
    other, region = video.copy(), np.zeros(video.shape[:3], bool)
    other[1, :4, :5] += np.array([1, 2, 6], np.uint8)
    region[1, :8, :5] = True
    assert mean_absolute_error(other, video, region) == pytest.approx(1.5)  # 3 over half of the region
    assert np.isnan(mean_absolute_error(other, video, np.zeros_like(region)))
