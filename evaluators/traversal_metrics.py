"""What each number of :class:`~worldmodel.evaluators.traversal.TraversalScore` means and what it must rank.

A ball that stands still breaks no rule, and one that goes through walls reaches any goal. So
goals count up to the first fault only, and what a frozen clip is perfect at only describes.
"""

from __future__ import annotations

from worldmodel.evaluators.metrics import Metric


def _below_replay(*kinds: str) -> tuple[tuple[str, str], ...]:
    return tuple(("replay", kind) for kind in kinds)


_NO_COURSE = ("frozen", "reversed", "shuffled", "other_seed", "wall_crossing")  # fail from the first moves on
_BROKEN = (*_NO_COURSE, "vanish", "teleport")

METRICS = (
    Metric(
        "valid",
        "Valid",
        "% of clips",
        "share",
        "higher",
        "Pass@1: all goals visited, in their order where there is one, and no fault in the whole clip: no move through "
        "a wall, no teleport (1.5 times what the motor allows, and a pixel), no ball lost or doubled in more than 2 "
        "frames in a row, every frame registered to the first (2 px, 2 % of scale), the floor kept (IoU 0.95).",
        (*_below_replay(*_BROKEN), ("h264", "frozen")),
        factor=100.0,
        digits=1,
    ),
    Metric(
        "valid_last_frame",
        "Valid, last frame",
        "% of clips",
        "share",
        "higher",
        "Valid, and the ball is in the goal in the last frame.",
        _below_replay(*_BROKEN),
        factor=100.0,
        digits=1,
    ),
    Metric(
        "valid_any_frame",
        "Valid, any frame",
        "% of clips",
        "share",
        "higher",
        "All goals visited before the first fault; what happens afterwards does not count.",
        _below_replay(*_NO_COURSE),
        factor=100.0,
        digits=1,
    ),
    Metric(
        "success_agrees",
        "Success as in MuJoCo",
        "% of clips",
        "share",
        "higher",
        "Valid up to some frame just where the true clip succeeds.",
        _below_replay(*_NO_COURSE, "done_anyway"),
        factor=100.0,
        digits=1,
    ),
    Metric(
        "false_success",
        "False success",
        "% of failures",
        "share",
        "lower",
        "Share of the clips that fail in MuJoCo which are valid up to some frame, FP / (FP + TN).",
        _below_replay("done_anyway"),
        factor=100.0,
        digits=1,
    ),
    Metric(
        "coverage",
        "Coverage",
        "% of goals",
        "mean",
        "higher",
        "Goals visited before the first fault.",
        _below_replay(*_NO_COURSE),
        factor=100.0,
        digits=1,
    ),
    Metric(
        "order",
        "In order",
        "% of goals",
        "mean",
        "higher",
        "Goals visited in their order before the first fault; the coverage where any order counts.",
        _below_replay(*_NO_COURSE),
        factor=100.0,
        digits=1,
    ),
    Metric(
        "spl",
        "SPL",
        "",
        "mean",
        "higher",
        "Success weighted by path length, S l / max(p, l) (Anderson et al. 2018, arXiv 1807.06757), of what is valid "
        "up to some frame.",
        _below_replay(*_NO_COURSE),
        digits=3,
    ),
    Metric(
        "place_agreement",
        "Places as in MuJoCo",
        "%",
        "mean",
        "higher",
        "Discs or cells visited before the first fault against the true ball's: intersection over union.",
        _below_replay(*_NO_COURSE),
        factor=100.0,
        digits=1,
    ),
    Metric(
        "path_error_px",
        "Path error",
        "px",
        "mean",
        "lower",
        "Distance from the true ball, mean over the frames after the first; where lost, the picture's diagonal.",
        _below_replay(*_BROKEN, "half_speed"),
    ),
    Metric(
        "path_error_cm",
        "Path error",
        "cm",
        "mean",
        "lower",
        "The same on the floor.",
        _below_replay(*_BROKEN, "half_speed"),
    ),
    Metric(
        "crossings",
        "Wall crossings",
        "per clip",
        "mean",
        "lower",
        "Moves from frame to frame that pass the centre line of a wall.",
        _below_replay("wall_crossing", "shuffled", "reversed"),
    ),
    Metric(
        "teleports",
        "Teleports",
        "per clip",
        "mean",
        "lower",
        "Moves longer than 1.5 times what the motor allows, and a pixel.",
        _below_replay("teleport", "shuffled", "reversed"),
    ),
    Metric(
        "missing",
        "No ball",
        "% of frames",
        "mean",
        "lower",
        "Frames after the first without a quarter of the ball's colour in a disc of its size, or 15 % where it can be.",
        _below_replay("vanish"),
        factor=100.0,
    ),
    Metric(
        "doubled",
        "Two balls",
        "% of frames",
        "mean",
        "lower",
        "Frames with another place where 40 % of the ball's colour is in a disc of its size.",
        _below_replay("twin"),
        factor=100.0,
    ),
    Metric(
        "structure",
        "Structure",
        "",
        "mean",
        "higher",
        "Least intersection over union, over the frames, of what is as light as the floor with the first frame's.",
        _below_replay("other_seed"),
        digits=3,
    ),
    Metric(
        "registered",
        "Registered",
        "% of clips",
        "share",
        "higher",
        "A similarity fitted to the corners leaves a median residual of at most 2 px and changes scale by at most 2 %, "
        "in every frame.",
        _below_replay("zooming"),
        factor=100.0,
        digits=1,
    ),
    Metric("camera_moved_px", "Camera moved", "px", "mean", "none", "Most that the similarity moves the picture."),
    Metric("legal_moves", "Legal moves", "%", "mean", "none", "A frozen ball makes no illegal one.", factor=100.0),
    Metric("clearance_mm", "Clearance", "mm", "median", "none", "Least gap between the ball's rim and a wall's face."),
    Metric("path_length_m", "Path length", "m", "mean", "none", "Up to the last goal or the first fault."),
)
