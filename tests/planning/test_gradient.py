"""Descent to known optima, and gradients through a denoiser against closed forms and differences."""

import numpy as np
import pytest
import torch
from known_models import BALL, random_robots

from worldmodel.planning.control import PlanningPolicy, Task
from worldmodel.planning.gradient import descend, latent_cost, sampled
from worldmodel.planning.imagination import Imagination
from worldmodel.planning.objectives import GoalLatent
from worldmodel.planning.scoring import Scoring, score
from worldmodel.planning.shooting import RandomShooting
from worldmodel.sampling.schedules import flow_sigmas

GOAL = torch.tensor([[0.3, -0.2], [0.1, 0.5]])


def quadratic(actions):
    return ((actions - GOAL) ** 2).sum(dim=(1, 2))


def test_it_comes_to_the_optimum_of_a_quadratic():
    begun = np.random.default_rng(0).uniform(-0.6, 0.6, (4, 2, 2))
    found, costs = descend(quadratic, begun, BALL, steps=60, rate=0.3)
    assert np.abs(found - GOAL.numpy()).max() < 0.02 and (costs < 1e-3).all()


def test_bounds_and_blocks_hold_and_nothing_gets_worse():
    begun = np.tile(np.random.default_rng(0).uniform(-0.6, 0.6, (3, 1, 2)), (1, 4, 1))
    found, _ = descend(lambda a: -a.sum(dim=(1, 2)), begun, BALL, steps=40, rate=0.5, block=4)
    assert np.allclose(found, 0.6) and np.array_equal(found[:, 0], found[:, 3])
    worse, kept = descend(lambda a: torch.sin(40 * a).sum(dim=(1, 2)), begun, BALL, steps=2, rate=2.0)
    assert (kept <= np.sin(40 * begun).sum(axis=(1, 2)) + 1e-4).all() and worse.shape == begun.shape


class Gaussian:
    """Data N(A a, s^2): x0 = ((1 - t) s^2 x + t^2 A a) / ((1 - t)^2 s^2 + t^2)."""

    def __init__(self, mean, s):
        self.mean, self.s = mean, s

    def __call__(self, x, t):
        return ((1 - t) * self.s**2 * x + t**2 * self.mean) / ((1 - t) ** 2 * self.s**2 + t**2)


def test_gradients_through_all_steps_are_those_of_the_closed_form():
    """For data that is a point (s = 0) the sample is A a whatever the noise, so z's gradient is A."""
    a = torch.tensor([[0.2, -0.4]], requires_grad=True)
    matrix = torch.tensor([[1.0, 2.0], [0.5, -1.0]])
    z = sampled(Gaussian(a @ matrix.T, 0.0), torch.randn(1, 2), flow_sigmas(6), deep=6)
    assert torch.allclose(z, a @ matrix.T, atol=1e-6)
    (g,) = torch.autograd.grad(z[0, 0], a)
    assert torch.allclose(g, matrix[:1], atol=1e-6)


def test_shallow_gradients_see_the_last_steps_only():
    """Under Euler dz/dm = sum over steps of what each passes on; for the last alone, its own share."""
    m = torch.tensor([[0.3]], requires_grad=True)
    sigmas = flow_sigmas(5)
    gradients = []
    for deep in (1, 5):
        z = sampled(Gaussian(m, 0.5), torch.randn(1, 1, generator=torch.Generator().manual_seed(0)), sigmas, deep)
        gradients.append(float(torch.autograd.grad(z.sum(), m)[0]))
    t = float(sigmas[-2])
    last = t**2 / ((1 - t) ** 2 * 0.25 + t**2)
    assert gradients[0] == pytest.approx(last, rel=1e-5) and gradients[1] > gradients[0]


def test_gradients_through_the_network_are_its_differences():
    model = Imagination(random_robots().conditioned(domain="ball"))
    start = model.start({"pixels": np.full((32, 32, 3), 80, np.uint8)}, 0)
    actions = torch.tensor(np.random.default_rng(0).uniform(-0.4, 0.4, (2, 8, 2)), dtype=torch.float32)
    cost = latent_cost(model, start, lambda z: z[:, :, -1].square().mean(dim=(1, 2, 3)), np.array([1, 2]), deep=2)
    tracked = actions.clone().requires_grad_(True)
    (g,) = torch.autograd.grad(cost(tracked).sum(), tracked)
    direction = g / g.norm()
    with torch.no_grad():
        step = 0.02
        slope = (cost(actions + step * direction).sum() - cost(actions - step * direction).sum()) / (2 * step)
    assert float(g.norm()) > 0 and float(slope) == pytest.approx(float(g.norm()), rel=0.05)


def test_descent_through_the_network_lowers_the_cost_that_planning_sees():
    model = Imagination(random_robots().conditioned(domain="ball"))
    start = model.start({"pixels": np.full((32, 32, 3), 80, np.uint8)}, 0)
    begun, seeds = np.zeros((1, 8, 2)), np.array([3])
    wanted = np.random.default_rng(1).uniform(-0.5, 0.5, (1, 8, 2))
    goal = torch.from_numpy(model.imagine(start, wanted, seeds).latents)
    cost = latent_cost(model, start, lambda z: (z - goal).square().mean(dim=(1, 2, 3, 4)), seeds)
    found, least = descend(cost, begun, BALL, steps=8, rate=0.3)
    seen = [np.square(model.imagine(start, each, seeds).latents - goal.numpy()).mean() for each in (begun, found)]
    assert seen[1] < 0.7 * seen[0] and least[0] == pytest.approx(seen[1], rel=1e-3)


def test_a_policy_polishes_what_its_search_has_found():
    model = Imagination(random_robots().conditioned(domain="ball"))
    observation = {"pixels": np.full((32, 32, 3), 80, np.uint8)}
    goal = np.zeros(model.model.backend.latent_shape[:1] + model.model.backend.latent_shape[2:], np.float32)

    def nearer(start, plan):
        aim = torch.from_numpy(goal)
        cost = latent_cost(model, start, lambda z: (z[:, :, -1] - aim).square().mean(dim=(1, 2, 3)), np.array([0]))
        return descend(cost, plan, BALL, steps=4, rate=0.2)[0]

    costs = []
    for polish in (None, nearer):
        scoring = Scoring(GoalLatent(goal))
        task = Task(model, scoring, polish)
        policy = PlanningPolicy(lambda task=task: task, RandomShooting(4, 1), horizon=8, execute=8)
        policy.reset()
        plan = policy.infer(observation)["plan"]
        costs.append(score(model, model.start(observation, 0), plan[None], scoring, seed=0)[0])
    assert costs[1] < costs[0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: descend(quadratic, np.zeros((2, 2)), BALL), r"\(K, n, A\)"),
        (lambda: descend(quadratic, np.zeros((1, 2, 2)), BALL, steps=0), "at least 1"),
        (lambda: descend(lambda a: a.sum(), np.zeros((2, 2, 2)), BALL), r"expected \(2,\)"),
        (
            lambda: descend(lambda a: a.sum(dim=(1, 2)) * torch.tensor([1, np.nan]), np.zeros((2, 2, 2)), BALL),
            "candidate 1",
        ),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
