"""Planners on costs whose optimum is known, and what a search refuses."""

import numpy as np
import pytest

from worldmodel.actions import ActionSpec
from worldmodel.planning.budget import Budget
from worldmodel.planning.cem import CEM
from worldmodel.planning.draws import Draws, coloured
from worldmodel.planning.icem import ICEM
from worldmodel.planning.mppi import MPPI
from worldmodel.planning.planner import begin
from worldmodel.planning.search import Judge, Judged, search
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


class Clock:
    """Time that passes only where something says so."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def taking(self, seconds, evaluate=distance):
        """Costs, of which each candidate takes so many seconds."""

        def slow(actions):
            self.now += seconds * len(actions)
            return evaluate(actions)

        return slow


def test_a_deadline_is_kept_from_the_first_search_on_without_a_batch_size():
    clock, pace = Clock(), None
    for step in range(3):
        began, options = clock.now, {"step": step, "pace": pace, "clock": clock}
        evaluate = clock.taking(1 / 64)
        plan = search(CEM(64, 4), SPACE, evaluate, seed=0, budget=Budget(seconds=10 / 64), **options)
        assert clock.now - began == 10 / 64 and plan.candidates == 10 and not plan.complete
        assert np.isfinite(plan.cost) and plan.pace == 1 / 64
        pace = plan.pace


def test_a_model_that_has_become_half_as_fast_still_keeps_the_deadline():
    clock = Clock()
    options = {"budget": Budget(seconds=20 / 64), "pace": 1 / 64, "spent": 4 / 64, "clock": clock}
    plan = search(CEM(64, 4), SPACE, clock.taking(2 / 64), seed=0, **options)
    assert clock.now == 16 / 64 and plan.candidates == 8


def test_a_slow_first_candidate_does_not_slow_the_searches_after_it():
    clock = Clock()
    options = {"seed": 0, "budget": Budget(seconds=0.2), "clock": clock}
    cold = search(CEM(64, 1), SPACE, clock.taking(1.0), **options)
    assert cold.candidates == 1 and np.isfinite(cold.cost), "one is always judged"
    warm = search(CEM(64, 1), SPACE, clock.taking(0.001), pace=cold.pace, **options)
    assert warm.candidates == 64 and warm.complete


@pytest.mark.parametrize(("deadline", "candidates", "took"), [(16.0, 8, 14.0), (6.0, 2, 6.0), (0.5, 1, 3.0)])
def test_time_for_refinement_is_kept_free(deadline, candidates, took):
    """A candidate takes 1 s and three refined ones 2 s each: 8 + 3 * 2 fit into 16, 2 + 2 * 2 into 6."""
    clock = Clock()

    def taking(seconds):
        return lambda actions, rows: Judged(clock.taking(seconds)(actions), int(seconds) * len(actions))

    judge = Judge(taking(1.0), 1, taking(2.0), refined=3, refined_price=2)
    options = {"budget": Budget(seconds=deadline), "pace": 1.0, "clock": clock}
    plan = search(CEM(8, 4), SPACE, judge, seed=0, **options)
    assert (plan.candidates, clock.now) == (candidates, took) and not plan.complete


def test_a_search_that_time_cuts_short_is_not_complete():
    clock = Clock()
    options = {"seed": 0, "batch_size": 1, "clock": clock}
    cut = search(CEM(10, 1, elites=4), SPACE, clock.taking(0.1), budget=Budget(seconds=0.25), **options)
    assert cut.candidates == 2 and not cut.complete
    assert search(CEM(10, 1, elites=4), SPACE, clock.taking(0.1), budget=Budget(seconds=9.0), **options).complete


@pytest.mark.parametrize("limit", [10, 16, 40, 61, 100])
def test_refined_elites_are_paid_from_the_budget(limit):
    """A candidate takes 2 evaluations, a refined one 5, of which it uses 4 or 5."""
    spent = []

    def plain(actions, rows):
        spent.append(2 * len(actions))
        return Judged(distance(actions), spent[-1])

    def again(actions, rows):
        spent.append(sum(4 + row % 2 for row in rows))
        return Judged(distance(actions) + 1.0, spent[-1])

    judge = Judge(plain, price=2, refine=again, refined=3, refined_price=5)
    plan = search(CEM(8, 3, elites=2), SPACE, judge, seed=0, batch_size=3, budget=Budget(evaluations=limit))
    assert plan.evaluations == sum(spent) <= limit
    assert plan.cost == pytest.approx(distance(plan.actions[None])[0] + 1.0), "the plan is a refined one"
    assert plan.complete == (limit == 100)


def test_the_best_of_an_iteration_are_refined_whatever_the_batches():
    def plans(size):
        rows_refined = []

        def again(actions, rows):
            rows_refined.append(list(rows))
            return Judged(distance(actions) * 0.5 + 3.0, len(actions))

        judge = Judge(lambda a, rows: Judged(distance(a), len(a)), 1, again, refined=3, refined_price=1)
        plan = search(CEM(12, 2, elites=4), SPACE, judge, seed=0, batch_size=size)
        return plan, rows_refined

    (whole, chosen), (parts, again) = plans(None), plans(4)
    assert np.array_equal(whole.actions, parts.actions) and np.array_equal(whole.costs, parts.costs)
    assert chosen == again and [len(rows) for rows in chosen] == [3, 3]


def test_refusals_name_the_candidate_of_the_iteration_not_of_the_batch():
    seen = []

    def costs(actions):
        values = np.zeros(len(actions))
        if len(seen) <= 6 < len(seen) + len(actions):
            values[6 - len(seen)] = np.nan
        seen.extend(actions)
        return values

    with pytest.raises(ValueError, match="candidate 6,"):
        search(CEM(8, 1, elites=2), SPACE, costs, seed=0, batch_size=4)


@pytest.mark.parametrize("size", [0, -1, 1.5, True])
def test_batches_of_no_candidates_are_refused(size):
    with pytest.raises(ValueError, match="batch_size: got"):
        search(CEM(8, 1, elites=2), SPACE, distance, seed=0, batch_size=size)
