"""The arm's clock: a part is followed to a fraction of a pixel, and its motion tells the speed of the clip."""

import dataclasses

import camera_scenes as scenes
import cv2
import numpy as np
import pytest

from worldmodel.envs.free_fall import FreeFallEnv
from worldmodel.evaluators.controls import frozen, half_speed, reversed_after_first
from worldmodel.evaluators.free_fall import score_free_fall
from worldmodel.evaluators.robot_clock import _Part, _true_arm, follow_part, playback_factor, read_clock

PICTURE = scenes.texture(64)
MASK = np.zeros((64, 64), bool)
MASK[20:36, 24:40] = True


@pytest.fixture(scope="module")
def carried():
    env = FreeFallEnv(64, fps=24.0, num_frames=37, release="gripper", clearance=(0.7, 1.0))
    yield env.record(seed=3, policy="carry_sideways_and_release")
    env.close()


def test_differences_at_all_offsets_are_the_sums_of_squares():
    part = _Part(PICTURE, MASK, reach=4)
    found = part.difference(PICTURE, np.array([1, -2]))
    assert found.shape == (9, 9)
    inside = PICTURE[MASK].astype(float)
    for row in range(9):
        for column in range(9):
            shifted = np.roll(MASK, (row - 4 + 1, column - 4 - 2), axis=(0, 1))
            direct = ((PICTURE[shifted].astype(float) - inside) ** 2).sum()
            assert found[row, column] == pytest.approx(direct, rel=1e-4, abs=20)
    assert abs(found[3, 6]) < 20  # where it was


@pytest.mark.parametrize("step", [(0.0, 0.0), (0.5, -0.25), (1.75, 2.0), (-3.0, 0.3)])
def test_a_part_is_followed_to_a_fraction_of_a_pixel(step):
    matrices = [np.float32([[1, 0, t * step[0]], [0, 1, t * step[1]]]) for t in range(4)]
    video = np.stack([cv2.warpAffine(PICTURE, matrix, (64, 64), flags=cv2.INTER_CUBIC) for matrix in matrices])
    assert np.allclose(follow_part(video, MASK), np.arange(4)[:, None] * step, atol=0.1)


def test_a_part_that_is_gone_is_not_found_and_found_again():
    video = np.repeat(PICTURE[None], 4, axis=0)
    video[2] = 255
    shift = follow_part(video, MASK)
    assert np.isnan(shift[2]).all() and np.allclose(shift[[0, 1, 3]], 0.0, atol=0.02)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 1.3, 2.0, 3.0])
def test_a_playback_factor_is_read_off_a_motion(alpha):
    frames = np.arange(33.0)
    commanded = np.column_stack([0.5 * frames, np.sin(0.2 * frames)])
    seen = np.column_stack([np.interp(frames / alpha, frames, axis) for axis in commanded.T])
    clock = playback_factor(seen, commanded, 0.1)
    assert clock.alpha == pytest.approx(alpha, rel=0.01) and clock.log_error < 0.05


def test_what_does_not_move_or_is_hardly_seen_tells_no_time():
    commanded = np.column_stack([np.arange(17.0), np.zeros(17)])
    assert np.isnan(playback_factor(np.zeros((17, 2)), commanded, 0.1).alpha)
    seen = commanded.copy()
    seen[4:] = np.nan
    assert np.isnan(playback_factor(seen, commanded, 0.1).alpha)


def test_a_gripper_tells_slow_motion_from_weak_gravity(carried):
    true, slow, still = (
        read_clock(video, carried) for video in (carried.video, half_speed(carried.video), frozen(carried.video))
    )
    assert true.alpha == 1.0 and _true_arm(carried).own.alpha == pytest.approx(1.0, abs=3 * true.log_error)
    assert read_clock(carried.video.copy(), carried) == true
    assert slow.alpha == pytest.approx(2.0, rel=0.1)
    assert np.isnan(still.alpha)
    score = score_free_fall(half_speed(carried.video, carried.mask), carried)
    assert score.gravity_error > 0.5 and score.arm_gravity_error < 0.1
    assert score_free_fall(reversed_after_first(carried.video), carried).alpha_error > 0.5


def test_an_arm_that_is_lost_in_the_true_video_too_is_not_held_against_a_clip(carried):
    """It may look unlike its first frame once it has opened; all that is asked is what the truth shows."""
    hidden = carried.video.copy()
    hidden[15:, :40] = 255
    truth = dataclasses.replace(carried, video=hidden)
    clock = read_clock(hidden, truth)
    assert clock.alpha == pytest.approx(1.0, abs=3 * clock.log_error)
    assert read_clock(half_speed(hidden), truth).alpha == pytest.approx(2.0, rel=0.15)
    gone = hidden.copy()
    gone[4:, :40] = 255
    assert np.isnan(read_clock(gone, truth).alpha) and np.isnan(read_clock(frozen(hidden), truth).alpha)
    blind = np.full_like(hidden, 255)
    blind[0] = hidden[0]
    assert read_clock(hidden, dataclasses.replace(carried, video=blind)) is None


def test_without_a_gripper_there_is_no_clock():
    env = FreeFallEnv(32, num_frames=4)
    truth = env.record(seed=0)
    env.close()
    assert read_clock(truth.video, truth) is None
