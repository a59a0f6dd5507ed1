"""Roll out video world models, refine them at test time, and check them against MuJoCo.

>>> import worldmodel
>>> model = worldmodel.load("tiny")  # doctest: +SKIP
>>> rollout = model.rollout(first_frames, seeds=range(len(first_frames)))  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from worldmodel.model import WorldModel as WorldModel
    from worldmodel.model import load as load
    from worldmodel.rollout import Rollout as Rollout
    from worldmodel.truth import Camera as Camera
    from worldmodel.truth import Truth as Truth

_HOMES = {
    "Camera": "worldmodel.truth",
    "Rollout": "worldmodel.rollout",
    "Truth": "worldmodel.truth",
    "WorldModel": "worldmodel.model",
    "load": "worldmodel.model",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    # Torch and diffusers take seconds to import, so nothing is imported before it is used.
    if name not in _HOMES:
        raise AttributeError(f"module 'worldmodel' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
