"""Success in imagination, where nothing keeps a ball from rolling through walls."""

import gymnasium as gym
import numpy as np
import pytest
from known_models import painted

import worldmodel.envs  # noqa: F401
from worldmodel.envs.imagined import ImaginedEnv
from worldmodel.envs.imagined_wrappers import SingleSteps
from worldmodel.envs.visiting import VisitScene

GRAPH = "worldmodel/GraphTraversal-v0"
# A bend: from the first node to the last there is no way but over the one between them.
BEND = VisitScene(
    nodes=((-0.25, 0.0), (0.0, 0.25), (0.25, 0.0)),
    edges=((0, 1), (1, 2)),
    start=0,
    node_radius=0.08,
    channel_width=0.09,
    goals=(2,),
    ordered=True,
    ball_radius=0.025,
    max_speed=0.6,
    friction=0.2,
)
LEG = 4.0 / 7.0  # m/s, in 7 frames from one node's x and y to the next one's
THROUGH = np.concatenate([np.tile([LEG, 0.0], (14, 1)), np.zeros((2, 2))]).reshape(2, 8, 2)
ROUND = np.concatenate([np.tile([LEG, LEG], (7, 1)), np.tile([LEG, -LEG], (7, 1)), np.zeros((2, 2))]).reshape(2, 8, 2)


@pytest.fixture(scope="module")
def ball():
    return painted()


def played(env, chunks):
    env.reset(seed=0, options={"scene": BEND})
    return [env.step(chunk) for chunk in chunks]


def made(model, **options):
    return ImaginedEnv(model, GRAPH, **{"horizon": 96, "terminate": True, "nodes": 4, **options})


def test_a_goal_counts_by_the_channels_and_not_through_the_walls(ball):
    through, around = played(made(ball), THROUGH), played(made(ball), ROUND)
    assert through[1][4]["distance_to_goal"] == around[1][4]["distance_to_goal"] == 0.0
    assert not through[0][4]["legal"] and through[1][4]["legal"], "the wall is passed a chunk before the goal"
    for steps, earned in ((through, False), (around, True)):
        _, reward, terminated, _, info = steps[1]
        assert info["is_success"] == info["success"] == terminated == earned
        assert (reward > 0) == earned and steps[0][1] == 0.0


def test_mujoco_grants_what_is_granted_in_imagination(ball):
    true = gym.make(GRAPH, image_size=64, num_frames=97, nodes=4).unwrapped
    dream = made(ball, terminate=False)
    infos = []
    for env, chunks in ((true, ROUND.reshape(-1, 2)), (dream, ROUND)):
        infos.append(played(env, [*chunks, *np.zeros_like(chunks)])[-1][4])
    assert infos[0]["legal"] and infos[0]["is_success"] and infos[1]["is_success"]


def test_a_goal_that_was_reached_by_the_channels_stays_reached(ball):
    leaving = np.tile([0.0, -0.6], (1, 8, 1))
    *_, (_, reward, _, _, info) = played(made(ball, terminate=False), [*ROUND, *leaving])
    assert not info["legal"] and info["is_success"] and reward == 8.0


def test_what_was_illegal_is_remembered_by_saved_and_forked_episodes(ball):
    env = made(ball)
    played(env, THROUGH[:1])
    for episode in (env.save(), *env.fork(2)):
        env.restore(episode)
        assert not env.step(THROUGH[1])[4]["is_success"]
    played(env, ROUND[:1])
    for episode in (env.save(), *env.fork(2)):
        env.restore(episode)
        assert env.step(ROUND[1])[4]["is_success"]


@pytest.mark.parametrize(("chunks", "earned"), [(THROUGH, False), (ROUND, True)])
def test_single_steps_grant_what_chunks_do(ball, chunks, earned):
    whole = played(made(ball), chunks)
    steps = played(SingleSteps(made(ball)), chunks.reshape(-1, 2))
    assert sum(step[1] for step in steps) == sum(step[1] for step in whole)
    assert steps[-1][4]["is_success"] == whole[-1][4]["is_success"] == earned


def test_functions_of_ones_own_are_told_from_which_frame_on_nothing_counts(ball):
    seen = []
    env = made(ball, reward=lambda chunk: seen.append(chunk) or 0.0)
    played(env, THROUGH)
    first = int(np.argmin(seen[0].signals["legal"]))
    assert 0 < first < 8 and seen[0].legal.tolist() == [frame < first for frame in range(8)]
    assert seen[1].signals["legal"].any() and not seen[1].legal.any()


def speed(chunk):
    return chunk.signals["speed"][-1]


@pytest.mark.parametrize("name", ["reward", "success"])
@pytest.mark.parametrize(
    ("function", "message"),
    [
        (speed, r": got KeyError 'speed' from speed, expected a finite number or bool; .*distance_to_goal"),
        (lambda chunk: None, r": got None from .*lambda.*, expected a finite number or bool; .*distance_to_goal"),
        (lambda chunk: chunk.signals["legal"], r": got an array of shape \(8,\) from .*lambda"),
        (lambda chunk: "good", ": got 'good' from .*lambda"),
        (lambda chunk: np.nan, ": got nan from .*lambda"),
    ],
)
def test_functions_that_do_not_answer_are_refused_and_the_episode_stands_still(ball, name, function, message):
    env = made(ball, **{name: function})
    env.reset(seed=0, options={"scene": BEND})
    with pytest.raises(ValueError, match=name + message):
        env.step(ROUND[0])
    assert env.save().frames == 0


def test_numbers_of_numpy_and_torch_are_answers(ball):
    import torch

    for value in (np.float32(2.0), torch.tensor(2.0), np.array(2), True + 1):
        env = made(ball, reward=lambda chunk, value=value: value, success=lambda chunk, value=value: value > 3)
        assert played(env, ROUND[:1])[0][1:3] == (2.0, False)


def test_a_function_that_raises_for_reasons_of_its_own_raises_that(ball):
    with pytest.raises(ZeroDivisionError):
        played(made(ball, reward=lambda chunk: 1 / 0), ROUND[:1])
