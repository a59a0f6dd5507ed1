from math import comb

import numpy as np
import pytest
from scipy.stats import barnard_exact, fisher_exact

from worldmodel.evaluators.comparisons import (
    boschloo,
    hodges_lehmann,
    holm,
    mcnemar,
    pair_by_scene_and_seed,
    paired_difference,
)

# Differences of heights of cross- and self-fertilised plants, in eighths of an inch (Darwin 1876).
DARWIN = np.array([49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48], dtype=np.float64)


def test_wilcoxon_p_of_darwin_s_plants():
    """Exact p by counting: the negative ranks add up to 24 of 120, as few or fewer in 669 of 2^15 sign patterns."""
    subsets = np.zeros(121, dtype=np.int64)
    subsets[0] = 1
    for rank in range(1, 16):
        subsets[rank:] += subsets[:-rank].copy()
    found = paired_difference(DARWIN, np.zeros(15), np.random.default_rng(0)).wilcoxon_p
    assert found == pytest.approx(2 * subsets[:25].sum() / 2**15) == pytest.approx(0.0413, abs=5e-5)


def test_hodges_lehmann_by_hand():
    assert hodges_lehmann(np.array([1.0, 2.0, 4.0])) == 2.25  # of 1, 1.5, 2, 2.5, 3, 4


def test_hodges_lehmann_moves_with_the_data_and_ignores_one_outlier():
    assert hodges_lehmann(DARWIN + 5) == pytest.approx(hodges_lehmann(DARWIN) + 5)
    assert hodges_lehmann(-2 * DARWIN) == pytest.approx(-2 * hodges_lehmann(DARWIN))
    wild = np.where(DARWIN == 75, 1e9, DARWIN)
    assert abs(hodges_lehmann(wild) - hodges_lehmann(DARWIN)) < 5


def test_constant_shift_has_no_spread():
    b = np.random.default_rng(2).normal(size=25)
    d = paired_difference(b - 0.5, b, np.random.default_rng(0))
    for interval in (d.mean, d.median):
        assert (interval.value, interval.low, interval.high) == pytest.approx((-0.5, -0.5, -0.5))
    assert d.hodges_lehmann == pytest.approx(-0.5) and d.wilcoxon_p < 1e-5
    assert paired_difference(b, b, np.random.default_rng(0)).wilcoxon_p == 1.0


def test_repeating_seeds_of_a_scene_changes_nothing():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 20))
    once = paired_difference(a, b, np.random.default_rng(0))
    labels = np.repeat(np.arange(20), 6)
    often = paired_difference(np.repeat(a, 6), np.repeat(b, 6), np.random.default_rng(0), labels)
    assert once.n == often.n == 20
    assert often.wilcoxon_p == once.wilcoxon_p
    assert (often.mean.low, often.hodges_lehmann) == pytest.approx((once.mean.low, once.hodges_lehmann))


def test_rows_are_paired_by_scene_and_seed_whatever_their_order():
    a = {("drop", 0): 1.0, ("roll", 0): 2.0, ("drop", 1): 3.0}
    b = {("drop", 1): 30.0, ("drop", 0): 10.0, ("roll", 0): 20.0}
    values_a, values_b, scenes = pair_by_scene_and_seed(a, b)
    assert (values_b == 10 * values_a).all()
    assert scenes[0] == scenes[2] != scenes[1]


def test_mcnemar_six_to_none_is_one_in_32():
    assert mcnemar(6, 0) == mcnemar(0, 6) == pytest.approx(2 / 64)
    assert mcnemar(3, 3) == mcnemar(0, 0) == 1.0


@pytest.mark.parametrize("only_a, only_b", [(1, 8), (10, 4), (7, 6), (300, 240)])
def test_mcnemar_is_twice_the_smaller_tail(only_a, only_b):
    n = only_a + only_b
    tail = sum(comb(n, i) for i in range(min(only_a, only_b) + 1)) / 2**n
    assert mcnemar(only_a, only_b) == mcnemar(only_b, only_a) == pytest.approx(min(1, 2 * tail))


@pytest.mark.parametrize("n", [1, 3, 5])
def test_boschloo_all_against_none(n):
    """Only this table is so extreme: its chance is (p(1 - p))^n, at most 4^-n, and either side counts."""
    assert boschloo(successes_a=n, n_a=n, successes_b=0, n_b=n) == pytest.approx(2 * 4.0**-n)


def test_boschloo_beats_fisher_and_does_not_mind_the_order():
    p = boschloo(successes_a=7, n_a=15, successes_b=12, n_b=15)
    table = [[7, 12], [8, 3]]
    assert p == pytest.approx(boschloo(successes_a=12, n_a=15, successes_b=7, n_b=15), rel=1e-6)
    assert p < 2 * fisher_exact(table, alternative="less").pvalue
    assert p == pytest.approx(barnard_exact(table).pvalue, abs=0.005)  # .0682 (Mehta and Senchaudhuri 2003)
    assert boschloo(successes_a=0, n_a=5, successes_b=0, n_b=9) == 1.0


def test_boschloo_keeps_its_level():
    """Of all tables of 6 and 7 clips at one rate, those with p <= .05 have a chance of at most .05."""
    p_values = np.array([[boschloo(successes_a=i, n_a=6, successes_b=j, n_b=7) for j in range(8)] for i in range(7)])
    for rate in (0.1, 0.3, 0.5, 0.8):
        chance_a = [comb(6, i) * rate**i * (1 - rate) ** (6 - i) for i in range(7)]
        chance_b = [comb(7, j) * rate**j * (1 - rate) ** (7 - j) for j in range(8)]
        assert np.outer(chance_a, chance_b)[p_values <= 0.05].sum() <= 0.05


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02] and holm([]) == []


def test_holm_lies_between_the_p_values_and_bonferroni():
    p = np.random.default_rng(0).uniform(0, 0.2, size=12)
    adjusted = np.array(holm(p.tolist()))
    assert (p <= adjusted).all() and (adjusted <= np.minimum(1, 12 * p)).all()
    assert (np.diff(adjusted[np.argsort(p)]) >= 0).all()


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda rng: paired_difference(np.zeros(3), np.zeros(2), rng), "b: got 2 values, expected 3"),
        (lambda rng: paired_difference(np.zeros(3), np.zeros(3), rng, np.zeros(2)), r"clusters: got shape \(2,\)"),
        (lambda rng: paired_difference(np.array([np.nan]), np.zeros(1), rng), "a: got 1 NaN"),
        (lambda rng: pair_by_scene_and_seed({("x", 0): 1.0}, {("x", 1): 1.0}), "b: got 1 .* lacks and none for 1 of"),
        (lambda rng: pair_by_scene_and_seed({}, {}), r"a: got shape \(0,\)"),
        (lambda rng: pair_by_scene_and_seed({("x", 0): 1.0}, {("x", 0): np.nan}), "b: got 1 NaN"),
        (lambda rng: hodges_lehmann(np.array([])), r"differences: got shape \(0,\)"),
        (lambda rng: mcnemar(-1, 0), "only_a, only_b: got -1, 0"),
        (lambda rng: boschloo(successes_a=4, n_a=3, successes_b=0, n_b=3), "successes, n: got 4 of 3"),
        (lambda rng: holm([0.1, np.nan]), "p_values: got .*nan"),
        (lambda rng: holm([1.5]), "p_values: got .*1.5"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.random.default_rng(0))
