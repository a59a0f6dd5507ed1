"""Pictures of planned episodes: what happened beside what was expected."""

from __future__ import annotations

import os

import numpy as np

from worldmodel.policies import Episode
from worldmodel.storage.export import write_mp4

GAP = 2  # px between the two


def beside(episode: Episode) -> np.ndarray:
    """Video (T, H, 2 W + 2, 3) uint8: the true frames on the left, what each plan expected of them on the right.

    The right half begins with the first frame; after each plan it shows the frames of the actions that were executed.

    Raises:
        ValueError: the plans were made without ``keep_video``.
    """
    true = episode.video
    expected, taken = [true[:1]], 1
    for answer in episode.answers:
        if answer.get("imagined") is None:
            raise ValueError("episode: got plans without frames, expected them; plan with keep_video=True")
        frames = answer["imagined"][: min(answer["executed"], len(true) - taken)]
        expected.append(frames)
        taken += len(frames)
    gap = np.zeros((*true.shape[:2], GAP, 3), np.uint8)
    return np.concatenate([true[:taken], gap[:taken], np.concatenate(expected)], axis=2)


def write_beside(
    path: str | os.PathLike[str], episode: Episode, fps: float, scale: int = 4, *, overwrite: bool = False
) -> None:
    """Write :func:`beside` as an mp4 of ``fps`` frames per second, ``scale`` screen pixels to a pixel (lossy)."""
    write_mp4(path, beside(episode), fps, scale, overwrite=overwrite)
