"""Whether a video fits the truth, what a refusal says, and what resampling does to frames and pixels."""

import numpy as np
import pytest

from worldmodel.clips import Clip, Header, check_fit, fitted

TRUTH = Header(17, 64, 64, 16.0)


def numbered(frames, height=64, width=64):
    """A video whose frame t has the grey level t."""
    return np.broadcast_to(np.arange(frames, dtype=np.uint8)[:, None, None, None], (frames, height, width, 3)).copy()


def test_a_video_like_the_truth_stays_as_it_is():
    video = numbered(17)
    check_fit("x", Clip(video, 16.0).header, TRUTH, "no")
    assert fitted(video, Header(17, 64, 64, 16.0), TRUTH) is video
    check_fit("x", Header(17, 64, 64, 15.984), TRUTH, "no")
    check_fit("x", Header(17, 64, 64, None), TRUTH, "no")


@pytest.mark.parametrize(
    ("got", "message"),
    [
        (Header(25, 64, 64, 24.0), r"x: fps, frames: got 25 frames of 64 x 64 px at 24 frames/s, expected 17 .* at 16"),
        (Header(33, 64, 64, 16.0), r"x: frames: .*--resample nearest, which takes its frames 0, 1, 2, 3, \.\.\."),
        (Header(17, 128, 128, 16.0), r"x: size: .*pictures scaled by 0\.5"),
        (Header(33, 32, 32, 32.0), r"x: fps, frames, size: .*its frames 0, 2, 4, 6, .* and pictures scaled by 2"),
    ],
)
def test_a_mismatch_is_refused_with_the_resampling_it_would_take(got, message):
    with pytest.raises(ValueError, match=message):
        check_fit("x", got, TRUTH, "no")
    check_fit("x", got, TRUTH, "nearest")


@pytest.mark.parametrize(
    ("got", "message"),
    [
        (Header(9, 64, 64, 16.0), "would take its frames 0 to 16 for the truth's 1 s, and it ends at 8; make longer"),
        (Header(17, 64, 64, 24.0), "would take its frames 0 to 24 for the truth's 1 s, and it ends at 16; make longer"),
        (Header(33, 64, 64, None), "say its rate"),
        (Header(17, 64, 96, 16.0), "cut or pad it"),
    ],
)
def test_what_no_resampling_mends_is_refused_even_with_it(got, message):
    for resample in ("no", "nearest"):
        with pytest.raises(ValueError, match=message):
            check_fit("x", got, TRUTH, resample)


def test_every_true_frame_takes_the_nearest_in_time():
    video = numbered(25)
    found = fitted(video, Header(25, 64, 64, 24.0), TRUTH)[:, 0, 0, 0]
    assert found.tolist() == [round(i * 1.5) for i in range(17)]
    slow = fitted(numbered(9), Header(9, 64, 64, 8.0), TRUTH)[:, 0, 0, 0]
    assert slow.tolist() == np.rint(np.arange(17) / 2).astype(int).tolist()


def test_pictures_are_averaged_down():
    video = np.zeros((17, 128, 128, 3), np.uint8)
    video[:, ::2, ::2] = 200
    found = fitted(video, Header(17, 128, 128, 16.0), TRUTH)
    assert found.shape == (17, 64, 64, 3)
    assert (found == 50).all()


def test_the_row_that_h264_adds_to_odd_sides_is_cut():
    truth = Header(17, 33, 45, 16.0)
    padded = Header(17, 34, 46, 16.0)
    check_fit("x", padded, truth, "no")
    assert fitted(numbered(17, 34, 46), padded, truth).shape == (17, 33, 45, 3)
