"""Video files: what goes in comes out, whole or not at all."""

import av
import cv2
import numpy as np
import pytest

from worldmodel.storage import StoreError
from worldmodel.storage.export import write_mp4
from worldmodel.storage.video_files import encode_h264, read_video, through_h264


@pytest.fixture
def video():
    """A soft bright disc that moves over a gradient: 17 frames of 33 x 48."""
    v, u = np.indices((33, 48)).astype(float)
    frames = []
    for t in range(17):
        disc = 150 * np.exp(-((u - 8 - 2 * t) ** 2 + (v - 16) ** 2) / 30)
        frames.append(np.stack([40 + disc + u, 60 + disc, 90 + v], axis=-1))
    return np.clip(np.stack(frames), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("fps", [16.0, 12.5, 24.0, 23.976])
def test_frames_and_rate_come_back(tmp_path, video, fps):
    write_mp4(tmp_path / "clip.mp4", video[:, :32], fps)
    frames, rate = read_video(tmp_path / "clip.mp4")
    assert rate == pytest.approx(fps, abs=1e-3)
    assert frames.shape == (17, 32, 48, 3)
    assert np.abs(frames.astype(int) - video[:, :32]).mean() < 3


def test_h264_keeps_the_shape_and_nearly_the_picture(video):
    seen = through_h264(video, 16.0)
    assert seen.shape == video.shape and seen.dtype == np.uint8
    assert 0 < np.abs(seen.astype(int) - video).mean() < 3
    rough = np.abs(through_h264(video, 16.0, crf=40).astype(int) - video).mean()
    assert rough > np.abs(seen.astype(int) - video).mean()


def test_files_of_another_encoder_are_read(tmp_path, video):
    writer = cv2.VideoWriter(str(tmp_path / "other.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (48, 32))
    for frame in video[:, :32]:
        writer.write(frame[..., ::-1])
    writer.release()
    frames, rate = read_video(tmp_path / "other.mp4")
    assert rate == 10.0 and len(frames) == 17
    assert np.abs(frames.astype(int) - video[:, :32]).mean() < 6


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_files_that_end_early_are_refused(tmp_path, video, share):
    contents = encode_h264(video, 16.0)
    (tmp_path / "clip.mp4").write_bytes(contents[: int(share * len(contents))])
    with pytest.raises(StoreError, match=r"clip\.mp4: got"):
        read_video(tmp_path / "clip.mp4")


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("clip.mkv", "libx264", {}),
        ("clip.webm", "libvpx", {}),
        ("clip.avi", "mpeg4", {}),
        ("clip.mp4", "libx264", {"movflags": "faststart"}),
        ("clip.mp4", "libx264", {"movflags": "frag_keyframe+empty_moov"}),
    ],
)
def test_other_containers_are_whole_or_refused(tmp_path, video, name, codec, options):
    with av.open(str(tmp_path / name), "w", options=options) as container:
        stream = container.add_stream(codec, rate=16)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        for frame in video[:, :32]:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())
    assert len(read_video(tmp_path / name)[0]) == 17
    contents = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(contents[: 6 * len(contents) // 10])
    with pytest.raises(StoreError, match=rf"{name}: got"):
        read_video(tmp_path / name)


def test_what_is_no_video_is_refused(tmp_path):
    (tmp_path / "notes.mp4").write_text("no video at all")
    with pytest.raises(StoreError, match="unreadable"):
        read_video(tmp_path / "notes.mp4")
    with pytest.raises(StoreError, match="got no file"):
        read_video(tmp_path / "missing.mp4")
