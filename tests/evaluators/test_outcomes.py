"""Judged against true success, and several attempts, in closed form."""

from math import comb

import numpy as np
import pytest
from made_families import FOUND, entries

from worldmodel.evaluators.outcomes import outcomes, passes
from worldmodel.evaluators.report_tables import outcomes as outcomes_html
from worldmodel.evaluators.results import plain
from worldmodel.evaluators.statistics import wilson


def judged(success, true_success):
    row = entries(found=success)
    for entry, judgement, outcome in zip(row, success, true_success, strict=True):
        entry["score"] |= {"success": judgement, "true_success": outcome}
    return row


TRUE = [True] * 6 + [False] * 4
MODEL = [True] * 5 + [False] + [True] + [False] * 3


def test_counts_and_rates_of_a_row():
    found = outcomes({"truth": judged(TRUE, TRUE), "model": judged(MODEL, TRUE)}, "success")
    model = found["model"]
    assert [model[name] for name in ("tp", "fp", "fn", "tn")] == [5, 1, 1, 3]
    assert model["false_success"]["value"] == 0.25 and model["sensitivity"]["low"] == wilson(5, 6).low
    assert model["mcc"] == pytest.approx((5 * 3 - 1) / 24) and model["bias_p"] == 1.0
    assert found["truth"]["mcc"] == 1.0


def test_a_video_that_cannot_be_judged_is_no_success():
    row = judged([None, True], [True, True])
    assert outcomes({"model": row}, "success")["model"]["fn"] == 1


def test_families_without_success_have_no_outcomes():
    assert outcomes({"model": entries(found=[True, False])}, "success") == {}
    assert outcomes({"model": judged([True], [None])}, "success") == {}


def test_pass_at_k_is_unbiased():
    row = entries(found=[True, False, False, False] + [False] * 4, samples=4)
    found = passes({"model": row, "truth": entries(found=[True, True])}, np.arange(2), FOUND, np.random.default_rng(0))
    assert set(found) == {"model"} and found["model"]["n"] == 4
    assert found["model"]["pass"]["1"]["value"] == pytest.approx((1 - comb(3, 1) / comb(4, 1)) / 2)
    assert found["model"]["pass"]["4"]["value"] == pytest.approx(0.5)


def test_the_report_prints_them():
    family = plain(
        {
            "rows": {"truth": {"label": "MuJoCo"}, "model": {"label": "a model"}},
            "outcomes": outcomes({"truth": judged([True] * 3, [True] * 3), "model": judged(MODEL, TRUE)}, "success"),
            "passes": passes(
                {"model": entries(found=[True, False], samples=2)}, np.arange(1), FOUND, np.random.default_rng(0)
            ),
        }
    )
    page = outcomes_html(family)
    assert "<td>25.0<small>4.6 … 69.9</small></td>" in page, "false success"
    assert "<td>–</td>" in page, "the specificity of a judge that saw no failure"
    assert "<td>2</td><td>50.0<small>50.0 … 50.0</small></td><td>100.0<small>100.0 … 100.0</small></td>" in page
    assert outcomes_html({**family, "outcomes": {}, "passes": {}}) == ""
