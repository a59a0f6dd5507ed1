"""Pictures of stores: what is in them, what is refused."""

import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from worldmodel.collect import collect
from worldmodel.rollout import Rollout
from worldmodel.show import GAP, LABEL_WIDTH, LINE, Clip, contact_sheet, show, video_grid
from worldmodel.storage import EpisodeStore, StoreError, save_rollout

SIDE = 48  # pixels, shown as 96


def plain(colour, frames=5):
    """A clip of one colour that grows darker from frame to frame."""
    video = np.full((frames, SIDE, SIDE, 3), colour, np.uint8)
    return Clip(video - 10 * np.arange(frames, dtype=np.uint8)[:, None, None, None], 4.0, (("key", (0, 0, 0)),))


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    return collect(tmp_path_factory.mktemp("stores") / "truth", episodes=3, image_size=SIDE, num_frames=5).path


@pytest.fixture(scope="module")
def rollouts(tmp_path_factory):
    path = tmp_path_factory.mktemp("stores") / "rollouts"
    video = np.stack([plain((200, 40, 40)).video, plain((40, 40, 200)).video])
    numbers = np.arange(2, dtype=np.int64)
    save_rollout(path, Rollout(video, 4.0, numbers, numbers + 20, provenance={"model": "tiny"}))
    return path


def test_a_row_holds_first_to_last_frame_of_its_episode():
    clips = [plain((200, 40, 40)), plain((40, 40, 200))]
    sheet = contact_sheet(clips, "two", columns=3)
    tops = [2 * LINE + LINE + number * (LINE + 96 + GAP) for number in range(2)]
    for clip, top in zip(clips, tops, strict=True):
        for column, frame in enumerate((0, 2, 4)):
            left = LABEL_WIDTH + column * (96 + GAP)
            picture = sheet[top : top + 96, left : left + 96]
            np.testing.assert_array_equal(picture, np.broadcast_to(clip.video[frame, 0, 0], picture.shape))
    assert (sheet[:, :LABEL_WIDTH] < 128).any(), "labels are written"


def test_all_frames_play_side_by_side_and_short_clips_wait():
    grid = video_grid([plain((200, 40, 40), frames=5), plain((40, 40, 200), frames=2)])
    assert len(grid) == 5
    assert grid.shape[1] % 2 == grid.shape[2] % 2 == 0
    right = GAP + LABEL_WIDTH + GAP
    for frame in range(5):
        np.testing.assert_array_equal(grid[frame, LINE + 90, GAP + 5], np.array([200, 40, 40]) - 10 * frame)
        np.testing.assert_array_equal(grid[frame, LINE + 90, right + 5], np.array([40, 40, 200]) - 10 * min(frame, 1))


def test_truth_and_rollouts_become_pictures(truth, rollouts, tmp_path):
    for store in (truth, rollouts):
        sheet = Image.open(show(store, tmp_path / store.name / "sheet.png", episodes=2))
        assert sheet.size[0] > LABEL_WIDTH + 6 * 96
        video = cv2.VideoCapture(str(show(store, tmp_path / store.name / "clips.mp4")))
        assert (video.get(cv2.CAP_PROP_FRAME_COUNT), video.get(cv2.CAP_PROP_FPS)) == (5, 16 if store == truth else 4)


def test_the_label_says_how_a_clip_ended(truth, tmp_path, monkeypatch):
    sheets = []
    for success in (True, False):
        attributes = EpisodeStore.open(truth).attributes("00000000")
        attributes["outcome"] = {"success": success}
        monkeypatch.setattr(EpisodeStore, "attributes", lambda self, key, given=attributes: given)
        sheets.append(np.asarray(Image.open(show(truth, tmp_path / f"{success}.png"))).astype(int))
    greenness = [(sheet[..., 1] - sheet[..., 0])[:, :LABEL_WIDTH].max() for sheet in sheets]
    assert greenness[0] > 50 >= greenness[1]


def test_the_command_draws_beside_the_store(truth):
    command = [sys.executable, "-m", "worldmodel.cli", "show", str(truth)]
    assert "truth.png" in subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert (truth.parent / "truth.png").exists()
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 1 and "truth.png: got an existing file" in again.stderr
    subprocess.run([*command, "--overwrite"], check=True, capture_output=True)


def test_what_cannot_be_drawn_is_refused(truth, tmp_path):
    with pytest.raises(ValueError, match=r"out: got .*film.avi.*expected a name that ends in .png or .mp4"):
        show(truth, tmp_path / "film.avi")
    with pytest.raises(ValueError, match="episodes: got 0"):
        show(truth, tmp_path / "film.png", episodes=0)
    with pytest.raises(StoreError, match="got no such folder"):
        show(tmp_path / "nowhere", tmp_path / "film.png")
    EpisodeStore.create(tmp_path / "empty", "truth")
    with pytest.raises(StoreError, match="got no finished episode"):
        show(tmp_path / "empty", tmp_path / "film.png")
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]
