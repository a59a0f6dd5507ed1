"""MuJoCo as the model: its futures are what the environment then does."""

import gymnasium as gym
import numpy as np
import pytest

import worldmodel.envs  # noqa: F401
from worldmodel.planning.objectives import GoalImage, GoalLatent, Lift, WayToGoal, Weighted
from worldmodel.planning.scoring import Scoring, Screen, score, weighed
from worldmodel.planning.simulator import Simulator


@pytest.fixture(scope="module")
def env():
    return gym.make("worldmodel/GraphTraversal-v0", image_size=32, num_frames=33, nodes=4).unwrapped


def candidates(env, count, n):
    return np.random.default_rng(0).uniform(env.action_spec.low, env.action_spec.high, (count, n, 2))


def test_futures_are_what_the_environment_does(env):
    observation, _ = env.reset(seed=2)
    model, actions = Simulator(env), candidates(env, 3, 5)
    start = model.start(observation, 0)
    futures = model.show(start, model.imagine(start, actions, np.zeros(3)), frozenset(("video",)))
    assert futures.evaluations == 15 and futures.video.shape == (3, 5, 32, 32, 3)
    for index in (2, 0):
        env.restore(start)
        for frame, action in enumerate(actions[index]):
            seen, *_, info = env.step(action)
            assert np.array_equal(seen["pixels"], futures.video[index, frame])
            assert info["distance_to_goal"] == futures.signals["distance_to_goal"][index, frame]
        env.restore(futures.after.select(np.array([index])).ends[0])
        assert np.array_equal(env.render(), futures.video[index, -1])


def test_a_candidate_does_not_depend_on_the_others(env):
    observation, _ = env.reset(seed=2)
    model, actions = Simulator(env), candidates(env, 5, 4)
    start, scoring = model.start(observation, 0), Scoring(WayToGoal())
    costs = score(model, start, actions, scoring, seed=0)
    assert np.array_equal(costs[[3, 1]], score(model, start, actions[[3, 1]], scoring, seed=0))


def test_the_goal_image_costs_nothing_where_it_is_reached(env):
    observation, _ = env.reset(seed=2)
    model, actions = Simulator(env), candidates(env, 4, 4)
    start = model.start(observation, 0)
    video = model.show(start, model.imagine(start, actions, np.zeros(4)), frozenset(("video",))).video
    costs = score(model, start, actions, Scoring(GoalImage(video[2, -1])), seed=0)
    assert costs[2] == 0.0 and (np.delete(costs, 2) > 0).all()


def test_a_sum_of_objectives_and_a_users_function(env):
    observation, _ = env.reset(seed=2)
    model, actions = Simulator(env), candidates(env, 4, 4)
    start = model.start(observation, 0)

    def effort(futures):
        return np.square(futures.actions).sum(axis=(1, 2))

    costs = score(model, start, actions, Scoring(Weighted(((1.0, WayToGoal()), (0.5, effort)))), seed=0)
    way = score(model, start, actions, Scoring(WayToGoal()), seed=0)
    assert np.allclose(costs, way + 0.5 * np.square(actions).sum(axis=(1, 2)))


def test_risk_weighs_the_samples():
    costs = np.array([[1.0, 2.0, 3.0, 10.0], [4.0, 4.0, 4.0, 4.0]])
    assert weighed(costs, "mean").tolist() == [4.0, 4.0]
    assert weighed(costs, "worst").tolist() == [10.0, 4.0] == weighed(costs, "cvar").tolist()
    eight = np.arange(8.0)[None]
    assert weighed(eight, "cvar").tolist() == [6.5]


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (GoalLatent(np.zeros((1, 1, 1))), "need for latents"),
        (Lift(0.4), "no gripper_position, gripper_target, opening"),
        (lambda futures: np.where(np.arange(len(futures)) == 2, np.nan, 0.0), "nan for candidate 2"),
        (lambda futures: np.zeros(1), r"shape \(1,\), expected \(4,\)"),
    ],
)
def test_objectives_that_do_not_fit_are_refused(env, objective, message):
    observation, _ = env.reset(seed=2)
    model = Simulator(env)
    with pytest.raises(ValueError, match=message):
        scoring = Scoring(objective)
        scoring.check(model)
        score(model, model.start(observation, 0), candidates(env, 4, 2), scoring, seed=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Scoring(WayToGoal(), samples=0), "samples"),
        (lambda: Scoring(WayToGoal(), risk="best"), "mean, worst, cvar"),
        (lambda: Scoring(3), "expected a function"),
        (lambda: Screen(WayToGoal()), "reads more than latents"),
        (lambda: Screen(GoalLatent(np.zeros((1, 1, 1))), keep=0.0), "above 0"),
        (lambda: GoalImage(np.zeros((4, 4))), r"\(H, W, 3\) uint8"),
        (lambda: Simulator(gym.make("worldmodel/FreeFall-v0").unwrapped), "takes actions"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_experts_grasp_costs_less_than_ones_that_fail():
    env = gym.make("worldmodel/Grasp-v0", image_size=32, num_frames=33).unwrapped
    observation, _ = env.reset(seed=0)
    model, start = Simulator(env), env.snapshot()
    objective, plans = Lift(env.scene.centre[2]), []
    for name in ("expert", "no_close", "offset_high"):
        info = env.restore(start)[1]
        act = env.family.policy(name, env.scene, np.random.default_rng(0))
        plans.append([])
        for _ in range(32):
            plans[-1].append(np.asarray(act(info)))
            *_, info = env.step(plans[-1][-1])
    env.restore(start)
    costs = score(model, model.start(observation, 0), np.array(plans), Scoring(objective), seed=0)
    assert costs.argmin() == 0 and costs[0] < 0.06 < costs[1:].min()
