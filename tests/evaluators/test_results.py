"""The document of an evaluation: complete, ordered, strict JSON."""

import json

import numpy as np
import pytest
from made_families import around, entries, family

from worldmodel.evaluators.results import build_results, check_row_name, plain, write_results


def test_rows_stand_from_ceilings_over_models_to_nulls():
    names = ["linear", "refined", "frozen", "autoencoder", "my model", "truth"]
    found = family({name: entries(error_px=around(1.0)) for name in names})
    assert list(found["rows"]) == ["autoencoder", "truth", "refined", "my model", "linear", "frozen"]
    assert found["rows"]["refined"]["label"] == "Predict-and-Perturb"
    assert found["rows"]["my model"] | {"clips": 0} == {
        "label": "my model",
        "kind": "model",
        "nfe": 20.0,
        "seconds_per_clip": None,
        "failures": 0,
        "clips": 0,
    }


def test_a_row_that_misses_a_clip_is_refused():
    rows = {"truth": entries(error_px=around(1.0)), "wan": entries(error_px=around(1.0))[:-1]}
    with pytest.raises(ValueError, match=r"rows\['wan'\]: got no score of 1 of 12 clips, expected all"):
        family(rows)


def test_clips_of_one_seed_are_one_scene():
    rows = {"truth": entries(error_px=around(1.0)), "wan": entries(error_px=around(2.0))}
    assert family(rows, seeds=[i // 3 for i in range(12)])["comparisons"] == []
    rows["frozen"] = entries(error_px=around(9.0))
    found = family(rows, seeds=[i // 3 for i in range(12)])
    assert found["comparisons"][0]["metrics"]["error_px"]["n"] == 4
    assert family(rows, seeds=[None] * 12)["comparisons"][0]["metrics"]["error_px"]["n"] == 12


def test_the_file_is_strict_json_with_a_line_for_a_list_of_numbers(tmp_path):
    scores = entries(error_px=[1.0, float("nan")])
    scores[0]["score"]["frames"] = np.array([np.nan, 1.5, -2e-7])
    document = build_results([family({"truth": scores})], {"note": "[1,\n2]", "path": "a\\b"})
    write_results(tmp_path / "results.json", document)
    text = (tmp_path / "results.json").read_text()

    def refuse(constant):
        raise AssertionError(constant)

    assert json.loads(text, parse_constant=refuse) == document
    assert '"frames": [ null, 1.5, -2e-07 ]' in text
    assert document["format"] == 2
    assert document["families"][0]["rows"]["truth"]["clips"][1]["score"]["error_px"] is None
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_numbers_of_numpy_become_plain():
    assert plain({1: (np.float32(0.5), np.int64(2), np.bool_(True), float("inf"))}) == {"1": [0.5, 2, True, None]}


@pytest.mark.parametrize("name", ["truth", "frozen", "linear", "", "a/b", "<b>", "x" * 41, "ünder"])
def test_bad_row_names_are_refused(name):
    with pytest.raises(ValueError, match=r"rows: got .* expected .*; rename it"):
        check_row_name(name)


def test_usual_row_names_are_taken():
    for name in ("refined", "Wan 2.2-5B", "cosmos_v2.5+refined"):
        check_row_name(name)
