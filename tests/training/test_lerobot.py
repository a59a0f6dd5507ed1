"""LeRobot datasets, written here as format v3.0 lays them out: several episodes a file."""

import json

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from worldmodel.training.lerobot import is_lerobot, read_lerobot

FPS, SIZE, CAMERA = 10, 32, "observation.images.top"
LENGTHS = (7, 12)


def brightness(episode, frame):
    return 20 + 100 * episode + 8 * frame


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("lerobot") / "pushing"
    video = root / "videos" / CAMERA / "chunk-000" / "file-000.mp4"
    for path in (video.parent, root / "data" / "chunk-000", root / "meta" / "episodes" / "chunk-000"):
        path.mkdir(parents=True)
    info = {
        "codebase_version": "v3.0",
        "fps": FPS,
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "features": {
            CAMERA: {"dtype": "video", "shape": [SIZE, SIZE, 3]},
            "action": {"dtype": "float32", "shape": [2], "names": ["x", "y"]},
        },
    }
    (root / "meta" / "info.json").write_text(json.dumps(info))
    (root / "meta" / "stats.json").write_text(json.dumps({"action": {"min": [0.0, -1.0], "max": [12.0, 1.0]}}))
    places = [(episode, frame) for episode, length in enumerate(LENGTHS) for frame in range(length)]
    with av.open(str(video), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "10"})
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        for place in places:
            picture = np.full((SIZE, SIZE, 3), brightness(*place), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    table = {
        "action": [[float(frame), (-1.0) ** frame] for _, frame in places],
        "episode_index": [episode for episode, _ in places],
        "frame_index": [frame for _, frame in places],
    }
    parquet.write_table(pa.table(table), root / "data" / "chunk-000" / "file-000.parquet")
    starts = np.concatenate([[0], np.cumsum(LENGTHS)[:-1]]) / FPS
    episodes = {
        "episode_index": [0, 1],
        "length": list(LENGTHS),
        "data/chunk_index": [0, 0],
        "data/file_index": [0, 0],
        f"videos/{CAMERA}/chunk_index": [0, 0],
        f"videos/{CAMERA}/file_index": [0, 0],
        f"videos/{CAMERA}/from_timestamp": starts.tolist(),
    }
    parquet.write_table(pa.table(episodes), root / "meta" / "episodes" / "chunk-000" / "file-000.parquet")
    return root


WANTED = {"frames": 5, "stride": 4, "image_size": (SIZE, SIZE), "fps": float(FPS)}


def test_windows_have_their_own_frames_and_actions(folder):
    assert is_lerobot(folder)
    clips = read_lerobot(folder, **WANTED)
    assert clips.video.shape == (3, 5, SIZE, SIZE, 3), "one window of the first episode, two of the second"
    expected = [[brightness(e, start + k) for k in range(5)] for e, start in ((0, 0), (1, 0), (1, 4))]
    np.testing.assert_allclose(clips.video.mean(axis=(2, 3, 4)), expected, atol=4)
    np.testing.assert_array_equal(clips.actions[:, :, 0], [[0, 1, 2, 3], [0, 1, 2, 3], [4, 5, 6, 7]])
    assert clips.spec.names == ("x", "y")
    assert clips.spec.high == (12.0, 1.0)


def test_other_rates_sizes_cameras_and_versions_are_refused(folder, tmp_path):
    with pytest.raises(ValueError, match=r"at 10 frames/s .* expected 16"):
        read_lerobot(folder, **{**WANTED, "fps": 16.0})
    with pytest.raises(ValueError, match=r"pictures of \(32, 32\) pixels .* pass resize"):
        read_lerobot(folder, **{**WANTED, "image_size": (16, 16)})
    assert read_lerobot(folder, **{**WANTED, "image_size": (16, 16)}, resize=True).video.shape[2:4] == (16, 16)
    with pytest.raises(ValueError, match=r"camera: got .wrist. .*observation\.images\.top"):
        read_lerobot(folder, **WANTED, camera="wrist")
    with pytest.raises(ValueError, match="no episode of 13 frames"):
        read_lerobot(folder, **{**WANTED, "frames": 13})
    (tmp_path / "meta").mkdir()
    info = json.loads((folder / "meta" / "info.json").read_text())
    (tmp_path / "meta" / "info.json").write_text(json.dumps({**info, "codebase_version": "v2.1"}))
    with pytest.raises(ValueError, match=r"got a LeRobot dataset v2\.1"):
        read_lerobot(tmp_path, **WANTED)
