import numpy as np
import pytest

from worldmodel.evaluators.statistics import (
    bootstrap_mean,
    bootstrap_median,
    hodges_lehmann,
    holm,
    mcnemar,
    paired_difference,
    wilson,
)


@pytest.mark.parametrize(
    "successes, n, low, high",
    [(9, 12, 0.47, 0.91), (5, 10, 0.24, 0.76), (25, 50, 0.37, 0.63), (40, 50, 0.67, 0.89), (160, 200, 0.74, 0.85)],
)
def test_wilson_published_intervals(successes, n, low, high):
    interval = wilson(successes, n)
    assert (round(interval.low, 2), round(interval.high, 2)) == (low, high)


def test_wilson_stays_inside_and_is_symmetric():
    none, every = wilson(0, 20), wilson(20, 20)
    assert none.low == 0 and every.high == 1
    assert none.high == pytest.approx(1 - every.low)


def test_mcnemar_six_to_none_is_one_in_32():
    assert mcnemar(6, 0) == mcnemar(0, 6) == pytest.approx(2 / 64)
    assert mcnemar(3, 3) == mcnemar(0, 0) == 1.0


def test_hodges_lehmann_by_hand():
    assert hodges_lehmann(np.array([1.0, 2.0, 4.0])) == 2.25  # of 1, 1.5, 2, 2.5, 3, 4


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]


def test_bootstrap_estimates_are_the_sample_s_own():
    values = np.random.default_rng(3).normal(size=31)
    assert bootstrap_mean(values, np.random.default_rng(0)).value == pytest.approx(values.mean())
    assert bootstrap_median(values, np.random.default_rng(0)).value == pytest.approx(np.median(values))
    assert bootstrap_median(values[:30], np.random.default_rng(0)).value == pytest.approx(np.median(values[:30]))


def test_bootstrap_median_equals_plain_resampling():
    values = np.random.default_rng(5).exponential(size=40)
    picks = np.random.default_rng(0).integers(40, size=(10_000, 40))
    low, high = np.percentile(np.median(values[picks], axis=1), [2.5, 97.5])
    interval = bootstrap_median(values, np.random.default_rng(0))
    order = np.argsort(values)  # the function resamples sorted values
    low_sorted, high_sorted = np.percentile(np.median(values[order][picks], axis=1), [2.5, 97.5])
    assert (interval.low, interval.high) == pytest.approx((low_sorted, high_sorted))
    assert (low, high) == pytest.approx((low_sorted, high_sorted), abs=0.1)


def test_bootstrap_is_reproducible_and_uses_only_its_generator():
    values = np.random.default_rng(4).normal(size=30)
    first = bootstrap_mean(values, np.random.default_rng(7))
    np.random.standard_normal(3)  # noqa: NPY002
    assert first == bootstrap_mean(values, np.random.default_rng(7)) != bootstrap_mean(values, np.random.default_rng(8))


def test_bootstrap_covers_the_mean():
    rng = np.random.default_rng(0)
    intervals = [bootstrap_mean(rng.normal(2.0, 1.0, 40), rng) for _ in range(120)]
    covered = np.mean([i.low <= 2.0 <= i.high for i in intervals])
    assert 0.88 <= covered <= 0.99


def test_seeds_of_one_scene_are_no_new_scenes():
    scenes = np.random.default_rng(1).normal(size=30)
    repeated, labels = np.repeat(scenes, 8), np.repeat(np.arange(30), 8)
    honest = bootstrap_mean(repeated, np.random.default_rng(0), labels)
    alone = bootstrap_mean(scenes, np.random.default_rng(0))
    naive = bootstrap_mean(repeated, np.random.default_rng(0))
    assert honest.high - honest.low == pytest.approx(alone.high - alone.low, rel=0.05)
    assert honest.high - honest.low > 2 * (naive.high - naive.low)


def test_constant_shift_has_no_spread():
    b = np.random.default_rng(2).normal(size=25)
    d = paired_difference(b - 0.5, b, np.random.default_rng(0))
    for interval in (d.mean, d.median):
        assert (interval.value, interval.low, interval.high) == pytest.approx((-0.5, -0.5, -0.5))
    assert d.hodges_lehmann == pytest.approx(-0.5) and d.wilcoxon_p < 1e-5
    assert paired_difference(b, b, np.random.default_rng(0)).wilcoxon_p == 1.0


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda rng: wilson(3, 2), "successes, n: got 3 of 2"),
        (lambda rng: bootstrap_mean(np.array([1.0, np.nan]), rng), "values: got 1 NaN or infinite values"),
        (lambda rng: bootstrap_mean(np.zeros((2, 2)), rng), r"values: got shape \(2, 2\)"),
        (lambda rng: bootstrap_mean(np.zeros(3), rng, np.zeros(2)), r"clusters: got shape \(2,\)"),
        (lambda rng: paired_difference(np.zeros(3), np.zeros(2), rng), "b: got 2 values, expected 3"),
        (lambda rng: mcnemar(-1, 0), "only_a, only_b: got -1, 0"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.random.default_rng(0))
