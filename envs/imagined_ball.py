"""Signals of a ball in a graph or maze, read off pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from worldmodel.envs.family import Family, Readings
from worldmodel.envs.imagined_readout import Reading, centroids
from worldmodel.envs.overhead import VIEW

RED = (60.0, 170.0)  # grey levels by which red exceeds the other channels: none and all of a pixel is the ball
LEAST, MOST = 0.3, 3.0  # of the ball's area, within which a red patch is the ball
WIDEST = 2.0  # of the ball's radius of gyration, and a pixel: beyond, it is no ball, or two
FASTER = 1.5  # times as far as the motor allows, and a pixel: beyond, it has not rolled there
LONGEST = 0.5  # s out of sight, beyond which a ball is gone
SUBSTEPS = 8  # points between two frames, at which the way is looked at
_COLUMNS = {"position of ball": slice(0, 3), "velocity of ball": slice(3, 6), "wall on ball": slice(6, 10)}


class BallReadout:
    """Where the ball is, and from it all that :mod:`worldmodel.envs.traversal` or ``maze`` measures.

    Read without a miss from a diameter of 3 px on, which pictures of 64 px have of the default ball.
    ``found`` says whether a ball was seen. Where it was not, it is taken to have stayed until it is seen again: that is
    not ``legal`` if it would have had to leave the ways, rolling straight, or come faster than its motor can drive it,
    or is gone for more than half a second.
    Who wants to know whether it was there all the time asks ``found``.

    Args:
        family: of the scene.
        scene: that the clip began with.
        image_size: height and width of the pictures in pixels.
        fps: frames per second.
    """

    def __init__(self, family: Family, scene: Any, image_size: tuple[int, int], fps: float) -> None:
        self.family, self.scene, self.fps = family, scene, float(fps)
        self.signals = (*family.signals, "position", "velocity", "found")
        self._height, self._width = image_size
        self._radius_px = scene.ball_radius * self._height / VIEW

    def begin(self, observation: Mapping[str, np.ndarray]) -> Reading:
        """The ball as seen in ``pixels`` (H, W, 3); at the scene's start where it is not."""
        memory = {name: np.asarray(value)[None] for name, value in self.family.memory(self.scene).items()}
        if "channels" in memory:  # the ball may be half a pixel beyond their rims
            width = self.scene.channel_width
            memory["channels"] = (
                memory["channels"] * np.array([1.0, width / (width + VIEW / self._height)])[:, None, None]
            )
            memory["apart"] = np.zeros(1, bool)
        place, found = self._locate(np.asarray(observation["pixels"])[None, None])
        if found[0, 0]:
            memory["ball"] = place[:, 0]
        return Reading({**memory, "time": np.zeros(1), "unseen": 1.0 - found[:, 0]})

    def read(self, reading: Reading, video: np.ndarray, actions: np.ndarray) -> tuple[Reading, dict[str, np.ndarray]]:
        """Every signal of the family, ``position`` (B, n, 1, 3) m, ``velocity`` m/s and ``found``."""
        places, found = self._locate(video)
        memory, frames = dict(reading.memory), []
        time, unseen = memory.pop("time"), memory.pop("unseen")
        for place, seen in zip(places.swapaxes(0, 1), found.T, strict=True):
            time = time + 1.0 / self.fps
            before = memory["ball"]
            here = np.where(seen[:, None], place, before)
            possible = FASTER * self.scene.max_speed * np.sqrt(2.0) * (1.0 + unseen) / self.fps + VIEW / self._height
            unseen = np.where(seen, 0.0, unseen + 1.0)
            rolled = np.linalg.norm(here - before, axis=1) <= possible
            readings = self._readings(before, here, time)
            signals = self.family.measure(readings, memory)
            signals["legal"] = signals["legal"] & rolled & (unseen <= LONGEST * self.fps)
            poses = {name: readings[f"{name} of ball"][:, None] for name in ("position", "velocity")}
            frames.append({**signals, **poses, "found": seen})
        signals = {name: np.stack([frame[name] for frame in frames], axis=1) for name in frames[0]}
        return Reading({**memory, "time": time, "unseen": unseen}), signals

    def observe(self, signals: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """``agent_pos`` (B, n, 4): x, y in metres and their velocities in m/s."""
        position, velocity = signals["position"][:, :, 0, :2], signals["velocity"][:, :, 0, :2]
        return {"agent_pos": np.concatenate([position, velocity], axis=-1)}

    def _locate(self, video: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Places (B, n, 2) in metres of the ball in a video (B, n, H, W, 3), and whether there is one (B, n)."""
        colours = video.astype(np.float32)
        excess = colours[..., 0] - np.maximum(colours[..., 1], colours[..., 2])
        centre, mass, spread = centroids(np.clip((excess - RED[0]) / (RED[1] - RED[0]), 0.0, 1.0))
        area = np.pi * self._radius_px**2
        whole = (mass >= LEAST * area) & (mass <= MOST * area)
        one = np.nan_to_num(spread, nan=np.inf) <= WIDEST * self._radius_px / np.sqrt(2.0) + 1.0
        pixel = VIEW / self._height
        x, y = (centre[..., 0] - self._width / 2.0) * pixel, (self._height / 2.0 - centre[..., 1]) * pixel
        return np.stack([x, y], axis=-1), whole & one

    def _readings(self, before: np.ndarray, here: np.ndarray, time: np.ndarray) -> Readings:
        """As the sensors would say of a ball that rolls straight from places (B, 2) to places (B, 2)."""
        share = np.arange(SUBSTEPS)[:, None] / SUBSTEPS
        way = before[:, None] + share * (here - before)[:, None]
        height = self.scene.ball_radius
        velocity = (here - before) * self.fps

        def columns(places: np.ndarray) -> np.ndarray:
            values = np.zeros((*places.shape[:-1], 10))
            values[..., :2], values[..., 2] = places, height
            values[..., 3:5] = velocity if places.ndim == 2 else velocity[:, None]
            return values

        return Readings(time, columns(here), columns(way), _COLUMNS, 1.0 / (self.fps * SUBSTEPS))
