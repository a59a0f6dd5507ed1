"""The trackers by name; all are a :class:`~worldmodel.evaluators.tracking.Tracker`, so any can stand for another."""

from __future__ import annotations

from worldmodel.evaluators.tracking import Tracker

COLOUR = "colour"
TRACKERS = {
    COLOUR: "objects of a colour of their own; no weights, finds what was lost again",
    "flow": "DIS optical flow; anything that moves by less than its own size a frame",
    "points": "Lucas-Kanade points; rigid parts with corners",
    "sam2": "SAM 2 through transformers; sam2:FOLDER or sam2:HUB_NAME for other weights than the default's",
}


def tracker_of(name: str = COLOUR, device: str = "cpu") -> Tracker:
    """The tracker called ``name``, one of ``TRACKERS``.

    Raises:
        ValueError: there is none of that name, or its weights are not at hand.
    """
    kind, colon, weights = name.partition(":")
    if kind not in TRACKERS or (colon and (kind != "sam2" or not weights)):
        raise ValueError(f"tracker: got {name!r}, expected one of {', '.join(TRACKERS)} or sam2:FOLDER; correct it")
    if kind == "sam2":
        from worldmodel.evaluators.sam2_tracking import DEFAULT, Sam2Tracker

        return Sam2Tracker(weights or DEFAULT, device)
    if kind == COLOUR:
        from worldmodel.evaluators.tracking import track_objects

        return track_objects
    from worldmodel.evaluators.flow_tracking import track_by_flow, track_by_points

    return track_by_flow if kind == "flow" else track_by_points
