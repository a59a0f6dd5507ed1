"""Small clips and rollouts with known contents; no simulator needed."""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest

from worldmodel.actions import ActionSpec
from worldmodel.rollout import Rollout
from worldmodel.truth import Camera, Truth


def build_truth(seed: int = 0, frames: int = 17, size: int = 32, impact_time: float | None = 0.3125) -> Truth:
    rng = np.random.default_rng(seed)
    return Truth(
        video=rng.integers(0, 256, (frames, size, size, 3), np.uint8),
        segmentation=rng.integers(0, 3, (frames, size, size), np.uint8),
        time=np.arange(frames) / 16.0,
        qpos=rng.normal(size=(frames, 7)),
        qvel=rng.normal(size=(frames, 6)),
        objects=("object", "other"),
        position=rng.normal(size=(frames, 2, 3)),
        quaternion=rng.normal(size=(frames, 2, 4)),
        velocity=rng.normal(size=(frames, 2, 3)),
        angular_velocity=-np.zeros((frames, 2, 3)),
        signals={
            "contact": rng.random(frames) < 0.5,
            "contact_force": rng.random(frames) * 1e300,
            "visits": rng.integers(0, 9, (frames, 3)),
            "position": rng.normal(size=(frames, 2)).astype(np.float32),
        },
        units={"contact": "", "contact_force": "N", "visits": "1", "position": "m"},
        outcome={"success": True, "impact_time": impact_time},
        maps={"walls": rng.integers(0, 5, (size, size), np.int32)},
        actions=rng.uniform(-1, 1, (frames - 1, 2)),
        action_spec=ActionSpec(("x", "y"), ("m/s", "m/s"), (-1.0, -1.0), (1.0, 1.0), "world", 16.0),
        depth=rng.random((frames, size, size), np.float32),
        fps=16.0,
        camera=Camera(rng.normal(size=(3, 3)), rng.normal(size=(4, 4)), size, size),
        scene={"env": "worldmodel/FreeFall-v0", "size": (0.1, 0.0, 1 / 3), "gravity": 9.81},
    )


def build_rollout(batch: int = 3, seconds: float = 0.1, actions: bool = True, latents: bool = True) -> Rollout:
    rng = np.random.default_rng(batch)
    return Rollout(
        video=rng.integers(0, 256, (batch, 5, 16, 24, 3), np.uint8),
        fps=16.0,
        seeds=np.arange(batch, dtype=np.int64) + 2**62,
        nfe=np.full(batch, 25, np.int64),
        actions=rng.normal(size=(batch, 4, 7)).astype(np.float32) if actions else None,
        latents=rng.normal(size=(batch, 16, 2, 2, 3)).astype(np.float32) if latents else None,
        seconds=seconds,
        provenance={"model": "tiny", "sampler": {"solver": "euler", "steps": 25}},
    )


@pytest.fixture
def truth() -> Truth:
    return build_truth()


@pytest.fixture
def rollout() -> Rollout:
    return build_rollout()


def assert_same(got: object, expected: object) -> None:
    """Equal to the last bit, dtypes included."""
    for name, value in vars(expected).items():
        other = getattr(got, name)
        if isinstance(value, Camera):
            assert_same(other, value)
        elif isinstance(value, np.ndarray):
            assert other.dtype == value.dtype and other.shape == value.shape, name
            assert other.tobytes() == value.tobytes(), name
        elif isinstance(value, float):
            assert np.float64(other).tobytes() == np.float64(value).tobytes(), name
        elif isinstance(value, dict) and any(isinstance(each, np.ndarray) for each in value.values()):
            assert list(other) == list(value), name
            assert_same(SimpleNamespace(**other), SimpleNamespace(**value))
        elif isinstance(value, dict):
            assert other == as_lists(value), name
        else:
            assert other == value, name


def as_lists(value: object) -> object:
    """JSON has lists only."""
    if isinstance(value, dict):
        return {key: as_lists(item) for key, item in value.items()}
    return [as_lists(item) for item in value] if isinstance(value, (list, tuple)) else value


@pytest.fixture
def same() -> Callable[[object, object], None]:
    return assert_same


@pytest.fixture
def make_truth() -> Callable[..., Truth]:
    return build_truth


@pytest.fixture
def make_rollout() -> Callable[..., Rollout]:
    return build_rollout
