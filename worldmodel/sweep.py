"""Does commanded motion move the right thing the right way? Each number of an action, up and down, beside MuJoCo.

From one first frame every number of the action is held at its high end and at its low end in turn, in MuJoCo and in the
model. What the command changes is the difference of the two videos, high less low; the agreement is the cosine of that
difference between model and MuJoCo, over all pixels after the first frame: 1 where the model moves what MuJoCo moves,
where it moves it; about 0 where it does not listen; below 0 where it moves the wrong way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import gymnasium as gym
import numpy as np

from worldmodel.actions import HELD, ActionSpec
from worldmodel.collect import environment_id, is_ours
from worldmodel.envs.scene_env import SceneEnv
from worldmodel.model import WorldModel
from worldmodel.show import Clip, contact_sheet
from worldmodel.storage.export import write_png
from worldmodel.wrapped import PixelEnv

ENVS = ("graph-traversal", "maze", "grasp")  # in which a model without a named environment is looked for
FAR = 0.6  # share of the way to a bound at which motions are held


@dataclass(frozen=True)
class Sweep:
    """What was commanded and seen; D numbers, N scenes, sides high and low.

    Attributes:
        spec: of the actions.
        levels: (D, 2) what each number was held at.
        true, imagined: (D, 2, N, T, H, W, 3) uint8.
        fps: frames a second.
    """

    spec: ActionSpec
    levels: np.ndarray
    true: np.ndarray
    imagined: np.ndarray
    fps: float

    @property
    def agreement(self) -> np.ndarray:
        """(D, N) cosine of what the command changes; nan where MuJoCo shows no change."""
        true, imagined = (_change(video) for video in (self.true, self.imagined))
        with np.errstate(invalid="ignore", divide="ignore"):
            sizes = np.linalg.norm(true, axis=-1) * np.linalg.norm(imagined, axis=-1)
            cosine = (true * imagined).sum(axis=-1) / sizes
        return np.where(np.linalg.norm(true, axis=-1) > 0, np.nan_to_num(cosine), np.nan)


def action_sweep(model: WorldModel, env: gym.Env, seeds: Sequence[int]) -> Sweep:
    """Play and imagine every number's two ends from the first frames of these seeds.

    Args:
        model: takes the environment's actions; one of several robots is told whose.
        env: one of :mod:`worldmodel.envs`, or a :class:`PixelEnv`, whose pictures have the model's size.
        seeds: of the scenes, also of the rollouts.

    Raises:
        ValueError: the model does not know the environment's actions.
    """
    scene = env.unwrapped
    if not isinstance(scene, SceneEnv | PixelEnv) or scene.action_spec is None:
        raise ValueError(f"env: got {env}, expected one in which something acts; choose another, or wrap it: PixelEnv")
    spec = scene.action_spec
    told = model.conditioned(domain=spec) if model.recipe.domains else model
    levels = _levels(spec)
    chunk = told.recipe.num_frames
    ends = [(number, level) for number, both in enumerate(levels) for level in both]
    played = [[_play(scene, seed, spec, number, level, chunk) for seed in seeds] for number, level in ends]
    true = np.stack(played).reshape(len(levels), 2, len(seeds), chunk, *scene.image_size, 3)
    commands = np.repeat([_command(spec, number, level) for number, level in ends], len(seeds), axis=0)
    rolled = told.rollout(
        true.reshape(-1, *true.shape[3:])[:, 0],
        seeds=np.tile(np.asarray(seeds), len(ends)),
        actions=np.repeat(commands[:, None], chunk - 1, axis=1),
        progress=False,
    )
    return Sweep(spec, levels, true, rolled.video.reshape(true.shape), told.recipe.fps)


def sweep_lines(sweep: Sweep) -> list[str]:
    """The agreement of every number, a line each."""
    lines = []
    for index, (name, unit) in enumerate(zip(sweep.spec.names, sweep.spec.units, strict=True)):
        own = sweep.agreement[index]
        high, low = sweep.levels[index]
        verdict = (
            f"{np.nanmean(own):+.2f} (n = {np.isfinite(own).sum()})" if np.isfinite(own).any() else "not to be seen"
        )
        lines.append(f"{name} at {high:+.3g} and {low:+.3g} {unit}: agreement with MuJoCo {verdict}")
    return lines


def draw_sweep(sweep: Sweep, out: Path, scene: int = 0) -> Path:
    """A contact sheet with MuJoCo and model side by side for both ends of every number, of one scene."""
    clips = []
    for index, name in enumerate(sweep.spec.names):
        for side, sign in enumerate("+-"):
            for who, video in (("MuJoCo", sweep.true), ("model", sweep.imagined)):
                label = ((f"{sign}{name}", (20, 20, 20)), (who, (110, 110, 110)))
                clips.append(Clip(video[index, side, scene], sweep.fps, label))
    write_png(out, contact_sheet(clips, "Commanded motion: MuJoCo and model", across=2), overwrite=True)
    return out


def find_env(model: WorldModel, name: str | None) -> gym.Env:
    """The environment of a name, or the first known one whose actions the model takes, in the model's picture size.

    Raises:
        ValueError: the model takes none of the known environments' actions.
    """
    for each in ENVS if name is None else (name,):
        env = _make(model, each)
        try:
            if model.recipe.domains:
                model.conditioned(domain=env.get_wrapper_attr("action_spec"))
            return env
        except ValueError:
            env.close()
            if name is not None:
                raise
    raise ValueError(f"model: got {model.recipe.name}, which takes no actions of {', '.join(ENVS)}; name the --env")


def _make(model: WorldModel, name: str) -> gym.Env:
    """One of :mod:`worldmodel.envs`, or any Gymnasium MuJoCo environment through its own camera."""
    if is_ours(name):
        env = environment_id(name)
        return gym.make(env, image_size=model.recipe.image_size, **model.recipe.scene(env))
    return PixelEnv(name, model.recipe.image_size, model.recipe.fps)


def _levels(spec: ActionSpec) -> np.ndarray:
    """(D, 2) high and low end of each number: positions at their bounds, motions short of them."""
    shares = np.array([1.0 if name in HELD else FAR for name in spec.names])
    middle = np.where(shares == 1.0, np.add(spec.low, spec.high) / 2.0, _rest(spec))
    return np.stack([middle + shares * (bound - middle) for bound in (np.array(spec.high), np.array(spec.low))], axis=1)


def _rest(spec: ActionSpec) -> np.ndarray:
    """Zeros (D,), or what within the bounds is nearest."""
    return np.clip(0.0, spec.low, spec.high)


def _command(spec: ActionSpec, number: int, level: float) -> np.ndarray:
    """Standing still with everything open, but for one number."""
    command = np.where([name in HELD for name in spec.names], spec.high, _rest(spec))
    command[number] = level
    return command


def _play(
    scene: SceneEnv | PixelEnv, seed: int, spec: ActionSpec, number: int, level: float, frames: int
) -> np.ndarray:
    """Video (T, H, W, 3) of MuJoCo under one command."""
    command = _command(spec, number, level)
    if isinstance(scene, SceneEnv):
        return scene.record(seed=seed, policy=lambda info: command).video[:frames]
    pictures = [scene.reset(seed=seed)[0]["pixels"]]
    while len(pictures) < frames:
        pictures.append(scene.step(command)[0]["pixels"])
    return np.stack(pictures)


def _change(video: np.ndarray) -> np.ndarray:
    """What a command changes, high less low: (D, N, all pixels after the first frame)."""
    later = video[:, :, :, 1:].astype(np.float32)
    change = later[:, 0] - later[:, 1]
    return change.reshape(*change.shape[:2], -1)
