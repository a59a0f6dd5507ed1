import camera_scenes as scenes
import cv2
import numpy as np
import pytest

from worldmodel.evaluators.motion import dis_flow, motion_scores, moving_flow


def flying(side: int = 128, step: float = 4.0, frames: int = 6, size: int = 32) -> np.ndarray:
    """Grey video of a textured square that crosses a flat ground by ``step`` px a frame."""
    patch = cv2.cvtColor(scenes.texture(size), cv2.COLOR_RGB2GRAY)
    video = np.full((frames, side, side), 90, np.uint8)
    for t, frame in enumerate(video):
        u = 8 + round(t * step)
        frame[side // 3 : side // 3 + size, u : u + size] = patch
    return video


TRUE = flying()


@pytest.mark.parametrize("side", [32, 64, 128, 200])
@pytest.mark.parametrize("shift", [(1, 0), (-2, 3)])
def test_flow_of_a_shifted_texture_is_the_shift(side, shift):
    first = cv2.cvtColor(scenes.texture(side), cv2.COLOR_RGB2GRAY)
    second = np.roll(first, shift[::-1], axis=(0, 1))
    (flow,) = dis_flow([(first, second)])
    inner = flow[side // 4 : -side // 4, side // 4 : -side // 4]
    assert np.median(inner.reshape(-1, 2), axis=0) == pytest.approx(shift, abs=0.15)


def test_the_true_video_is_right_and_a_frozen_one_has_all_the_error():
    true, frozen = motion_scores(TRUE, TRUE), motion_scores(np.repeat(TRUE[:1], 6, axis=0), TRUE)
    assert (true["motion_excess"], true["flow_error"]) == (0, 0) and true["motion_px"] > 0
    assert frozen == {"motion_px": 0.0, "motion_excess": -1.0, "flow_error": 1.0}


def test_motion_is_that_of_the_changing_part_of_the_square():
    length = np.linalg.norm(list(moving_flow(TRUE))[2], axis=-1)
    assert np.median(length[length > 0]) == pytest.approx(4.0, abs=0.3)
    assert (length > 0).mean() == pytest.approx((32 + 4) * (36 + 4) / 128**2, rel=0.1)  # 2 px around


def test_half_the_speed_is_half_the_motion():
    score = motion_scores(flying(step=2.0), TRUE)
    assert score["motion_excess"] == pytest.approx(-0.5, abs=0.12) and 0.3 < score["flow_error"] < 1


def test_the_opposite_motion_is_twice_as_wrong_as_none():
    score = motion_scores(TRUE[::-1].copy(), TRUE)
    assert score["flow_error"] > 1.7 and abs(score["motion_excess"]) < 0.3


def test_noise_moves_nothing():
    noise = np.random.default_rng(0).integers(-4, 5, TRUE.shape)
    noisy = np.clip(TRUE + noise, 0, 255).astype(np.uint8)
    score = motion_scores(noisy, TRUE)
    assert abs(score["motion_excess"]) < 0.1 and score["flow_error"] < 0.35
    still = np.clip(90 + noise, 0, 255).astype(np.uint8)
    assert motion_scores(still, TRUE)["motion_px"] == 0


def test_where_nothing_truly_moves_there_is_nothing_to_compare():
    still = np.repeat(TRUE[:1], 6, axis=0)
    score = motion_scores(TRUE, still)
    assert score["motion_px"] > 0 and np.isnan(score["motion_excess"]) and np.isnan(score["flow_error"])
