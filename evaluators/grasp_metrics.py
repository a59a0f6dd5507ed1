"""What each number of :class:`~worldmodel.evaluators.grasp.GraspScore` means and what it must rank.

Errors are taken against the same tracker's reading of MuJoCo's own video, so that nothing scores
better than that video; how far the tracker itself is from MuJoCo is measured apart.
"""

from __future__ import annotations

from worldmodel.evaluators.grasp_stages import STAGES
from worldmodel.evaluators.metrics import Metric


def _below_replay(*kinds: str) -> tuple[tuple[str, str], ...]:
    return tuple(("replay", kind) for kind in kinds)


_BROKEN = ("frozen", "half_speed", "vanish", "teleport", "reversed", "shuffled", "other_seed")
_WRONG_ARM = ("frozen", "half_speed", "reversed", "shuffled", "other_seed")
_AGREE = (
    "Success as judged from the pixels equals MuJoCo's. Pick: at the end the item is at least 4 cm above its start, "
    "both fingers within 5 mm of it, and for 0.5 s it moved at most 10 mm and 15 degrees in the hand. Place: at rest "
    "(2 cm/s over 0.25 s) within 25 mm of its goal, after a lift, with no finger at it. The turn is seen where the "
    "item shows a long axis: spheres, and boxes and cylinders end-on, turn unseen. An item that is not found with 0.7 "
    "to 1.4 of its area in 95 % of the frames (those that show less than 60 % of it aside) is a failure, and so is one "
    "that moves by more than 5 mm before a finger is at it"
)

_VERDICT = (
    Metric(
        "success_agrees",
        "Success as in MuJoCo",
        "% of clips",
        "share",
        "higher",
        f"{_AGREE}.",
        (*_below_replay(*_BROKEN, "done_anyway"), ("h264", "frozen")),
        factor=100.0,
        digits=1,
    ),
    Metric(
        "false_success",
        "False success",
        "% of failures",
        "share",
        "lower",
        "Share of the clips that fail in MuJoCo which are judged a success, FP / (FP + TN).",
        _below_replay("done_anyway"),
        factor=100.0,
        digits=1,
    ),
    Metric("success", "Success, judged", "% of clips", "share", "none", "As judged from the pixels.", factor=100.0),
    Metric(
        "valid", "Valid", "% of clips", "share", "none", "The item persists, with its colour and size.", factor=100.0
    ),
)

_MEANINGS = {
    "reach": "grip point within 30 mm of the item's centre",
    "contact": "a finger, open or closing, within 5 mm of the item, which at 64 px is less than a pixel",
    "lift": "item at least 40 mm above its start, signed",
    "hold": "lifted between both fingers, open by half the item's width at least, for 0.5 s without moving in the hand",
    "place": "item at rest within 25 mm of its goal",
}
_STAGES = (
    Metric(
        "stage_agreement",
        "Stages as in MuJoCo",
        "% of 5 stages",
        "mean",
        "higher",
        "Share of reach, contact, lift, hold and place that are passed in the video if and only if they are in MuJoCo.",
        _below_replay("frozen", "half_speed", "vanish", "shuffled", "other_seed", "ghost_lift"),
        factor=100.0,
        digits=1,
    ),
    Metric(
        "stage_time_error_ms",
        "Stage time error",
        "ms",
        "mean",
        "lower",
        "Mean absolute difference of the times at which the stages are first passed in the video and in MuJoCo's, as "
        "tracked; a stage that is passed in one of them only costs the length of the clip.",
        _below_replay("frozen", "half_speed", "reversed", "shuffled", "other_seed", "ghost_lift"),
        digits=0,
    ),
    *(
        Metric(
            stage, stage.capitalize(), "% of clips", "share", "none", f"At any time: {_MEANINGS[stage]}.", factor=100.0
        )
        for stage in STAGES
    ),
    Metric("lift_5cm", "Lift 5 cm", "% of clips", "share", "none", "At any time 50 mm above its start.", factor=100.0),
)

_ITEM = (
    Metric(
        "object_error_mm",
        "Item path error",
        "mm",
        "mean",
        "lower",
        "Mean distance in space between the item in the video and in MuJoCo's, as tracked; a frame that has lost it "
        "costs the picture's diagonal at its depth.",
        (*_below_replay(*_BROKEN, "ghost_lift", "knock_off"), ("h264", "frozen")),
        digits=1,
    ),
    Metric(
        "lift_mm",
        "Lift at the end",
        "mm",
        "mean",
        "none",
        "Height, signed, over its start, where last found.",
        digits=1,
    ),
    Metric(
        "lift_error_mm",
        "Lift error",
        "mm",
        "mean",
        "lower",
        "Absolute difference of the signed lifts at the end in the video and in MuJoCo's.",
        _below_replay("frozen", "reversed", "ghost_lift"),
        digits=1,
    ),
    Metric(
        "ghost_motion",
        "Ghost motion",
        "% of clips",
        "share",
        "lower",
        "The item moves by more than 5 mm across the line of sight before a finger is within 5 mm of it.",
        _below_replay("ghost_lift", "knock_off"),
        factor=100.0,
        digits=1,
    ),
    Metric(
        "slip_mm",
        "Slip",
        "mm",
        "median",
        "none",
        "Furthest the item moves in the hand from the grasp to the commanded release; none without a grasp.",
        digits=1,
    ),
    Metric(
        "slip_error_mm",
        "Slip error",
        "mm",
        "mean",
        "lower",
        "Absolute difference of the slips in the video and in MuJoCo's, where it grasps; without a grasp in the video "
        "the item slips by all the way that the hand goes.",
        _below_replay("frozen", "other_seed"),
        digits=1,
    ),
    Metric(
        "identity",
        "Item persists",
        "% of frames",
        "mean",
        "higher",
        "Share of the frames in which the item is found, by its colour, with 0.7 to 1.4 of the area it should show "
        "there, among those in which it is in MuJoCo's video.",
        _below_replay("vanish", "other_seed"),
        factor=100.0,
        digits=1,
    ),
)

_ARM = (
    Metric(
        "arm_error_px",
        "Arm off its command",
        "px",
        "mean",
        "lower",
        "Distance of the tracked grip point from the way that the actions command for the frame, beyond the 5 mm that "
        "the tracker may be off; a frame without a gripper costs the picture's diagonal.",
        _below_replay(*_WRONG_ARM),
    ),
    Metric(
        "gripper_error_mm",
        "Gripper path error",
        "mm",
        "mean",
        "lower",
        "Mean distance between the grip points in the video and in MuJoCo's, as tracked; a frame that has lost it "
        "costs the picture's diagonal at its depth.",
        _below_replay(*_WRONG_ARM),
        digits=1,
    ),
    Metric(
        "opening_error_mm",
        "Opening error",
        "mm",
        "mean",
        "lower",
        "Mean absolute difference of the openings in the video and in MuJoCo's; a frame without one costs 100 mm.",
        _below_replay("frozen"),
        digits=1,
    ),
)

METRICS: tuple[Metric, ...] = (*_VERDICT, *_STAGES, *_ITEM, *_ARM)
