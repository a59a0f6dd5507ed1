"""What a planning policy is asked and asks: refused before it is paid for, named as it is, kept within its limits."""

import gymnasium as gym
import numpy as np
import pytest
from known_models import painted, random_robots

import worldmodel.envs  # noqa: F401
from worldmodel.envs.imagined_readout import readout_for
from worldmodel.planning.budget import Budget
from worldmodel.planning.cem import CEM
from worldmodel.planning.control import PlanningPolicy, Task
from worldmodel.planning.films import beside, write_beside
from worldmodel.planning.gradient import descend
from worldmodel.planning.imagination import Imagination
from worldmodel.planning.objectives import GoalImage, GoalLatent, Lift, WayToGoal, Weighted
from worldmodel.planning.scoring import Scoring, Screen, score
from worldmodel.planning.seen import SeenSimulator
from worldmodel.planning.shooting import RandomShooting
from worldmodel.planning.simulator import Simulator
from worldmodel.policies import run_episode
from worldmodel.sampling import PredictPerturb

REFINE = PredictPerturb([(0.0, 1.0, 1)])


def scene(name="GraphTraversal", seed=1, **options):
    env = gym.make(f"worldmodel/{name}-v0", image_size=32, num_frames=33, **options).unwrapped
    return env, env.reset(seed=seed)[0]


@pytest.fixture(scope="module")
def graph():
    return scene(nodes=3)


def policy(model, scoring, planner=None, **options):
    choices = {"horizon": 8, "execute": 4, "block": 4, **options}
    return PlanningPolicy(lambda: Task(model, scoring), planner or RandomShooting(4, 1), **choices)


def picture(*shape):
    return np.zeros(shape, np.uint8)


@pytest.mark.parametrize(
    ("model", "scoring", "message"),
    [
        ("read", Scoring(Lift(0.4)), "no gripper_position, gripper_target, opening"),
        ("read", Scoring(Weighted(((1.0, WayToGoal()), (0.1, Lift(0.4))))), "no gripper_position"),
        ("read", Scoring(GoalImage(picture(16, 16, 3))), r"video of \(16, 16, 3\), expected \(32, 32, 3\)"),
        ("read", Scoring(GoalLatent(np.zeros((3, 8, 8)))), r"latents of \(3, 8, 8\), expected \(3, 32, 32\)"),
        ("read", Scoring(WayToGoal(), screen=Screen(GoalLatent(np.zeros((2, 2, 2))))), r"latents of \(2, 2, 2\)"),
        ("read", Scoring(WayToGoal(), refined=2), "refined: got 2"),
        ("mujoco", Scoring(WayToGoal(), refined=2), "refined: got 2"),
        ("mujoco", Scoring(GoalImage(picture(16, 16, 3))), r"expected \(32, 32, 3\)"),
        ("mujoco", Scoring(Lift(0.4)), "no gripper_position"),
        ("seen", Scoring(Lift(0.4)), "no gripper_position"),
    ],
)
def test_what_a_model_cannot_give_is_refused_at_the_reset(graph, model, scoring, message):
    env, _ = graph
    world = painted(size=32)
    made = {
        "read": lambda: Imagination(world, readout_for(env), steps=1),
        "mujoco": lambda: Simulator(env),
        "seen": lambda: SeenSimulator(env),
    }[model]()
    with pytest.raises(ValueError, match=message):
        policy(made, scoring).reset()
    assert world.backend.calls == world.backend.decoded == 0


def test_a_plain_function_has_nothing_to_declare(graph):
    _, observation = graph
    planner = policy(Imagination(painted(size=32), steps=1), Scoring(lambda futures: futures.video.mean((1, 2, 3, 4))))
    planner.reset()
    assert np.isfinite(planner.infer(observation)["cost"])


def test_a_ball_model_is_refused_with_the_readout_of_an_arm():
    env, _ = scene("Grasp")
    with pytest.raises(ValueError, match=r"readout: got .*names"):
        Imagination(painted(size=32), readout_for(env))
    assert Imagination(random_robots().conditioned(domain="fetch"), readout_for(env)).action_spec.names


@pytest.mark.parametrize("goal", ["sequence", "all"])
def test_several_goals_are_refused_where_readings_begin_anew(goal):
    env, observation = scene(nodes=4, goal=goal)
    for make in (lambda: Imagination(painted(size=32), readout_for(env), steps=1), lambda: SeenSimulator(env)):
        with pytest.raises(ValueError, match="scene: got 3 goals"):
            PlanningPolicy(
                lambda make=make: Task(make(), Scoring(WayToGoal())), RandomShooting(2, 1), horizon=4, execute=4
            ).reset()
    planner = policy(Simulator(env), Scoring(WayToGoal()))
    planner.reset()
    assert np.isfinite(planner.infer(observation)["cost"]), "MuJoCo remembers what was reached"


def nan_for(wanted):
    """NaN for the future that these actions led to."""
    return lambda futures: np.where((futures.actions == wanted).all(axis=(1, 2)), np.nan, 0.0)


@pytest.mark.parametrize("samples", [1, 2])
def test_a_cost_that_is_none_names_the_candidate_whatever_the_samples(graph, samples):
    env, observation = graph
    model = Simulator(env)
    actions = np.random.default_rng(0).uniform(-0.5, 0.5, (5, 4, 2))
    with pytest.raises(ValueError, match="candidate 3,"):
        score(model, model.start(observation, 0), actions, Scoring(nan_for(actions[3]), samples=samples), seed=0)


def test_a_survivor_of_the_screen_is_named_as_the_candidate_it_is(graph):
    _, observation = graph
    model = Imagination(painted(size=32), steps=1)
    start, actions = model.start(observation, 0), np.random.default_rng(0).uniform(-0.5, 0.5, (5, 8, 2))
    goal = model.imagine(start, actions[3:4], np.array([0])).latents[0, :, -1]
    scoring = Scoring(nan_for(actions[3]), screen=Screen(GoalLatent(goal), keep=0.2))
    with pytest.raises(ValueError, match="candidate 3,"):
        score(model, start, actions, scoring, seed=0)


def test_a_policy_spends_no_more_evaluations_than_its_budget_and_tells_how_many():
    model = Imagination(random_robots().conditioned(domain="ball"), refine=REFINE)
    spent, imagine = [], model.imagine

    def counted(*given, **options):
        futures = imagine(*given, **options)
        spent.append(futures.evaluations)
        return futures

    model.imagine = counted
    scoring = Scoring(GoalImage(picture(32, 32, 3)), refined=4)
    planner = policy(model, scoring, CEM(8, 2, elites=2), block=1, budget=Budget(evaluations=20))
    planner.reset()
    answer = planner.infer({"pixels": np.full((32, 32, 3), 90, np.uint8)})
    assert model.price(8, refined=True) == 2 * model.price(8) == 4
    assert answer["evaluations"] == sum(spent) <= 20 and max(spent) > 0


class Watch:
    """A clock that the model and the polish move."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def slowing(self, call, seconds, each=False):
        def slow(*given, **options):
            self.now += seconds * (len(given[1]) if each else 1)
            return call(*given, **options)

        return slow


def test_a_deadline_is_kept_with_what_comes_before_and_after_the_search(graph):
    env, observation = graph
    watch, model = Watch(), Simulator(env)
    model.imagine, model.start = watch.slowing(model.imagine, 0.01, each=True), watch.slowing(model.start, 0.05)
    task = Task(model, Scoring(WayToGoal()), polish=watch.slowing(lambda start, plan: plan, 0.06))
    planner = PlanningPolicy(
        lambda: task, CEM(64, 4), horizon=8, execute=4, budget=Budget(seconds=0.2), clock=watch, keep_video=True
    )
    planner.reset()
    took, tried = [], []
    for _ in range(4):
        began = watch.now
        tried.append(planner.infer(observation)["candidates"])
        took.append(watch.now - began)
    # What polishing takes is not known before it has been done once.
    assert took[0] <= 0.2 + 0.07 + 1e-9 and max(took[1:]) <= 0.2 + 1e-9 and min(tried) >= 7


@pytest.mark.parametrize("refined", [0, 2])
def test_the_film_of_every_plan_is_the_future_that_was_scored(graph, refined):
    _, observation = graph
    model = Imagination(painted(noise=0.05, size=32), steps=1, refine=REFINE)
    scored, imagine = [], model.imagine

    def remembered(start, actions, seeds, *, refined=False):
        scored.append((actions, list(seeds), refined))
        return imagine(start, actions, seeds, refined=refined)

    model.imagine = remembered
    scoring = Scoring(GoalImage(picture(32, 32, 3)), samples=2, refined=refined)
    planner = policy(model, scoring, keep_video=True, seed=3)
    planner.reset()
    noise = []
    for _ in range(3):
        scored.clear()
        planner.infer(observation)
        *_, (tried, seeds, again), (film, shown, filmed) = scored
        row = int((tried == film).all(axis=(1, 2)).argmax())
        assert shown == seeds[row : row + 1] and filmed == again == bool(refined) and len(film) == 1
        noise.extend(set(seeds))
    assert len(set(noise)) == 6, "every plan has noise of its own"


def test_episodes_of_consecutive_seeds_share_no_noise(graph):
    _, observation = graph
    noise = []
    for seed in (7, 8):
        model = Imagination(painted(size=32), steps=1)
        imagine = model.imagine
        model.imagine = lambda start, actions, seeds, imagine=imagine, **options: (
            noise.extend(set(seeds)),
            imagine(start, actions, seeds, **options),
        )[1]
        planner = policy(model, Scoring(GoalImage(picture(32, 32, 3)), samples=2), seed=seed)
        planner.reset()
        for _ in range(3):
            planner.infer(observation)
    assert len(noise) == len(set(noise)) == 12


def test_the_next_search_begins_with_what_is_left_of_the_polished_plan(graph):
    env, observation = graph
    polished = np.repeat(np.array([[[0.1, 0.2], [-0.3, 0.4]]]), 4, axis=1)
    tried = []

    def effort(futures):
        tried.append(futures.actions)
        return np.arange(len(futures), dtype=float)

    task = Task(Simulator(env), Scoring(effort), polish=lambda start, plan: polished)
    planner = PlanningPolicy(lambda: task, CEM(4, 1, elites=2), horizon=8, execute=4, block=4)
    planner.reset()
    assert np.array_equal(planner.infer(observation)["plan"], polished[0])
    planner.infer(observation)
    assert np.allclose(tried[1][0], polished[0, 4]), "the second half, held to the end"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: policy(None, None, block=0), "block: got 0"),
        (lambda: policy(None, None, execute=2.0), "execute: got 2.0"),
        (lambda: policy(None, None, batch_size=-1), "batch_size: got -1"),
        (lambda: policy(None, None, batch_size=0), "batch_size: got 0"),
        (lambda: policy(None, None, seed=-1), "seed: got -1"),
        (lambda: descend(None, np.zeros((1, 2, 2)), painted().backend.action_spec, block=0), "block"),
    ],
)
def test_counts_below_one_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_film_of_an_episode_is_written_and_read_back(tmp_path, graph):
    import av

    env, _ = graph
    episode = run_episode(env, policy(Simulator(env), Scoring(WayToGoal()), keep_video=True), seed=1)
    path = tmp_path / "beside.mp4"
    write_beside(path, episode, env.fps, scale=2)
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    true = beside(episode).repeat(2, axis=1).repeat(2, axis=2)
    assert np.shape(frames) == true.shape and np.abs(np.array(frames, int) - true).mean() < 8
    with pytest.raises(FileExistsError, match="overwrite"):
        write_beside(path, episode, env.fps)
