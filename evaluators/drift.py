"""How far the background has slid, turned or grown: a similarity fitted to its pixels, frame by frame.

Inverse compositional alignment (Baker and Matthews 2004) of the textured background pixels, with a
gain and an offset of the light, so that a change of tone is no motion. A direction in which the
background has no texture cannot be seen, and counts as held.
"""

from __future__ import annotations

from functools import cached_property

import cv2
import numpy as np

from worldmodel.evaluators.regions import TEXTURE

MIN_POINTS, MAX_POINTS = 30, 2000
STEPS = 20  # of the fit, at most
CLOSE = 0.03  # px: a step this short ends the fit
BLURS = (1.0, 3.0, 6.0)  # px; the wider ones only where the background is lost without them
SEEN = 0.05  # of the strongest direction's information: a weaker one cannot be seen
FOUND = 0.7  # correlation with the reference: below, the background is lost


class Template:
    """The textured pixels of a reference picture, ready to be found in others.

    Args:
        reference: (H, W) grey picture.
        region: (H, W) bool, its background.
        blur: standard deviation in px of the Gaussian that both pictures are smoothed with.
    """

    def __init__(self, reference: np.ndarray, region: np.ndarray, blur: float) -> None:
        self.blur = blur
        smooth = self._smooth(reference)
        du, dv = (cv2.Sobel(smooth, cv2.CV_32F, *order, scale=1 / 8) for order in ((1, 0), (0, 1)))
        v, u = np.nonzero(_away_from_others(region) & (np.hypot(du, dv) * max(1.0, blur) >= TEXTURE))
        every = max(1, len(u) // MAX_POINTS)
        v, u = v[::every], u[::every]
        self.points = np.stack([u, v, np.ones_like(u)]).astype(np.float64)  # (3, n), pixel indices
        self.values = smooth[v, u].astype(np.float64)
        self.centre = np.array([(reference.shape[1] - 1) / 2, (reference.shape[0] - 1) / 2])
        self.size = reference.shape[0] / 2
        self.textured = len(u) >= MIN_POINTS
        if self.textured:
            self._prepare(du[v, u], dv[v, u])

    def find(self, picture: np.ndarray, warp: np.ndarray) -> tuple[np.ndarray, float]:
        """Similarity (3, 3) from reference to picture pixels, starting at ``warp``, and the correlation reached."""
        smooth = self._smooth(picture)
        for _ in range(STEPS):
            seen, inside = self._look(smooth, warp)
            residual = self._without_light(np.where(inside, seen - self.values, 0.0))
            bound = max(4.0, 3.0 * float(np.abs(residual).mean()))  # what is not background must not pull
            step = self._similarity(self.solve @ np.clip(residual, -bound, bound))
            length = np.abs((step @ self.points - self.points)[:2]).max()
            if not length < self.size:
                return warp, 0.0
            warp = warp @ np.linalg.inv(step)
            if length < CLOSE:
                break
        seen, inside = self._look(smooth, warp)
        return warp, _correlation(seen[inside], self.values[inside])

    def distance(self, warp: np.ndarray) -> float:
        """Mean distance in px by which a warp moves the points."""
        return float(np.linalg.norm((warp @ self.points - self.points)[:2], axis=0).mean())

    def _prepare(self, gu: np.ndarray, gv: np.ndarray) -> None:
        """Solve for the motion once for all pictures, from the slopes (n,) at the points."""
        x, y = (self.points[:2] - self.centre[:, None]) / self.size
        contrast = (self.values - self.values.mean()) / max(self.values.std(), 1e-6)
        self.light = np.stack([contrast, np.ones_like(contrast)])  # (2, n), orthogonal
        motion = self._without_light(np.stack([gu, gv, gu * x + gv * y, gv * x - gu * y]))
        strength, directions = np.linalg.eigh(motion @ motion.T)
        kept = strength > SEEN * strength[-1]  # the others would be filled with noise
        self.solve = directions[:, kept] / strength[kept] @ directions[:, kept].T @ motion  # (4, n)

    def _without_light(self, values: np.ndarray) -> np.ndarray:
        """Values (..., n) less what a gain and an offset of the reference explain."""
        return values - (values @ self.light.T / values.shape[-1]) @ self.light

    def _smooth(self, picture: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(picture.astype(np.float32), (0, 0), self.blur)

    def _look(self, picture: np.ndarray, warp: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What a picture shows (n,) where the warp puts the points, and which of these are inside of it."""
        u, v, _ = (warp @ self.points).astype(np.float32)
        seen = cv2.remap(picture, u[None], v[None], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[0]
        height, width = picture.shape
        return seen.astype(np.float64), (u >= 0) & (v >= 0) & (u <= width - 1) & (v <= height - 1)

    def _similarity(self, p: np.ndarray) -> np.ndarray:
        """(3, 3) of p = (du, dv, growth, turn), all in px at half the height from the centre."""
        a, b = p[2] / self.size, p[3] / self.size
        linear = np.array([[1 + a, -b], [b, 1 + a]])
        offset = p[:2] + self.centre - linear @ self.centre
        return np.vstack([np.column_stack([linear, offset]), [0.0, 0.0, 1.0]])


class Background:
    """A reference picture (H, W), grey, whose ``region`` (H, W) bool is looked for in others."""

    def __init__(self, reference: np.ndarray, region: np.ndarray) -> None:
        self.reference, self.region = reference, region
        self.sharp = Template(reference, region, BLURS[0])

    @cached_property
    def blurred(self) -> list[Template]:
        """Templates that reach further, the widest first."""
        templates = [Template(self.reference, self.region, blur) for blur in reversed(BLURS[1:])]
        return [template for template in templates if template.textured]

    def find(self, picture: np.ndarray, warp: np.ndarray) -> np.ndarray | None:
        """Similarity (3, 3) from reference to picture pixels, looked for around ``warp``; None where it is lost."""
        if np.array_equal(picture[self.region], self.reference[self.region]):
            return np.eye(3)
        found, likeness = self.sharp.find(picture, warp)
        if likeness < FOUND:
            found = warp
            for template in self.blurred:
                found, _ = template.find(picture, found)
            found, likeness = self.sharp.find(picture, found)
        return found if likeness >= FOUND else None


def background_drift(video: np.ndarray, reference: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Mean distance (T,) in px by which the background of each frame is off its place in the reference.

    Args:
        video: (T, H, W) uint8, grey.
        reference: (T, H, W) or (1, H, W) uint8, grey; one frame where the camera stands still.
        region: (T, H, W) or (1, H, W) bool, background pixels of the reference.

    Returns:
        Frames whose background is not found again are charged the picture's height; nan where
        the reference has no texture.
    """
    distances, warp = np.full(len(video), np.nan), np.eye(3)
    for t, frame in enumerate(video):
        if t < len(reference):
            place = Background(reference[t], region[t])
        if not place.sharp.textured:
            continue
        found = place.find(frame, warp)
        warp = np.eye(3) if found is None else found
        lost = float(len(frame))
        distances[t] = lost if found is None else min(lost, place.sharp.distance(found))
    return distances


def _away_from_others(region: np.ndarray) -> np.ndarray:
    """The part of a region that the narrowest Gaussian does not mix with anything else."""
    reach = round(8 * BLURS[0]) + 1
    return cv2.erode(region.astype(np.uint8), np.ones((reach, reach), np.uint8)).astype(bool)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    if len(a) < MIN_POINTS:
        return 0.0
    a, b = a - a.mean(), b - b.mean()
    norm = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / norm) if norm else 0.0
