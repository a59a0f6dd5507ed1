"""Plans as points that a hand passes: where they lead in closed form, and that a search among them lifts an item."""

import dataclasses

import gymnasium as gym
import numpy as np
import pytest

import worldmodel.envs  # noqa: F401
from worldmodel.actions import ActionSpec
from worldmodel.planning.control import PlanningPolicy, Task
from worldmodel.planning.icem import ICEM
from worldmodel.planning.objectives import Lift
from worldmodel.planning.scoring import Scoring
from worldmodel.planning.simulator import Simulator
from worldmodel.planning.space import Space
from worldmodel.planning.waypoints import Waypoints, Workspace, space_for
from worldmodel.policies import run_episode

SPEC = ActionSpec(
    ("dx", "dy", "opening"), ("m", "m", "m"), (-0.04, -0.04, 0.0), (0.04, 0.04, 0.1), "world", 16.0, gripper="m apart"
)
WORKSPACE = Workspace((1.0, 0.0), (1.2, 0.1))
AT = (1.1, 0.05)
SPACE = Waypoints(SPEC, 16, 8, WORKSPACE, AT)


def places(actions):
    return np.asarray(AT) + np.cumsum(actions[..., :2], axis=-2)


def test_blocks_end_at_their_points_in_equal_steps_with_the_other_numbers_held():
    knots = np.random.default_rng(0).uniform(-1, 1, (50, 2, 3))
    actions = SPACE.actions(knots)
    points = np.array([1.1, 0.05]) + knots[..., :2] * np.array([0.1, 0.05])
    assert np.allclose(places(actions)[:, 7::8], points)
    for block in (slice(0, 8), slice(8, 16)):
        assert np.allclose(actions[:, block], actions[:, block][:, :1])
    assert np.allclose(actions[:, ::8, 2], 0.05 + 0.05 * knots[..., 2])


def test_points_too_far_are_approached_as_fast_as_allowed_and_the_next_block_goes_on_from_there():
    space = Waypoints(SPEC, 4, 2, Workspace((0.0, 0.0), (2.2, 0.1)), AT)
    actions = space.actions(np.array([[1.0, 0.0, 0.0], [0.1, 0.0, 0.0]]))
    assert np.allclose(actions[:, 0], [0.04, 0.04, 0.015, 0.015])  # to 1.18, then on to 1.21
    SPEC.check(actions)


def test_what_lies_out_of_the_workspace_is_clipped_to_its_walls():
    assert np.allclose(places(SPACE.actions(np.full((2, 3), 9.0)))[-1], WORKSPACE.high)


def test_knots_are_the_inverse():
    knots = np.random.default_rng(1).uniform(-1, 1, (20, 2, 3))
    assert np.allclose(SPACE.knots(SPACE.actions(knots)), knots)
    away = np.tile([0.04, 0.04, 0.1], (16, 1))
    assert np.allclose(SPACE.knots(away), 1.0)


def test_without_a_workspace_actions_are_held():
    assert space_for(SPEC, 16, 8, None, {}) == Space(SPEC, 16, 8)
    assert space_for(SPEC, 16, 8, WORKSPACE, {"agent_pos": np.array([*AT, 0.1])}) == SPACE


def test_a_search_among_points_lifts_and_plans_no_way_out_of_the_workspace():
    env = gym.make("worldmodel/Grasp-v0", image_size=32, num_frames=65, disable_env_checker=True).unwrapped
    env.reset(seed=1)
    workspace = Workspace(*env.scene.workspace)

    def task():
        return Task(Simulator(env), Scoring(Lift(env.scene.centre[2])), workspace=workspace)

    class Watched(PlanningPolicy):
        def infer(self, observation):
            reached.append(observation["agent_pos"][:3])
            return super().infer(observation)

    reached = []
    episode = run_episode(env, Watched(task, ICEM(12, 2, elites=2), horizon=16, execute=8, block=8), seed=1)
    assert episode.success and not episode.error
    assert len(reached) > 2
    # Where the hand is after each block, within the millimetres by which it lags behind its commands.
    assert np.abs(np.clip(reached[1:], workspace.low, workspace.high) - reached[1:]).max() < 0.01


def test_a_polished_plan_is_gone_on_from():
    """What a polish makes of a plan is in the middle of what the next search tries, as points."""
    env = gym.make("worldmodel/Grasp-v0", image_size=32, num_frames=33, disable_env_checker=True).unwrapped
    observation, _ = env.reset(seed=1)
    workspace = Workspace(*env.scene.workspace)
    up = np.tile([0.0, 0.0, 0.002, 0.05], (1, 16, 1))
    task = Task(Simulator(env), Scoring(Lift(0.4)), polish=lambda start, plans: up, workspace=workspace)
    policy = PlanningPolicy(lambda: task, ICEM(4, 1, elites=2), horizon=16, execute=8, block=8)
    policy.reset()
    assert np.array_equal(policy.infer(observation)["plan"], up[0])
    space = space_for(env.action_spec, 16, 8, workspace, observation)
    assert np.allclose(policy._left.mean, space.knots(up[0])[[1, 1]])


VELOCITIES = dataclasses.replace(SPEC, units=("m/s", "m/s", "m"))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Workspace((1.0, 0.0), (1.0, 0.1)), "workspace: got corners"),
        (lambda: Workspace((1.0,), (1.2, 0.1)), "as many finite numbers"),
        (lambda: Workspace((1.0, np.nan), (1.2, 0.1)), "as many finite numbers"),
        (lambda: Waypoints(SPEC, 16, 8, WORKSPACE, (1.0,)), "at: got"),
        (lambda: Waypoints(SPEC, 16, 8, None, AT), "at: got"),
        (lambda: Waypoints(VELOCITIES, 16, 8, WORKSPACE, AT), "displacements in metres"),
        (lambda: Waypoints(dataclasses.replace(SPEC, frame="gripper"), 16, 8, WORKSPACE, AT), "gripper frame"),
        (lambda: space_for(SPEC, 16, 8, WORKSPACE, {"pixels": 0}), "got pixels, expected agent_pos"),
        (lambda: space_for(SPEC, 16, 8, WORKSPACE, {"agent_pos": np.zeros(1)}), "2 numbers or more"),
        (lambda: Workspace((), ()), "as many finite numbers"),
        (lambda: Workspace(("a",), ("b",)), "as many finite numbers"),
        (lambda: Workspace((0.0, 0.0, 0.0), (1.0, 1.0, 0.1)).check(SPEC), "3 axes for actions of dx in m"),
        (lambda: WORKSPACE.check(dataclasses.replace(SPEC, low=(0.5, -1.0, 0.0))), "displacements in metres"),
    ],
)
def test_refusals_say_what_was_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_ball_has_no_workspace_and_is_refused_one_before_anything_is_simulated():
    env = gym.make("worldmodel/GraphTraversal-v0", image_size=32, nodes=3, disable_env_checker=True).unwrapped
    env.reset(seed=0)
    task = Task(Simulator(env), Scoring(lambda futures: np.zeros(len(futures))), workspace=WORKSPACE)
    policy = PlanningPolicy(lambda: task, ICEM(4, 1, elites=2), horizon=8, execute=8)
    with pytest.raises(ValueError, match="displacements in metres"):
        policy.reset()
