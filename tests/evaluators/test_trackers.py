import disc_scenes as scenes
import gymnasium
import numpy as np
import pytest
import tiny_sam2

from worldmodel.evaluators.controls import frozen
from worldmodel.evaluators.free_fall import score_free_fall
from worldmodel.evaluators.registry import evaluator_of
from worldmodel.evaluators.trackers import TRACKERS, tracker_of
from worldmodel.evaluators.tracking import Soft, collect, track_objects

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


def follow_again(video, segmentation, first_frame=None, labels=None):
    """Another tracker than the default one, that finds as much."""
    return track_objects(video, segmentation, first_frame, labels)


def test_free_fall_is_scored_with_any_that_follows_it():
    score = score_free_fall(TRUTH.video, TRUTH, follow_again)
    assert score.detection_rate == 1.0 and np.isnan(score.energy_gain)
    with pytest.raises(ValueError, match=r"tracker: got the object in \d+% of the frames .*choose another tracker"):
        score_free_fall(frozen(TRUTH.video), TRUTH, tracker_of("points"))


@pytest.mark.parametrize("name", ["color", "flow:x", "sam2:", ""])
def test_unknown_names_are_refused(name):
    with pytest.raises(ValueError, match=r"tracker: got .*expected one of colour, flow, points, sam2"):
        tracker_of(name)


def test_missing_weights_are_refused_in_a_line(tmp_path):
    with pytest.raises(ValueError, match=r"tracker: got no SAM 2 at .*download them and pass sam2:FOLDER") as refusal:
        tracker_of(f"sam2:{tmp_path}")
    assert "\n" not in str(refusal.value)


def blind(video, segmentation, first_frame=None, labels=None):
    return tuple(collect([None] * len(video), video.shape[1:3]) for _ in labels or [1])


def follow_by_mask(truth):
    """A tracker that knows MuJoCo's masks: what a perfect one would find in the true video, whatever it is shown."""

    def tracker(video, segmentation, first_frame=None, labels=None):
        late = len(truth) - len(video)
        softs = [Soft(0, 0, mask.astype(np.float32)) for mask in truth.mask]
        return (collect([*softs[:1] * -late, *softs], video.shape[1:3]),)

    return tracker


@pytest.mark.parametrize("family", ["worldmodel/FreeFall-v0", "worldmodel/Grasp-v0", "worldmodel/Maze-v0"])
def test_a_chosen_tracker_takes_the_place_of_the_own_one(family):
    env = gymnasium.make(family, image_size=64).unwrapped
    truth = env.record(seed=1)
    env.close()
    evaluator = evaluator_of(family, follow_by_mask(truth))
    true = evaluator.score(truth.video, truth).to_dict()
    # The tracker finds the true object in the frozen video too, so that only what it follows can have been judged.
    still = evaluator.score(frozen(truth.video), truth).to_dict()
    (name,) = {"centroid_error_px", "object_error_mm", "path_error_px"} & set(true)
    own = evaluator_of(family).score(frozen(truth.video), truth).to_dict()
    assert abs(true[name] - still[name]) < 0.2 * abs(true[name] - own[name])
    with pytest.raises(ValueError, match="tracker: got the object in 0% of the frames of the true video"):
        evaluator_of(family, blind).score(truth.video, truth)


@pytest.mark.parametrize("family", ["worldmodel/GraphTraversal-v0:flood", "worldmodel/Room-v0"])
def test_where_nothing_is_followed_a_tracker_is_refused(family):
    with pytest.raises(ValueError, match=r"tracker: got one for .* in which no object is followed"):
        evaluator_of(family, blind)
