"""What happens at the floor: restitution, energy from nowhere, and sinking in."""

from __future__ import annotations

import numpy as np

from worldmodel.evaluators.falling import CLEAR, TrackedFall, TrueFall, surface_distances
from worldmodel.truth import Truth

CLEAN = 2  # frames after that of the landing in which the object must touch nothing for a bounce to be one


def true_restitution(truth: Truth, fall: TrueFall) -> float:
    """Vertical speed after the first landing over that before, of the centre of mass.

    The paths before and after are continued to where they meet, as a tracker has to do that
    sees no contact between two frames. nan if nothing lands, if contacts follow each other so
    soon that there is no flight to measure, if it meets another object around its landing, or
    if it lands on something that is not level.
    """
    if np.isnan(fall.impact) or fall.gravity <= 0 or truth.scene.get("support", "none") == "ramp":
        return float("nan")
    touched = np.asarray(truth.signals.get("contact", np.zeros(len(truth), bool)))
    met = np.asarray(truth.signals.get("collisions", np.zeros((len(truth), 1), bool)))[:, 0]
    landing = int(np.floor(fall.impact * truth.fps + 1e-9)) + 1  # the first frame after it
    flight, end = landing + 1, landing + CLEAN + 1
    if end > len(truth) or touched[flight:end].any() or met[landing - 1 : end].any():
        return float("nan")
    g, since = fall.gravity, flight / truth.fps - fall.impact
    frame = int(fall.impact * truth.fps)
    before = -float(truth.velocity[frame, 0, 2]) + g * (fall.impact - frame / truth.fps)
    after = float(truth.velocity[flight, 0, 2]) + g * since
    offset = float(truth.position[flight, 0, 2]) - after * since + g * since**2 / 2
    meet = (fall.contact_height - offset) / (after + before)
    return float((after - g * meet) / (before + g * meet))


def energy_gain(tracked: TrackedFall, fall: TrueFall, fps: float) -> float:
    """Energy that a clip adds to the object, as a share of what the fall can give: max E(t) - E(0) over m g h.

    E / (m g) = z + v^2 / (2 g), v from the frames before and after where no contact is possible
    between them, which is exact for a parabola; elsewhere z alone, a lower bound. Only what
    exceeds ``CLEAR`` standard errors counts, so that noise adds no energy. nan if nothing falls.
    """
    if not fall.drop > 0 or np.isnan(fall.start):
        return float("nan")
    since = tracked.time >= fall.start - 1e-9
    z, g = tracked.height, fall.gravity
    velocity = np.full_like(tracked.position, np.nan)
    velocity[1:-1] = (tracked.position[2:] - tracked.position[:-2]) * fps / 2
    inside = tracked.unbroken & np.concatenate([tracked.unbroken[1:], [False]])
    speed = np.where(inside, np.linalg.norm(velocity, axis=1), 0.0)
    noise = np.sqrt(tracked.turned**2 + tracked.sigma**2 * (1.0 + (speed * fps / g) ** 2 / 2))
    gain = (z + speed**2 / (2 * g) - fall.energy_height - CLEAR * noise)[since & np.isfinite(z)]
    return float(max(0.0, gain.max(initial=0.0)) / fall.drop)


def penetration(tracked: TrackedFall, truth: Truth) -> float:
    """How far in metres the object sinks at least into the floor, more than it does in MuJoCo.

    A centre of mass that is lower than the smallest distance of the surface from it has part of
    the object under the floor however it is turned, so no orientation is needed, and what is
    found is a lower bound. MuJoCo's own contacts give way, by centimetres in a hard landing:
    its deepest frame is allowed, and ``CLEAR`` standard errors. nan where a support stands on the floor, which is sunk
    into above it.
    """
    if truth.scene.get("support", "none") != "none":
        return float("nan")
    least, _ = surface_distances(truth)
    allowed = min(least, float(truth.position[:, 0, 2].min()))
    sunk = allowed - CLEAR * np.hypot(tracked.sigma, tracked.turned) - tracked.height
    return float(max(0.0, np.nanmax(sunk, initial=0.0)))
