"""Gripper and item of a grasp in metres, from the pixels of a clip.

Known are the camera, the first picture with its masks and poses, the item's size and the
commanded actions; nothing else of the simulation is used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from worldmodel.evaluators.grasp_item import ItemReader, ItemShape, Readings, item_shape
from worldmodel.evaluators.gripper_tracking import Command, GripperTracks, finger_boxes, track_gripper
from worldmodel.evaluators.tracking import Tracker, track_objects
from worldmodel.truth import Truth

TOUCHING = 0.005  # m, between finger and item at most: contact
BETWEEN = 0.5  # of the item's width, by which fingers that hold it are apart at least
DOUBT = 0.15  # of the logarithm of an area, by which it must rather be on the table to deny a grasp
IN_AIR = 0.02  # m above the start from which how large it looks tells an item in the air from one further away


@dataclass(frozen=True)
class GraspTracks:
    """Gripper and item over T frames, in metres in the world frame; nan where one is not found."""

    gripper: GripperTracks
    position: np.ndarray  # (T, 3) m, centre of the item
    found: np.ndarray  # (T,) bool, the item is found
    in_air: np.ndarray  # (T,) bool, it was read as being off the table
    area_ratio: np.ndarray  # (T,) its visible area over that of its shape there; nan where the gripper hides it
    turn: np.ndarray  # (T,) rad, least turn in space since the first frame that shows; nan where none would
    gaps: np.ndarray  # (T, 2) m, from the left and the right finger to the item; below 0 they overlap
    grasped: np.ndarray  # (T,) bool, both fingers touch the item, and it can be between them

    @property
    def contact(self) -> np.ndarray:
        """A finger touches the item, (T,) bool."""
        return np.asarray((self.gaps <= TOUCHING).any(axis=1))


def command_of(truth: Truth) -> Command:
    """What the actions of a clip ask for in each frame; in the first, what the gripper does."""
    assert truth.actions is not None  # checked by the scorer
    opening = np.concatenate([truth.signals["opening"][:1], truth.actions[:, 3]])
    return Command(truth.signals["gripper_target"], opening)


def track_grasp(video: np.ndarray, truth: Truth, tracker: Tracker = track_objects) -> GraspTracks:
    """Track a video (T, H, W, 3) uint8 that begins with the first frame of ``truth``; ``tracker`` follows the item."""
    # The true first picture goes before the clip: there the poses are known, which calibrates the item's tracker.
    clip = np.concatenate([truth.video[:1], video])
    command = Command(*(np.concatenate([each[:1], each]) for each in command_of(truth)))
    camera, start = truth.camera, truth.position[0, 0]
    gripper = track_gripper(clip, camera, clip[0], truth.signals["gripper_position"][0], command)
    seen = tracker(clip, truth.segmentation[0], clip[0])[0]
    shape = item_shape(truth.scene)
    reader = ItemReader(camera, shape, seen, gripper, start)
    standing = reader.read(2, np.full(len(clip), start[2]), shape.surface)
    depth = _carried(standing.position, finger_gaps(gripper, shape, standing.position), command, start)
    # What is carried was turned straight by the fingers' pads.
    flying = reader.read(0, depth, shape.straight)
    in_air = _in_air(standing, flying, _grasped(finger_gaps(gripper, shape, flying.position), gripper, shape), start)
    position = np.where(in_air[:, None], flying.position, standing.position)
    gaps = finger_gaps(gripper, shape, position)
    return GraspTracks(
        gripper=GripperTracks(gripper.position[1:], gripper.opening[1:], gripper.detected[1:]),
        position=position[1:],
        found=seen.detected[1:],
        in_air=in_air[1:],
        area_ratio=np.where(in_air, flying.area_ratio, standing.area_ratio)[1:],
        turn=np.where(in_air, flying.turn, standing.turn)[1:],
        gaps=gaps[1:],
        grasped=_grasped(gaps, gripper, shape)[1:],
    )


def finger_gaps(gripper: GripperTracks, shape: ItemShape, position: np.ndarray) -> np.ndarray:
    """Distances (T, 2) in metres from the left and the right finger to an item at positions (T, 3)."""
    centres, half = finger_boxes(gripper.position, gripper.opening)
    apart = np.abs(centres - position[:, None]) - half - shape.core
    if shape.upright:
        across = np.linalg.norm(np.maximum(apart[..., :2], 0.0), axis=-1) - shape.radius
        apart = np.stack([across, apart[..., 2]], axis=-1)
        return np.linalg.norm(np.maximum(apart, 0.0), axis=-1) + np.minimum(apart.max(axis=-1), 0.0)
    outside = np.linalg.norm(np.maximum(apart, 0.0), axis=-1)
    return outside + np.minimum(apart.max(axis=-1), 0.0) - shape.radius


def _grasped(gaps: np.ndarray, gripper: GripperTracks, shape: ItemShape) -> np.ndarray:
    """Whether both fingers touch the item, (T,) bool; closed fingers that press on its top do not hold it."""
    return np.asarray((gaps <= TOUCHING).all(axis=1) & (gripper.opening >= BETWEEN * shape.width))


def _carried(standing: np.ndarray, gaps: np.ndarray, command: Command, start: np.ndarray) -> np.ndarray:
    """World x (T,) of the item: its own until a finger touches it, then moved along by the gripper's command."""
    touched = np.flatnonzero((gaps <= TOUCHING).any(axis=1) & np.isfinite(standing[:, 0]))
    depth = np.full(len(standing), start[0])
    if len(touched):
        first = touched[0]
        depth[first:] = standing[first, 0] + command.target[first:, 0] - command.target[first, 0]
    return depth


def _in_air(standing: Readings, flying: Readings, grasped: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Whether the item is off the table: too high for where it would stand, by how large it looks, or in the grasp."""
    high = flying.position[:, 2] - start[2] >= IN_AIR
    further = np.abs(np.log(standing.area_ratio)) - np.abs(np.log(flying.area_ratio))
    # What looks grasped may yet stand far behind the fingers, if it looks that much smaller.
    return np.asarray((high & (further > 0.0)) | (grasped & ~(further < -DOUBT)))
