import numpy as np
import pytest

from worldmodel.evaluators.faults import flickering, overdriven
from worldmodel.evaluators.tone import flicker, tone, tone_error

# Half the picture reddish (luma 110.2), half bluish (luma 94.3).
PICTURE = np.empty((32, 32, 3), np.uint8)
PICTURE[:, :16], PICTURE[:, 16:] = (150, 100, 60), (70, 95, 155)
VIDEO = np.repeat(PICTURE[None], 9, axis=0)
EVERYWHERE = np.ones(VIDEO.shape[:3], bool)
LUMA = PICTURE[0, [0, -1]] @ np.array([0.299, 0.587, 0.114])


def test_tone_of_two_colours_by_hand():
    saturation, luminance, contrast = tone(VIDEO, EVERYWHERE)[0]
    assert saturation == (90 + 85) / 2
    assert luminance == pytest.approx(LUMA.mean(), abs=0.5)  # luma is rounded
    assert contrast == pytest.approx(abs(LUMA[0] - LUMA[1]) / 2, abs=0.5)


@pytest.mark.parametrize("gain", [0.1, 0.3, -0.5])
def test_a_growing_gain_is_read_off_with_its_sign(gain):
    error = tone_error(overdriven(VIDEO, gain), VIDEO, EVERYWHERE)
    drift = error[-1] - error[0]
    assert drift[0] == pytest.approx(gain * 87.5, abs=0.6)
    assert drift[1] == pytest.approx(0, abs=0.6)  # stretched about the mean luma
    assert drift[2] == pytest.approx(gain * abs(LUMA[0] - LUMA[1]) / 2, abs=0.6)
    assert np.allclose(np.diff(error[:, 0]), gain * 87.5 / 8, atol=1.1)  # evenly


def test_light_that_grows_is_luminance_alone():
    brighter = VIDEO + np.arange(9, dtype=np.uint8)[:, None, None, None]
    assert np.allclose(tone_error(brighter, VIDEO, EVERYWHERE)[-1], (0, 8, 0), atol=1e-6)


def test_what_the_true_video_does_itself_is_no_drift():
    brighter = VIDEO + np.arange(9, dtype=np.uint8)[:, None, None, None]
    assert (tone_error(brighter, brighter, EVERYWHERE) == 0).all()
    assert tone_error(VIDEO, brighter, EVERYWHERE)[-1, 1] == pytest.approx(-8)


@pytest.mark.parametrize("gain", [0.0, 0.4])
def test_an_object_that_strays_into_the_region_has_no_part_in_it(gain):
    video = overdriven(VIDEO, gain)
    alone = tone_error(video, VIDEO, EVERYWHERE)
    video[3:, 5:14, 8:26] = (20, 200, 40)
    with_object = tone_error(video, VIDEO, EVERYWHERE)
    assert np.abs(with_object - alone).max() < 1.5 * gain + 1e-9  # fewer pixels of either colour, the same growth


def test_however_far_the_tone_goes_it_is_seen():
    inverted = 255 - VIDEO
    inverted[0] = VIDEO[0]
    assert tone_error(inverted, VIDEO, EVERYWHERE)[-1, 1] == pytest.approx(255 - 2 * LUMA.mean(), abs=1)


def test_pixels_outside_the_region_have_no_tone():
    video, region = VIDEO.copy(), EVERYWHERE.copy()
    video[5:, :8], region[:, :8] = (255, 0, 0), False
    assert (tone_error(video, VIDEO, region) == 0).all()
    assert np.isnan(tone(VIDEO, ~EVERYWHERE)).all()


@pytest.mark.parametrize("levels", [1, 6])
def test_flicker_is_the_step_between_frames(levels):
    assert flicker(flickering(VIDEO, levels), VIDEO, EVERYWHERE) == pytest.approx(levels)
    assert flicker(VIDEO, flickering(VIDEO, levels), EVERYWHERE) == pytest.approx(levels)  # lacking the true one
    assert flicker(flickering(VIDEO, levels), flickering(VIDEO, levels), EVERYWHERE) == 0


def test_flicker_needs_a_pixel_in_two_frames():
    alternating = EVERYWHERE & (np.arange(9) % 2 == 0)[:, None, None]
    assert np.isnan(flicker(VIDEO, VIDEO, alternating))
