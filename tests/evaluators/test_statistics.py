import inspect

import numpy as np
from scipy.stats import wilcoxon

from worldmodel.evaluators import aggregates, comparisons, confusion, ensembles, intervals, power, ranking, statistics

ROOMS = (aggregates, comparisons, confusion, ensembles, intervals, power, ranking)


def test_every_statistic_is_found_under_one_name():
    """The checks of counts are the only public names that stay in their file."""
    public = {
        name
        for room in ROOMS
        for name, item in vars(room).items()
        if not name.startswith("_") and inspect.getmodule(item) is room and callable(item)
    }
    assert public - {"Scene", "check_counts", "check_successes"} == set(statistics.__all__) - {"RESAMPLES", "Z95"}
    assert all(hasattr(statistics, name) for name in statistics.__all__)


def test_a_table_of_two_models_from_rows_to_verdict():
    """Model a is better by .3 px in every scene, and by nothing in a metric that is noise."""
    rng = np.random.default_rng(0)
    keys = [(f"scene {i}", seed) for i in range(40) for seed in range(4)]
    hard = dict(zip([f"scene {i}" for i in range(40)], rng.normal(size=40), strict=True))
    p_values, differences = [], []
    for gain in (0.3, 0.0):
        b = {key: 5 + hard[key[0]] + 0.3 * rng.normal() for key in keys}
        a = {key: 5 - gain + hard[key[0]] + 0.3 * rng.normal() for key in reversed(keys)}
        values_a, values_b, scenes = statistics.pair_by_scene_and_seed(a, b)
        differences.append(statistics.paired_difference(values_a, values_b, rng, scenes))
        p_values.append(differences[-1].wilcoxon_p)
    real, none = differences
    assert real.n == 40 and real.mean.low < -0.3 < real.mean.high < 0
    assert none.mean.low < 0 < none.mean.high
    adjusted = statistics.holm(p_values)
    assert adjusted[0] < 0.001 and adjusted[1] > 0.05


def test_null_differences_are_found_as_rarely_as_promised():
    """Rows nested in scenes: counting seeds as scenes would reject far more than 5 %."""
    rng, labels = np.random.default_rng(1), np.repeat(np.arange(12), 5)
    nested, naive = [], []
    for _ in range(150):
        d = np.repeat(rng.normal(size=12), 5) + 0.3 * rng.normal(size=60)
        nested.append(statistics.paired_difference(d, np.zeros(60), rng, labels).wilcoxon_p)
        naive.append(wilcoxon(d).pvalue)
    assert np.mean(np.array(nested) < 0.05) < 0.1 < 0.25 < np.mean(np.array(naive) < 0.05)
