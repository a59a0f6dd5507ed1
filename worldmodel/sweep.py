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
from typing import Any

import gymnasium as gym
import numpy as np

from worldmodel.actions import ActionSpec
from worldmodel.backends.domains import choose, matched
from worldmodel.collect import environment_id, is_ours
from worldmodel.envs.scene_env import SceneEnv
from worldmodel.model import WorldModel
from worldmodel.show import Clip, Line, contact_sheet
from worldmodel.storage.export import write_png
from worldmodel.wrapped import PixelEnv

ENVS = ("graph-traversal", "maze", "grasp")  # among which one for each robot is looked for
HELD = ("gripper", "opening")  # numbers that are positions rather than motions
FAR = 0.6  # share of the way to a bound at which motions are held
LEAST = 0.3  # agreement below which a number is said to move the wrong thing
INK, FAINT = (20, 20, 20), (110, 110, 110)


@dataclass(frozen=True)
class Sweep:
    """What was commanded and seen; D numbers, N scenes, sides high and low.

    Attributes:
        spec: of the actions.
        levels: (D, 2) what each number was held at.
        true, imagined: (D, 2, N, T, H, W, 3) uint8.
        fps: frames a second.
        robot: whose actions they are; "" where the model knows one alone.
    """

    spec: ActionSpec
    levels: np.ndarray
    true: np.ndarray
    imagined: np.ndarray
    fps: float
    robot: str = ""

    @property
    def agreement(self) -> np.ndarray:
        """(D, N) cosine of what the command changes; nan where MuJoCo shows no change."""
        true, imagined = (_change(video) for video in (self.true, self.imagined))
        with np.errstate(invalid="ignore", divide="ignore"):
            sizes = np.linalg.norm(true, axis=-1) * np.linalg.norm(imagined, axis=-1)
            cosine = (true * imagined).sum(axis=-1) / sizes
        return np.where(np.linalg.norm(true, axis=-1) > 0, np.nan_to_num(cosine), np.nan)

    @property
    def means(self) -> np.ndarray:
        """(D,) agreement over the scenes in which MuJoCo shows a change; nan where none does."""
        return np.array(
            [np.mean(own[np.isfinite(own)]) if np.isfinite(own).any() else np.nan for own in self.agreement]
        )


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
    told = matched(model, spec)
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
    return Sweep(spec, levels, true, rolled.video.reshape(true.shape), told.recipe.fps, _robot(model, spec))


def sweep_lines(sweep: Sweep) -> list[str]:
    """The agreement of every number, a line each, and what is wrong where something is."""
    lines = []
    named = zip(sweep.spec.names, sweep.spec.units, sweep.levels, sweep.agreement, sweep.means, strict=True)
    for name, unit, (high, low), own, mean in named:
        found = "not to be seen" if np.isnan(mean) else f"{mean:+.2f} (n = {np.isfinite(own).sum()}){_verdict(mean)}"
        who = f"{sweep.robot} {name}".strip()
        lines.append(f"{who} at {high:+.3g} and {low:+.3g} {unit}: agreement with MuJoCo {found}")
    return lines


def wrong_ways(sweeps: Sequence[Sweep]) -> list[str]:
    """Names of the numbers that move the wrong way, with those of their robots."""
    return [
        f"{sweep.robot} {name}".strip()
        for sweep in sweeps
        for name, mean in zip(sweep.spec.names, sweep.means, strict=True)
        if mean < 0
    ]


def draw_sweep(sweeps: Sequence[Sweep], out: Path, scene: int = 0) -> Path:
    """A contact sheet with MuJoCo and model side by side for both ends of every number, of one scene of each sweep."""
    clips = []
    for sweep in sweeps:
        robot: tuple[Line, ...] = ((sweep.robot, FAINT),) if sweep.robot else ()
        for index, name in enumerate(sweep.spec.names):
            for side, sign in enumerate("+-"):
                for who, video in (("MuJoCo", sweep.true), ("model", sweep.imagined)):
                    label = ((f"{sign}{name}", INK), (who, FAINT), *robot)
                    clips.append(Clip(video[index, side, scene], sweep.fps, label))
    write_png(out, contact_sheet(clips, "Commanded motion: MuJoCo and model", across=2), overwrite=True)
    return out


def find_envs(model: WorldModel, name: str | None) -> list[gym.Env]:
    """The environment of a name, or the first known one for each robot of the model, in its picture size and rate.

    Raises:
        ValueError: the model takes none of the known environments' actions.
    """
    if name is not None:
        return [_make(model, name)]
    found: dict[str, gym.Env] = {}
    for each in ENVS:
        env = _make(model, each)
        try:
            robot = _robot(model, env.get_wrapper_attr("action_spec"))
        except ValueError:
            robot = None
        if robot is None or found.setdefault(robot, env) is not env:
            env.close()
    if not found:
        raise ValueError(f"model: got {model.recipe.name}, which takes no actions of {', '.join(ENVS)}; name the --env")
    return list(found.values())


def unseen(model: WorldModel, sweeps: Sequence[Sweep]) -> list[str]:
    """The model's robots that no sweep has."""
    return [each.name for each in model.recipe.domains if each.name not in {sweep.robot for sweep in sweeps}]


def _robot(model: WorldModel, spec: ActionSpec) -> str:
    """Whose actions of a model they are; "" where it knows one robot without a name."""
    matched(model, spec)
    return choose(model.recipe.domains, spec).name if model.recipe.domains else ""


def _verdict(mean: float) -> str:
    """What is wrong with an agreement; "" where nothing is."""
    if mean < 0:
        return ": moves the wrong way"
    return f": below {LEAST:g}, so it hardly moves, or moves the wrong thing" if mean < LEAST else ""


def _make(model: WorldModel, name: str) -> gym.Env:
    """One of :mod:`worldmodel.envs`, or any Gymnasium MuJoCo environment through its own camera."""
    if is_ours(name):
        env = environment_id(name)
        recipe = model.recipe
        size: dict[str, Any] = {"image_size": recipe.image_size, "num_frames": recipe.num_frames, "fps": recipe.fps}
        return gym.make(env, **size, **recipe.scene(env))
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
