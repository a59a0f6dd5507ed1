"""Single steps of an imagined environment: what is shown, kept and refused in the middle of a chunk."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import RecordEpisodeStatistics, TimeLimit
from known_models import painted

import worldmodel.envs  # noqa: F401
from worldmodel.envs.imagined import ImaginedEnv
from worldmodel.envs.imagined_wrappers import SingleSteps

GRAPH = "worldmodel/GraphTraversal-v0"
RIGHT = np.array([0.3, 0.0])


@pytest.fixture(scope="module")
def ball():
    return painted(noise=0.002)


def made(model, **options):
    return ImaginedEnv(model, GRAPH, **{"horizon": 24, "nodes": 4, **options})


def begun(model, steps, seed=0):
    env = SingleSteps(made(model))
    env.reset(seed=seed)
    return env, [env.step(RIGHT) for _ in range(steps)]


@pytest.mark.parametrize("steps", [1, 5, 8, 11])
def test_the_picture_is_that_of_the_observation(ball, steps):
    env, taken = begun(ball, steps)
    assert np.array_equal(env.render(), taken[-1][0]["pixels"])
    assert steps == 8 or not np.array_equal(env.render(), env.unwrapped.render())
    observation, _ = env.reset(seed=1)
    assert np.array_equal(env.render(), observation["pixels"])
    assert SingleSteps(made(ball, render_mode=None)).render() is None


@pytest.mark.parametrize("steps", [3, 8])
def test_it_goes_on_from_what_was_saved_bit_for_bit(ball, steps):
    env, _ = begun(ball, steps)
    saved = env.save()
    straight = [env.step(RIGHT) for _ in range(7)]
    for other in (env, SingleSteps(made(ball))):
        seen, info = other.restore(saved)
        assert np.array_equal(seen["pixels"], other.render()) and info["frames"] == steps
        for one, two in zip(straight, [other.step(RIGHT) for _ in range(7)], strict=True):
            assert np.array_equal(one[0]["pixels"], two[0]["pixels"]) and one[4]["frames"] == two[4]["frames"]


def test_forks_begin_between_chunks_and_differ(ball):
    env, _ = begun(ball, 8)
    ends = []
    for each in (env.save(), *env.fork(3)):
        env.restore(each)
        ends.append([env.step(RIGHT) for _ in range(8)][-1][0]["pixels"])
    assert np.array_equal(ends[0], ends[1])
    assert not np.array_equal(ends[1], ends[2]) and not np.array_equal(ends[2], ends[3])
    env.step(RIGHT)
    with pytest.raises(ValueError, match="got an episode 1 of 8 actions into a chunk, expected one between chunks"):
        env.fork(2)


def test_an_episode_restored_underneath_begins_a_chunk_of_its_own(ball):
    env, _ = begun(ball, 8)
    saved = env.unwrapped.save()
    for _ in range(3):
        env.step(RIGHT)
    env.unwrapped.restore(saved)  # the very episode whose chunk is half taken
    assert np.array_equal(env.render(), saved.frame)
    assert env.step(RIGHT)[4]["frames"] == 9
    env.unwrapped.step(np.zeros((8, 2)))
    assert env.step(RIGHT)[4]["frames"] == 17


def test_what_cannot_be_restored_is_refused(ball):
    env, _ = begun(ball, 3)
    for other, saved in ((env, env.unwrapped.save()), (env.unwrapped, env.save())):
        with pytest.raises(ValueError, match=r"episode: got \w+, expected \w+; restore what save\(\) or fork\(\)"):
            other.restore(saved)
    with pytest.raises(ValueError, match=r"shape \(8, 2\), expected \(2,\)"):
        env.step(np.zeros((8, 2)))
    assert env.step(RIGHT)[4]["frames"] == 4, "a refused action was not taken"


def test_wrappers_belong_around_single_steps_and_not_inside(ball):
    for wrapped in (TimeLimit(made(ball), 5), RecordEpisodeStatistics(made(ball))):
        with pytest.raises(ValueError, match=f"got {type(wrapped).__name__} inside, .*wrap SingleSteps in it"):
            SingleSteps(wrapped)
    env = TimeLimit(SingleSteps(gym.make("worldmodel/ImaginedGraphTraversal-v0", model=ball)), 5)
    env.reset(seed=0)
    assert [env.step(RIGHT)[3] for _ in range(5)] == [False] * 4 + [True]
