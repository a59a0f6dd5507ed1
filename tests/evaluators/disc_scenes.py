"""Small analytic clips: a coloured disc before a grey scene, with everything known exactly."""

from __future__ import annotations

import numpy as np

from worldmodel.truth import Camera, Truth

SIZE, FPS, FRAMES, GRAVITY = 64, 16.0, 17, 9.81
FOCAL, DEPTH = 100.0, 3.0  # px, m
RADIUS_PX = 5.0


def disc(centres: np.ndarray, colour: tuple[int, int, int] = (200, 40, 40), radius: float = RADIUS_PX) -> np.ndarray:
    """Video (T, 64, 64, 3) uint8 of an antialiased disc at centres (T, 2) px."""
    fine = 8
    grid = (np.arange(SIZE * fine) + 0.5) / fine
    frames = []
    for u, v in centres:
        inside = (grid[None] - u) ** 2 + (grid[:, None] - v) ** 2 < radius**2
        share = inside.reshape(SIZE, fine, SIZE, fine).mean(axis=(1, 3))[..., None]
        frames.append(share * np.array(colour) + (1 - share) * empty())
    return np.rint(frames).astype(np.uint8)


def empty() -> np.ndarray:
    """The scene (64, 64, 3) without its disc: a bluish sky above a grey floor."""
    scene = np.empty((SIZE, SIZE, 3))
    scene[:30], scene[30:] = (186, 194, 204), (150, 147, 142)
    return scene


def masks(centres: np.ndarray, radius: float = RADIUS_PX) -> np.ndarray:
    """Masks (T, 64, 64) bool of the disc."""
    grid = np.arange(SIZE) + 0.5
    return np.stack([(grid[None] - u) ** 2 + (grid[:, None] - v) ** 2 < radius**2 for u, v in centres])


def falling(drop: float, restitution: float = 0.4, frames: int = FRAMES) -> tuple[np.ndarray, float]:
    """Height lost (T,) in metres by a ball dropped from rest, and the time in s of its first landing."""
    time = np.arange(frames) / FPS
    landing = np.sqrt(2 * drop / GRAVITY)
    fallen, start, speed = np.minimum(0.5 * GRAVITY * time**2, drop), landing, GRAVITY * landing
    while speed > 1e-2:
        speed *= restitution
        flight = 2 * speed / GRAVITY
        up = (time >= start) & (time < start + flight)
        since = time[up] - start
        fallen[up] = drop - (speed * since - 0.5 * GRAVITY * since**2)
        start += flight
    return fallen, float(landing)


def truth(drop: float = 0.8, u: float = 30.3) -> Truth:
    """The whole clip of a disc falling straight down in the image plane at ``DEPTH``."""
    fallen, landing = falling(drop)
    zeros = np.zeros((FRAMES, 1, 3))
    radius = RADIUS_PX * DEPTH / FOCAL
    height = drop - fallen + radius
    position = np.stack([np.full(FRAMES, (u - 32.0) * DEPTH / FOCAL), np.full(FRAMES, DEPTH), height], axis=1)
    intrinsics = np.array([[FOCAL, 0, 32.0], [0, FOCAL, 32.0], [0, 0, 1.0]])
    level = np.eye(4)  # the camera looks along y, half a metre below where the disc starts
    level[:3] = [[1, 0, 0, 0], [0, 0, -1, drop + radius - 0.5], [0, 1, 0, 0]]
    camera = Camera(intrinsics, level, SIZE, SIZE)
    centres = camera.project(position)
    return Truth(
        video=disc(centres),
        segmentation=masks(centres).astype(np.uint8),
        time=np.arange(FRAMES) / FPS,
        qpos=position,
        qvel=zeros[:, 0],
        objects=("object",),
        position=position[:, None],
        quaternion=np.tile([1.0, 0, 0, 0], (FRAMES, 1, 1)),
        velocity=zeros,
        angular_velocity=zeros,
        fps=FPS,
        camera=camera,
        scene={"shape": "sphere", "size": (radius, 0.0, 0.0), "colour": "red", "gravity": GRAVITY},
        outcome={"success": False, "impact_time": landing},
    )
