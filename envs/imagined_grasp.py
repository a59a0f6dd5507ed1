"""Signals of a grasp, read off pixels and the robot's own commands.

Where the grip point is follows from the commands, as a robot knows it by itself; where the item is, and whether it
comes along, is seen.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import mujoco
import numpy as np

from worldmodel.envs import fetch
from worldmodel.envs.family import Family
from worldmodel.envs.grasp import ATTACHED, HOLD_DURATION, LIFTED, NEAR
from worldmodel.envs.imagined_item import ItemInSight
from worldmodel.envs.imagined_readout import Reading
from worldmodel.envs.rendering import camera_of
from worldmodel.truth import Camera

LEAST, MOST = 0.25, 2.5  # of the first area, within which a patch of the item's colour is the item
FREE = 0.75  # of the area that it has standing free, below which the hand is taken to hide a part of it
STANDING = 3.0  # px, from where it stood first, within which a free item has not been moved
GRASPED = 0.035  # m, from the grip point within which fingers close around an item
CLOSED = 0.006  # m, from its width, to which they are closed then
CARRIED = 0.05  # m, from the grip point within which an item can be carried, or stop fingers that close
LOWEST = fetch.TABLE_HEIGHT + fetch.FINGER_DEPTH  # m, height of the grip point at which the finger tips meet the table


class GraspReadout:
    """Gripper and item in metres, the item's lift, and whether it is held.

    One camera does not tell an item that is carried from one that stands farther away behind the hand, so an item is
    carried only by fingers that have closed where it stood, and until they open or it stays behind. ``success`` is that
    of picking: the item has been lifted, without moving in the hand, for half a second. ``gripper_target`` is to where
    the commands send the grip point, ``gripper_position`` where it can be: not in the table.

    Args:
        family: of the scene.
        scene: that the clip began with; its task is ``pick``.
        image_size: height and width of the pictures in pixels.
        fps: frames per second.
    """

    signals: tuple[str, ...] = (
        "gripper_target",
        "gripper_position",
        "opening",
        "position",
        "found",
        "goal_distance",
        "reach",
        "lift",
        "hold",
        "success",
    )

    def __init__(self, family: Family, scene: Any, image_size: tuple[int, int], fps: float) -> None:
        if scene.task != "pick":
            raise ValueError(f"scene: got the task {scene.task!r}, expected 'pick'; what is put down is not read yet")
        self.family, self.scene, self.fps = family, scene, float(fps)
        self._camera = front_camera(*image_size)
        self._item = ItemInSight(scene, self._camera)

    def begin(self, observation: Mapping[str, np.ndarray]) -> Reading:
        """The gripper as ``agent_pos`` (4,) has it, and the item as ``pixels`` (H, W, 3) show it."""
        gripper, pictures = np.asarray(observation["agent_pos"], np.float64)[None], observation["pixels"][None]
        centroid, mass = self._item.seen(pictures)
        start = np.array(self.scene.centre)[None]
        beside = centroid - self._camera.project(start)
        free = mass[0] >= FREE * self._item.area
        memory = {
            "time": np.zeros(1),
            "target": gripper[:, :3],
            "opening": gripper[:, 3],
            "item": start,
            # What a picture of the standing item shows beside the projected centre, it shows later too.
            "offset": beside if free and np.linalg.norm(beside) < STANDING else np.zeros((1, 2)),
            "area": mass if free else np.full(1, self._item.area),
            "held_at": np.zeros((1, 3)),
            "held_since": np.full(1, np.inf),
        }
        centre, centroid, _ = self._centre(pictures, memory)
        flying = _on_plane(self._camera, centroid - memory["offset"], 0, gripper[:, 0])
        memory["held"] = self._fits(memory["opening"]) & (np.linalg.norm(flying - gripper[:, :3], axis=1) <= GRASPED)
        item = np.where(memory["held"][:, None], flying, self._standing(centre))
        return Reading({**memory, "item": np.where(np.isfinite(item), item, start)})

    def read(self, reading: Reading, video: np.ndarray, actions: np.ndarray) -> tuple[Reading, dict[str, np.ndarray]]:
        """The signals after each frame of a video (B, n, H, W, 3) under actions (B, n, 4)."""
        memory, frames = dict(reading.memory), []
        for frame in range(video.shape[1]):
            memory["time"] = memory["time"] + 1.0 / self.fps
            self._move(memory, actions[:, frame])
            found = self._follow(memory, video[:, frame])
            frames.append(self._measure(memory, found))
        return Reading(memory), {name: np.stack([each[name] for each in frames], axis=1) for name in self.signals}

    def observe(self, signals: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """``agent_pos`` (B, n, 4): grip point and opening in metres."""
        return {"agent_pos": np.concatenate([signals["gripper_position"], signals["opening"][..., None]], axis=-1)}

    def _move(self, memory: dict[str, np.ndarray], action: np.ndarray) -> None:
        """The set-point goes where it is told; the fingers follow at their speed and stop at what they hold."""
        memory["target"] = np.clip(memory["target"] + action[:, :3], fetch.REACH_LOW, fetch.REACH_HIGH)
        step = 2.0 * fetch.FINGER_SPEED / self.fps
        opening = memory["opening"] + np.clip(action[:, 3] - memory["opening"], -step, step)
        around = np.linalg.norm(memory["item"] - _grip(memory), axis=1) <= CARRIED
        fist = memory["opening"] < self.scene.width - CLOSED  # which does not open when it comes near
        stopped = (memory["held"] | around) & ~fist
        least = np.minimum(memory["opening"], self.scene.width)
        memory["opening"] = np.where(stopped, np.maximum(opening, least), opening)

    def _follow(self, memory: dict[str, np.ndarray], pictures: np.ndarray) -> np.ndarray:
        """Where the item is seen (B, H, W, 3), on the table or carried at the gripper's depth; whether it is."""
        centre, centroid, mass = self._centre(pictures, memory)
        found = (mass >= LEAST * memory["area"]) & (mass <= MOST * memory["area"])
        grip = _grip(memory)
        around = np.linalg.norm(memory["item"] - grip, axis=1) <= GRASPED
        closed = self._fits(memory["opening"])
        between = np.where(found[:, None], centroid - memory["offset"], np.nan)
        flying = _on_plane(self._camera, between, 0, grip[:, 0])
        # An item that is not seen may be behind the fingers that hold it.
        near = ~found | (np.linalg.norm(flying - grip, axis=1) <= CARRIED)
        memory["held"] = (memory["held"] | around) & closed & near
        place = np.where(memory["held"][:, None], flying, self._standing(np.where(found[:, None], centre, np.nan)))
        memory["item"] = np.where(np.isfinite(place), place, memory["item"])
        return found

    def _fits(self, opening: np.ndarray) -> np.ndarray:
        """Whether fingers so far apart can have the item between them."""
        return np.abs(opening - self.scene.width) <= CLOSED

    def _standing(self, pixel: np.ndarray) -> np.ndarray:
        """Places (B, 3) m of an item that stands on the table where its centre is seen (B, 2)."""
        return _on_plane(self._camera, pixel, 2, np.full(len(pixel), self.scene.centre[2]))

    def _measure(self, memory: dict[str, np.ndarray], found: np.ndarray) -> dict[str, np.ndarray]:
        item, grip, time = memory["item"], _grip(memory), memory["time"]
        apart = item - grip
        lift = found & (item[:, 2] - self.scene.centre[2] >= LIFTED)
        gripped = lift & (np.linalg.norm(apart, axis=1) <= CARRIED)
        moved = np.linalg.norm(apart - memory["held_at"], axis=1) > ATTACHED[0]
        anew = gripped & (moved | np.isinf(memory["held_since"]))
        memory["held_at"] = np.where(anew[:, None], apart, memory["held_at"])
        memory["held_since"] = np.where(gripped, np.where(anew, time, memory["held_since"]), np.inf)
        hold = gripped & (time - memory["held_since"] >= HOLD_DURATION - 1e-9)
        return {
            "gripper_target": memory["target"].copy(),
            "gripper_position": grip,
            "opening": memory["opening"].copy(),
            "position": item[:, None].copy(),
            "found": found,
            "goal_distance": np.linalg.norm(item - np.array(self.scene.goal), axis=1),
            "reach": np.linalg.norm(apart, axis=1) <= NEAR,
            "lift": lift,
            "hold": hold,
            "success": hold,
        }

    def _centre(self, pictures: np.ndarray, memory: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
        """Centre (B, 2) px of the item in pictures (B, H, W, 3); centroid (B, 2) px and mass (B,) px of what is seen.

        What the hand leaves free is not in the middle of the item, so there its outline is laid over it.
        """
        centroid, mass = self._item.seen(pictures)
        centre, before = centroid - memory["offset"], self._camera.project(memory["item"])
        for row in np.flatnonzero((mass > 0.0) & (mass < FREE * memory["area"])):
            centre[row] = self._item.outlined(pictures[row], before[row])
        return centre, centroid, mass


def _grip(memory: Mapping[str, np.ndarray]) -> np.ndarray:
    """Where the grip point can be (B, 3) m, told where it is sent."""
    return np.maximum(memory["target"], (-np.inf, -np.inf, LOWEST))


@functools.lru_cache(maxsize=8)
def front_camera(height: int, width: int) -> Camera:
    """The camera of every grasp, for pictures of that size."""
    model = fetch.fetch_spec(20.0).compile()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return camera_of(model, data, fetch.CAMERA, height, width)


def _on_plane(camera: Camera, pixel: np.ndarray, axis: int, values: np.ndarray) -> np.ndarray:
    """World points (B, 3) m seen at pixels (B, 2) whose coordinate ``axis`` is ``values`` (B,)."""
    rotation, translation = camera.world_to_camera[:3, :3], camera.world_to_camera[:3, 3]
    rays = np.concatenate([pixel, np.ones((len(pixel), 1))], axis=1) @ np.linalg.inv(camera.intrinsics).T @ rotation
    centre = -translation @ rotation
    return centre + ((values - centre[axis]) / rays[:, axis])[:, None] * rays
