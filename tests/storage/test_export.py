"""Exports open in another reader with the right length, speed and picture."""

import cv2
import numpy as np
import pytest
from PIL import Image

from worldmodel.storage.export import filmstrip, write_gif, write_mp4


@pytest.fixture
def video():
    """A white square that moves two pixels a frame on blue."""
    frames = np.zeros((17, 32, 48, 3), np.uint8)
    frames[..., 2] = 200
    for index, frame in enumerate(frames):
        frame[8:16, 2 * index : 2 * index + 8] = 255
    return frames


@pytest.mark.parametrize(("fps", "scale"), [(16.0, 4), (12.5, 1)])
def test_mp4_reads_back(tmp_path, video, fps, scale):
    write_mp4(tmp_path / "new" / "clip.mp4", video, fps, scale)
    reader = cv2.VideoCapture(str(tmp_path / "new" / "clip.mp4"))
    assert reader.get(cv2.CAP_PROP_FPS) == pytest.approx(fps)
    frames = []
    while (result := reader.read())[0]:
        frames.append(cv2.cvtColor(result[1], cv2.COLOR_BGR2RGB))
    assert len(frames) == len(video) == reader.get(cv2.CAP_PROP_FRAME_COUNT)
    expected = video.repeat(scale, axis=1).repeat(scale, axis=2)
    assert np.abs(np.stack(frames).astype(int) - expected).mean() < 12  # lossy, and the colours in their places


def test_gif_reads_back(tmp_path, video):
    write_gif(tmp_path / "clip.gif", video, fps=16, scale=2)
    with Image.open(tmp_path / "clip.gif") as image:
        assert image.n_frames == 17 and image.size == (96, 64)
        milliseconds = 0
        for index in range(17):
            image.seek(index)
            milliseconds += image.info["duration"]
            assert np.abs(np.asarray(image.convert("RGB")).astype(int)[::2, ::2] - video[index]).mean() < 3
    assert milliseconds == 1060  # 17 / 16 s in steps of 10 ms


def test_filmstrip(video):
    strip = filmstrip(video, every=8, gap=2)
    assert strip.shape == (32, 3 * 48 + 2 * 2, 3)
    assert np.array_equal(strip[:, 50:98], video[8]) and (strip[:, 48:50] == 255).all()
    assert np.array_equal(filmstrip(video[:1], gap=0), video[0])


@pytest.mark.parametrize(("write", "name"), [(write_mp4, "clip.mp4"), (write_gif, "clip.gif")])
def test_refusals(tmp_path, video, write, name):
    path = tmp_path / name
    path.write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        write(path, video, 16)
    for bad in ({"video": video / 255.0}, {"video": video[:0]}, {"fps": 0}, {"scale": 0}, {"scale": 1.5}):
        with pytest.raises(ValueError, match=f"^{next(iter(bad))}: got"):
            write(path, **{"video": video, "fps": 16, **bad}, overwrite=True)
    with pytest.raises(ValueError, match="path: got"):
        write(tmp_path / "clip.avi", video, 16)
    assert path.read_bytes() == b"mine" and list(tmp_path.iterdir()) == [path]
    write(path, video, 16, overwrite=True)
    assert path.stat().st_size > 100


def test_a_place_that_cannot_be_written_is_named(tmp_path, video):
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(OSError, match=r"^path: got .*clip.mp4 \(.*\), expected a file that can be written"):
        write_mp4(tmp_path / "file" / "clip.mp4", video, 16)
    assert (tmp_path / "file").read_bytes() == b"mine"
