"""Reach, contact, lift, hold, place: what the tracks of a grasp amount to.

Thresholds are those of the simulator's labels (:mod:`worldmodel.envs.grasp`), in metres,
whatever the size of the picture. Heights are signed: an item that falls is not lifted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from worldmodel.evaluators.grasp_item import half_turns
from worldmodel.evaluators.grasp_tracks import TOUCHING, GraspTracks
from worldmodel.evaluators.gripper_tracking import Command
from worldmodel.truth import Camera

STAGES = ("reach", "contact", "lift", "hold", "place")
NEAR = 0.03  # m, from grip point to item: reached
LIFTED = 0.04  # m, of the item above its start
ATTACHED = (0.01, 15.0)  # m and degrees by which an item that is held may move in the hand
HOLD_DURATION = 0.5  # s
STILL = 0.005  # m across the line of sight by which an untouched item may seem to move
PLACED = 0.025  # m, from item to goal
REST_SPEED = 0.02  # m/s
REST_DURATION = 0.25  # s, over which the speed is taken because of the tracker's noise
SAME_AREA = (0.7, 1.4)  # of the area that the item should show where it is
PERSISTENT = 0.95  # share of the frames in which it must do so


@dataclass(frozen=True)
class Judgement:
    """Stages of a grasp over T frames, and the verdict."""

    reach: np.ndarray  # (T,) bool, grip point within ``NEAR`` of the item
    contact: np.ndarray  # (T,) bool, a finger touches the item
    lift: np.ndarray  # (T,) bool, item at least ``LIFTED`` above its start
    hold: np.ndarray  # (T,) bool, lifted between both fingers for half a second without moving in the hand
    place: np.ndarray  # (T,) bool, item at rest within ``PLACED`` of its goal
    same: np.ndarray  # (T,) bool, the item is found, with the area it should have
    ghost_motion: float  # m, by which the item moved before it was touched
    success: bool  # pick: held at the end; place: placed after a lift and let go; valid, and no ghost moved the item

    @property
    def valid(self) -> bool:
        """Whether the item persists; a clip that loses or changes it is a failure."""
        return bool(self.same.mean() >= PERSISTENT)

    def passed(self, stage: str) -> bool:
        """Whether a stage was reached at any time."""
        return bool(getattr(self, stage).any())


def judge(tracks: GraspTracks, camera: Camera, start: np.ndarray, goal: np.ndarray, task: str, fps: float) -> Judgement:
    """Stages of a clip of a ``task`` (``pick`` or ``place``) from the item's ``start`` and ``goal``, (3,) m."""
    lift = tracks.position[:, 2] - start[2] >= LIFTED
    lifted = lift & tracks.grasped
    hold = _held(tracks, lifted, fps)
    place = _at_rest(tracks.position, fps) & (np.linalg.norm(tracks.position - goal, axis=1) <= PLACED)
    ratio = tracks.area_ratio
    same = tracks.found & ~((ratio < SAME_AREA[0]) | (ratio > SAME_AREA[1]))
    moved = ghost_motion(tracks, camera, start)
    done = hold[-1] if task == "pick" else place[-1] & lifted.any() & (tracks.gaps[-1] > TOUCHING).all()
    return Judgement(
        reach=np.linalg.norm(tracks.position - tracks.gripper.position, axis=1) <= NEAR,
        contact=tracks.contact,
        lift=lift,
        hold=hold,
        place=place,
        same=same,
        ghost_motion=moved,
        success=bool(done and same.mean() >= PERSISTENT and moved <= STILL),
    )


def lift_height(tracks: GraspTracks, start: np.ndarray) -> float:
    """Metres, signed, by which the item is above its start where it is last found; nan if it never is."""
    found = np.flatnonzero(tracks.found)
    return float(tracks.position[found[-1], 2] - start[2]) if len(found) else float("nan")


def ghost_motion(tracks: GraspTracks, camera: Camera, start: np.ndarray) -> float:
    """Furthest in metres, across the line of sight, that the item moved before the gripper first touched it.

    Along the line of sight a few millimetres cannot be seen.
    """
    touched = np.flatnonzero(tracks.contact)
    before = slice(0, touched[0] if len(touched) else None)
    pixels = np.linalg.norm(camera.project(tracks.position[before]) - camera.project(start), axis=1)
    moved = (pixels * camera.depth(start) / camera.focal_px)[tracks.found[before]]
    return float(moved.max(initial=0.0))


def slip(tracks: GraspTracks, command: Command) -> float:
    """Furthest in metres that the item moved in the hand from the grasp to the commanded release.

    nan if it was never grasped.
    """
    grasps = np.flatnonzero(tracks.grasped)
    if not len(grasps):
        return float("nan")
    first = grasps[0]
    release = np.flatnonzero(command.opening[first:] > tracks.gripper.opening[first] + TOUCHING)
    last = first + release[0] if len(release) else len(tracks.found)
    at = tracks.position[first:last] - tracks.gripper.position[first:last]
    moved = np.linalg.norm(at - at[:1], axis=1)
    return float(moved[np.isfinite(moved)].max(initial=0.0))


def _held(tracks: GraspTracks, lifted: np.ndarray, fps: float) -> np.ndarray:
    """Whether the item has been lifted, (T,) bool, and at one place in the hand for long enough."""
    at, turn = tracks.position - tracks.gripper.position, tracks.turn
    needed = int(np.ceil(HOLD_DURATION * fps - 1e-9))
    held, since = np.zeros(len(at), dtype=bool), -1
    for t in range(len(at)):
        if not lifted[t]:
            since = -1
            continue
        if since >= 0:
            moved = np.linalg.norm(at[t] - at[since]) > ATTACHED[0]
            moved |= abs(half_turns(turn[t] - turn[since])) > np.deg2rad(ATTACHED[1])
        if since < 0 or moved:
            since = t
        held[t] = t - since >= needed
    return held


def _at_rest(position: np.ndarray, fps: float) -> np.ndarray:
    """Whether the item hardly moved in the last quarter of a second, (T,) bool."""
    frames = min(max(1, round(REST_DURATION * fps)), len(position) - 1)
    moved = np.linalg.norm(position[frames:] - position[:-frames], axis=1) <= REST_SPEED * frames / fps
    return np.concatenate([np.zeros(frames, dtype=bool), moved])
