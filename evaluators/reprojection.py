"""Where the pixels of the first frame must go when the camera, its path and the first depth are known.

A pixel at depth z is the point X = T_0^-1 (z K_0^-1 (u, v, 1)) of the world; what stands still appears at
K_t T_t X in frame t. The motion so predicted is exact, so the error is the video's and the flow's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from worldmodel.evaluators.checks import check_mask
from worldmodel.evaluators.motion import dis_flow, flow_length
from worldmodel.evaluators.regions import TEXTURE, slope
from worldmodel.truth import Camera

NEARER = 0.98  # of a point's depth: what is nearer hides it


@dataclass(frozen=True)
class Reprojection:
    """Mean over the frames after the first and the pixels that both show; nan where there are none."""

    error_px: float  # of textured pixels: length of the DIS flow that is left once the predicted motion is undone
    mae: float  # grey levels, |frame t where the pixel should be - frame 0|, RGB


def reprojection(video: np.ndarray, depth: np.ndarray, cameras: Sequence[Camera], scenery: np.ndarray) -> Reprojection:
    """Hold a video against the motion that its camera and the first depth predict.

    Every frame is brought back to the first one's view; what still differs there is error. So the
    flow that is measured is small, however far the camera goes.

    Args:
        video: (T, H, W, 3) uint8.
        depth: (H, W) m along the optical axis of frame 0.
        cameras: T cameras, one a frame.
        scenery: (T, H, W) bool, pixels that show what stands still in the world.
    """
    _check(video, depth, cameras, scenery)
    first = cv2.cvtColor(video[0], cv2.COLOR_RGB2GRAY)
    kept, back, difference = [], [], 0.0
    for t in range(1, len(video)):
        if t == 1 or cameras[t] is not cameras[t - 1]:
            target, seen = reproject(depth, cameras[0], cameras[t])
            maps = _indices(target)
        there = cv2.remap(scenery[t].view(np.uint8), *maps, cv2.INTER_NEAREST)
        kept.append((seen & scenery[0] & (there > 0)).view(np.uint8))
        frame = cv2.remap(video[t], *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        difference += cv2.norm(frame, video[0], cv2.NORM_L1, mask=kept[-1]) / 3
        back.append(cv2.copyTo(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), kept[-1], first.copy()))
    flows = dis_flow((first, picture) for picture in back)
    textured = [mask & (slope(first) >= TEXTURE) for mask in kept]
    error = sum(
        float(flow_length(flow)[mask > 0].sum(dtype=np.float64)) for flow, mask in zip(flows, textured, strict=True)
    )
    return Reprojection(_share(error, textured), _share(difference, kept))


def reproject(depth: np.ndarray, camera: Camera, later: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Where the pixels of one picture appear in a later one, (u, v) (H, W, 2), and which are seen there, (H, W).

    Not seen is what leaves the picture, comes behind the camera, or lies behind another of the points.
    """
    rays = np.concatenate([_centres(depth.shape), np.ones((*depth.shape, 1))], axis=-1)
    in_camera = rays @ np.linalg.inv(camera.intrinsics).T * depth[..., None]
    rotation, translation = camera.world_to_camera[:3, :3], camera.world_to_camera[:3, 3]
    world = (in_camera - translation) @ rotation
    ahead = later.depth(world)
    with np.errstate(divide="ignore", invalid="ignore"):
        target = later.project(world)
    u, v = np.moveaxis(target, -1, 0)
    seen = (ahead > 0) & (u >= 0) & (v >= 0) & (u < later.width) & (v < later.height)
    column, row = u[seen].astype(int), v[seen].astype(int)
    nearest = np.full((later.height, later.width), np.inf, np.float32)
    np.minimum.at(nearest, (row, column), ahead[seen].astype(np.float32))
    # Spread-out points leave gaps between them through which no other may be seen.
    unbroken = np.asarray(cv2.medianBlur(nearest, 3))
    seen[seen] = unbroken[row, column] >= NEARER * ahead[seen]
    return target, seen


def _share(total: float, masks: list[np.ndarray]) -> float:
    count = sum(int(mask.sum()) for mask in masks)
    return total / count if count else float("nan")


def _centres(shape: tuple[int, ...]) -> np.ndarray:
    v, u = np.indices(shape) + 0.5
    return np.stack([u, v], axis=-1)


def _indices(target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """OpenCV's maps (H, W) of pixel coordinates: there pixel (0, 0) has its centre at the origin."""
    shifted = (target - 0.5).astype(np.float32)
    return shifted[..., 0], shifted[..., 1]


def _check(video: np.ndarray, depth: np.ndarray, cameras: Sequence[Camera], scenery: np.ndarray) -> None:
    if depth.shape != video.shape[1:3] or not np.isfinite(depth).all() or not (depth > 0).all():
        raise ValueError(
            f"depth: got shape {depth.shape} with values from {np.min(depth)}, expected {video.shape[1:3]} and finite "
            "metres above 0; pass the depth of frame 0"
        )
    if len(cameras) != len(video):
        raise ValueError(f"cameras: got {len(cameras)}, expected {len(video)}, one a frame; repeat one that stands")
    for camera in cameras:
        if (camera.height, camera.width) != video.shape[1:3]:
            raise ValueError(
                f"cameras: got one of {camera.height} x {camera.width} px, expected {video.shape[1]} x "
                f"{video.shape[2]} as in video; scale its intrinsics"
            )
    check_mask("scenery", scenery, video.shape[:3])
