"""Side columns end to end: beside every number, never in one, and empty where a network is out of reach."""

import json

import numpy as np
import pytest
from chat_server import Said, chat, closed_url

from worldmodel.collect import collect
from worldmodel.evaluators.endpoint import Endpoint
from worldmodel.evaluators.judge import INCOMPLETE
from worldmodel.evaluators.rubric import load_rubric
from worldmodel.scoring import evaluate_stores
from worldmodel.side_columns import SideColumns, open_side_columns


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Two true falls, and one row of them with noise."""
    root = tmp_path_factory.mktemp("side")
    truth = collect(root / "truth", episodes=2, seed=21, workers=1, image_size=48, num_frames=13, fps=16.0)
    rng = np.random.default_rng(0)
    videos = {key: truth.array(key, "video").data for key in list(truth.keys())}
    noisy = {key: np.clip(video + rng.normal(0, 9, video.shape), 0, 255) for key, video in videos.items()}
    np.savez(root / "noisy.npz", **{key: video.astype(np.uint8) for key, video in noisy.items()})
    return truth.path, {"noisy": root / "noisy.npz"}


def evaluated(inputs, out, side):
    """Results and page."""
    page = evaluate_stores(*inputs, out, side=side).read_text()
    return json.loads((out / "results.json").read_text()), page


def endpoint(url, **prices):
    return Endpoint(url, "eye", attempts=1, backoff_s=0.0, timeout_s=10.0, **prices)


def yes(request):
    schema = request["response_format"]["json_schema"]["schema"]
    return Said(json.dumps({"answer": schema["properties"]["answer"]["enum"][0]}))


def test_a_judge_that_says_yes_to_all_is_found_out(inputs, tmp_path, capsys):
    with chat(yes) as server:
        side = SideColumns(endpoint=endpoint(server.url, prompt_usd=1.0, completion_usd=2.0))
        results, page = evaluated(inputs, tmp_path / "out", side)
    found = results["families"][0]["side"]
    assert results["exit_code"] == 0
    assert {row: column["judge"]["n"] for row, column in found["columns"].items()} == dict.fromkeys(found["columns"], 2)
    assert len(found["clips"]["noisy"]) == 2 and set(found["clips"]["noisy"][0]) == {"judge"}
    (all_questions,) = [error for error in found["judge"]["errors"] if error["question"] == "all"]
    assert all_questions["sensitivity"]["value"] == 1.0 and all_questions["specificity"]["value"] == 0.0
    asked = len(found["judge"]["answers"])
    assert asked == len(server.requests) and found["judge"]["cost_usd"] == pytest.approx(asked * 114e-6)
    assert any(answer["clip"].startswith("control vanish") for answer in found["judge"]["answers"])
    assert "The judge’s own error" in page
    assert "the judge itself on clips of known worth: sensitivity 1.00, specificity 0.00" in capsys.readouterr().out


@pytest.mark.parametrize(
    "env, options, rubric, made",
    [
        (
            "grasp",
            {"distractors": 0},
            "robot",
            {"ghost_lift", "knock_off", "vanish", "teleport", "shuffled", "other_seed"},
        ),
        ("maze", {"rows": 5, "columns": 5}, "physics_standards", {"wall_crossing", "vanish", "teleport", "shuffled"}),
    ],
)
def test_a_judge_is_tried_on_what_only_a_simulator_can_show(env, options, rubric, made, tmp_path):
    truth = collect(tmp_path / "truth", env, episodes=2, seed=21, workers=1, image_size=48, options=options)
    np.savez(tmp_path / "same.npz", **{key: truth.array(key, "video").data for key in list(truth.keys())})
    with chat(yes) as server:
        side = SideColumns(endpoint=endpoint(server.url), rubric=load_rubric(rubric))
        evaluate_stores(truth.path, {"same": tmp_path / "same.npz"}, tmp_path / "out", side=side)
    (family,) = json.loads((tmp_path / "out" / "results.json").read_text())["families"]
    tried = {answer["clip"].split()[1] for answer in family["side"]["judge"]["answers"] if "control" in answer["clip"]}
    assert tried == made
    for error in family["side"]["judge"]["errors"]:
        assert error["fp"] > 0, error["question"]


def test_an_endpoint_that_is_down_leaves_an_empty_column_and_every_other_number(inputs, tmp_path, capsys):
    results, page = evaluated(inputs, tmp_path / "down", SideColumns(endpoint=endpoint(closed_url())))
    assert results["exit_code"] == INCOMPLETE
    family = results["families"][0]
    assert {column["judge"]["value"] for column in family["side"]["columns"].values()} == {None}
    assert "Questions without an answer" in page
    assert "the judge itself" not in capsys.readouterr().out
    plain, _ = evaluated(inputs, tmp_path / "plain", None)
    assert plain["exit_code"] == 0 and "side" not in plain["families"][0]
    assert {**family, "side": None} == {**plain["families"][0], "side": None}


def test_features_of_a_transformer_stand_beside_each_clip(inputs, tmp_path):
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    ViTModel(config).save_pretrained(tmp_path / "dino")
    side = open_side_columns(dino=str(tmp_path / "dino"))
    results, page = evaluated(inputs, tmp_path / "out", side)
    found = results["families"][0]["side"]
    assert found["judge"] is None and found["columns"]["truth"]["dino_distance"]["value"] == pytest.approx(
        0.0, abs=1e-6
    )
    assert found["columns"]["frozen"]["dino_consistency"]["value"] == pytest.approx(1.0, abs=1e-6)
    assert found["clips"]["noisy"][1]["dino_distance"] > 0
    assert "DINO consistency" in page and "own error</h3>" not in page


def test_what_cannot_be_had_is_refused_in_a_line(inputs, tmp_path):
    side = open_side_columns(endpoint=endpoint("http://localhost:1"), rubric="robot")
    with pytest.raises(ValueError, match="rubric: got no question for free fall"):
        evaluate_stores(*inputs, tmp_path / "out", side=side)
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match=r"rubric: got 'robot' without a judge"):
        open_side_columns(rubric="robot")
    with pytest.raises(ValueError, match="lpips: got no such package"):
        open_side_columns(lpips=True)
    with pytest.raises(ValueError, match=r"dino: got no weights .*, expected them on disk"):
        open_side_columns(dino=str(tmp_path / "none" / "such"))
