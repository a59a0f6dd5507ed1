"""Judged against true success, and several attempts, in closed form."""

from math import comb

import numpy as np
import pytest
from made_families import FOUND, entries

from worldmodel.evaluators.outcomes import outcomes, passes, policy_agreement, stage_outcomes
from worldmodel.evaluators.report_outcomes import outcomes as outcomes_html
from worldmodel.evaluators.results import plain
from worldmodel.evaluators.statistics import wilson


def judged(success, true_success):
    row = entries(found=success)
    for entry, judgement, outcome in zip(row, success, true_success, strict=True):
        entry["score"] |= {"success": judgement, "true_success": outcome}
    return row


APART, RNG = np.arange(20), np.random.default_rng(0)
TRUE = [True] * 6 + [False] * 4
MODEL = [True] * 5 + [False] + [True] + [False] * 3


def test_counts_and_rates_of_a_row():
    found = outcomes({"truth": judged(TRUE, TRUE), "model": judged(MODEL, TRUE)}, "success", APART, RNG)
    model = found["model"]
    assert [model[name] for name in ("tp", "fp", "fn", "tn")] == [5, 1, 1, 3]
    assert model["false_success"]["value"] == 0.25 and model["sensitivity"]["low"] == wilson(5, 6).low
    assert model["mcc"] == pytest.approx((5 * 3 - 1) / 24) and model["bias_p"] == 1.0
    assert found["truth"]["mcc"] == 1.0


def test_a_video_that_cannot_be_judged_is_no_success():
    row = judged([None, True], [True, True])
    assert outcomes({"model": row}, "success", APART, RNG)["model"]["fn"] == 1


def test_samples_of_a_scene_are_no_further_evidence():
    """Each of 10 clips four times: the rates stay, their intervals do not shrink, and no p is claimed."""
    row = [
        {**entry, "sample": sample, "score": dict(entry["score"])}
        for entry in judged(MODEL, TRUE)
        for sample in range(4)
    ]
    once = outcomes({"model": judged(MODEL, TRUE)}, "success", APART, RNG)["model"]
    many = outcomes({"model": row}, "success", APART, RNG)["model"]
    assert many["tp"] == 4 * once["tp"] and np.isnan(many["bias_p"]) and once["bias_p"] == 1.0
    for rate in ("judged_rate", "sensitivity", "false_success"):
        assert many[rate]["value"] == pytest.approx(once[rate]["value"])
        assert many[rate]["high"] - many[rate]["low"] > 0.7 * (once[rate]["high"] - once[rate]["low"])
    sure = [{**entry, "sample": s} for entry in judged([True] * 10, [True] * 10) for s in range(4)]
    assert outcomes({"model": sure}, "success", APART, RNG)["model"]["sensitivity"]["low"] == wilson(10, 10).low


def test_families_without_success_have_no_outcomes():
    assert outcomes({"model": entries(found=[True, False])}, "success", APART, RNG) == {}
    assert outcomes({"model": judged([True], [None])}, "success", APART, RNG) == {}


def test_pass_at_k_is_unbiased():
    row = entries(found=[True, False, False, False] + [False] * 4, samples=4)
    rows = {"model": row, "truth": entries(found=[True, True])}
    found = passes(rows, np.arange(2), [FOUND], np.random.default_rng(0))
    assert set(found) == {"model"} and found["model"]["n"] == 4
    chances = found["model"]["pass"]["found"]
    assert {k: chance["value"] for k, chance in chances.items()} == {
        str(k): pytest.approx((1 - comb(3, k) / comb(4, k)) / 2) for k in (1, 2, 4)
    }
    assert passes({"model": entries(found=[True] * 6, samples=3)}, np.arange(2), [], np.random.default_rng(0)) == {}


def test_stages_are_held_against_mujoco_s_one_by_one():
    row = judged(MODEL, TRUE)
    for number, entry in enumerate(row):
        entry["score"] |= {"lift": number < 5, "true_lift": number < 6, "true_landing_ms": 1.0}
    stages = stage_outcomes({"model": row, "other": judged(MODEL, TRUE)}, APART, RNG)
    assert set(stages) == {"model"} and set(stages["model"]) == {"lift"}
    lift = stages["model"]["lift"]
    assert [lift[name] for name in ("tp", "fp", "fn", "tn")] == [5, 0, 1, 4]
    assert lift["false_success"]["value"] == 0.0


def test_policies_are_ranked_as_in_mujoco_or_not():
    """Five policies with MuJoCo's rates 0, 1/4, ... 1; the model swaps the two best, and is paired by name."""
    names, clips = ["a", "b", "c", "d", "e"], 4
    policies = [name for name in names for _ in range(clips)]
    true = [i < good for good in range(5) for i in range(clips)]
    swapped = [i < good for good in (0, 1, 2, 4, 3) for i in range(clips)]
    found = policy_agreement({"truth": judged(true, true), "model": judged(swapped, true)}, policies, "success")
    assert found["truth"]["mmrv"] == 0.0 and found["truth"]["pearson"]["value"] == pytest.approx(1.0)
    model = found["model"]
    assert model["n"] == 5 and model["mmrv"] == pytest.approx(2 * 0.25 / 5)
    assert model["pearson"]["value"] == pytest.approx(0.9) and model["kendall_tau_b"] == pytest.approx(0.8)
    assert model["rates"]["e"] == {"judged": 0.75, "true": 1.0, "clips": 4}
    assert policy_agreement({"truth": judged(true, true)}, ["a"] * 20, "success") == {}
    alike = policy_agreement({"truth": judged([True] * 20, [True] * 20)}, policies, "success")["truth"]
    assert alike["pearson"] is None and alike["kendall_tau_b"] is None


def test_the_report_prints_them():
    truth, model = judged([True] * 3, [True] * 3), judged(MODEL, TRUE)
    for entry in model:
        entry["score"] |= {"lift": True, "true_lift": True}
    policies = ["<a>", "b"] * 5
    family = plain(
        {
            "rows": {"truth": {"label": "MuJoCo"}, "model": {"label": "a model"}},
            "metrics": {"found": {"label": "Found"}},
            "outcomes": outcomes({"truth": truth, "model": model}, "success", APART, RNG),
            "stages": stage_outcomes({"model": model}, APART, RNG),
            "policies": policy_agreement({"model": model}, policies, "success"),
            "passes": passes(
                {"model": entries(found=[True, False], samples=2)}, np.arange(1), [FOUND], np.random.default_rng(0)
            ),
        }
    )
    page = outcomes_html(family)
    assert "<td>25.0<small>4.6 … 69.9</small></td>" in page, "false success"
    assert "<td>–</td>" in page, "the specificity of a judge that saw no failure"
    attempts = (
        "<td>Found</td><td>2</td><td>50.0<small>50.0 … 50.0</small></td><td>100.0<small>100.0 … 100.0</small></td>"
    )
    assert attempts in page
    assert "Stage by stage" in page and "<td>lift</td>" in page
    assert "MMRV" in page and "&lt;a&gt; " in page
    assert outcomes_html({**family, "outcomes": {}, "passes": {}}) == ""
