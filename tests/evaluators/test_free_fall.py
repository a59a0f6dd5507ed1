import dataclasses
import json
import tracemalloc

import disc_scenes as scenes
import numpy as np
import pytest

from worldmodel.envs.free_fall import FreeFallEnv
from worldmodel.evaluators.controls import frozen, linear_extrapolation
from worldmodel.evaluators.free_fall import ARM_METRICS, OBJECT_METRICS, in_view, score_free_fall, true_centroid
from worldmodel.evaluators.registry import evaluator_of, family_id_of
from worldmodel.evaluators.results import plain

TRUTH = scenes.truth()
DIAGONAL = np.hypot(64, 64)


def moved(du: float = 0.0, dv: float = 0.0) -> np.ndarray:
    """The true clip with the object elsewhere in every frame but the given one."""
    centres = TRUTH.camera.project(TRUTH.position[:, 0])
    centres[1:] += (du, dv)
    return scenes.disc(centres)


def test_the_true_video_is_nearly_perfect():
    score = score_free_fall(TRUTH.video, TRUTH)
    assert score.centroid_error_px < 0.15 and score.detection_rate == 1
    assert score.impact_absolute_error_ms < 10 and score.impact_within_2_frames
    assert score.pisa_iou > 0.9 and np.isnan(score.frame_error_px[0])


def test_a_shift_of_three_four_five_has_its_exact_price():
    score = score_free_fall(moved(3.0, -4.0), TRUTH)
    assert score.centroid_error_px == pytest.approx(5.0, abs=0.1)
    assert score.centroid_error_diagonal == pytest.approx(5.0 / DIAGONAL, abs=0.002)
    assert score.centroid_error_cm == pytest.approx(100 * 5.0 * scenes.DEPTH / scenes.FOCAL, abs=0.4)
    assert score.pisa_l2 == pytest.approx(16 / 17 * 3.5 / DIAGONAL, abs=0.002)  # frame 0 is right


def test_a_vanished_object_is_charged_the_diagonal_that_pisa_forgets():
    video = TRUTH.video.copy()
    video[9:] = scenes.empty()
    score = score_free_fall(video, TRUTH)
    assert score.detection_rate == pytest.approx(8 / 16)
    assert score.centroid_error_px == pytest.approx(DIAGONAL * 8 / 16, abs=0.1)
    assert score.pisa_l2 < 0.002
    assert (score.frame_error_px[9:] == TRUTH.camera.diagonal_px).all()


def test_an_object_that_vanishes_at_once_lands_nowhere():
    video = np.repeat(np.rint(scenes.empty()).astype(np.uint8)[None], 17, axis=0)
    score = score_free_fall(video, TRUTH)
    assert score.detection_rate == 0 and score.centroid_error_diagonal == pytest.approx(1.0)
    assert score.impact_missed and score.impact_absolute_error_ms == 1000 and not score.impact_within_2_frames


@pytest.mark.parametrize("size", [64, 128])
def test_mujoco_s_own_video_certifies_the_tracker(size):
    env = FreeFallEnv(image_size=size)
    for seed in range(4):
        truth = env.record(seed=seed)
        score = score_free_fall(truth.video, truth)
        assert score.centroid_error_diagonal < 0.004 and score.detection_rate == 1
        assert score.impact_absolute_error_ms < 40
    env.close()


@pytest.mark.parametrize("drop", [0.15, 0.4, 0.8])
def test_nulls_lose_and_are_ordered(drop):
    truth = scenes.truth(drop)
    true, still, straight = (
        score_free_fall(video, truth)
        for video in (truth.video, frozen(truth.video), linear_extrapolation(truth.video, truth.mask))
    )
    assert true.centroid_error_px < 0.2 < 1.0 < min(straight.centroid_error_px, still.centroid_error_px)
    assert true.pisa_iou > straight.pisa_iou and true.pisa_iou > still.pisa_iou
    for null in (still, straight):
        assert null.impact_missed and null.impact_absolute_error_ms == 1000 and not null.impact_within_2_frames


def test_a_clip_without_any_landing_is_no_miss_when_frozen_but_a_miss_when_it_lands():
    resting = dataclasses.replace(TRUTH, video=frozen(TRUTH.video), outcome={"impact_time": None})
    assert not score_free_fall(frozen(TRUTH.video), resting).impact_missed
    assert score_free_fall(TRUTH.video, resting).impact_missed


def test_scores_are_plain_numbers():
    text = json.dumps(plain(score_free_fall(frozen(TRUTH.video), TRUTH).to_dict()), allow_nan=False)
    back = json.loads(text)
    assert back["impact_time_ms"] is None and back["frame_error_px"][0] is None and back["impact_missed"] is True


@pytest.mark.parametrize(
    "video, truth, message",
    [
        (TRUTH.video[:9], TRUTH, r"video: got shape \(9, 64, 64, 3\), expected \(17, 64, 64, 3\)"),
        (TRUTH.video / 255.0, TRUTH, "video: got dtype float64"),
        (TRUTH.video, dataclasses.replace(TRUTH, position=TRUTH.position * np.nan), "truth.position: got NaN"),
        (TRUTH.video, dataclasses.replace(TRUTH, segmentation=TRUTH.segmentation[:3]), "truth.mask: got shape"),
        (TRUTH.video, dataclasses.replace(TRUTH, segmentation=0 * TRUTH.segmentation), "mask: got no pixel"),
    ],
)
def test_bad_input_is_refused(video, truth, message):
    with pytest.raises(ValueError, match=message):
        score_free_fall(video, truth)


@pytest.mark.parametrize(("options", "clips"), [({}, 1.5), ({"release": "gripper"}, 1.5), ({"objects": 3}, 2.5)])
def test_no_clip_is_held_as_floating_point_numbers(options, clips):
    """Beside the clip and its truth there are masks, a third of a clip each, and single frames."""
    env = FreeFallEnv(image_size=128, **options)
    truth = env.record(seed=1)
    env.close()
    score_free_fall(truth.video, truth)
    tracemalloc.start()
    score_free_fall(truth.video, truth)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < clips * truth.video.nbytes


def test_what_is_judged_differently_of_falls_has_its_own_metrics():
    gripper, several = (evaluator_of(f"worldmodel/FreeFall-v0:{kind}") for kind in ("gripper", "several"))
    assert {metric.name for metric in ARM_METRICS} <= {metric.name for metric in gripper.metrics}
    assert {metric.name for metric in OBJECT_METRICS} <= {metric.name for metric in several.metrics}
    (ghost,) = [metric for metric in gripper.metrics if metric.name == "ghost_wrench"]
    assert ("replay", "frozen") not in ghost.ranks and ("replay", "teleport") in ghost.ranks
    for options, kind in (({"release": "gripper"}, ":gripper"), ({"objects": 2}, ":several"), ({"objects": 1}, "")):
        settings = {"env": "worldmodel/FreeFall-v0", "options": {"release": "none", **options}}
        assert family_id_of(settings) == f"worldmodel/FreeFall-v0{kind}"


@pytest.mark.parametrize("label", [1, 2])
def test_objects_are_seen_and_found_where_their_pixels_are(label):
    env = FreeFallEnv(image_size=64, objects=2)
    truth = env.record(seed=2)
    env.close()
    for t, mask in enumerate(truth.segmentation == label):
        rows, columns = np.nonzero(mask)
        place = true_centroid(truth, label)[t]
        assert np.allclose(place, [columns.mean() + 0.5, rows.mean() + 0.5]) if len(rows) else np.isnan(place).all()
    assert not in_view(truth, label)[0]
