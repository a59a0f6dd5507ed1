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
from worldmodel.envs.drop_scene import COLOURS
from worldmodel.envs.family import Family
from worldmodel.envs.grasp import ATTACHED, HOLD_DURATION, LIFTED, NEAR
from worldmodel.envs.imagined_readout import Reading, centroids
from worldmodel.envs.rendering import camera_of
from worldmodel.truth import Camera

SHARE = 0.35  # of the item's colour in a pixel, below which it is taken for noise
LEAST, MOST = 0.25, 2.5  # of the first area, within which a patch of the item's colour is the item
IN_AIR = 0.02  # m, above the table's reading from which an item is read as carried
CARRIED = 0.05  # m, from the grip point within which an item can be carried


class GraspReadout:
    """Gripper and item in metres, the item's lift, and whether it is held.

    ``success`` is that of picking: the item has been lifted near the grip point, without moving from it, for half a
    second. Contacts cannot be seen, so false successes of an item that rises by itself are refused only where it is
    not at the gripper.

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
        colour = 255.0 * np.array(COLOURS[scene.colour])
        self._chroma = colour - colour.mean()

    def begin(self, observation: Mapping[str, np.ndarray]) -> Reading:
        """The gripper as ``agent_pos`` (4,) has it, and the item as ``pixels`` (H, W, 3) show it."""
        gripper = np.asarray(observation["agent_pos"], np.float64)
        centre, mass, _ = self._seen(np.asarray(observation["pixels"])[None])
        expected = self._camera.project(np.array(self.scene.centre))
        standing = bool(np.isfinite(centre).all() and np.linalg.norm(centre[0] - expected) < 3.0)
        return Reading(
            {
                "time": np.zeros(1),
                "target": gripper[None, :3],
                "opening": gripper[None, 3],
                "item": np.array(self.scene.centre)[None],
                # What the first picture shows beside the projected centre, it shows later too.
                "offset": (centre - expected) if standing else np.zeros((1, 2)),
                "area": np.maximum(mass, 1.0),
                "held_at": np.zeros((1, 3)),
                "held_since": np.full(1, np.inf),
            }
        )

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
        around = np.linalg.norm(memory["item"] - memory["target"], axis=1) <= NEAR
        memory["opening"] = np.where(around, np.maximum(opening, self.scene.width), opening)

    def _follow(self, memory: dict[str, np.ndarray], pictures: np.ndarray) -> np.ndarray:
        """Where the item is seen (B, H, W, 3), on the table or carried at the gripper's depth; whether it is."""
        centre, mass, _ = self._seen(pictures)
        found = (mass >= LEAST * memory["area"]) & (mass <= MOST * memory["area"])
        pixel = np.where(found[:, None], centre - memory["offset"], np.nan)
        standing = _on_plane(self._camera, pixel, 2, np.full(len(pixel), self.scene.centre[2]))
        flying = _on_plane(self._camera, pixel, 0, memory["target"][:, 0])
        near = np.linalg.norm(flying - memory["target"], axis=1) <= CARRIED
        carried = near & (flying[:, 2] - self.scene.centre[2] >= IN_AIR)
        place = np.where(carried[:, None], flying, standing)
        memory["item"] = np.where(np.isfinite(place), place, memory["item"])
        return found

    def _measure(self, memory: dict[str, np.ndarray], found: np.ndarray) -> dict[str, np.ndarray]:
        item, grip, time = memory["item"], memory["target"], memory["time"]
        apart = item - grip
        lift = found & (item[:, 2] - self.scene.centre[2] >= LIFTED)
        gripped = lift & (np.linalg.norm(apart, axis=1) <= CARRIED)
        moved = np.linalg.norm(apart - memory["held_at"], axis=1) > ATTACHED[0]
        anew = gripped & (moved | np.isinf(memory["held_since"]))
        memory["held_at"] = np.where(anew[:, None], apart, memory["held_at"])
        memory["held_since"] = np.where(gripped, np.where(anew, time, memory["held_since"]), np.inf)
        hold = gripped & (time - memory["held_since"] >= HOLD_DURATION - 1e-9)
        return {
            "gripper_target": grip.copy(),
            "gripper_position": grip.copy(),
            "opening": memory["opening"].copy(),
            "position": item[:, None].copy(),
            "found": found,
            "goal_distance": np.linalg.norm(item - np.array(self.scene.goal), axis=1),
            "reach": np.linalg.norm(apart, axis=1) <= NEAR,
            "lift": lift,
            "hold": hold,
            "success": hold,
        }

    def _seen(self, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Centroid (B, 2) px, mass (B,) px and radius (B,) px of the item's colour in pictures (B, H, W, 3)."""
        colours = pictures.astype(np.float32)
        chroma = colours - colours.mean(axis=-1, keepdims=True)
        share = chroma @ self._chroma / (self._chroma @ self._chroma)
        rest = np.linalg.norm(chroma - share[..., None] * self._chroma, axis=-1) / np.linalg.norm(self._chroma)
        share = np.clip(share - 0.5 * rest, 0.0, 1.0)
        return centroids(np.where(share >= SHARE, share, 0.0))


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
