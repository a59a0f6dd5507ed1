"""What the action-conditioned Predict2.5 is told of a robot's motion, and how to make it from what a data set holds.

Action k leads from frame k to frame k + 1. It is made from the gripper's *poses*, never from the commands that a data
set records beside them:

    translation   R_k^T (p_{k+1} - p_k), in the gripper frame of frame k, in metres;
    rotation      roll, pitch, yaw of R_k^T R_{k+1}, with R = R_z(yaw) R_y(pitch) R_x(roll), in radians;
    gripper       of frame k + 1, absolute: 0 open, 1 closed.

The network was trained on the first six times 20; ``model_numbers`` does that, so that actions stay in their units.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from worldmodel.actions import ActionSpec

MODEL_SCALE = np.array([20.0] * 6 + [1.0])  # numbers of the network per unit

# The bounds tell wrong units, frames and scales apart; they are not the range that the model was trained on.
COSMOS25_ACTIONS = ActionSpec(
    names=("x", "y", "z", "roll", "pitch", "yaw", "gripper"),
    units=("m", "m", "m", "rad", "rad", "rad", "1"),
    low=(-0.25, -0.25, -0.25, -1.6, -1.6, -1.6, 0.0),
    high=(0.25, 0.25, 0.25, 1.6, 1.6, 1.6, 1.0),
    frame="previous gripper",
    control_hz=4.0,
    gripper="0 open, 1 closed",
)

Polarity = Literal["0 open, 1 closed", "1 open, 0 closed"]


def from_poses(
    positions: np.ndarray, rotations: np.ndarray, gripper: np.ndarray, polarity: Polarity = "0 open, 1 closed"
) -> np.ndarray:
    """Actions (..., T - 1, 7) of T gripper poses.

    Args:
        positions: (..., T, 3) m, in any fixed frame.
        rotations: (..., T, 3, 3) of the gripper in that frame, or (..., T, 4) quaternions w, x, y, z.
        gripper: (..., T) in [0, 1].
        polarity: what its ends mean.

    Raises:
        ValueError: shapes do not fit, a rotation is none, or the motion leaves the bounds of the spec.
    """
    positions, gripper = np.asarray(positions, np.float64), np.asarray(gripper, np.float64)
    matrices = _matrices(np.asarray(rotations, np.float64))
    if (
        positions.shape[-1:] != (3,)
        or positions.shape[:-1] != matrices.shape[:-2]
        or gripper.shape != (positions.shape[:-1])
    ):
        raise ValueError(
            f"poses: got positions {positions.shape}, rotations {matrices.shape}, gripper {gripper.shape}, expected "
            "(..., T, 3), (..., T, 3, 3) and (..., T); bring them to one T"
        )
    if positions.shape[-2] < 2:
        raise ValueError("poses: got one, expected at least 2, an action leads from each to the next; give more")
    back = matrices[..., :-1, :, :].swapaxes(-1, -2)
    moved = np.einsum("...ij,...j->...i", back, np.diff(positions, axis=-2))
    turned = euler(back @ matrices[..., 1:, :, :])
    closed = gripper_closed(gripper, polarity)[..., 1:, None]
    return COSMOS25_ACTIONS.check(np.concatenate([moved, turned, closed], axis=-1))


def from_bridge(annotation: dict[str, Any], every: int = 1) -> np.ndarray:
    """Actions (T - 1, 7) of a Bridge annotation as NVIDIA's repository has it.

    ``state`` (T, >= 6) holds x, y, z, roll, pitch, yaw and ``continuous_gripper_state`` (T,) 0 open, 1 closed. The
    annotation's own ``action`` is of another frame and of the other polarity, and is not read.

    Args:
        every: take each that many frames, to come to the model's rate.
    """
    missing = [key for key in ("state", "continuous_gripper_state") if key not in annotation]
    if missing:
        raise ValueError(
            f"annotation: got no {', '.join(missing)}, expected states of the gripper, which its action cannot replace"
        )
    states = np.asarray(annotation["state"], np.float64)[::every]
    gripper = np.asarray(annotation["continuous_gripper_state"], np.float64)[::every]
    return from_poses(states[:, :3], rotation(states[:, 3:6]), gripper)


def from_droid(cartesian: np.ndarray, gripper: np.ndarray, every: int = 1) -> np.ndarray:
    """Actions (T - 1, 7) of a DROID episode, which records at 15 Hz.

    Args:
        cartesian: (T, 6) ``observation/cartesian_position``: x, y, z, roll, pitch, yaw in the robot's base frame.
        gripper: (T,) ``observation/gripper_position``, 0 open, 1 closed.
        every: take each that many frames; 4 comes nearest to the model's rate.
    """
    poses = np.asarray(cartesian, np.float64)[::every]
    if poses.ndim != 2 or poses.shape[1] != 6:
        raise ValueError(f"cartesian: got shape {poses.shape}, expected (T, 6); pass cartesian_position")
    return from_poses(poses[:, :3], rotation(poses[:, 3:]), np.asarray(gripper, np.float64)[::every].reshape(-1))


def gripper_closed(gripper: np.ndarray, polarity: Polarity) -> np.ndarray:
    """How far a gripper is closed, 0 open and 1 closed, of numbers in [0, 1] of either polarity."""
    if polarity == COSMOS25_ACTIONS.gripper:
        return gripper
    if polarity != "1 open, 0 closed":
        raise ValueError(
            f"polarity: got {polarity!r}, expected '0 open, 1 closed' or '1 open, 0 closed'; look into the data"
        )
    return 1.0 - gripper


def model_numbers(actions: np.ndarray) -> np.ndarray:
    """Numbers (..., 7) float32 as the network was trained on, of actions in their units."""
    return (COSMOS25_ACTIONS.check(actions) * MODEL_SCALE).astype(np.float32)


def rotation(angles: np.ndarray) -> np.ndarray:
    """R_z(yaw) R_y(pitch) R_x(roll) (..., 3, 3) of roll, pitch, yaw (..., 3) rad."""
    (cr, cp, cy), (sr, sp, sy) = (np.moveaxis(f(np.asarray(angles)), -1, 0) for f in (np.cos, np.sin))
    rows = [
        [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
        [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
        [-sp, cp * sr, cp * cr],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def euler(matrices: np.ndarray) -> np.ndarray:
    """Roll, pitch, yaw (..., 3) rad of rotations (..., 3, 3), inverse of :func:`rotation`, pitch up to 90 degrees."""
    across = np.hypot(matrices[..., 0, 0], matrices[..., 1, 0])
    locked = across < 1e-6  # roll and yaw turn about one axis: all of it is called roll
    roll = np.where(
        locked,
        np.arctan2(-matrices[..., 1, 2], matrices[..., 1, 1]),
        np.arctan2(matrices[..., 2, 1], matrices[..., 2, 2]),
    )
    pitch = np.arctan2(-matrices[..., 2, 0], across)
    yaw = np.where(locked, 0.0, np.arctan2(matrices[..., 1, 0], matrices[..., 0, 0]))
    return np.stack([roll, pitch, yaw], axis=-1)


def _matrices(rotations: np.ndarray) -> np.ndarray:
    """Rotation matrices (..., 3, 3) of those, or of unit quaternions w, x, y, z (..., 4)."""
    if rotations.shape[-1:] == (4,):
        w, *v = np.moveaxis(rotations / np.linalg.norm(rotations, axis=-1, keepdims=True), -1, 0)
        x, y, z = v
        rows = [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
        return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
    if rotations.shape[-2:] != (3, 3) or not np.allclose(rotations @ rotations.swapaxes(-1, -2), np.eye(3), atol=1e-4):
        raise ValueError(
            f"rotations: got shape {rotations.shape}, or matrices that are not orthogonal, expected (..., T, 3, 3) or "
            "quaternions (..., T, 4); convert them, for Euler angles with worldmodel.backends.cosmos25_actions.rotation"
        )
    return rotations
