import numpy as np
import pytest
import torch

from worldmodel.collect import collect
from worldmodel.training.clip_sets import ClipSet
from worldmodel.training.latents import Windows


@pytest.fixture(autouse=True)
def without_compiling():
    """Compiling takes longer than these tests; the maths is the same."""
    torch.compiler.set_stance("force_eager")
    yield
    torch.compiler.set_stance("default")


@pytest.fixture
def clip_set():
    rng = np.random.default_rng(0)
    video = rng.integers(0, 255, (3, 5, 16, 16, 3), dtype=np.uint8)
    return ClipSet("noise", "free-fall", 16.0, video, rng.random((3, 5, 16, 16)) < 0.2, None, None, (0, 2))


@pytest.fixture
def windows():
    rng = np.random.default_rng(0)
    latents = rng.normal(size=(4, 16, 2, 4, 4)).astype(np.float16)
    actions = rng.uniform(-1, 1, (4, 4, 7)).astype(np.float32)
    acts = np.array([True, True, False, False])
    return Windows(latents, actions, acts, np.zeros((4, 2, 4, 4), bool), np.full(4, 0.25))


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A folder of two stores, one with actions."""
    folder = tmp_path_factory.mktemp("many")
    collect(folder / "drop", episodes=2, seed=5, image_size=32, num_frames=5)
    collect(folder / "maze", "maze", episodes=2, seed=5, image_size=32, num_frames=9, policies=["random"])
    return folder
