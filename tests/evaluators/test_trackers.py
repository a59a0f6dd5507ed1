import disc_scenes as scenes
import numpy as np
import pytest
import tiny_sam2

from worldmodel.evaluators.free_fall import score_free_fall
from worldmodel.evaluators.registry import evaluator_of
from worldmodel.evaluators.trackers import TRACKERS, tracker_of
from worldmodel.evaluators.tracking import collect

TRUTH = scenes.truth()


@pytest.fixture(scope="module")
def sam2(tmp_path_factory):
    return f"sam2:{tiny_sam2.save(tmp_path_factory.mktemp('sam2'))}"


@pytest.mark.parametrize("name, most_px", [("colour", 0.15), ("flow", 2.0), ("points", 2.0)])
def test_any_tracker_follows_a_slow_disc(name, most_px):
    centres = np.stack([30.3 + 0.6 * np.arange(8), 20.0 + 0.9 * np.arange(8)], axis=1)
    video, mask = scenes.disc(centres), scenes.masks(centres)[0]
    (tracks,) = tracker_of(name)(video, mask.astype(np.uint8), video[0], [1])
    assert tracks.detected.all()
    assert np.linalg.norm(tracks.centroid - centres, axis=1).max() < most_px


@pytest.mark.parametrize("name", [name for name in TRACKERS if name != "sam2"])
def test_a_disc_that_vanished_is_lost_to_every_tracker(name):
    video = TRUTH.video.copy()
    video[1:] = np.rint(scenes.empty()).astype(np.uint8)
    (tracks,) = tracker_of(name)(video, TRUTH.segmentation[0], TRUTH.video[0], [1])
    assert tracks.detected[0] and not tracks.detected[1:].any()


def test_sam_2_keeps_the_given_mask_and_its_own_score_says_what_is_lost(sam2, monkeypatch):
    tracker = tracker_of(sam2)
    (tracks,) = tracker(TRUTH.video, TRUTH.segmentation[0], TRUTH.video[0], [1])
    assert len(tracks) == len(TRUTH) and tracks.mask.shape == TRUTH.mask.shape
    given, score = next(tracker._follow(TRUTH.video, [TRUTH.mask[0]]))
    seed = given[0] > 0
    assert (seed & TRUTH.mask[0]).sum() / (seed | TRUTH.mask[0]).sum() > 0.8 and score[0] > 0
    follow = tracker._follow

    def doubting(clip, masks):
        for t, (_, scores) in enumerate(follow(clip, masks)):
            yield np.where(masks[0], 5.0, -5.0)[None], np.full_like(scores, -1.0 if t == 3 else 1.0)

    monkeypatch.setattr(tracker, "_follow", doubting)
    (tracks,) = tracker(TRUTH.video, TRUTH.segmentation[0], TRUTH.video[0], [1])
    # The given frame goes before the clip, so its frame 2 is the model's 3.
    assert np.flatnonzero(~tracks.detected).tolist() == [2]


def test_free_fall_is_scored_with_any_of_them(sam2):
    for name in ("flow", sam2):
        score = score_free_fall(TRUTH.video, TRUTH, tracker_of(name))
        assert np.isfinite(score.centroid_error_px)


@pytest.mark.parametrize("name", ["color", "flow:x", "sam2:", ""])
def test_unknown_names_are_refused(name):
    with pytest.raises(ValueError, match=r"tracker: got .*expected one of colour, flow, points, sam2"):
        tracker_of(name)


def test_missing_weights_are_refused_in_a_line(tmp_path):
    with pytest.raises(ValueError, match=r"tracker: got no SAM 2 at .*download them and pass sam2:FOLDER") as refusal:
        tracker_of(f"sam2:{tmp_path}")
    assert "\n" not in str(refusal.value)


def test_a_chosen_tracker_follows_falls_and_nothing_else():
    def blind(video, segmentation, first_frame=None, labels=None):
        return tuple(collect([None] * len(video), video.shape[1:3]) for _ in labels)

    score = evaluator_of("worldmodel/FreeFall-v0", blind).score(TRUTH.video, TRUTH).to_dict()
    assert score["detection_rate"] == 0 and score["centroid_error_diagonal"] == pytest.approx(1.0)
    with pytest.raises(ValueError, match="tracker: got one for grasp, whose evaluator has its own"):
        evaluator_of("worldmodel/Grasp-v0", blind)
