"""Tables, skill and comparisons against closed forms, and what the order of clips must not change."""

import made_families as made
import numpy as np
import pytest
from made_families import COUNT, ERROR, FOUND, METRICS, entries, family
from scipy.stats import wilcoxon

from worldmodel.evaluators.statistics import (
    clopper_pearson,
    holm,
    mcnemar,
    scenes_for_mcnemar,
    scenes_for_mean_difference,
    wilson,
)
from worldmodel.evaluators.summary import Roles, by_clip, compare, pool, summarise

RNG = np.random.default_rng


def rows(**values):
    return {name: entries(error_px=numbers) for name, numbers in values.items()}


def test_a_share_of_independent_clips_has_wilsons_interval_in_percent():
    found = pool(entries(found=[True] * 9 + [False] * 3), np.arange(12), FOUND, RNG(0))
    expected = wilson(9, 12)
    assert found == {"value": 75.0, "low": 100 * expected.low, "high": 100 * expected.high, "n": 12}


def test_samples_of_a_scene_are_no_further_scenes():
    numbers = RNG(1).normal(size=20)
    once = pool(entries(error_px=numbers), np.arange(20), ERROR, RNG(0))
    five = pool(entries(error_px=np.repeat(numbers, 5), samples=5), np.arange(20), ERROR, RNG(0))
    assert five["n"] == 100 and five["value"] == pytest.approx(once["value"])
    assert five["high"] - five["low"] == pytest.approx(once["high"] - once["low"], rel=1e-9)


def test_a_share_that_never_fails_keeps_the_uncertainty_of_its_scenes():
    found = pool(entries(found=[True] * 40, samples=4), np.arange(10), FOUND, RNG(0))
    assert (found["value"], found["low"]) == (100.0, 100 * clopper_pearson(10, 10).low)


def test_numbers_that_do_not_exist_are_left_out_and_counted():
    found = pool(entries(error_px=[1.0, None, 3.0, float("nan")]), np.arange(4), ERROR, RNG(0))
    assert (found["value"], found["n"]) == (2.0, 2)
    assert pool(entries(error_px=[None, None]), np.arange(2), ERROR, RNG(0))["n"] == 0


def test_by_clip_averages_samples_and_takes_distances_from_zero():
    row = entries(bias_ms=[-2.0, 4.0, None, 6.0], samples=2)
    assert by_clip(row, 3, made.BIAS).tolist()[:2] == [3.0, 6.0]
    assert np.isnan(by_clip(row, 3, made.BIAS)[2])


def test_skill_is_the_share_of_the_way_from_the_best_null_to_the_ceiling():
    ceiling, null, worse = [1.0] * 8, [11.0] * 8, [21.0] * 8
    found = family(rows(truth=ceiling, model=[4.0] * 8, frozen=worse, linear=null))
    assert found["best_null"] == "linear"
    assert found["skill"]["model"] == {"value": pytest.approx(0.7), "low": pytest.approx(0.7), "high": 0.7, "n": 8}
    assert found["skill"]["frozen"]["value"] == pytest.approx(-1.0)
    assert set(found["skill"]) == {"model", "frozen"}


def test_scenes_in_which_the_null_is_as_good_as_the_ceiling_have_no_skill():
    found = family(rows(truth=[1.0, 1.0, 2.0], model=[6.0, 6.0, 0.0], frozen=[11.0, 1.0, 1.0]))
    assert found["skill"]["model"] == {"value": 0.5, "low": 0.5, "high": 0.5, "n": 1}


def test_skill_of_a_share_is_the_ratio_of_the_rates():
    true, model, null = [True] * 10, [True] * 7 + [False] * 3, [True] * 2 + [False] * 8
    scored = {name: entries(found=v) for name, v in (("truth", true), ("model", model), ("frozen", null))}
    roles = Roles("truth", ("frozen",), ("model",))
    found = summarise(scored, np.arange(10), [FOUND], "found", roles, RNG(0))
    skill = found["skill"]["model"]
    assert skill["value"] == pytest.approx((0.7 - 0.2) / (1.0 - 0.2)) and skill["n"] == 10
    assert skill["low"] < skill["value"] < skill["high"]


def test_a_comparison_is_of_the_same_scenes_in_printed_units():
    d = np.array([-3.0, -1.0, -2.0, -4.0, -2.5, 0.5])
    scored = rows(a=(10 + d).tolist(), b=[10.0] * 6)
    found = compare(scored, "a", "b", np.arange(6), [ERROR], RNG(0))["metrics"]["error_px"]
    assert found["mean"]["value"] == pytest.approx(d.mean()) and found["median"]["value"] == pytest.approx(-2.25)
    assert found["p"] == pytest.approx(wilcoxon(d).pvalue) and found["test"] == "wilcoxon"
    assert found["better"] == "a" and found["n"] == 6
    assert found["scenes_needed"] == scenes_for_mean_difference(difference=d.mean(), std=d.std(ddof=1))


def test_more_is_better_where_the_metric_says_so():
    scored = {"a": entries(found=[True] * 9 + [False]), "b": entries(found=[True] + [False] * 9)}
    found = compare(scored, "a", "b", np.arange(10), [FOUND], RNG(0))["metrics"]["found"]
    assert (found["only_a"], found["only_b"], found["test"]) == (8, 0, "mcnemar")
    assert found["p"] == mcnemar(8, 0) and found["better"] == "a"
    assert found["mean"]["value"] == pytest.approx(80.0)
    assert found["scenes_needed"] == scenes_for_mcnemar(only_a=0.8, only_b=0.0)


def test_outcomes_of_one_scene_are_not_independent_pairs():
    scored = {name: entries(found=values) for name, values in (("a", [True] * 8), ("b", [True, False] * 4))}
    found = compare(scored, "a", "b", np.array([0, 0, 1, 1, 2, 2, 3, 3]), [FOUND], RNG(0))
    assert found["metrics"]["found"]["test"] == "wilcoxon" and found["metrics"]["found"]["n"] == 4


def test_what_a_row_does_not_have_counts_as_the_worst_of_both():
    scored = rows(a=[None, 2.0, 3.0, None], b=[1.0, 5.0, 3.0, None])
    found = compare(scored, "a", "b", np.arange(4), [ERROR], RNG(0))["metrics"]["error_px"]
    assert found["n"] == 3, "the last clip has no number in either"
    assert found["mean"]["value"] == pytest.approx(((5 - 1) + (2 - 5) + 0) / 3)


def test_holm_corrects_over_the_whole_table():
    n = 12
    scored = {
        name: entries(error_px=made.around(level, n), found=[True] * n, bias_ms=made.around(level, n))
        for name, level in (("a", 1.0), ("b", 1.1))
    }
    found = compare(scored, "a", "b", np.arange(n), METRICS[:3], RNG(0))["metrics"]
    names = [metric.name for metric in METRICS[:3]]
    assert [found[name]["holm_p"] for name in names] == holm([found[name]["p"] for name in names])
    assert COUNT.name not in found


def test_equal_rows_need_no_number_of_scenes():
    found = compare(rows(a=[1.0, 2.0], b=[1.0, 2.0]), "a", "b", np.arange(2), [ERROR], RNG(0))
    assert np.isnan(found["metrics"]["error_px"]["scenes_needed"]) and found["metrics"]["error_px"]["p"] == 1.0


def test_the_order_of_clips_changes_no_estimate():
    values = RNG(3).normal(5, 1, (3, 15))
    order = RNG(4).permutation(15)
    one, other = (
        family(rows(truth=v[0].tolist(), model=v[1].tolist(), frozen=(10 + v[2]).tolist()), seeds=seeds)
        for v, seeds in ((values, range(15)), (values[:, order], order.tolist()))
    )
    for found in (one, other):
        found["estimates"] = [
            found["table"]["model"]["error_px"]["value"],
            found["skill"]["model"]["value"],
            found["comparisons"][0]["metrics"]["error_px"]["hodges_lehmann"],
        ]
    assert one["estimates"] == pytest.approx(other["estimates"])


def test_models_are_ranked_with_what_they_lack_charged():
    found = family(rows(truth=[0.0] * 3, a=[2.0, 2.0, 2.0], b=[1.0, 1.0, None], c=[9.0, 0.0, 1.0], frozen=[9.0] * 3))
    assert found["ranking"] == ["a", "c", "b"]


def test_many_models_are_compared_with_the_best_only():
    names = ["m1", "m2", "m3", "m4", "m5"]
    scored = rows(truth=[0.0] * 4, frozen=[9.0] * 4, **{name: [float(i + 1)] * 4 for i, name in enumerate(names)})
    pairs = [(c["a"], c["b"]) for c in family(scored)["comparisons"]]
    assert pairs == [("m1", name) for name in names[1:]] + [(name, "frozen") for name in names]
    few = rows(truth=[0.0] * 4, frozen=[9.0] * 4, m1=[1.0] * 4, m2=[2.0] * 4)
    assert [(c["a"], c["b"]) for c in family(few)["comparisons"]] == [
        ("m2", "m1"),
        ("m1", "frozen"),
        ("m2", "frozen"),
    ]
