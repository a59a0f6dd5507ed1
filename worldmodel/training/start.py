"""The pipeline folder that a training run goes on from."""

from __future__ import annotations

from pathlib import Path

from worldmodel.backends import hub
from worldmodel.model import located


def local_folder(start: str | Path, argument: str = "start") -> Path:
    """The folder of a pipeline, whole: what is made of it is saved with parts of it.

    Args:
        start: "tiny", the model inside this package, a pipeline folder, or a repository of the hub, which is fetched
            with its text encoder.
        argument: with which an error begins.

    Raises:
        ValueError: it is none of them, or cannot be had from the hub.
    """
    folder = located(start, argument)
    return folder if folder.is_dir() else hub.fetch(str(start), parts=(*hub.PARTS, *hub.TEXT_PARTS))
