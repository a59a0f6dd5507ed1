import camera_scenes as scenes
import numpy as np
import pytest

from worldmodel.evaluators.drift import background_drift
from worldmodel.evaluators.faults import FAULTS, flickering, overdriven, sliding, zooming
from worldmodel.evaluators.registration import register

VIDEO = np.repeat(scenes.texture(64)[None], 5, axis=0)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_keeps_the_first_frame_and_spoils_the_others(fault):
    video = fault(VIDEO)
    assert video.dtype == np.uint8 and video.shape == VIDEO.shape and (video[0] == VIDEO[0]).all()
    assert (video[1] != VIDEO[1]).mean() > 0.5


def test_overdriven_stretches_all_channels_by_the_same_factor():
    centre, grey = 128.0, np.full((3, 4, 4, 3), 128, np.uint8)
    grey[..., 0] += 20
    centre = 128 + round(0.299 * 20)
    assert overdriven(grey, 0.5)[2, 0, 0].tolist() == [
        round(centre + 1.5 * (value - centre)) for value in (148, 128, 128)
    ]


def test_sliding_ends_at_its_share_of_the_height():
    grey = sliding(VIDEO, 0.05)[..., 1]
    found = background_drift(grey, grey[:1], np.ones((1, 64, 64), bool))
    assert found == pytest.approx(np.sqrt(2) * 0.05 * 64 * np.arange(5) / 4, abs=0.1)


def test_zooming_ends_at_its_share():
    found = register(zooming(VIDEO, 0.1), VIDEO[0], np.ones((64, 64), bool))
    assert np.flatnonzero(~found.held).tolist() == [1, 2, 3, 4]
    assert register(zooming(VIDEO, 0.015), VIDEO[0], np.ones((64, 64), bool)).held.all()


def test_flickering_lights_every_other_frame():
    steps = flickering(VIDEO // 2, 9).astype(int) - VIDEO // 2
    assert (steps == 9 * (np.arange(5) % 2)[:, None, None, None]).all()
