import camera_scenes as scenes
import numpy as np
import pytest

from worldmodel.evaluators.vbench import dynamic_degree_dis, temporal_flickering

PICTURE = scenes.texture(128)


def panning(step: float, frames: int = 17) -> np.ndarray:
    return np.stack([np.roll(PICTURE, round(step * t), axis=1) for t in range(frames)])


def test_flickering_by_hand_and_best_for_a_frozen_video():
    video = np.full((3, 8, 8, 3), 100, np.uint8)
    video[1] += 10
    assert temporal_flickering(video) == pytest.approx((255 - 10) / 255)
    assert temporal_flickering(np.repeat(video[:1], 3, axis=0)) == 1.0


@pytest.mark.parametrize("step, moves", [(0.0, False), (1.0, False), (2.0, True)])
def test_motion_counts_above_six_pixels_of_256_at_8_fps(step, moves):
    # At 16 fps every other frame is taken: 2 and 4 px against a threshold of 3.
    assert dynamic_degree_dis(panning(step), 16.0) is moves


def test_a_slow_video_must_move_further_and_one_jump_is_too_few():
    assert dynamic_degree_dis(panning(4.0), 8.0) and not dynamic_degree_dis(panning(4.0), 4.0)
    jump = np.concatenate([np.repeat(PICTURE[None], 8, axis=0), np.repeat(np.roll(PICTURE, 8, 1)[None], 9, axis=0)])
    assert not dynamic_degree_dis(jump, 16.0)
