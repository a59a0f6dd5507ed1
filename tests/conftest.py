"""Settings that must hold before numpy, torch and MuJoCo are imported, and the ``gpu`` marker."""

from __future__ import annotations

import os

os.environ.setdefault("MUJOCO_GL", "egl")
# The models of the tests are small: more threads cost more than they bring.
os.environ.setdefault("OMP_NUM_THREADS", str(min(4, os.cpu_count() or 1)))

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    wanted = [item for item in items if "gpu" in item.keywords]
    if wanted and not _has_gpu():
        for item in wanted:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA GPU, and torch finds none"))


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
