import dataclasses
import json

import camera_scenes
import cv2
import disc_scenes
import numpy as np
import pytest

from worldmodel.envs.free_fall import FreeFallEnv
from worldmodel.evaluators.controls import frozen
from worldmodel.evaluators.faults import FAULTS, flickering, overdriven, sliding
from worldmodel.evaluators.metrics import CONTROLS
from worldmodel.evaluators.results import plain
from worldmodel.evaluators.scene import METRICS, SceneScore, score_scene
from worldmodel.storage import EpisodeStore

TRUTH = disc_scenes.truth()
RANKING = [metric for metric in METRICS if metric.better != "none"]
UNDECLARED = [metric for metric in RANKING if not metric.ranks and not metric.name.startswith("revisit")]


@pytest.fixture(scope="module")
def clips():
    """True clips of MuJoCo with depth, and what is made of them."""
    env = FreeFallEnv(image_size=64)
    truths = [env.record(seed=seed, depth=True) for seed in range(2)]
    env.close()
    shuffle = np.r_[0, 1 + np.random.default_rng(0).permutation(len(truths[0]) - 1)]
    return [
        (
            truth,
            {
                "frozen": frozen(truth.video),
                "half_speed": truth.video[np.arange(len(truth)) // 2],
                "reversed": truth.video[np.r_[0, len(truth) - 1 : 0 : -1]],
                "shuffled": truth.video[shuffle],
                "other_seed": np.concatenate([truth.video[:1], other.video[1:]]),
                **{name: fault(truth.video) for name, fault in FAULTS.items()},
            },
        )
        for truth, other in zip(truths, truths[1:] + truths[:1], strict=True)
    ]


@pytest.fixture(scope="module")
def scores(clips):
    kinds = ["replay", *clips[0][1]]
    return {
        kind: [score_scene(videos.get(kind, truth.video), truth).to_dict() for truth, videos in clips] for kind in kinds
    }


def test_the_true_video_has_no_error(scores):
    for score in scores["replay"]:
        assert score["psnr_db"] == pytest.approx(58.92, abs=0.01) and score["ssim"] == pytest.approx(1)
        errors = [metric.name for metric in RANKING if metric.better in ("lower", "zero")]
        assert {name: score[name] for name in errors} == dict.fromkeys(errors, 0.0)


@pytest.mark.parametrize("metric", RANKING, ids=lambda metric: metric.name)
def test_no_control_is_better_than_the_truth_and_the_declared_ones_are_worse(metric, scores):
    true = metric.goodness(scores["replay"])
    for kind, control in scores.items():
        worse = metric.goodness(control)
        assert not (worse > true).any()
        if ("replay", kind) in metric.ranks:
            assert (worse < true).all()


@pytest.mark.parametrize("metric", UNDECLARED, ids=lambda metric: metric.name)
def test_every_metric_that_declares_nothing_sees_a_fault(metric, scores):
    true = metric.goodness(scores["replay"])
    assert any((metric.goodness(scores[kind]) < true).all() for kind in FAULTS)


def test_a_frozen_video_is_still_but_dead(scores):
    for score in scores["frozen"]:
        assert score["background_drift"] == score["flicker"] == score["saturation_drift"] == 0
        assert score["motion_px"] == 0 and score["motion_excess"] == -1 and score["flow_error"] == 1
        assert score["moving_mae"] > 20 and score["vbench_temporal_flickering"] == 1


def test_each_fault_is_read_off_by_its_own_number():
    empty = np.rint(disc_scenes.empty()).astype(np.uint8)
    saturation = float((empty.max(-1).astype(int) - empty.min(-1)).mean())
    driven = score_scene(overdriven(TRUTH.video, 0.5), TRUTH)
    assert driven.saturation_drift == pytest.approx(0.5 * saturation, rel=0.1) and driven.contrast_drift > 5
    assert driven.background_drift < 0.001
    slid = score_scene(sliding(TRUTH.video, 0.05), TRUTH)
    # The horizon tells of the way down only: t / 16 of 5 % of the height, on average over the frames.
    assert slid.background_drift == pytest.approx(0.05 * np.mean(np.arange(1, 17) / 16), rel=0.05)
    assert score_scene(flickering(TRUTH.video, 6), TRUTH).flicker == pytest.approx(6, abs=0.1)


def test_tone_that_fades_is_negative():
    faded = score_scene(overdriven(TRUTH.video, -0.5), TRUTH)
    assert faded.saturation_drift < -2 and faded.contrast_drift < -5
    assert faded.frame_tone_error.shape == (17, 3) and (np.diff(faded.frame_tone_error[:, 0]) < 0.6).all()


def test_an_even_step_of_light_has_closed_forms():
    video = TRUTH.video.copy()
    video[1:] += 10
    score = score_scene(video, TRUTH)
    assert score.psnr_db == pytest.approx(20 * np.log10(255 / 10)) and score.background_mae == score.moving_mae == 10
    assert score.luminance_drift == pytest.approx(10) and score.contrast_drift == pytest.approx(0, abs=1e-6)
    assert score.flicker == pytest.approx(10 / 16)  # one step in 16


def test_blur_and_noise_cost_less_than_holding_still(clips):
    rng = np.random.default_rng(0)
    for truth, videos in clips:
        rough = np.stack([cv2.GaussianBlur(frame, (3, 3), 0) for frame in truth.video])
        rough = np.clip(rough + rng.integers(-4, 5, rough.shape), 0, 255).astype(np.uint8)
        score, still = score_scene(rough, truth), score_scene(videos["frozen"], truth)
        assert score.moving_mae < 0.5 * still.moving_mae and score.flow_error < 0.6 * still.flow_error
        assert abs(score.motion_excess) < 0.3 and abs(score.saturation_drift) < 0.5
        assert score.background_drift < 0.003 and score.psnr_db > still.psnr_db


def test_a_camera_that_flies_and_returns():
    flight = camera_scenes.flight()
    truth, cameras = flight.truth, flight.cameras
    true = score_scene(truth.video, truth, cameras)
    still = score_scene(frozen(truth.video), truth, cameras)
    assert true.background_drift == 0 and true.reprojection_error_px < 0.3
    assert still.background_drift > 0.03 and still.reprojection_error_px > 10 * true.reprojection_error_px
    assert still.reprojection_mae > 3 * true.reprojection_mae
    assert still.revisit_psnr_db == true.revisit_psnr_db and still.revisit_ssim == true.revisit_ssim  # no credit
    changed = truth.video.copy()
    changed[9:] = overdriven(changed[9:], 0.6)
    forgot = score_scene(changed, truth, cameras)
    assert forgot.revisit_psnr_db < true.revisit_psnr_db - 5 and forgot.revisit_ssim < true.revisit_ssim
    assert forgot.saturation_drift > 5 and forgot.background_drift < 0.01


def test_without_depth_or_returns_these_numbers_do_not_exist():
    score = score_scene(TRUTH.video, TRUTH)
    missing = (score.reprojection_error_px, score.reprojection_mae, score.revisit_psnr_db, score.revisit_ssim)
    assert np.isnan(missing).all()


def test_a_scene_in_which_nothing_happens():
    calm = dataclasses.replace(TRUTH, video=frozen(TRUTH.video), segmentation=np.repeat(TRUTH.segmentation[:1], 17, 0))
    score = score_scene(calm.video, calm)
    assert np.isnan([score.moving_mae, score.motion_excess, score.flow_error]).all()
    assert score.psnr_db == pytest.approx(58.92, abs=0.01) and score.flicker == 0


def test_metrics_and_scores_name_the_same_numbers():
    names = {field.name for field in dataclasses.fields(SceneScore)} - {"frame_tone_error"}
    assert {metric.name for metric in METRICS} == names
    assert {below for metric in METRICS for _, below in metric.ranks} <= set(CONTROLS)


def test_scores_are_plain_numbers():
    back = json.loads(json.dumps(plain(score_scene(frozen(TRUTH.video), TRUTH).to_dict()), allow_nan=False))
    assert back["reprojection_mae"] is None and back["flow_error"] == 1 and len(back["frame_tone_error"]) == 17


def test_a_moving_camera_can_be_part_of_the_truth(tmp_path):
    """As a signal it is stored and read back with the clip, so worldmodel evaluate scores revisits of such clips."""
    flight = camera_scenes.flight()
    poses = np.stack([camera.world_to_camera for camera in flight.cameras])
    moving = dataclasses.replace(
        flight.truth,
        signals={**flight.truth.signals, "world_to_camera": poses},
        units={**flight.truth.units, "world_to_camera": "m"},
    )
    store = EpisodeStore.create(tmp_path / "store", "truth")
    store.write_truth("a", moving)
    read = store.read_truth("a")
    given, stored = (score_scene(read.video, *more) for more in ((flight.truth, flight.cameras), (read,)))
    assert stored.revisit_psnr_db == given.revisit_psnr_db and np.isfinite(given.revisit_psnr_db)
    assert stored.reprojection_error_px == given.reprojection_error_px
    with pytest.raises(ValueError, match=r"world_to_camera'\]: got shape \(3, 4, 4\), expected"):
        score_scene(read.video, dataclasses.replace(moving, signals={"world_to_camera": poses[:3]}))


@pytest.mark.parametrize(
    "video, truth, cameras, message",
    [
        (TRUTH.video[:9], TRUTH, None, r"video: got shape \(9, 64, 64, 3\), expected \(17, 64, 64, 3\)"),
        (TRUTH.video / 255.0, TRUTH, None, "video: got dtype float64"),
        (TRUTH.video, dataclasses.replace(TRUTH, segmentation=TRUTH.segmentation[:3]), None, "truth.mask: got shape"),
        (TRUTH.video, TRUTH, [TRUTH.camera] * 3, "cameras: got 3, expected 17, one a frame"),
    ],
)
def test_bad_input_is_refused(video, truth, cameras, message):
    with pytest.raises(ValueError, match=message):
        score_scene(video, truth, cameras)
