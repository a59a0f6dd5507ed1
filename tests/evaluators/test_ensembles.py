import numpy as np
import pytest
from scipy.stats import norm

from worldmodel.evaluators.ensembles import central_coverage, crps


def test_crps_is_its_definition():
    rng = np.random.default_rng(0)
    ensemble, observed = rng.normal(size=(5, 7)), rng.normal(size=5)
    pairs = np.abs(ensemble[:, :, None] - ensemble[:, None, :]).mean(axis=(1, 2))
    assert crps(ensemble, observed) == pytest.approx(np.abs(ensemble - observed[:, None]).mean(axis=1) - pairs / 2)


def test_crps_is_the_area_between_the_distributions():
    ensemble, observed = np.array([0.3, -1.0, 2.2, 0.9]), 0.5
    x = np.linspace(-3, 4, 700_001)
    gap = (ensemble[:, None] <= x).mean(axis=0) - (x >= observed)
    assert crps(ensemble, observed) == pytest.approx((gap**2).sum() * (x[1] - x[0]), abs=1e-4)


@pytest.mark.parametrize("observed", [0.0, 0.7, -2.5])
def test_crps_of_a_normal_distribution(observed):
    """y (2 Phi(y) - 1) + 2 phi(y) - 1 / sqrt(pi) (Gneiting and Raftery 2007)."""
    members = norm.ppf((np.arange(4000) + 0.5) / 4000)
    closed = observed * (2 * norm.cdf(observed) - 1) + 2 * norm.pdf(observed) - 1 / np.sqrt(np.pi)
    assert crps(members, np.float64(observed)) == pytest.approx(closed, abs=1e-3)


def test_crps_of_one_member_is_the_absolute_error_and_scales():
    assert crps(np.array([[2.0], [5.0]]), np.array([3.0, 1.0])) == pytest.approx([1.0, 4.0])
    ensemble, observed = np.random.default_rng(1).normal(size=(4, 6)), np.arange(4.0)
    assert crps(3 - 2 * ensemble, 3 - 2 * observed) == pytest.approx(2 * crps(ensemble, observed))


def test_crps_prefers_the_honest_spread():
    rng = np.random.default_rng(2)
    draws, truth = rng.normal(size=(400, 50)), rng.normal(size=400)
    scores = {width: crps(width * draws, truth).mean() for width in (0.2, 1.0, 4.0)}
    assert scores[1.0] < min(scores[0.2], scores[4.0])


@pytest.mark.parametrize("level, members", [(0.5, 3), (0.5, 7), (0.9, 19), (0.9, 39)])
def test_a_calibrated_ensemble_covers_what_it_says(level, members):
    """The chance that a further draw lies between order statistics i and j of m is (j - i) / (m + 1)."""
    rng = np.random.default_rng(members)
    covered = central_coverage(rng.exponential(size=(20_000, members)), rng.exponential(size=20_000), level=level)
    assert covered.value == pytest.approx(level, abs=0.01)


def test_overconfidence_is_seen():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=300)
    narrow = central_coverage(0.3 * rng.normal(size=(300, 19)), truth, level=0.9)
    wide = central_coverage(5 * rng.normal(size=(300, 19)), truth, level=0.9)
    assert narrow.high < 0.9 < wide.low


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: crps(np.zeros((3, 4)), np.zeros(4)), r"ensemble: got shape \(3, 4\) for observed \(4,\)"),
        (lambda: crps(np.zeros((3, 0)), np.zeros(3)), r"ensemble: got shape \(3, 0\)"),
        (lambda: crps(np.full((1, 2), np.nan), np.zeros(1)), "ensemble: got 2 NaN"),
        (lambda: crps(np.zeros((1, 2)), np.array([np.inf])), "observed: got 1 NaN or infinite"),
        (lambda: central_coverage(np.zeros((0, 5)), np.zeros(0), level=0.5), r"observed: got shape \(0,\)"),
        (lambda: central_coverage(np.zeros((2, 18)), np.zeros(2), level=0.9), "got 18 members, expected at least 19"),
        (lambda: central_coverage(np.zeros((2, 5)), np.zeros(2), level=90), "level: got 90"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
