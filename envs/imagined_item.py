"""Where an item is in a picture, of which it shows its colour and the hand may hide a part."""

from __future__ import annotations

import itertools
from typing import Any

import mujoco
import numpy as np

from worldmodel.envs.drop_scene import COLOURS
from worldmodel.envs.imagined_readout import centroids
from worldmodel.truth import Camera

SHARE = 0.35  # of the item's colour in a pixel, below which it is taken for noise
FINE, DIRECTIONS = 8, 180  # parts of a pixel's side that its outline is drawn with, and sides that it has
COLOURED = 0.77  # of an outline, in which the item's colour is light enough to be told
SCENERY = ((161.0, 157.0, 149.0), (200.0, 205.0, 211.0), (83.0, 81.0, 77.0))  # table, sky, table in shadow
ALIKE = 24.0  # grey levels, within which a pixel has such a colour
NEARER = 0.01  # of a pixel of outline for each squared pixel by which the item has moved: decides ties


class ItemInSight:
    """An item's colour and its outline where it stands.

    Args:
        scene: with the item's ``shape``, ``size``, ``colour``, ``centre`` and ``quaternion``.
        camera: that looks at it.

    Seen from afar its outline is the same wherever it stands on the table; fallen over it looks about as large.

    Attributes:
        area: pixels in which its colour is seen where nothing hides it, about.
    """

    def __init__(self, scene: Any, camera: Camera) -> None:
        colour = 255.0 * np.array(COLOURS[scene.colour])
        self._chroma = colour - colour.mean()
        self._outline = _outline(scene, camera)
        self.area = COLOURED * float(self._outline.sum())

    def seen(self, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Centroid (B, 2) px and mass (B,) px of the item's colour in pictures (B, H, W, 3)."""
        centroid, mass, _ = centroids(self._shares(pictures))
        return centroid, mass

    def outlined(self, picture: np.ndarray, before: np.ndarray) -> np.ndarray:
        """Where (2,) px the item's outline covers most of its colour and least scenery; other things may hide it."""
        share = self._shares(picture)
        evidence = share - (1.0 - share) * _scenery(picture)
        score = _correlated(evidence, self._outline)
        rows, columns = np.indices(share.shape) + 0.5
        score -= NEARER * ((columns - before[0]) ** 2 + (rows - before[1]) ** 2)
        row, column = divmod(int(np.argmax(score)), score.shape[1])
        return np.array([column + 0.5 + _peak(score[row], column), row + 0.5 + _peak(score[:, column], row)])

    def _shares(self, pictures: np.ndarray) -> np.ndarray:
        """How much of each pixel of pictures (..., H, W, 3) is the item's colour."""
        colours = pictures.astype(np.float32)
        chroma = colours - colours.mean(axis=-1, keepdims=True)
        share = chroma @ self._chroma / (self._chroma @ self._chroma)
        rest = np.linalg.norm(chroma - share[..., None] * self._chroma, axis=-1) / np.linalg.norm(self._chroma)
        share = np.clip(share - 0.5 * rest, 0.0, 1.0)
        return np.where(share >= SHARE, share, 0.0).astype(np.float32)


def _outline(scene: Any, camera: Camera) -> np.ndarray:
    """Shares of pixels that the item covers where it stands, as an odd square around its centre."""
    turn = np.zeros(9)
    mujoco.mju_quat2Mat(turn, np.array(scene.quaternion))
    places = np.array(scene.centre) + _surface(scene) @ turn.reshape(3, 3).T
    around = camera.project(places) - camera.project(np.array(scene.centre))
    side = 2 * int(np.ceil(np.abs(around).max())) + 1
    # Within a convex shape is what lies, in every direction, no farther than its points do.
    angles = np.linspace(0.0, 2.0 * np.pi, DIRECTIONS, endpoint=False)
    ways = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    fine = (np.arange(side * FINE) + 0.5) / FINE - side / 2.0
    grid = np.stack(np.meshgrid(fine, fine), axis=-1)
    inside = (grid @ ways.T <= (around @ ways.T).max(axis=0)).all(axis=-1)
    return inside.reshape(side, FINE, side, FINE).mean(axis=(1, 3))


def _surface(scene: Any) -> np.ndarray:
    """Points (N, 3) m whose convex hull is the item, in its own axes."""
    angles = np.linspace(0.0, 2.0 * np.pi, 24, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    if scene.shape == "box":
        return np.array(list(itertools.product((-1.0, 1.0), repeat=3))) * scene.size
    if scene.shape == "cylinder":
        return np.array([(*(scene.size[0] * xy), z * scene.size[1]) for xy in circle for z in (-1.0, 1.0)])
    ball = np.array([(*(c * xy), s) for c, s in circle for xy in circle]) * scene.size[0]
    ends = (0.0,) if scene.shape == "sphere" else (-scene.size[1], scene.size[1])
    return np.concatenate([ball + np.array((0.0, 0.0, z)) for z in ends])


def _correlated(picture: np.ndarray, outline: np.ndarray) -> np.ndarray:
    """Sums (H, W) of a picture (H, W) under an odd square laid on each pixel; its edges go on beyond them."""
    padded = np.pad(picture, len(outline) // 2, mode="edge")
    spectrum = np.fft.rfft2(padded) * np.conj(np.fft.rfft2(outline, padded.shape))
    sums: np.ndarray = np.fft.irfft2(spectrum, padded.shape)[: picture.shape[0], : picture.shape[1]]
    return sums


def _scenery(picture: np.ndarray) -> np.ndarray:
    """Which pixels of a picture (H, W, 3) are table, lit or in shadow, or sky: what is behind every item."""
    colours = picture.astype(np.float32)
    plain = [np.linalg.norm(colours - np.array(each), axis=-1) <= ALIKE for each in SCENERY]
    warm = colours[..., 0] >= colours[..., 2]  # unlike the hand's grey, which is as dark as a shadow
    return (plain[0] | plain[1] | (plain[2] & warm)).astype(np.float32)


def _peak(values: np.ndarray, index: int) -> float:
    """By how much of a step the peak of samples lies beside the greatest, as a parabola through three has it."""
    if not 0 < index < len(values) - 1:
        return 0.0
    left, middle, right = (float(values[index + step]) for step in (-1, 0, 1))
    curvature = left - 2.0 * middle + right
    return 0.0 if curvature >= 0.0 else float(np.clip(0.5 * (left - right) / curvature, -0.5, 0.5))
