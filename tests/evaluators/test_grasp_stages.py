"""Stages from tracks made by hand: closed forms of gaps, and what each threshold is for."""

from dataclasses import replace

import numpy as np
import pytest

from worldmodel.envs import grasp as labels
from worldmodel.evaluators import grasp_stages as stages
from worldmodel.evaluators.grasp_item import half_turns, item_shape
from worldmodel.evaluators.grasp_stages import ghost_motion, judge, lift_height, slip
from worldmodel.evaluators.grasp_tracks import GraspTracks, finger_gaps
from worldmodel.evaluators.gripper_tracking import Command, GripperTracks
from worldmodel.truth import Camera

FRAMES, FPS = 33, 16.0
START = np.array([1.34, 0.75, 0.425])
GOAL = np.add(START, (0.0, 0.0, 0.1))
# Looks along world x from the origin.
CAMERA = Camera(
    np.array([[100.0, 0.0, 32.0], [0.0, 100.0, 32.0], [0.0, 0.0, 1.0]]),
    np.array([[0.0, 1.0, 0.0, -0.75], [0.0, 0.0, -1.0, 0.4], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]),
    64,
    64,
)
CUBE = {"shape": "box", "size": (0.025, 0.025, 0.025), "yaw": 0.0}


def lifted_item(up_from: int = 10, height: float = 0.1) -> GraspTracks:
    """An item that is grasped in frame 8 and rises with the gripper by ``height`` m within four frames."""
    position = np.tile(START, (FRAMES, 1))
    position[:, 2] += height * np.clip((np.arange(FRAMES) - up_from) / 4.0, 0.0, 1.0)
    touching = np.arange(FRAMES) >= 8
    return GraspTracks(
        gripper=GripperTracks(position.copy(), np.where(touching, 0.05, 0.1), np.ones(FRAMES, bool)),
        position=position,
        found=np.ones(FRAMES, bool),
        in_air=touching,
        area_ratio=np.ones(FRAMES),
        turn=np.zeros(FRAMES),
        gaps=np.where(touching, 0.0, 0.025)[:, None] * np.ones(2),
        grasped=touching,
    )


def verdict(tracks: GraspTracks, task: str = "pick", goal: np.ndarray = GOAL) -> stages.Judgement:
    return judge(tracks, CAMERA, START, goal, task, FPS)


def test_thresholds_are_those_of_the_labels():
    for name in ("NEAR", "LIFTED", "ATTACHED", "HOLD_DURATION", "PLACED", "REST_SPEED", "STAGES"):
        assert getattr(stages, name) == getattr(labels, name), name


def test_a_lift_passes_every_stage_and_is_held_half_a_second_after_it():
    judged = verdict(lifted_item())
    assert judged.success and judged.valid
    assert all(judged.passed(stage) for stage in stages.STAGES)
    assert judged.lift.argmax() == 12  # 5 cm up, after 2 of 4 frames
    assert judged.hold.argmax() - judged.lift.argmax() == 8


def test_an_item_that_moved_before_it_was_touched_is_no_success():
    tracks = lifted_item()
    away = tracks.position.copy()
    away[3:6, 1] += 0.006
    assert ghost_motion(tracks, CAMERA, START) == 0.0 and verdict(tracks).success
    haunted = replace(tracks, position=away)
    assert ghost_motion(haunted, CAMERA, START) == pytest.approx(0.006)
    assert haunted.grasped.any() and verdict(haunted).passed("hold") and not verdict(haunted).success


def test_lift_is_signed():
    fallen = verdict(lifted_item(height=-0.1))
    assert not fallen.passed("lift") and not fallen.success
    assert lift_height(lifted_item(height=-0.1), START) == pytest.approx(-0.1)


@pytest.mark.parametrize(("height", "passed"), [(0.0399, False), (0.0401, True)])
def test_lift_begins_at_forty_millimetres(height, passed):
    assert verdict(lifted_item(height=height)).passed("lift") == passed


def test_an_item_that_rises_beside_open_fingers_is_lifted_but_not_held():
    tracks = lifted_item()
    nothing = np.zeros(FRAMES, bool)
    judged = verdict(replace(tracks, gaps=np.full((FRAMES, 2), 0.02), grasped=nothing))
    assert judged.passed("lift") and not judged.passed("hold") and not judged.success


@pytest.mark.parametrize(("moved", "holds"), [(0.009, True), (0.011, False)])
def test_slipping_by_a_centimetre_ends_a_hold(moved, holds):
    tracks = lifted_item()
    position = tracks.position.copy()
    position[-2:, 0] += moved
    assert verdict(replace(tracks, position=position)).success == holds


@pytest.mark.parametrize(("degrees", "holds"), [(14.0, True), (16.0, False)])
def test_turning_in_the_hand_ends_a_hold(degrees, holds):
    turn = np.where(np.arange(FRAMES) >= FRAMES - 2, np.deg2rad(degrees), 0.0)
    assert verdict(replace(lifted_item(), turn=turn)).success == holds
    assert verdict(replace(lifted_item(), turn=turn + np.nan)).success  # round items do not show it


@pytest.mark.parametrize(("lost", "valid"), [(1, True), (2, False)])
def test_an_item_that_is_lost_too_long_makes_a_clip_invalid(lost, valid):
    found = np.arange(FRAMES) >= lost
    judged = verdict(replace(lifted_item(), found=found))
    assert judged.valid == valid and judged.success == valid


@pytest.mark.parametrize("ratio", [0.6, 1.5])
def test_an_item_of_another_size_is_another_item(ratio):
    assert not verdict(replace(lifted_item(), area_ratio=np.full(FRAMES, ratio))).success


def test_placing_needs_a_lift_rest_and_open_fingers():
    tracks = lifted_item()
    goal = np.add(START, (0.0, 0.08, 0.0))
    down = np.where((np.arange(FRAMES) >= 24)[:, None], goal, tracks.position)
    gone = np.arange(FRAMES) >= 26
    released = replace(
        tracks, position=down, gaps=np.where(gone[:, None], 0.02, tracks.gaps), grasped=tracks.grasped & ~gone
    )
    assert verdict(released, "place", goal).success
    assert not verdict(replace(released, gaps=tracks.gaps), "place", goal).success
    assert not verdict(replace(released, grasped=np.zeros(FRAMES, bool)), "place", goal).success
    assert not verdict(released, "place", np.add(goal, (0.03, 0.0, 0.0))).success
    down[-1] += (0.0, 0.008, 0.0)
    assert not verdict(released, "place", goal).success  # 3 cm/s


def test_slip_is_what_the_item_moves_in_the_hand_until_it_is_let_go():
    tracks = lifted_item()
    position = tracks.position.copy()
    position[15:, 2] -= 0.006
    position[30:, 2] -= 0.05
    opening = np.where(np.arange(FRAMES) >= 30, 0.1, 0.0)
    assert slip(replace(tracks, position=position), Command(tracks.position, opening)) == pytest.approx(0.006)
    assert slip(replace(tracks, position=position), Command(tracks.position, 0 * opening)) == pytest.approx(0.056)
    assert np.isnan(slip(replace(tracks, grasped=np.zeros(FRAMES, bool)), Command(tracks.position, opening)))


@pytest.mark.parametrize(
    ("scene", "aside", "gap"),
    [
        (CUBE, 0.0, 0.025),
        (CUBE, 0.01, 0.015),
        ({"shape": "sphere", "size": (0.03, 0.0, 0.0), "yaw": 0.0}, 0.0, 0.02),
        ({"shape": "cylinder", "size": (0.02, 0.03, 0.0), "yaw": 0.3}, 0.0, 0.03),
        ({"shape": "capsule", "size": (0.02, 0.03, 0.0), "yaw": 0.0}, -0.05, 0.08),
    ],
)
def test_gaps_to_the_right_finger_along_y(scene, aside, gap):
    gripper = GripperTracks(START[None], np.array([0.1]), np.ones(1, bool))
    assert finger_gaps(gripper, item_shape(scene), START[None] + (0, aside, 0))[0, 1] == pytest.approx(gap)


def test_gaps_below_the_tips_and_across_corners():
    gripper = GripperTracks(START[None], np.array([0.0]), np.ones(1, bool))
    below = START[None] - (0.0, 0.0, 0.0185 + 0.025 + 0.004)
    assert finger_gaps(gripper, item_shape(CUBE), below)[0] == pytest.approx([0.004, 0.004])
    ball = item_shape({"shape": "sphere", "size": (0.02, 0.0, 0.0), "yaw": 0.0})
    aslant = START[None] - (0.0, 0.014 + 0.03, 0.0185 + 0.04)
    assert finger_gaps(gripper, ball, aslant)[0, 0] == pytest.approx(0.05 - 0.02)


def test_half_turns_leave_an_axis_as_it_is():
    np.testing.assert_allclose(
        half_turns(np.deg2rad([0, 80, 100, 180, -95])), np.deg2rad([0, 80, -80, 0, 85]), atol=1e-12
    )


def test_unknown_shapes_are_refused():
    with pytest.raises(ValueError, match="shape 'cone', expected one of box, sphere, capsule, cylinder"):
        item_shape({"shape": "cone", "size": (0.02, 0.02, 0.02), "yaw": 0.0})
