"""Planning in a model of known predictions and in MuJoCo, executed in MuJoCo."""

import gymnasium as gym
import numpy as np
import pytest
from known_models import painted, random_robots

import worldmodel.envs  # noqa: F401
from worldmodel.envs.imagined_readout import readout_for
from worldmodel.planning.budget import Budget
from worldmodel.planning.cem import CEM
from worldmodel.planning.control import PlanningPolicy, Task
from worldmodel.planning.films import beside
from worldmodel.planning.icem import ICEM
from worldmodel.planning.imagination import Imagination
from worldmodel.planning.objectives import GoalImage, GoalLatent, WayToGoal
from worldmodel.planning.scoring import Scoring, Screen, score
from worldmodel.planning.simulator import Simulator
from worldmodel.policies import run_episode
from worldmodel.sampling import PredictPerturb


@pytest.fixture(scope="module")
def env():
    return gym.make("worldmodel/GraphTraversal-v0", image_size=32, num_frames=65, nodes=3).unwrapped


def planning(env, model, scoring=None, **options):
    choices = {"horizon": 16, "execute": 8, "block": 4, **options}
    return PlanningPolicy(
        lambda: Task(model if model is not None else Simulator(env), scoring or Scoring(WayToGoal())),
        ICEM(16, 2, elites=4),
        **choices,
    )


def test_planning_with_mujoco_reaches_the_goal(env):
    episode = run_episode(env, planning(env, None, keep_video=True), seed=1)
    assert episode.success and not episode.error
    film = beside(episode)
    assert film.shape == (len(episode.video), 32, 64 + 2, 3)
    # MuJoCo foresees what MuJoCo does.
    assert np.array_equal(film[1:, :, :32], film[1:, :, 34:])


def test_planning_in_a_painted_world_reaches_the_goal_in_mujoco():
    """Walls do not stop the painted ball, but a way through them is read as illegal."""
    wide = {"nodes": 3, "channel_width": 0.1, "node_radius": 0.1}
    env = gym.make("worldmodel/GraphTraversal-v0", image_size=32, num_frames=65, **wide).unwrapped

    def task():
        return Task(Imagination(painted(num_frames=17, size=32), readout_for(env), steps=1), Scoring(WayToGoal()))

    policy = PlanningPolicy(task, ICEM(16, 3, elites=4), horizon=16, execute=8, block=8)
    episode = run_episode(env, policy, seed=1)
    assert episode.success and not episode.error


def test_risk_avoids_what_may_go_wrong(env):
    """The goal image is a ball 0.16 m to the right; under noise, each sample lies elsewhere and costs more."""
    observation, _ = env.reset(seed=1)
    model = Imagination(painted(noise=0.03, size=32), steps=1)
    start = model.start(observation, 0)
    actions = np.zeros((2, 8, 2))
    actions[1, :, 0] = 0.3
    goal = model.show(start, model.imagine(start, actions[1:], np.array([5])), frozenset(("video",))).video[0, -1]
    objective = GoalImage(goal)
    mean, worst = (
        score(model, start, actions, Scoring(objective, samples=6, risk=risk), seed=0) for risk in ("mean", "worst")
    )
    assert (worst > mean).all() and mean[1] < mean[0]


def test_candidates_are_rejected_before_they_are_decoded(env):
    observation, _ = env.reset(seed=1)
    backend = painted(size=32)
    model = Imagination(backend, readout_for(env), steps=1)
    start = model.start(observation, 0)
    actions = np.random.default_rng(0).uniform(-0.6, 0.6, (8, 8, 2))
    plain = score(model, start, actions, Scoring(WayToGoal()), seed=0)
    goal = backend.backend.encode(observation["pixels"][None, None])[0, :, 0].numpy()
    before = backend.backend.decoded
    screened = score(model, start, actions, Scoring(WayToGoal(), screen=Screen(GoalLatent(goal), keep=0.25)), seed=0)
    assert backend.backend.decoded - before == 2
    kept = np.isfinite(screened)
    assert kept.sum() == 2 and np.array_equal(screened[kept], plain[kept])


def test_only_the_best_are_refined():
    robots = random_robots().conditioned(domain="ball")
    refine = PredictPerturb([(0.0, 1.0, 1)])
    model = Imagination(robots, refine=refine)
    start = model.start({"pixels": np.full((32, 32, 3), 90, np.uint8)}, 0)
    actions = np.random.default_rng(0).uniform(-0.6, 0.6, (5, 8, 2))
    objective = GoalImage(np.zeros((32, 32, 3), np.uint8))
    plain = score(model, start, actions, Scoring(objective), seed=0)
    some = score(model, start, actions, Scoring(objective, refined=2), seed=0)
    best, rest = np.argsort(plain)[:2], np.argsort(plain)[2:]
    alone = score(model, start, actions[best], Scoring(objective, refined=2), seed=0)
    assert np.allclose(some[best], alone, rtol=1e-4)
    assert (some[rest] >= some[best].max()).all()
    assert np.array_equal(np.argsort(some[rest]), np.argsort(plain[rest]))
    refined = model.imagine(start, actions, np.zeros(5, int), refined=True)
    assert refined.evaluations > model.imagine(start, actions, np.zeros(5, int)).evaluations == 5 * model.price(8)


def test_imagining_in_batches_and_over_chunks_is_what_a_rollout_does():
    robots = random_robots().conditioned(domain="ball")
    frame = np.random.default_rng(1).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    actions = np.random.default_rng(0).uniform(-0.6, 0.6, (3, 16, 2))
    model = Imagination(robots, batch_size=2)
    start = model.start({"pixels": frame}, 0)
    futures = model.show(start, model.imagine(start, actions, np.array([4, 4, 9])), frozenset(("video",)))
    rollout = robots.rollout(np.stack([frame] * 3), seeds=[4, 4, 9], actions=actions, progress=False)
    assert np.abs(futures.video.astype(int) - rollout.video[:, 1:]).max() <= 1
    assert futures.evaluations == 3 * model.price(16) == 3 * 4


def test_one_candidate_is_judged_whatever_the_deadline(env):
    policy = planning(env, None, budget=Budget(seconds=1e-6), batch_size=4)
    env.reset(seed=1)
    policy.reset()
    answer = policy.infer(env.restore(env.snapshot())[0])
    assert not answer["complete"] and answer["candidates"] == 1 and answer["evaluations"] == 16
    assert answer["actions"].shape == (8, 2) and np.isfinite(answer["cost"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda env: planning(env, None, execute=20), "1 <= execute <= horizon"),
        (lambda env: planning(env, None, execute=6), "whole blocks"),
        (lambda env: planning(env, None, budget=Budget(evaluations=5)).reset(), "at least 16"),
        (lambda env: planning(env, Imagination(painted())).reset(), "need for signals"),
        (lambda env: Imagination(random_robots()), "takes no actions"),
        (
            lambda env: planning(env, None, Scoring(WayToGoal(), screen=Screen(GoalLatent(np.zeros(1))))).reset(),
            "latents",
        ),
    ],
)
def test_refusals_come_before_anything_is_imagined(env, make, message):
    env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        make(env)


def test_planners_share_one_policy(env):
    env.reset(seed=1)
    policy = PlanningPolicy(
        lambda: Task(Simulator(env), Scoring(WayToGoal())), CEM(8, 1, elites=2), horizon=8, execute=4
    )
    policy.reset()
    first = policy.infer(env.restore(env.snapshot())[0])
    policy.reset()
    again = policy.infer(env.restore(env.snapshot())[0])
    assert np.array_equal(first["actions"], again["actions"]) and first["evaluations"] == 64
