"""Planners on costs whose optimum is known, and what a search refuses."""

import numpy as np
import pytest

from worldmodel.actions import ActionSpec
from worldmodel.planning import search as search_module
from worldmodel.planning.budget import Budget, Meter
from worldmodel.planning.cem import CEM
from worldmodel.planning.draws import Draws, coloured
from worldmodel.planning.icem import ICEM
from worldmodel.planning.mppi import MPPI
from worldmodel.planning.planner import begin
from worldmodel.planning.search import search
from worldmodel.planning.shooting import RandomShooting
from worldmodel.planning.space import Space, shifted

SPEC = ActionSpec(("x", "y"), ("m/s", "m/s"), (-2.0, 0.0), (2.0, 1.0), "world", 16.0)
SPACE = Space(SPEC, horizon=4, block=2)
GOAL = np.array([[0.9, 0.3], [0.9, 0.3], [-1.2, 0.8], [-1.2, 0.8]])
PLANNERS = {
    "shooting": RandomShooting(512, 4),
    "cem": CEM(128, 12, elites=12),
    "icem": ICEM(128, 12, elites=12, beta=0.5),
    "mppi": MPPI(512, 12, std=0.3, temperature=0.05),
}


def distance(actions):
    return ((actions - GOAL) ** 2).sum(axis=(1, 2))


@pytest.mark.parametrize("name", PLANNERS)
def test_every_planner_comes_to_the_optimum_of_a_quadratic(name):
    plan = search(PLANNERS[name], SPACE, distance, seed=0)
    assert np.abs(plan.actions - GOAL).max() < (0.35 if name == "shooting" else 0.06)
    assert plan.cost == pytest.approx(distance(plan.actions[None])[0])
    assert plan.complete and plan.evaluations == plan.candidates
    assert (np.diff(np.fmin.accumulate(plan.costs[:, 0])) <= 0).all()


@pytest.mark.parametrize("name", PLANNERS)
def test_an_optimum_out_of_bounds_ends_on_the_bound(name):
    plan = search(PLANNERS[name], SPACE, lambda a: -a.sum(axis=(1, 2)), seed=0)
    assert (plan.actions <= SPEC.high).all()
    assert np.abs(plan.actions - SPEC.high).max() < (0.8 if name == "shooting" else 0.25)


@pytest.mark.parametrize("name", PLANNERS)
def test_a_search_depends_on_its_seed_and_step_only(name):
    plans = [search(PLANNERS[name], SPACE, distance, seed=3, step=1, batch_size=size) for size in (None, 7)]
    assert np.array_equal(plans[0].actions, plans[1].actions)
    assert not np.array_equal(plans[0].actions, search(PLANNERS[name], SPACE, distance, seed=3, step=2).actions)


@pytest.mark.parametrize("name", PLANNERS)
def test_a_guess_is_tried_first(name):
    plan = search(PLANNERS[name], SPACE, distance, seed=0, guess=GOAL, budget=Budget(evaluations=1))
    assert np.allclose(plan.actions, GOAL) and plan.candidates == 1 and not plan.complete


def test_mppi_takes_one_step_to_the_posterior_mean():
    """Under noise N(m, s²), weights exp(-(u - g)² / l) give the mean (m / s² + 2 g / l) / (1 / s² + 2 / l)."""
    space = Space(ActionSpec(("x",), ("m",), (-1.0,), (1.0,), "world", 1.0), 1)
    m, s, g = 0.0, 0.15, 0.1
    planner = MPPI(40_000, 1, std=s, temperature=0.8)
    costs_std = np.sqrt(2 * s**4 + 4 * s**2 * (m - g) ** 2)
    scale = 0.8 * costs_std
    plan = search(planner, space, lambda a: ((a - g) ** 2).sum(axis=(1, 2)), seed=0)
    expected = (m / s**2 + 2 * g / scale) / (1 / s**2 + 2 / scale)
    assert plan.state.mean[0, 0] == pytest.approx(expected, abs=0.003)


def test_cem_fits_the_elites():
    planner = CEM(4, 1, elites=2, momentum=0.0, least_std=0.0)
    knots = np.arange(16.0).reshape(4, 2, 2)
    state = planner.update(begin(SPACE, 1.0, None), knots, np.array([3.0, 0.0, np.inf, 1.0]))
    assert np.array_equal(state.mean, (knots[1] + knots[3]) / 2)
    assert np.array_equal(state.std, np.full((2, 2), 4.0))


@pytest.mark.parametrize("name", PLANNERS)
def test_rejected_candidates_do_not_move_a_planner(name):
    def upper_half(actions):
        return np.where(actions[:, 0, 0] > 0, distance(actions), np.inf)

    plan = search(PLANNERS[name], SPACE, upper_half, seed=0)
    assert plan.actions[0, 0] > 0
    nothing = search(PLANNERS[name], SPACE, lambda a: np.full(len(a), np.inf), seed=0)
    assert nothing.cost == np.inf and np.allclose(nothing.actions, SPACE.actions(np.zeros(SPACE.shape)))


def test_icem_keeps_elites_and_tries_fewer_with_time():
    counts = []
    planner = ICEM(64, 4, elites=8, decay=1.5, keep=0.5)
    plan = search(planner, SPACE, lambda a: (counts.append(len(a)), distance(a))[1], seed=0)
    assert counts == [64, 42, 28, 18] and len(plan.state.kept) == 4
    following = planner.following(plan.state, 1)
    assert np.array_equal(following.mean[0], plan.state.mean[1]) and np.array_equal(
        following.mean[1], following.mean[0]
    )


def test_knots_and_actions_are_inverse():
    knots = np.random.default_rng(0).uniform(-1, 1, (5, *SPACE.shape))
    actions = SPACE.actions(knots)
    assert actions.shape == (5, 4, 2) and np.array_equal(actions[:, 0], actions[:, 1])
    assert np.allclose(SPACE.knots(actions), knots)
    assert np.array_equal(shifted(knots, 3)[:, 0], knots[:, -1])


def test_noise_is_keyed_by_candidate_and_coloured_noise_has_its_spectrum():
    draws = Draws(5, 2, 1)
    assert np.array_equal(draws(3, (4, 2)), draws(9, (4, 2))[:3])
    assert not np.array_equal(draws(3, (4, 2)), Draws(5, 2, 2)(3, (4, 2)))
    noise = coloured(np.random.default_rng(0).standard_normal((4000, 32, 1)), beta=2.0)
    assert noise.var() == pytest.approx(1.0, rel=0.03)
    power = (np.abs(np.fft.rfft(noise[..., 0], axis=1)) ** 2).mean(axis=0)
    slope = np.polyfit(np.log(np.arange(1, 16)), np.log(power[1:16]), 1)[0]
    assert slope == pytest.approx(-2.0, abs=0.05)


def test_a_budget_of_evaluations_is_kept():
    planner = CEM(10, 5, elites=4)
    plan = search(planner, SPACE, distance, seed=0, price=3, budget=Budget(evaluations=50))
    assert plan.evaluations == 48 and plan.candidates == 16 and not plan.complete


def test_a_deadline_returns_the_best_so_far(monkeypatch):
    now = [0.0]
    planner = CEM(10, 50, elites=4)
    meter = Meter(Budget(seconds=5.0), 1, clock=lambda: now[0])
    meter.longest, now[0] = 2.0, 3.5
    assert not meter.in_time()
    now[0] = 0.0
    monkeypatch.setattr(search_module, "Meter", lambda budget, price: Meter(budget, price, clock=lambda: now[0]))

    def slow(actions):
        now[0] += 0.02
        return distance(actions)

    plan = search(planner, SPACE, slow, seed=0, budget=Budget(seconds=0.19), batch_size=5)
    assert not plan.complete and plan.candidates == 45 and np.isfinite(plan.cost)
    hurried = search(planner, SPACE, slow, seed=0, budget=Budget(seconds=1e-6), batch_size=5)
    assert hurried.candidates == 5 and np.isfinite(hurried.cost), "one batch is always evaluated"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: search(CEM(8, 1, elites=2), SPACE, lambda a: np.zeros(3), seed=0), r"shape \(3,\), expected \(8,\)"),
        (lambda: search(CEM(8, 1, elites=2), SPACE, lambda a: _nan_at(len(a), 5), seed=0), "candidate 5"),
        (lambda: search(CEM(), SPACE, distance, seed=0, price=20, budget=Budget(19)), "at least 20"),
        (lambda: Budget(evaluations=0), "at least 1"),
        (lambda: Budget(seconds=-1.0), "above 0"),
        (lambda: Space(SPEC, 0), "horizon: got 0"),
        (lambda: Space(SPEC, 5, block=2), "divisor"),
        (lambda: CEM(8, elites=9), "2 to 8"),
        (lambda: MPPI(temperature=0.0), "temperature"),
        (lambda: RandomShooting(candidates=0), "candidates"),
        (lambda: ICEM(decay=0.5), "decay"),
        (lambda: Draws(-1), "seed"),
        (lambda: SPACE.knots(np.zeros((3, 2))), r"\(..., 4, 2\)"),
        (lambda: SPACE.knots(np.full((4, 2), 9.0)), "clip it"),
    ],
)
def test_refusals_say_what_was_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def _nan_at(count, index):
    costs = np.zeros(count)
    costs[index] = np.nan
    return costs
