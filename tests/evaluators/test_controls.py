import disc_scenes as scenes
import numpy as np

from worldmodel.evaluators.controls import background, frozen, linear_extrapolation
from worldmodel.evaluators.tracking import track

CENTRES = np.array([[18.0 + 0.9 * t, 14.0 + 1.4 * t + 0.05 * t**2] for t in range(12)])
VIDEO, MASKS = scenes.disc(CENTRES), scenes.masks(CENTRES)


def test_frozen_repeats_the_first_frame():
    assert (frozen(VIDEO) == VIDEO[0]).all() and frozen(VIDEO).shape == VIDEO.shape


def test_background_is_the_scene_without_its_object():
    assert np.abs(background(VIDEO, MASKS) - scenes.empty()).max() <= 12  # the horizon is inpainted
    assert np.abs(background(VIDEO, MASKS) - scenes.empty()).mean() < 0.1


def test_linear_extrapolation_goes_on_at_the_first_velocity():
    video = linear_extrapolation(VIDEO, MASKS)
    found = track(video, MASKS[0]).centroid
    expected = CENTRES[0] + np.arange(12)[:, None] * (CENTRES[1] - CENTRES[0])
    assert np.abs(found - expected).max() < 0.3
    assert np.abs(video[0].astype(int) - VIDEO[0]).max() <= 12
