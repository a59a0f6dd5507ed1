"""The main job end to end, with a random model: it must score badly and say so."""

import json
import subprocess
import sys

import numpy as np
import pytest

import worldmodel
from worldmodel import imagine as imagine_module
from worldmodel.collect import collect
from worldmodel.demo import run_demo
from worldmodel.imagine import imagine
from worldmodel.sampling import PredictPerturb
from worldmodel.scoring import evaluate_stores
from worldmodel.storage import EpisodeStore, StoreError

SIZE = {"image_size": 32, "num_frames": 9}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, pipeline_folder):
    out = tmp_path_factory.mktemp("demo") / "out"
    return run_demo(out, scenes=3, seed=50, model_name=str(pipeline_folder))


def family_in(folder):
    """The results of the only family."""
    (family,) = json.loads((folder / "results.json").read_text())["families"]
    return family


def test_results_hold_every_row_and_every_scene(finished):
    results = family_in(finished.parent)
    assert [scene["seed"] for scene in results["scenes"]] == [50, 51, 52]
    assert set(results["rows"]) == {"truth", "autoencoder", "base", "euler_matched", "refined", "frozen", "linear"}
    assert all(len(row["clips"]) == 3 for row in results["rows"].values())
    assert results["rows"]["refined"]["nfe"] > results["rows"]["base"]["nfe"] > 0


def test_the_truth_scores_best_and_a_random_model_badly(finished):
    table = family_in(finished.parent)["table"]
    error = {row: metrics["centroid_error_diagonal"]["value"] for row, metrics in table.items()}
    assert error["truth"] < 1.5
    assert error["base"] > 10 * error["truth"]
    assert error["frozen"] > 5 * error["truth"]


def test_the_report_is_one_page_without_a_network(finished):
    page = finished.read_text()
    assert "<html" in page
    assert 'src="http' not in page
    assert "data:image" in page


def test_a_second_run_computes_nothing_again(finished, pipeline_folder, monkeypatch):
    def never(*_, **__):
        raise AssertionError("computed again")

    monkeypatch.setattr(worldmodel.WorldModel, "rollout", never)
    monkeypatch.setattr(worldmodel.WorldModel, "reconstruct", never)
    assert run_demo(finished.parent, scenes=3, seed=50, model_name=str(pipeline_folder)) == finished


def test_fewer_scenes_in_the_same_folder_are_the_ones_asked_for(tmp_path, pipeline_folder):
    for scenes, seed in ((3, 60), (2, 59)):
        run_demo(tmp_path / "out", scenes=scenes, seed=seed, model_name=str(pipeline_folder))
    results = family_in(tmp_path / "out")
    assert [scene["seed"] for scene in results["scenes"]] == [59, 60]
    fresh = run_demo(tmp_path / "fresh", scenes=2, seed=59, model_name=str(pipeline_folder))
    again = family_in(fresh.parent)
    one, other = (r["table"]["refined"]["centroid_error_px"]["value"] for r in (results, again))
    assert one == pytest.approx(other, abs=0.5), "a rollout's seed is that of its clip, not of its place"


def test_folders_that_hold_something_else_are_refused_and_kept(tmp_path, pipeline_folder):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"out: got .*which holds something else"):
        run_demo(tmp_path, scenes=1, seed=0, model_name=str(pipeline_folder))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_somebody_elses_results_are_not_replaced(tmp_path):
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(ValueError, match=r"out: got .* with other results.json"):
        evaluate_stores(tmp_path / "truth", {}, tmp_path)
    assert (tmp_path / "results.json").read_text() == "{}"


def test_rollouts_of_another_truth_are_refused(tmp_path, pipeline_folder):
    model = worldmodel.load(pipeline_folder, device="cpu")
    truth = collect(tmp_path / "truth", episodes=1, **SIZE)
    other = collect(tmp_path / "other", episodes=1, fps=8.0, **SIZE)
    base = imagine(model, truth, tmp_path / "base")
    with pytest.raises(ValueError, match="base: got rollouts of another truth"):
        evaluate_stores(other.path, {"base": base.path, "refined": base.path}, tmp_path / "results")
    with pytest.raises(ValueError, match="refined: got plain rollouts"):
        evaluate_stores(truth.path, {"base": base.path, "refined": base.path}, tmp_path / "results")
    with pytest.raises(ValueError, match=r"size, frames, fps .* expected"):
        imagine(model, other, tmp_path / "never")
    assert not (tmp_path / "results").exists()
    assert not (tmp_path / "never").exists()


def test_fewer_evaluations_are_not_called_matched(tmp_path, pipeline_folder):
    model = worldmodel.load(pipeline_folder, device="cpu")
    truth = collect(tmp_path / "truth", episodes=1, **SIZE)
    base = imagine(model, truth, tmp_path / "base")
    refine = PredictPerturb(plan=[(0.0, 0.5, 2)], threshold=0.0)
    refined = imagine(model, truth, tmp_path / "refined", refine=refine)
    rows = {"base": base.path, "euler_matched": base.path, "refined": refined.path}
    with pytest.raises(ValueError, match="matched: got 4 evaluations a clip, expected at least the"):
        evaluate_stores(truth.path, rows, tmp_path / "results")


def test_interrupted_rollouts_go_on_with_the_same_samples(tmp_path, pipeline_folder, monkeypatch):
    model = worldmodel.load(pipeline_folder, device="cpu")
    truth = collect(tmp_path / "truth", episodes=4, **SIZE)
    whole = imagine(model, truth, tmp_path / "whole", batch_size=2)
    stream, calls = worldmodel.WorldModel.stream, []

    def interrupted(self, *args, **options):
        calls.append(options["seeds"])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return stream(self, *args, **options)

    monkeypatch.setattr(worldmodel.WorldModel, "stream", interrupted)
    with pytest.raises(KeyboardInterrupt):
        imagine(model, truth, tmp_path / "broken", batch_size=2)
    assert len(EpisodeStore.open(tmp_path / "broken").keys()) == 2, "what was finished is readable"
    resumed = imagine(model, truth, tmp_path / "broken", batch_size=2)
    assert calls == [[0, 1], [2, 3], [2, 3]]
    difference = resumed.read_rollout().video.astype(int) - whole.read_rollout().video
    assert np.abs(difference).max() <= 1
    with pytest.raises(StoreError, match=r"steps|sigmas"):
        imagine_module.imagine(model, truth, tmp_path / "broken", steps=3)


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "worldmodel.cli", *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_the_commands_of_the_readme_work_one_after_the_other(tmp_path, pipeline_folder):
    truth, base, refined = tmp_path / "truth", tmp_path / "base", tmp_path / "refined"
    steps = [
        ("collect", "--out", truth, "--episodes", 2, "--image-size", 32, "--num-frames", 9),
        ("rollout", "--truth", truth, "--out", base, "--model", pipeline_folder),
        ("rollout", "--truth", truth, "--out", refined, "--model", pipeline_folder, "--plan", 0.0, 0.5, 1),
        ("evaluate", "--truth", truth, "--out", tmp_path, "--base", base, "--refined", refined),
    ]
    for step in steps:
        result = run(*step)
        assert result.returncode == 0, result.stderr
    assert (tmp_path / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("rollout", "--truth", "nowhere", "--out", "x"), "worldmodel: "),
        (("demo", "--model", "tiney"), "worldmodel: model: got 'tiney'"),
    ],
)
def test_mistakes_get_one_line(tmp_path, arguments, message):
    result = run(*arguments)
    assert result.returncode == 1
    assert result.stderr.startswith(message)
    assert len(result.stderr.strip().splitlines()) == 1
