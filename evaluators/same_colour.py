"""Which of several regions of one colour is which object: by where each is expected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

MERGED = 0.6  # of the objects' areas together: a region at least this large can hold them all


class Region(NamedTuple):
    """Connected pixels of a colour; n pixels."""

    rows: np.ndarray  # (n,) int
    columns: np.ndarray  # (n,) int
    members: np.ndarray  # (n,) membership

    @property
    def weight(self) -> float:
        """Sum of memberships, an area in pixels."""
        return float(self.members.sum())

    @property
    def centre(self) -> np.ndarray:
        """Centroid (2,), (row, column)."""
        return np.array([self.members @ self.rows, self.members @ self.columns]) / self.weight


class Expectation:
    """Where the K objects of one colour should be in the next frame, in (row, column) px: they keep their velocity."""

    def __init__(self, centres: np.ndarray) -> None:
        self.centres = np.asarray(centres, dtype=np.float64)  # (K, 2)
        self._last, self._before = self.centres.copy(), np.full_like(self.centres, np.nan)

    def update(self, found: Sequence[Region | None]) -> None:
        """Learn where the objects are in a frame; one that is lost is expected where it was last."""
        now = np.array([(np.nan, np.nan) if region is None else region.centre for region in found])
        velocity = np.where(np.isfinite(now - self._before), now - self._before, 0.0)
        self._last = np.where(np.isfinite(now), now, self._last)
        self._before = now
        self.centres = self._last + velocity


def divide(expected: np.ndarray, areas: np.ndarray, regions: Sequence[Region]) -> list[Region | None]:
    """The region of each of K objects, or None where there is none.

    The regions are dealt out so that the sum of distances to where the objects are expected,
    (K, 2) px, is least. An object that goes without shares the nearest region if that touches
    its expected place and is large enough for both; each pixel then goes to the nearest object.
    """
    if not regions:
        return [None] * len(areas)
    centres = np.array([region.centre for region in regions])
    distances = np.linalg.norm(expected[:, None] - centres[None], axis=2)
    claims: list[list[int]] = [[] for _ in regions]
    for owner, which in zip(*linear_sum_assignment(distances), strict=True):
        claims[which].append(int(owner))
    for owner in set(range(len(areas))) - {one for each in claims for one in each}:
        gaps = [np.hypot(r.rows - expected[owner, 0], r.columns - expected[owner, 1]).min() for r in regions]
        which = int(np.argmin(gaps))
        together = areas[owner] + sum(areas[other] for other in claims[which])
        if gaps[which] <= np.sqrt(areas[owner] / np.pi) and regions[which].weight >= MERGED * together:
            claims[which].append(owner)
    found: list[Region | None] = [None] * len(areas)
    for region, owners in zip(regions, claims, strict=True):
        if not owners:  # more regions than objects
            continue
        for owner, part in zip(owners, _split(region, expected[owners], areas[owners]), strict=True):
            found[owner] = part
    return found


def _split(region: Region, expected: np.ndarray, areas: np.ndarray) -> list[Region | None]:
    """Parts of a region nearest to each of its owners, who are moved together so that they lie on it."""
    if len(expected) == 1:
        return [region]
    centres = expected + region.centre - areas @ expected / areas.sum()
    rows, columns = region.rows[:, None] - centres[:, 0], region.columns[:, None] - centres[:, 1]
    nearest = np.hypot(rows, columns).argmin(axis=1)
    parts = [Region(*(each[nearest == owner] for each in region)) for owner in range(len(expected))]
    return [part if len(part.rows) else None for part in parts]
