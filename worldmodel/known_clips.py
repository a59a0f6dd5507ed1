"""Clips of known worth that are made from a true one: what metrics and judges are tried on."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from worldmodel.evaluators import camera_controls, controls, scene
from worldmodel.evaluators.faults import FAULTS
from worldmodel.traversal_controls import spill
from worldmodel.truth import Truth

if TYPE_CHECKING:
    from worldmodel.envs.scene_env import SceneEnv

Makers = dict[str, Callable[[], np.ndarray]]  # kind of clip to what makes its video (T, H, W, 3) uint8


def from_pixels(truth: Truth, other: Callable[[], Truth], rng: np.random.Generator) -> Makers:
    """Kinds that are made from the true video itself; ``other`` reads the truth of another scene."""
    # Under a moving camera no median of frames shows the scene without its object.
    masks = None if "world_to_camera" in truth.signals else truth.mask
    return {
        "frozen": lambda: controls.frozen(truth.video),
        "linear": lambda: controls.linear_extrapolation(truth.video, truth.mask),
        "half_speed": lambda: controls.half_speed(truth.video, masks),
        "vanish": lambda: controls.vanish(truth.video, truth.mask),
        "teleport": lambda: controls.teleport(truth.video, truth.mask, rng),
        "twin": lambda: controls.twin(truth.video, truth.mask, rng),
        "reversed": lambda: controls.reversed_after_first(truth.video),
        "shuffled": lambda: controls.shuffled_after_first(truth.video, rng),
        "other_seed": lambda: controls.other_seed(truth.video, other().video),
        **{name: functools.partial(fault, truth.video) for name, fault in FAULTS.items()},
        "spill": lambda: spill(truth),
        "flat": lambda: camera_controls.flat(truth.video, *scene.camera_truth(truth)),
        "forgotten": lambda: camera_controls.forgotten(truth.video, other().video),
    }


def simulated(truth: Truth, env: SceneEnv) -> Makers:
    """Kinds that MuJoCo plays or draws anew in the truth's scene; ``env`` is of its family."""
    from worldmodel import grasp_controls, traversal_controls
    from worldmodel.certified_laws import changed_video

    gravity = truth.scene.get("gravity", np.nan)
    return {
        "half_gravity": lambda: changed_video(env, truth, gravity=0.5 * gravity),
        "double_gravity": lambda: changed_video(env, truth, gravity=2.0 * gravity),
        "ghost_lift": lambda: grasp_controls.ghost_lift(env, truth),
        "knock_off": lambda: grasp_controls.knock_off(env, truth),
        "done_anyway": lambda: env.record(env.family.scene_from_json(truth.scene), seed=0).video,
        "wall_crossing": lambda: traversal_controls.wall_crossing(env, truth),
    }
