"""Where imagined episodes begin: a scene of an environment, a recorded clip, or a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import gymnasium as gym
import numpy as np

from worldmodel.actions import ActionSpec
from worldmodel.backends.cameras import View, check_clips, check_view
from worldmodel.envs.imagined_readout import Readout, readout_for
from worldmodel.frames import scaled

REMEDY = "begin with FrameStarts(frames), of whose camera nothing is known"


@dataclass(frozen=True)
class Start:
    """The beginning of one episode.

    Attributes:
        frame: (H, W, 3) uint8.
        observation: what is known beside the pixels, named as the environment names it.
        readout: reads the signals of what follows; None where nothing is known of the scene.
        scene: of the environment that it comes from, or None.
        task: what is to be done, in a sentence.
    """

    frame: np.ndarray
    observation: dict[str, np.ndarray] = field(default_factory=dict)
    readout: Readout | None = None
    scene: Any = None
    task: str = ""


class Starts(Protocol):
    """A source of beginnings. Where it knows its camera it may have ``check_camera(recipe)``, called after ``fit``.

    Attributes:
        action_spec: of the environment that they come from, at the rate of ``fit``; None where there is none.
        spaces: of what is observed beside the pixels, for as long as it can be read off them.
        family: of the scenes; None where nothing is known of them.
    """

    action_spec: ActionSpec | None
    spaces: dict[str, gym.spaces.Box]
    family: Any

    def fit(self, image_size: tuple[int, int], fps: float) -> None:
        """Be told what the model sees; called once, before anything is drawn."""
        ...

    def draw(self, rng: np.random.Generator, options: Mapping[str, Any]) -> Start:
        """A beginning that depends on ``rng`` and the options of ``reset`` alone."""
        ...


class EnvStarts:
    """First frames of an environment of this package, whose scenes can be read off the pixels.

    Args:
        env: Gymnasium id, such as ``worldmodel/GraphTraversal-v0``.
        options: fields of the family's sampler.
    """

    def __init__(self, env: str, **options: Any) -> None:
        self._id, self._options = env, options
        self._env: Any = None
        self.fit((64, 64), 16.0)

    def fit(self, image_size: tuple[int, int], fps: float) -> None:
        """Make the environment with pictures of that size at that rate; refuse one whose scenes cannot be read."""
        self.close()
        made = gym.make(self._id, image_size=image_size, fps=fps, disable_env_checker=True, **self._options)
        self._env = made.unwrapped
        readout_for(self._env, self._env.settings.draw(np.random.default_rng(0), None))
        self.family, self.action_spec = self._env.family, self._env.action_spec
        self.spaces = {"agent_pos": self._env.observation_space["agent_pos"]}

    def check_camera(self, recipe: Any) -> None:
        """Refuse an environment whose camera is none that the model knows; a scene is drawn to see it."""
        if recipe.cameras:
            self._env.reset(seed=0)
            view = View.of(self._env.eye.camera(), self.family.scale(self._env.scene))
            check_view(recipe, self._id, view, "starts", REMEDY)

    def draw(self, rng: np.random.Generator, options: Mapping[str, Any]) -> Start:
        """A scene drawn with ``rng``, or given as ``options`` of the environment's own ``reset``."""
        observation, _ = self._env.reset(seed=int(rng.integers(2**31)), options=dict(options))
        beside = {name: observation[name] for name in self.spaces}
        env = self._env
        return Start(observation["pixels"], beside, readout_for(env), env.scene, env.task_description)

    def close(self) -> None:
        """Free the renderer."""
        if self._env is not None:
            self._env.close()


class FrameStarts:
    """Pictures of anything: the reward is one of pixels, or a user's.

    Args:
        frames: (B, H, W, 3) uint8 of the model's size, or paths of pictures, which are resized to it.
        action_spec: of the robot that they show; that of the model if None.
    """

    family = None

    def __init__(self, frames: np.ndarray | Sequence[str | Path], action_spec: ActionSpec | None = None) -> None:
        self._given, self.action_spec = frames, action_spec
        self.spaces: dict[str, gym.spaces.Box] = {}
        if len(frames) == 0:
            raise ValueError("frames: got none, expected at least one picture; give some")
        self._frames: np.ndarray = np.empty(0)

    def fit(self, image_size: tuple[int, int], fps: float) -> None:
        """Read the pictures, and refuse those of another size."""
        arrays = isinstance(self._given, np.ndarray)
        frames = self._given if arrays else np.stack([_read(Path(path), image_size) for path in self._given])
        assert isinstance(frames, np.ndarray)
        if frames.ndim != 4 or frames.shape[1:] != (*image_size, 3) or frames.dtype != np.uint8:
            raise ValueError(
                f"frames: got {frames.dtype} of shape {frames.shape}, expected uint8 (B, {image_size[0]}, "
                f"{image_size[1]}, 3); resize them"
            )
        self._frames = frames

    def draw(self, rng: np.random.Generator, options: Mapping[str, Any]) -> Start:
        """One of the pictures, or that of the index ``options["start"]``."""
        index = int(options.get("start", rng.integers(len(self._frames))))
        if not 0 <= index < len(self._frames):
            raise ValueError(f"start: got {index}, expected 0 to {len(self._frames) - 1}; choose one of the pictures")
        return Start(self._frames[index].copy())


class StoreStarts(FrameStarts):
    """First frames of a store that ``worldmodel collect`` wrote.

    Args:
        path: of the store.
    """

    def __init__(self, path: str | Path) -> None:
        from worldmodel.storage import EpisodeStore

        store = EpisodeStore.open(path, "truth")
        keys = store.keys()
        if not keys:
            raise ValueError(f"path: got an empty store {path}, expected episodes; run worldmodel collect")
        self._store, self._keys = store, keys
        first = [store.array(key, "video", stop=1).data[0] for key in keys]
        super().__init__(np.stack(first), store.action_spec(keys[0]))

    def check_camera(self, recipe: Any) -> None:
        """Refuse clips from a camera that is none that the model knows."""
        check_clips(recipe, self._store, self._keys, "starts", REMEDY)


def _read(path: Path, image_size: tuple[int, int]) -> np.ndarray:
    from PIL import Image

    if not path.is_file():
        raise ValueError(f"frames: got no file {path}, expected a picture; correct the path")
    with Image.open(path) as picture:
        return scaled(np.asarray(picture.convert("RGB")), image_size)
