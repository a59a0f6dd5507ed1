"""The command's run: it goes on where it stopped, and its documents say what held."""

import dataclasses
import json

import numpy as np
import pytest

from worldmodel import certify as command
from worldmodel.certify import COMMON, COURSES, Course, run_certify
from worldmodel.envs.room import RoomEnv
from worldmodel.evaluators.scene import camera_truth
from worldmodel.storage import EpisodeStore

CONTROLS = (*COMMON, "linear", "half_gravity", "double_gravity")


@pytest.fixture
def one_family(monkeypatch):
    monkeypatch.setattr(command.certified_laws, "RESAMPLES", 200)
    monkeypatch.setattr(command, "COURSES", {"free fall": Course("free-fall", "worldmodel/FreeFall-v0", CONTROLS)})


def scores_in(out):
    return {path.name: path.stat().st_mtime_ns for path in out.glob("free_fall/scores-*/*.json")}


def test_an_interrupted_run_goes_on_where_it_stopped(one_family, monkeypatch, tmp_path):
    score, done = command._score_scene, []

    def stop_at_the_second(*job):
        if done:
            raise KeyboardInterrupt
        score(*job)
        done.append(job)

    monkeypatch.setattr(command, "_score_scene", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        run_certify(tmp_path, scenes=2, workers=1)
    (first,) = scores_in(tmp_path).items()
    assert not (tmp_path / "certificate" / "certificate.json").exists()

    monkeypatch.setattr(command, "_score_scene", score)
    document, page = run_certify(tmp_path, scenes=2, workers=1, copy=tmp_path / "copy.json")
    assert len(scores_in(tmp_path)) == document["drawn"]["free fall"] >= 2 and first in scores_in(tmp_path).items()
    assert json.loads((tmp_path / "copy.json").read_text()) == document
    assert page.read_text().count("<h2>") >= 3
    for each in document["declarations"]:
        assert {"family", "metric", "above", "below", "n", "holds"} <= each.keys()
        assert each["n"] <= document["drawn"]["free fall"] and isinstance(each["holds"], bool)
    centroid = [each for each in document["declarations"] if each["metric"] == "centroid_error_px"]
    assert all(each["holds"] for each in centroid) and {each["below"] for each in centroid} == set(CONTROLS)

    monkeypatch.setattr(command, "_code", lambda: "changed")
    monkeypatch.setattr(command, "_score_scene", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):  # scores of other code are not used
        run_certify(tmp_path, scenes=2, workers=1)


def test_every_policy_has_its_share_of_the_scenes(tmp_path):
    clips = command._record(COURSES["grasp"], tmp_path, 0, 3, 32, 1)
    assert [(store.name, int(key) - command.SEED) for store, key in clips] == [
        ("truth-expert", 0),
        ("truth-no_close", 1),
        ("truth-no_close", 2),
    ]
    truths = [EpisodeStore.open(store, "truth").read_truth(key) for store, key in clips]
    assert [truth.success for truth in truths] == [True, False, False]


@pytest.mark.parametrize(
    ("wanted", "drawn", "least", "more"),
    [
        (100, 100, 100, 0),
        (100, 100, 52, 112),  # 1.1 * 100 / 0.52, less the hundred there are
        (100, 212, 110, 0),
        (100, 100, 1, 300),  # never more than four times as many
        (100, 400, 90, 0),
        (2, 2, 0, 3),  # 1.1 * 2 * 2 are not yet eight
        (100, 104, 99, 12),
    ],
)
def test_more_scenes_are_drawn_until_a_rare_number_is_in_as_many_as_asked_for(wanted, drawn, least, more):
    assert command._missing(wanted, drawn, least) == more


def test_further_scenes_are_others_and_their_scores_have_files_of_their_own(tmp_path):
    first = command._record(COURSES["grasp"], tmp_path, 0, 2, 32, 1)
    further = command._record(COURSES["grasp"], tmp_path, 2, 2, 32, 1)
    files = [command._score_of(tmp_path, clip).name for clip in first + further]
    seed = command.SEED
    assert files == [
        f"truth-expert-{seed:08d}.json",
        f"truth-no_close-{seed + 1:08d}.json",
        f"truth-expert-{seed + 2:08d}.json",
        f"truth-no_close-{seed + 3:08d}.json",
    ]


def test_a_room_has_controls_that_know_its_camera():
    env = RoomEnv(image_size=32)
    truth, other = (env.record(seed=seed, depth=True) for seed in (0, 1))
    env.close()
    made = dict(command.clips(COURSES["room"], truth, other, env, np.random.default_rng(0)))
    assert {"replay", "h264", "autoencoder", *COURSES["room"].controls} == set(made)
    assert all(video.shape == truth.video.shape and video.dtype == np.uint8 for video in made.values())
    with pytest.raises(ValueError, match=r"truth.depth: got none, expected .* record it"):
        camera_truth(dataclasses.replace(truth, depth=None))


def test_bad_requests_are_refused_before_any_work(tmp_path):
    with pytest.raises(ValueError, match="families: got 'pool', expected some of free fall"):
        run_certify(tmp_path / "new", families=["pool"])
    with pytest.raises(ValueError, match="image_size: got 60, expected a multiple of 16"):
        run_certify(tmp_path / "new", image_size=60)
    with pytest.raises(ValueError, match="scenes: got 1"):
        run_certify(tmp_path / "new", scenes=1)
    (tmp_path / "something").write_text("else")
    with pytest.raises(ValueError, match="holds something else"):
        run_certify(tmp_path)
    assert not (tmp_path / "new").exists()
