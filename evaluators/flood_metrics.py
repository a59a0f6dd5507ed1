"""What each number of :class:`~worldmodel.evaluators.flood.FloodScore` means and what it must rank.

Still water spills nothing, jumps nowhere and never dries. So these numbers only decide together
with the coverage and the order, in what is valid; alone they tell what went wrong.
"""

from __future__ import annotations

from worldmodel.evaluators.metrics import Metric


def _below_replay(*kinds: str) -> tuple[tuple[str, str], ...]:
    return tuple(("replay", kind) for kind in kinds)


_BROKEN = ("frozen", "reversed", "shuffled", "other_seed", "vanish", "teleport")

METRICS = (
    Metric(
        "valid",
        "Valid",
        "% of clips",
        "share",
        "higher",
        "Pass@1: every disc and channel that the true water fills is filled, the discs from the well through channels, "
        "and no frame has a fault: water that jumps, more than 1 % of the graph's area spilt, more than 1 % of the wet "
        "pixels dried, not registered to the first (2 px, 2 % of scale), structure below 0.95.",
        (*_below_replay(*_BROKEN, "spill"), ("h264", "frozen")),
        factor=100.0,
        digits=1,
    ),
    Metric(
        "valid_last_frame",
        "Valid, last frame",
        "% of clips",
        "share",
        "higher",
        "Valid, and all of it is wet in the last frame.",
        _below_replay(*_BROKEN, "spill"),
        factor=100.0,
        digits=1,
    ),
    Metric(
        "valid_any_frame",
        "Valid, any frame",
        "% of clips",
        "share",
        "higher",
        "All filled in order before the first fault; what happens afterwards does not count.",
        _below_replay("frozen", "reversed", "shuffled", "other_seed", "spill"),
        factor=100.0,
        digits=1,
    ),
    Metric(
        "coverage",
        "Coverage",
        "%",
        "mean",
        "higher",
        "Discs and channels filled, of those that the true water fills in the clip: half of the disc, or of every 2 px "
        "of the channel, wet for 3 frames.",
        _below_replay("frozen", "other_seed"),
        factor=100.0,
        digits=1,
    ),
    Metric(
        "coverage_last_frame",
        "Coverage, last frame",
        "%",
        "mean",
        "higher",
        "The same share, wet in the last frame.",
        _below_replay("frozen", "reversed", "other_seed", "vanish"),
        factor=100.0,
        digits=1,
    ),
    Metric(
        "order",
        "Parent before child",
        "% of discs",
        "mean",
        "higher",
        "Discs, of those that the true water fills, to which it came from the well through channels that filled from "
        "end to end, no part more than 1.5 frames before the last and none at over 3 times the flood's speed. What is "
        "never filled is not in order.",
        _below_replay("frozen", "reversed", "shuffled", "other_seed"),
        factor=100.0,
        digits=1,
    ),
    Metric(
        "fill_time_error_s",
        "Fill time error",
        "s",
        "mean",
        "lower",
        "Of the discs and channels that the true water fills, against the true; where never filled, the clip's length. "
        "At least what is read off MuJoCo's own video.",
        _below_replay("frozen", "half_speed", "reversed", "shuffled", "other_seed"),
        digits=3,
    ),
    Metric(
        "water_iou",
        "Water IoU",
        "",
        "mean",
        "higher",
        "Intersection over union of the water with MuJoCo's, mean over the frames after the first; at most what is "
        "read off MuJoCo's own video.",
        _below_replay(*_BROKEN, "half_speed", "spill"),
        digits=3,
    ),
    Metric(
        "tau_b",
        "Order as distance",
        "tau-b",
        "mean",
        "higher",
        "Kendall's tau-b of the discs' fill times and their distances in the graph, at most the true flood's own; "
        "unfilled discs come last, and it is 0 where all are equal.",
        _below_replay("frozen", "reversed", "shuffled", "other_seed"),
    ),
    Metric(
        "spill",
        "Spill",
        "% of graph",
        "mean",
        "lower",
        "Water farther than 2 px from the graph, in the worst frame, over the graph's area.",
        _below_replay("spill"),
        factor=100.0,
    ),
    Metric(
        "teleports",
        "Teleports",
        "per clip",
        "mean",
        "lower",
        "Pieces of water that appear farther from all earlier water than 3 times the flood's speed and 2 px allow.",
        _below_replay("reversed", "shuffled"),
    ),
    Metric(
        "monotone",
        "Stays wet",
        "% of pixels",
        "mean",
        "higher",
        "Pixels that were ever wet (half of the water's colour) and never dry (a quarter) afterwards.",
        _below_replay("reversed", "shuffled", "vanish"),
        factor=100.0,
        digits=1,
    ),
    Metric(
        "structure",
        "Structure",
        "",
        "mean",
        "higher",
        "Intersection over union of channels and water, taken together, with the true frame's, in the worst frame; "
        "spilt water is left out.",
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
    Metric("front_speed_m_s", "Front speed", "m/s", "median", "none", "Along the channels that filled a disc."),
    Metric("front_speed_cv", "Front speed's spread", "", "median", "none", "Standard deviation over mean, in a clip."),
)
