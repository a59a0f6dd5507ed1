"""The grasp judge on MuJoCo's own clips, and on clips that must not pass."""

import dataclasses
import json

import numpy as np
import pytest

from worldmodel.envs import fetch
from worldmodel.envs.grasp import GraspEnv
from worldmodel.evaluators import controls, gripper_tracking
from worldmodel.evaluators.grasp import (
    EVALUATOR,
    METRICS,
    grasp_confusion,
    judge_clip,
    score_grasp,
    stage_confusions,
)
from worldmodel.evaluators.grasp_item import on_plane
from worldmodel.evaluators.metrics import DECEPTIONS
from worldmodel.evaluators.results import plain
from worldmodel.grasp_controls import FINGERS, ITEM, ghost_lift, knock_off
from worldmodel.storage.video_files import through_h264

PLAYED = (("expert", 11), ("expert", 12), ("offset_high", 13), ("early_close", 14), ("no_close", 12), ("slip", 16))


@pytest.fixture(scope="module")
def env():
    env = GraspEnv(image_size=64)
    yield env
    env.close()


def play(env, name, seed):
    return env.record(env.family.sampler(np.random.default_rng(seed)), seed=seed, policy=name)


@pytest.fixture(scope="module")
def clips(env):
    return {(name, seed): play(env, name, seed) for name, seed in PLAYED}


@pytest.fixture(scope="module")
def replays(clips):
    return {key: score_grasp(truth.video, truth) for key, truth in clips.items()}


@pytest.fixture(scope="module")
def grasp(clips):
    return clips["expert", 12]


@pytest.fixture(scope="module")
def miss(clips):
    return clips["no_close", 12]


def test_the_gripper_is_measured_as_it_is_built():
    for name in ("FINGER_DEPTH", "FINGER_THICKNESS", "PALM_HEIGHT", "MAX_OPENING"):
        assert getattr(gripper_tracking, name) == getattr(fetch, name), name
    model = fetch.fetch_spec(20.0).compile()
    np.testing.assert_allclose(model.geom(fetch.LEFT_FINGER).size[2], gripper_tracking.FINGER_HALF_WIDTH)


def test_the_judge_agrees_with_mujoco_on_rendered_truth(replays):
    counts = grasp_confusion(list(replays.values()))
    assert (counts.tp, counts.fp, counts.fn, counts.tn) == (2, 0, 0, 4)
    stages = stage_confusions(list(replays.values()))
    assert all(stages[stage].mcc == 1.0 for stage in ("reach", "lift", "hold", "place"))
    assert stages["contact"].fn == 0


def test_gripper_and_item_are_tracked_to_millimetres(clips):
    item, grip, opening = [], [], []
    for truth in clips.values():
        tracks, _ = judge_clip(truth.video, truth)
        assert tracks.gripper.detected.all()
        item.append(np.linalg.norm(tracks.position - truth.position[:, 0], axis=1)[tracks.found])
        grip.append(np.linalg.norm(tracks.gripper.position - truth.signals["gripper_position"], axis=1))
        opening.append(np.abs(tracks.gripper.opening - truth.signals["opening"]))
    for errors, median, most in ((item, 0.003, 0.008), (grip, 0.0015, 0.006), (opening, 0.001, 0.004)):
        errors = np.concatenate(errors)
        assert np.median(errors) < median and np.percentile(errors, 95) < most


def test_compression_and_blur_do_not_change_the_verdict(clips, grasp):
    for truth in (grasp, clips["early_close", 14]):
        score = score_grasp(through_h264(truth.video, truth.fps), truth)
        assert score.success_agrees and score.valid and score.object_error_mm < 10.0 and score.gripper_error_mm < 6.0
    mixed = (grasp.video.astype(float) + np.roll(grasp.video, 1, axis=2) + np.roll(grasp.video, 1, axis=1)) / 3.0
    assert score_grasp(np.rint(mixed).astype(np.uint8), grasp).success


def test_larger_pictures_are_judged_alike():
    env = GraspEnv(image_size=128)
    for name in ("expert", "wrong_width"):
        truth = play(env, name, 21)
        tracks, verdict = judge_clip(truth.video, truth)
        assert verdict.success == truth.success
        assert np.nanmedian(np.linalg.norm(tracks.position - truth.position[:, 0], axis=1)) < 0.0025
    env.close()


def test_placing_is_judged_too():
    env = GraspEnv(image_size=64, task="place", distractors=1)
    truth = play(env, "expert", 3)
    score = score_grasp(truth.video, truth)
    assert score.success and score.true_success and not score.lift_mm > 40.0
    frames = np.minimum(np.arange(len(truth)), 18)  # the gripper never lets go
    assert not score_grasp(truth.video[frames], truth).success
    env.close()


def test_the_truth_has_no_errors(replays):
    for score in replays.values():
        for name in ("object", "gripper", "opening", "lift"):
            assert getattr(score, f"{name}_error_mm") == 0.0
        assert score.identity == 1.0 and score.stage_time_error_ms == 0.0
        assert not score.ghost_motion and score.ghost_motion_mm < 5.0
    assert replays["expert", 12].arm_error_px < 0.3


@pytest.mark.parametrize("key", [("expert", 12), ("no_close", 12)])
def test_the_lift_is_mujocos(clips, replays, key):
    height = clips[key].position[:, 0, 2]
    assert replays[key].lift_mm == pytest.approx(1000.0 * (height[-1] - height[0]), abs=3.0)


def made_of(env, truth, other):
    rng = np.random.default_rng(0)
    return {
        "frozen": controls.frozen(truth.video),
        "half_speed": controls.half_speed(truth.video),
        "vanish": controls.vanish(truth.video, truth.mask),
        "teleport": controls.teleport(truth.video, truth.mask, rng),
        "reversed": controls.reversed_after_first(truth.video),
        "shuffled": controls.shuffled_after_first(truth.video, rng),
        "other_seed": controls.other_seed(truth.video, other.video),
        "ghost_lift": ghost_lift(env, truth),
        "knock_off": knock_off(env, truth),
        "done_anyway": env.record(env.family.scene_from_json(truth.scene), seed=0).video,
    }


def test_no_control_scores_better_than_the_truth(env, clips, grasp, miss):
    rows = {"replay": [], "h264": []}
    for truth in (grasp, miss):
        made = {"replay": truth.video, "h264": through_h264(truth.video, truth.fps)}
        for kind, video in (made | made_of(env, truth, clips["expert", 11])).items():
            rows.setdefault(kind, []).append(plain(score_grasp(video, truth).to_dict()))
    for metric in METRICS:
        if metric.better == "none":
            continue
        good = {kind: metric.goodness(scores) for kind, scores in rows.items()}
        for kind in set(rows) - {"replay", "h264", *DECEPTIONS}:
            worse = good[kind] <= good["replay"]
            assert (worse | np.isnan(good[kind]) | np.isnan(good["replay"])).all(), (metric.name, kind)
        for above, below in metric.ranks:
            better = np.nan_to_num(good[above] - good[below])
            assert better.mean() > 0.0, (metric.name, above, below)


def test_a_success_where_mujoco_fails_is_a_false_one(env, miss, grasp):
    """A model that always shows success is told from one that knows better by nothing else."""
    for truth, expected in ((miss, 1.0), (grasp, float("nan"))):
        done = env.record(env.family.scene_from_json(truth.scene), seed=0)
        assert (done.video[0] == truth.video[0]).all() and done.success
        assert score_grasp(done.video, truth).false_success == pytest.approx(expected, nan_ok=True)


def test_an_item_that_rises_without_contact_is_no_success(env, clips):
    for key in (("expert", 11), ("offset_high", 13), ("slip", 16)):
        score = score_grasp(ghost_lift(env, clips[key]), clips[key])
        assert score.lift and score.valid and not score.success
        assert score.ghost_motion and score.ghost_motion_mm > 40.0


def test_an_item_that_sticks_to_fingers_which_do_not_hold_it_is_no_success(env, clips):
    for name, seed in (("offset_high", 13), ("early_close", 14)):
        truth = clips[name, seed]
        grip = truth.signals["gripper_position"]
        lowest = int(grip[:, 2].argmin())
        qpos = truth.qpos.copy()
        qpos[:, ITEM.start :] = qpos[0, ITEM.start :]
        qpos[lowest:, ITEM] += grip[lowest:] - grip[lowest]
        score = score_grasp(env.render_at(env.family.scene_from_json(truth.scene), qpos), truth)
        assert not score.success and score.lift


def test_an_item_that_falls_off_the_table_is_neither_lifted_nor_valid(env, miss):
    score = score_grasp(knock_off(env, miss), miss)
    assert not (score.lift or score.success or score.valid)
    assert score.ghost_motion and score.identity < 0.7


def test_controls_begin_with_the_true_picture_and_leave_the_arm_alone(env, grasp):
    for make in (ghost_lift, knock_off):
        video = make(env, grasp)
        assert video.shape == grasp.video.shape
        np.testing.assert_array_equal(video[0], grasp.video[0])
        tracks, _ = judge_clip(video, grasp)
        moved = np.linalg.norm(tracks.gripper.position - grasp.signals["gripper_position"], axis=1)
        assert np.nanmedian(moved) < 0.002
    open_fingers = judge_clip(ghost_lift(env, grasp), grasp)[0].gripper.opening
    assert np.nanmin(open_fingers) > 0.095 and grasp.qpos[0, FINGERS].sum() == pytest.approx(0.1)


def test_controls_of_another_size_are_refused(grasp):
    with pytest.raises(ValueError, match=r"env: got pictures of \(32, 32\), expected \(64, 64\)"):
        ghost_lift(GraspEnv(image_size=32), grasp)


def test_a_frozen_grasp_loses(grasp):
    score = score_grasp(controls.frozen(grasp.video), grasp)
    assert not score.success and not score.success_agrees and score.valid
    assert score.lift_mm == pytest.approx(0.0, abs=2.0) and score.lift_error_mm > 60.0
    assert score.arm_error_px > 5.0 and score.slip_error_mm > 50.0 and np.isnan(score.slip_mm)


def test_a_vanished_item_and_a_vanished_gripper_cost(grasp):
    gone = controls.vanish(grasp.video, grasp.mask)
    score = score_grasp(gone, grasp)
    assert not score.valid and not score.success and score.identity < 0.6 and score.object_error_mm > 200.0
    empty = grasp.video.copy()
    empty[1:] = np.median(grasp.video[0, -8:, :8], axis=(0, 1)).astype(np.uint8)
    score = score_grasp(empty, grasp)
    assert score.gripper_found < 0.1
    assert score.arm_error_px == pytest.approx(grasp.camera.diagonal_px)
    assert score.opening_error_mm == pytest.approx(100.0)


def test_points_are_found_again_on_their_planes(grasp):
    points = grasp.position[:, 0]
    for axis in range(3):
        again = on_plane(grasp.camera, grasp.camera.project(points), axis, points[:, axis])
        np.testing.assert_allclose(again, points, atol=1e-9)


def test_scores_are_plain_numbers(replays):
    score = replays["no_close", 12]
    back = json.loads(json.dumps(plain(score.to_dict()), allow_nan=False))
    assert back["slip_mm"] is None and back["false_success"] == 0.0 and back["success"] is False
    assert {metric.name for metric in METRICS} <= set(back)
    assert EVALUATOR.headline in {metric.name for metric in METRICS}
    assert {name: path.shape for name, path in score.overlays().items()} == {"object": (33, 2), "gripper": (33, 2)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"signals": {}}, "truth: got no gripper_position"),
        ({"actions": None}, "truth: got no actions"),
        ({"video": np.zeros((32, 64, 64, 3), np.uint8)}, r"video: got shape \(33, 64, 64, 3\), expected \(32, 64"),
        ({"segmentation": np.zeros((33, 64, 64), np.uint8)}, "truth.segmentation: got no pixel"),
    ],
)
def test_what_is_no_grasp_is_refused(grasp, change, message):
    with pytest.raises(ValueError, match=message):
        score_grasp(grasp.video, dataclasses.replace(grasp, **change))
