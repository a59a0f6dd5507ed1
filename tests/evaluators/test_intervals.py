import numpy as np
import pytest
from scipy.stats import binom, trim_mean

from worldmodel.evaluators.intervals import bootstrap_iqm, bootstrap_mean, bootstrap_median, clopper_pearson, wilson


@pytest.mark.parametrize(
    "successes, n, low, high",
    [(9, 12, 0.47, 0.91), (5, 10, 0.24, 0.76), (25, 50, 0.37, 0.63), (40, 50, 0.67, 0.89), (160, 200, 0.74, 0.85)],
)
def test_wilson_at_usual_sizes(successes, n, low, high):
    interval = wilson(successes, n)
    assert (round(interval.low, 2), round(interval.high, 2)) == (low, high)


@pytest.mark.parametrize(
    "successes, n, score, exact",
    [
        (81, 263, (0.2553, 0.3662), (0.2527, 0.3676)),
        (15, 148, (0.0624, 0.1605), (0.0578, 0.1617)),
        (0, 20, (0.0, 0.1611), (0.0, 0.1684)),
        (1, 29, (0.0061, 0.1718), (0.0009, 0.1776)),
    ],
)
def test_intervals_of_newcombe_1998(successes, n, score, exact):
    """Table I of Newcombe, Two-sided confidence intervals for the single proportion, methods 3 and 5."""
    for interval, published in ((wilson(successes, n), score), (clopper_pearson(successes, n), exact)):
        assert interval.value == successes / n
        assert (round(interval.low, 4), round(interval.high, 4)) == published


def test_wilson_stays_inside_and_is_symmetric():
    none, every = wilson(0, 20), wilson(20, 20)
    assert none.low == 0 and every.high == 1
    assert none.high == pytest.approx(1 - every.low)


def test_clopper_pearson_ends_leave_2_5_percent_and_have_a_closed_form_at_n_of_n():
    interval = clopper_pearson(9, 12)
    assert binom.sf(8, 12, interval.low) == pytest.approx(0.025)
    assert binom.cdf(9, 12, interval.high) == pytest.approx(0.025)
    assert clopper_pearson(50, 50).low == pytest.approx(0.025 ** (1 / 50))
    assert clopper_pearson(50, 50).high == 1


def test_bootstrap_estimates_are_the_sample_s_own():
    values = np.random.default_rng(3).normal(size=31)
    assert bootstrap_mean(values, np.random.default_rng(0)).value == pytest.approx(values.mean())
    assert bootstrap_median(values, np.random.default_rng(0)).value == pytest.approx(np.median(values))
    assert bootstrap_median(values[:30], np.random.default_rng(0)).value == pytest.approx(np.median(values[:30]))
    assert bootstrap_iqm(values, np.random.default_rng(0)).value == pytest.approx(trim_mean(values, 0.25))


@pytest.mark.parametrize(
    "bootstrap, plain",
    [
        (bootstrap_mean, lambda drawn: drawn.mean(axis=1)),
        (bootstrap_median, lambda drawn: np.median(drawn, axis=1)),
        (bootstrap_iqm, lambda drawn: trim_mean(drawn, 0.25, axis=1)),
    ],
)
@pytest.mark.parametrize("seeds", [1, 3])
def test_bootstrap_equals_plain_resampling_of_whole_scenes(bootstrap, plain, seeds):
    values = np.random.default_rng(5).exponential(size=(37, seeds))
    picks = np.random.default_rng(0).integers(37, size=(10_000, 37))
    low, high = np.percentile(plain(values[picks].reshape(10_000, -1)), [2.5, 97.5])
    interval = bootstrap(values.ravel(), np.random.default_rng(0), np.repeat(np.arange(37), seeds))
    assert (interval.low, interval.high) == pytest.approx((low, high), rel=1e-12)


def test_bootstrap_weighs_scenes_by_their_rows():
    values, scenes = np.array([0.0, 3.0, 3.0, 3.0]), np.array(["b", "a", "a", "a"])
    interval = bootstrap_mean(values, np.random.default_rng(0), scenes)
    assert (interval.low, interval.value, interval.high) == (0.0, 2.25, 3.0)


def test_bootstrap_is_reproducible_and_uses_only_its_generator():
    values = np.random.default_rng(4).normal(size=30)
    first = bootstrap_mean(values, np.random.default_rng(7))
    np.random.standard_normal(3)  # noqa: NPY002  the global one on purpose
    assert first == bootstrap_mean(values, np.random.default_rng(7)) != bootstrap_mean(values, np.random.default_rng(8))


def test_bootstrap_covers_the_mean():
    rng = np.random.default_rng(0)
    intervals = [bootstrap_mean(rng.normal(2.0, 1.0, 40), rng) for _ in range(120)]
    covered = np.mean([i.low <= 2.0 <= i.high for i in intervals])
    assert 0.88 <= covered <= 0.99


@pytest.mark.parametrize("bootstrap", [bootstrap_mean, bootstrap_median, bootstrap_iqm])
def test_seeds_of_one_scene_are_no_new_scenes(bootstrap):
    scenes = np.random.default_rng(1).normal(size=30)
    repeated, labels = np.repeat(scenes, 8), np.repeat(np.arange(30), 8)
    honest = bootstrap(repeated, np.random.default_rng(0), labels)
    alone = bootstrap(scenes, np.random.default_rng(0))
    naive = bootstrap(repeated, np.random.default_rng(0))
    assert honest.high - honest.low == pytest.approx(alone.high - alone.low, rel=0.1)
    assert honest.high - honest.low > 2 * (naive.high - naive.low)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda rng: wilson(3, 2), "successes, n: got 3 of 2"),
        (lambda rng: wilson(0, 0), "successes, n: got 0 of 0"),
        (lambda rng: wilson(-1, 4), "successes, n: got -1, 4, expected whole numbers"),
        (lambda rng: clopper_pearson(2.5, 4), "successes, n: got 2.5, 4, expected whole numbers"),
        (lambda rng: bootstrap_mean(np.array([1.0, np.nan]), rng), "values: got 1 NaN or infinite values"),
        (lambda rng: bootstrap_iqm(np.array([]), rng), r"values: got shape \(0,\)"),
        (lambda rng: bootstrap_mean(np.zeros((2, 2)), rng), r"values: got shape \(2, 2\)"),
        (lambda rng: bootstrap_median(np.zeros(3), rng, np.zeros(2)), r"clusters: got shape \(2,\)"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.random.default_rng(0))
