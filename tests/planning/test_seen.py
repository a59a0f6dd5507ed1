"""MuJoCo looked at: what is read off its pictures costs a plan about what MuJoCo knows."""

import gymnasium as gym
import numpy as np
import pytest

import worldmodel.envs  # noqa: F401
from worldmodel.planning.objectives import Lift, WayToGoal
from worldmodel.planning.scoring import Scoring, score
from worldmodel.planning.seen import SeenSimulator
from worldmodel.planning.simulator import Simulator

SCENES = [
    ("worldmodel/GraphTraversal-v0", {"nodes": 4}, lambda env: WayToGoal()),
    ("worldmodel/Grasp-v0", {}, lambda env: Lift(env.scene.centre[2])),
]


@pytest.mark.parametrize(("name", "options", "objective"), SCENES)
def test_plans_cost_what_they_cost_where_everything_is_known(name, options, objective):
    env = gym.make(name, image_size=64, num_frames=33, **options).unwrapped
    observation, _ = env.reset(seed=2)
    low, high = np.array(env.action_spec.low), np.array(env.action_spec.high)
    actions = np.repeat(np.random.default_rng(0).uniform(low, high, (12, 2, len(low))), 4, axis=1)
    known, seen = Simulator(env), SeenSimulator(env)
    true, found = (
        score(each, each.start(observation, 0), actions, Scoring(objective(env)), seed=0) for each in (known, seen)
    )
    assert not np.array_equal(true, found), "it has looked"
    assert np.median(np.abs(true - found)) < 0.01
    assert np.corrcoef(true, found)[0, 1] > 0.9
    known.close(), seen.close()


def test_what_nobody_asks_for_is_not_rendered():
    env = gym.make(SCENES[0][0], image_size=32, num_frames=33, nodes=4).unwrapped
    observation, _ = env.reset(seed=2)
    model = SeenSimulator(env)
    futures = model.imagine(model.start(observation, 0), np.zeros((2, 3, 2)), np.zeros(2))
    assert futures.signals is None and futures.video is None and futures.evaluations == 6
    assert model.show(model.start(observation, 0), futures, frozenset()).video is None
