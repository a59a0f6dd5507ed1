"""Foreign videos: folders of files and arrays give the frames that were written, or one line that says why not."""

import hashlib
import zipfile

import numpy as np
import pytest

from worldmodel.clips import Header
from worldmodel.rollout import Rollout
from worldmodel.storage import EpisodeStore, StoreError
from worldmodel.storage.video_files import encode_h264
from worldmodel.videos import open_videos

KEYS = ["00000003", "00000004", "00000005"]
VIDEOS = np.random.default_rng(0).integers(0, 256, (3, 9, 32, 32, 3), dtype=np.uint8)
SMOOTH = np.broadcast_to(np.linspace(30, 220, 32).astype(np.uint8)[:, None], (9, 32, 32, 3)).copy()


@pytest.fixture
def folder(tmp_path):
    for key in KEYS:
        (tmp_path / f"{key}.mp4").write_bytes(encode_h264(SMOOTH, 16.0))
    return tmp_path


def test_a_folder_of_files_is_read_by_key(folder):
    videos = open_videos(folder, KEYS)
    assert videos.missing() == []
    assert videos.header(KEYS[1]) == Header(9, 32, 32, 16.0)
    clip = videos.read(KEYS[1])
    assert np.abs(clip.video.astype(int) - SMOOTH).mean() < 3
    assert clip.sha256 == hashlib.sha256((folder / f"{KEYS[1]}.mp4").read_bytes()).hexdigest()


def test_a_missing_file_is_missing(folder):
    (folder / f"{KEYS[0]}.mp4").unlink()
    assert open_videos(folder, KEYS).missing() == [KEYS[0]]


def test_videos_without_truth_are_refused(folder):
    (folder / "holiday.mp4").write_bytes(b"")
    with pytest.raises(StoreError, match=r"holiday\.mp4: got a video without truth \(1 in all\), expected keys .*0003"):
        open_videos(folder, KEYS)
    (folder / "holiday.mp4").unlink()
    assert open_videos(folder, KEYS[:1], known=KEYS).missing() == []
    with pytest.raises(StoreError, match="got a video without truth"):
        open_videos(folder, KEYS[:1])


def test_two_files_of_one_clip_are_refused(folder):
    (folder / f"{KEYS[0]}.webm").write_bytes(b"")
    with pytest.raises(StoreError, match="got a second video of 00000003"):
        open_videos(folder, KEYS)


def test_a_folder_without_videos_is_refused(tmp_path):
    (tmp_path / "readme.txt").write_text("none")
    with pytest.raises(StoreError, match=r"got no video in it, expected files such as 00000003\.mp4"):
        open_videos(tmp_path, KEYS)
    with pytest.raises(StoreError, match="got no such folder"):
        open_videos(tmp_path / "nowhere", KEYS)


@pytest.mark.parametrize("content", [b"", b"not a video", encode_h264(SMOOTH, 16.0)[:300]])
def test_an_unreadable_file_says_so_when_it_is_read(folder, content):
    (folder / f"{KEYS[2]}.mp4").write_bytes(content)
    videos = open_videos(folder, KEYS)
    for read in (videos.header, videos.read):
        with pytest.raises(StoreError, match=r"00000005\.mp4: got an unreadable video"):
            read(KEYS[2])
    assert videos.read(KEYS[0]).video.shape == (9, 32, 32, 3)


def test_containers_that_do_not_count_their_frames_are_counted(tmp_path):
    import av

    with av.open(str(tmp_path / f"{KEYS[0]}.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=16)
        stream.height, stream.width, stream.pix_fmt = 32, 32, "yuv420p"
        for frame in SMOOTH:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    assert open_videos(tmp_path, KEYS).header(KEYS[0]) == Header(9, 32, 32, 16.0)


def saved(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_arrays_are_read_by_their_place_or_their_key(tmp_path):
    np.save(tmp_path / "a.npy", VIDEOS)
    np.savez_compressed(tmp_path / "packed.npz", video=VIDEOS, keys=KEYS, fps=8.0)
    paths = {
        None: tmp_path / "a.npy",
        8.0: saved(tmp_path / "b.npz", video=VIDEOS[::-1], keys=KEYS[::-1], fps=8.0),
        4.0: saved(tmp_path / "c.npz", **dict(zip(KEYS, VIDEOS, strict=True)), fps=4.0),
    }
    for fps, path in [*paths.items(), (8.0, tmp_path / "packed.npz")]:
        videos = open_videos(path, KEYS)
        assert videos.header(KEYS[0]) == Header(9, 32, 32, fps)
        for index in (2, 0, 1, 1):
            assert np.array_equal(videos.read(KEYS[index]).video, VIDEOS[index])
        assert videos.provenance()["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_keys_that_an_archive_lacks_are_missing(tmp_path):
    path = saved(tmp_path / "a.npz", **dict(zip(KEYS[:2], VIDEOS, strict=False)))
    assert open_videos(path, KEYS).missing() == [KEYS[2]]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (VIDEOS[:2], "got 2 videos, expected 3, one a key"),
        (VIDEOS[:0], r"got shape \(0, 9, 32, 32, 3\), expected \(N, T, H, W, 3\) with none of them 0; fill"),
        (VIDEOS[0], r"got shape \(9, 32, 32, 3\), expected \(N, T, H, W, 3\)"),
        (VIDEOS / 255.0, "got float64, expected uint8"),
        (np.where(VIDEOS == 7, np.nan, VIDEOS), "got float64 with NaN, expected uint8"),
        (np.asfortranarray(VIDEOS), "in Fortran order"),
        (np.array([None]), "got shape|got object|unreadable"),
    ],
)
def test_other_arrays_are_refused(tmp_path, array, message):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(StoreError, match=message):
        open_videos(tmp_path / "a.npy", KEYS)


def test_damaged_array_files_are_refused_or_fail_where_they_are_read(tmp_path):
    np.save(tmp_path / "a.npy", VIDEOS)
    whole = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(whole[:-10])
    videos = open_videos(tmp_path / "a.npy", KEYS)
    assert np.array_equal(videos.read(KEYS[1]).video, VIDEOS[1])
    with pytest.raises(StoreError, match="got an end within video 2"):
        videos.read(KEYS[2])
    for fps in (0.0, np.nan, -1.0):
        with pytest.raises(StoreError, match=r"fps: got .*, expected frames a second above 0"):
            open_videos(saved(tmp_path / "fps.npz", video=VIDEOS, fps=fps), KEYS)
    named = dict(zip(KEYS, VIDEOS, strict=True))
    with pytest.raises(StoreError, match="got an array 'stranger', expected names of clips such as"):
        open_videos(saved(tmp_path / "stranger.npz", **named, stranger=VIDEOS[0]), KEYS)
    for name, content in (("b.npy", b"nothing"), ("c.npz", whole)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(StoreError, match="got an unreadable file"):
            open_videos(tmp_path / name, KEYS)
    with pytest.raises(StoreError, match="got no such file"):
        open_videos(tmp_path / "d.npz", KEYS)
    with zipfile.ZipFile(tmp_path / "e.npz", "w") as archive:
        archive.writestr("notes.txt", "no arrays")
    with pytest.raises(StoreError, match="got an unreadable file"):
        open_videos(tmp_path / "e.npz", KEYS)


def test_a_rollout_store_tells_what_was_spent_on_each_clip(tmp_path):
    store = EpisodeStore.create(tmp_path / "store", "rollout")
    numbers = np.array([7, 8, 9])
    rollout = Rollout(VIDEOS, 16.0, numbers, 2 * numbers, seconds=6.0, provenance={"weights_sha256": "abc"})
    for index, key in enumerate(KEYS):
        store.write_rollout(key, rollout, index)
    videos = open_videos(tmp_path / "store", KEYS)
    clip = videos.read(KEYS[1])
    assert np.array_equal(clip.video, VIDEOS[1])
    assert (clip.seed, clip.nfe, clip.seconds, clip.uncertainty) == (8, 16, 2.0, None)
    assert videos.provenance() == {"weights_sha256": "abc"}
    assert open_videos(tmp_path / "store", [*KEYS, "00000009"]).missing() == ["00000009"]
