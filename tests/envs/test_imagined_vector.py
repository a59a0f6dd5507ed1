"""Episodes of a vector that end apart: what is told of those that begin anew and of those that go on."""

import numpy as np
import pytest
from known_models import painted

from worldmodel.envs.imagined import ImaginedEnv
from worldmodel.envs.imagined_vector import ImaginedVectorEnv

GRAPH = "worldmodel/GraphTraversal-v0"
RIGHT, STILL = 0.3, 0.0  # m/s


@pytest.fixture(scope="module")
def ball():
    return painted()


def made(model, num_envs=2, **options):
    """Episodes that end once they are told to move to the right."""
    return ImaginedVectorEnv(
        num_envs,
        model,
        GRAPH,
        success=lambda chunk: chunk.actions[0, 0] > 0,
        **{"horizon": 64, "terminate": True, "nodes": 4, **options},
    )


def told(*speeds):
    actions = np.zeros((len(speeds), 8, 2), np.float32)
    actions[..., 0] = np.array(speeds)[:, None]
    return actions


@pytest.mark.parametrize("ending", [0, 1])
def test_an_episode_begins_anew_beside_one_that_goes_on_whichever_comes_first(ball, ending):
    env, going = made(ball), 1 - ending
    _, info = env.reset(seed=0)
    assert "video" not in info and info["model_calls"].tolist() == [0, 0]
    ends = np.arange(2) == ending
    *_, terminated, _, info = env.step(told(*np.where(ends, RIGHT, STILL)))
    assert terminated.tolist() == ends.tolist() and info["_video"].all()
    seen, _, _, _, info = env.step(told(STILL, STILL))
    assert info["_video"].tolist() == (~ends).tolist() and info["model_calls"].tolist() == (~ends).astype(int).tolist()
    assert np.array_equal(info["video"][going, -1], seen["pixels"][going]) and not info["video"][ending].any()
    assert info["_distance_to_goal"].tolist() == (~ends).tolist() and info["distance_to_goal"][going] > 0


def test_begun_again_in_the_same_step_it_leaves_the_others_infos_as_they_were(ball):
    env, single = made(ball, autoreset_mode="SameStep"), ImaginedEnv(ball, GRAPH, horizon=64, nodes=4)
    env.reset(seed=0), single.reset(seed=0)
    actions = told(STILL, RIGHT)
    seen, _, terminated, _, info = env.step(actions)
    *_, own = single.step(actions[0])
    assert terminated.tolist() == [False, True]
    assert np.array_equal(info["video"][0], own["video"]) and info["_video"].tolist() == [True, False]
    assert info["distance_to_goal"][0] == own["distance_to_goal"] and info["seconds"][0] > 0
    assert info["model_calls"].tolist() == [1, 0] and info["frames"].tolist() == [8, 0]
    assert info["_final_obs"].tolist() == info["_final_info"].tolist() == [False, True] and info["final_obs"][0] is None
    final = info["final_info"]
    assert final["is_success"].tolist() == [False, True] and final["_is_success"].tolist() == [False, True]
    assert np.array_equal(final["video"][1, -1], info["final_obs"][1]["pixels"])
    assert not np.array_equal(seen["pixels"][1], info["final_obs"][1]["pixels"])


@pytest.mark.parametrize("mask", [[True, False], [False, True]])
def test_the_first_reset_is_one_of_all(ball, mask):
    env = made(ball, autoreset_mode="Disabled")
    with pytest.raises(ValueError, match=r"reset_mask: got .*without an episode, expected .*; call reset\(\)"):
        env.reset(seed=0, options={"reset_mask": np.array(mask)})
    env.reset(seed=0)
    env.reset(options={"reset_mask": np.array(mask)})


def test_nothing_is_saved_or_shown_before_the_first_reset(ball):
    for call in (lambda env: env.save(), lambda env: env.render(), lambda env: env.step(told(STILL, STILL))):
        with pytest.raises(RuntimeError, match=r"call reset\(\)"):
            call(made(ball))


def test_saved_episodes_go_on_in_an_environment_that_was_never_reset(ball):
    one, other = made(ball), made(ball)
    one.reset(seed=0)
    other.restore(one.save())
    other.step(told(RIGHT, STILL))
    seen, *_ = other.step(told(STILL, STILL))
    with pytest.raises(ValueError, match="got NoneType, expected Episode"):
        other.restore([one.save()[0], None])
    assert other.save()[0].frames == 0 and not np.array_equal(seen["pixels"][0], seen["pixels"][1])
