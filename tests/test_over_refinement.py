"""What a user hears of refinement that went too far."""

import json

import numpy as np
import pytest

import worldmodel
from worldmodel import cli, over_refinement
from worldmodel.collect import collect
from worldmodel.over_refinement import GROWTH_LIMIT, SHIFT_LIMIT, over_refined, warning
from worldmodel.sampling import PredictPerturb
from worldmodel.storage import EpisodeStore
from worldmodel.videos import RolloutStore

QUIET, LOUD, ENDED = [0.01, -0.5], [0.01, GROWTH_LIMIT + 0.13], [np.nan, np.nan]


def test_either_limit_counts_and_what_ended_does_not():
    assert over_refined(np.array([QUIET, LOUD, ENDED, [SHIFT_LIMIT + 0.1, 0.0]])).tolist() == [False, True, False, True]


def test_the_warning_counts_clips_and_names_the_worst():
    assert warning([np.array([QUIET, ENDED]), np.array([QUIET])]) is None
    assert warning([]) is None
    line = warning([np.array([QUIET, LOUD]), np.array([QUIET]), np.array([[0.31, 0.0], ENDED])])
    assert line is not None
    assert line.startswith("over-refined: in 2 of 3 clips")
    assert "up to 0.31 latent units" in line
    assert "up to 33 %" in line


@pytest.fixture(scope="module")
def rollout(pipeline_folder):
    model = worldmodel.load(pipeline_folder, device="cpu")
    frames = np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3), dtype=np.uint8)
    refine = PredictPerturb([(0.0, 0.6, 2)], threshold=0.0)

    def roll(refine: PredictPerturb | None):
        return model.rollout(frames, seeds=[0, 1], steps=4, refine=refine, horizon=16, tail="cut", progress=False)

    return roll(refine), roll(None)


def test_a_refined_rollout_has_the_drift_of_every_chunk_and_a_plain_one_has_none(rollout):
    refined, plain = rollout
    assert refined.drift.shape[::2] == (2, 2)
    assert np.isfinite(refined.drift).all()
    assert (refined.drift[..., 0] > 0).all()
    assert plain.drift is None


def test_a_store_keeps_the_drift(rollout, tmp_path):
    refined, _ = rollout
    store = EpisodeStore.create(tmp_path / "rollouts", "rollout")
    store.write_rollout("a", refined, 1)
    np.testing.assert_array_equal(store.read_rollout().drift[0], refined.drift[1])
    np.testing.assert_array_equal(RolloutStore(store.path, ["a"]).read("a").drift, refined.drift[1])


def test_the_command_warns_and_the_evaluation_counts(pipeline_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(over_refinement, "SHIFT_LIMIT", 0.0)
    collect(tmp_path / "truth", episodes=2, seed=3, image_size=32, fps=16.0, num_frames=9)
    options = {"model": str(pipeline_folder), "steps": 3}
    cli.rollout(tmp_path / "truth", tmp_path / "base", **options)
    assert "over-refined" not in capsys.readouterr().err
    cli.rollout(tmp_path / "truth", tmp_path / "refined", plan=((0.0, 0.5, 1),), threshold=0.0, **options)
    assert "over-refined: in 2 of 2 clips" in capsys.readouterr().err
    rows = (f"plain={tmp_path / 'base'}", f"ours={tmp_path / 'refined'}")
    cli.evaluate(tmp_path / "truth", tmp_path / "results", rows=rows)
    assert "ours: over-refined: in 2 of 2 clips" in capsys.readouterr().out
    rows = json.loads((tmp_path / "results" / "results.json").read_text())["families"][0]["rows"]
    assert [rows[name]["over_refined"] for name in ("plain", "ours")] == [0, 2]
    assert "Over-refined" in (tmp_path / "results" / "report.html").read_text()
