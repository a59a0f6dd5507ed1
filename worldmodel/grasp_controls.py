"""Grasps that must not pass: rendered from the truth's own poses, with the item moved as no gripper would.

They need the environment, for its renderer; the other controls are made from pixels alone.
"""

from __future__ import annotations

import numpy as np

from worldmodel.envs.fetch import MAX_OPENING
from worldmodel.envs.scene_env import SceneEnv
from worldmodel.truth import Truth

FINGERS = slice(7, 9)  # of qpos: joints of the two fingers
ITEM = slice(9, 12)  # of qpos: x, y, z of the item's centre
TABLE_END = 1.05  # m, x of the table's edge at the robot
SLIDING_SPEED = 0.6  # m/s
GRAVITY = 9.81  # m/s^2


def ghost_lift(env: SceneEnv, truth: Truth) -> np.ndarray:
    """The item rises with a gripper that does not touch it.

    The arm moves as in the truth but its fingers stay open; from its lowest point on, the item
    goes where the gripper goes.

    Args:
        env: of the truth's picture size and number of distractors.

    Returns:
        (T, H, W, 3) uint8; the first frame is the truth's.
    """
    qpos = _at_start(truth)
    start = _lowest(truth)
    grip = truth.signals["gripper_position"]
    qpos[:, FINGERS] = 0.5 * MAX_OPENING
    qpos[start:, ITEM] += grip[start:] - grip[start]
    return _render(env, truth, qpos)


def knock_off(env: SceneEnv, truth: Truth) -> np.ndarray:
    """The item slides away from the gripper and falls off the far end of the table; the arm moves as in the truth.

    Arguments and result as in :func:`ghost_lift`.
    """
    qpos = _at_start(truth)
    since = np.maximum(truth.time - truth.time[_lowest(truth)], 0.0)
    slid = SLIDING_SPEED * since
    falling = np.maximum(since - (qpos[0, ITEM][0] - TABLE_END) / SLIDING_SPEED, 0.0)
    qpos[:, ITEM] -= np.stack([slid, np.zeros_like(slid), 0.5 * GRAVITY * falling**2], axis=1)
    return _render(env, truth, qpos)


def _at_start(truth: Truth) -> np.ndarray:
    """The truth's poses (T, nq) with the items as they stand in the first frame."""
    qpos = truth.qpos.copy()
    qpos[:, ITEM.start :] = qpos[0, ITEM.start :]
    return qpos


def _lowest(truth: Truth) -> int:
    """Frame in which the gripper is lowest for the first time, to the millimetre."""
    height = truth.signals["gripper_position"][:, 2]
    return int(np.argmax(height <= height.min() + 0.001))


def _render(env: SceneEnv, truth: Truth, qpos: np.ndarray) -> np.ndarray:
    if truth.video.shape[1:3] != env.image_size:
        raise ValueError(
            f"env: got pictures of {env.image_size}, expected {truth.video.shape[1:3]} as in the truth; "
            "make it with that image_size"
        )
    return env.render_at(env.family.scene_from_json(truth.scene), qpos)
