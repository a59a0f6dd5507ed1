"""A LeRobot dataset for tests, as format v3.0 lays it out: several episodes a file."""

import json
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

SIZE, CAMERA = 32, "observation.images.top"


def brightness(episode: int, frame: int) -> int:
    """Of all pixels of a frame."""
    return 20 + 100 * episode + 8 * frame


def write_dataset(root: Path, fps: int = 10, lengths: tuple[int, ...] = (7, 12)) -> Path:
    """Episodes of grey pictures that brighten; actions are the frame's number and a sign that alternates."""
    video = root / "videos" / CAMERA / "chunk-000" / "file-000.mp4"
    for path in (video.parent, root / "data" / "chunk-000", root / "meta" / "episodes" / "chunk-000"):
        path.mkdir(parents=True)
    info = {
        "codebase_version": "v3.0",
        "fps": fps,
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "features": {
            CAMERA: {"dtype": "video", "shape": [SIZE, SIZE, 3]},
            "action": {"dtype": "float32", "shape": [2], "names": ["x", "y"]},
        },
    }
    (root / "meta" / "info.json").write_text(json.dumps(info))
    (root / "meta" / "stats.json").write_text(json.dumps({"action": {"min": [0.0, -1.0], "max": [12.0, 1.0]}}))
    places = [(episode, frame) for episode, length in enumerate(lengths) for frame in range(length)]
    with av.open(str(video), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "10"})
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
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]) / fps
    episodes = {
        "episode_index": list(range(len(lengths))),
        "length": list(lengths),
        "data/chunk_index": [0] * len(lengths),
        "data/file_index": [0] * len(lengths),
        f"videos/{CAMERA}/chunk_index": [0] * len(lengths),
        f"videos/{CAMERA}/file_index": [0] * len(lengths),
        f"videos/{CAMERA}/from_timestamp": starts.tolist(),
    }
    parquet.write_table(pa.table(episodes), root / "meta" / "episodes" / "chunk-000" / "file-000.parquet")
    return root
