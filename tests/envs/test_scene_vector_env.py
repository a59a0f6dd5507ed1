"""The vector environments against Gymnasium's SyncVectorEnv of the single ones, bit for bit."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import worldmodel.envs  # noqa: F401  registers the ids

IDS = sorted(name for name in gym.registry if name.startswith("worldmodel/") and "Imagined" not in name)
NUM = 3
CLIP = {"num_frames": 4, "image_size": 16}
BY_MASK = np.array([False, True, False])


def pair(name, mode="NextStep", render_workers=0, **options):
    """The vector env and its reference."""
    options = {**CLIP, "pixels": False, **options}
    vector = gym.make_vec(name, NUM, autoreset_mode=mode, threads=2, render_workers=render_workers, **options)
    single = gym.registry[name].entry_point
    creator = gym.envs.registration.load_env_creator(single)
    return vector, SyncVectorEnv([lambda: creator(**options)] * NUM, autoreset_mode=mode)


def assert_same(got, expected, where=""):
    """Equal to the last bit; infos where their masks say that there is something."""
    if isinstance(expected, dict):
        assert set(got) == set(expected), where
        for name, value in expected.items():
            mask = expected.get(f"_{name}")
            if mask is None or isinstance(value, dict) or value.dtype.hasobject:
                assert_same(got[name], value, f"{where} {name}")
            else:
                assert_same(got[name][mask], value[mask], f"{where} {name}")
    elif isinstance(expected, tuple) or (isinstance(expected, np.ndarray) and expected.dtype.hasobject):
        for index, (one, other) in enumerate(zip(got, expected, strict=True)):
            assert_same(one, other, f"{where} {index}")
    elif expected is None:
        assert got is None, where
    else:
        assert got.dtype.kind == expected.dtype.kind, where
        np.testing.assert_array_equal(got, expected, err_msg=where)


@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
@pytest.mark.parametrize("name", IDS)
def test_two_episodes_and_a_half_are_those_of_the_single_envs(name, mode):
    """Sub-environment 1 is reset in the middle, so that it ends at another step than the others."""
    vector, reference = pair(name, mode)
    assert vector.metadata["autoreset_mode"] == AutoresetMode(mode)
    vector.action_space.seed(0)
    assert_same(vector.reset(seed=7), reference.reset(seed=7), "first reset")
    ended = np.zeros(NUM, bool)
    for step in range(9):
        if step == 2:
            ended = BY_MASK
        if step == 2 or (mode == "Disabled" and ended.any()):
            options = [{"reset_mask": ended.copy()} for _ in range(2)]
            assert_same(vector.reset(options=options[0]), reference.reset(options=options[1]), f"reset {step}")
        action = vector.action_space.sample()
        one, other = vector.step(action), reference.step(action)
        assert_same(one, other, f"step {step}:")
        ended = one[2] | one[3]
        assert all(value in vector.single_observation_space[key] for key, value in rows(one[0], 0).items())
    reference.close()


def rows(observation, index):
    return {name: value[index] for name, value in observation.items()}


@pytest.mark.parametrize("name", IDS)
def test_pictures_are_those_of_the_single_envs(name):
    vector, reference = pair(name, "SameStep", pixels=True, image_size=(16, 24))
    assert_same(vector.reset(seed=3), reference.reset(seed=3))
    vector.reset(options={"reset_mask": BY_MASK}), reference.reset(options={"reset_mask": BY_MASK})
    for _ in range(4):
        action = vector.action_space.sample()
        assert_same(vector.step(action), reference.step(action))
    assert_same(vector.render(), reference.render())
    vector.close()
    reference.close()


def test_processes_render_the_same_pictures_and_end_with_the_env():
    both = [pair("worldmodel/FreeFall-v0", "SameStep", pixels=True, render_workers=n)[0] for n in (0, 2)]
    assert_same(*(env.reset(seed=3) for env in both))
    for _ in range(4):
        assert_same(*(env.step(np.zeros(NUM, int)) for env in both))
    assert_same(*(env.render() for env in both))
    processes = both[1].unwrapped._pool._processes
    assert len(processes) == 2 and all(process.is_alive() for process in processes)
    for env in both:
        env.close()
    assert not any(process.is_alive() for process in processes)


def test_a_killed_renderer_is_an_error_and_no_standstill():
    env, _ = pair("worldmodel/FreeFall-v0", pixels=True, render_workers=1)
    env.reset(seed=0)
    env.unwrapped._pool._processes[0].kill()
    with pytest.raises(RuntimeError, match="render_workers: got one that was killed"):
        env.step(np.zeros(NUM, int))


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_early_ends_are_those_of_the_single_envs(mode):
    """With ``terminate`` every fall ends when the object rests, at a step of its own."""
    options = {"num_frames": 60, "terminate": True, "clearance": (0.02, 0.05), "restitution": 0.15, "fps": 20.0}
    vector, reference = pair("worldmodel/FreeFall-v0", mode, **options)
    vector.reset(seed=5), reference.reset(seed=5)
    ends = np.zeros((100, NUM), bool)
    for step in range(len(ends)):
        one, other = vector.step(np.zeros(NUM, int)), reference.step(np.zeros(NUM, int))
        assert_same(one, other, f"step {step}:")
        ends[step] = one[2]
    assert ends.any(axis=0).all(), "each ended at least once"
    assert (ends.any(axis=1) & ~ends.all(axis=1)).any(), "and not all at once"


def test_an_unseeded_reset_goes_on_with_the_generators():
    vector, reference = pair("worldmodel/FreeFall-v0")
    for seed in (4, None, [None, 6, None]):
        assert_same(vector.reset(seed=seed), reference.reset(seed=seed), f"seed {seed}")


def test_a_seed_under_a_mask_leaves_the_other_generators_alone():
    vector, reference = pair("worldmodel/FreeFall-v0")
    vector.reset(seed=4), reference.reset(seed=4)
    vector.reset(seed=50, options={"reset_mask": BY_MASK.copy()})
    reference.reset(seed=50, options={"reset_mask": BY_MASK.copy()})
    assert_same(vector.reset(), reference.reset())
    assert [each.bit_generator.state for each in vector.np_random] == [
        each.bit_generator.state for each in reference.np_random
    ]


def test_options_reach_every_scene():
    vector, _ = pair("worldmodel/FreeFall-v0")
    vector.reset(seed=0, options={"gravity": 1.0})
    assert [scene.gravity for scene in vector.unwrapped.scenes] == [1.0] * NUM
    vector.reset(options={"gravity": 2.0, "reset_mask": BY_MASK})
    assert [scene.gravity for scene in vector.unwrapped.scenes] == [1.0, 2.0, 1.0]


def test_vector_wrappers_of_gymnasium_work():
    vector = gym.make_vec("worldmodel/FreeFall-v0", NUM, autoreset_mode="SameStep", **CLIP)
    wrapped = gym.wrappers.vector.RecordEpisodeStatistics(vector)
    wrapped.reset(seed=0)
    for _ in range(3):
        info = wrapped.step(np.zeros(NUM, int))[4]
    np.testing.assert_array_equal(info["episode"]["l"], [3, 3, 3])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_envs": 0}, "num_envs: got 0, expected a whole number of at least 1"),
        ({"threads": -1}, "threads: got -1, expected a whole number of at least 0; 0 is one a core"),
        ({"render_workers": -1}, "render_workers: got -1, expected a whole number of at least 0"),
        ({"max_episode_steps": 0}, "max_episode_steps: got 0, expected a whole number of at least 1"),
        ({"autoreset_mode": "sometimes"}, "autoreset_mode: got 'sometimes', expected one of NextStep"),
        ({"image_size": 8}, "image_size: got 8, expected 16 to"),
        ({"height": 1.0}, "options: got height"),
    ],
)
def test_impossible_settings_are_refused(options, message):
    creator = gym.envs.registration.load_env_creator(gym.registry["worldmodel/FreeFall-v0"].vector_entry_point)
    with pytest.raises(ValueError, match=message):
        creator(**options)


def test_a_limit_of_steps_truncates_as_time_limit_does():
    vector = gym.make_vec("worldmodel/Maze-v0", NUM, max_episode_steps=2, pixels=False)
    vector.reset(seed=0)
    ended = [vector.step(vector.action_space.sample())[3] for _ in range(2)]
    assert not ended[0].any() and ended[1].all()
    assert vector.unwrapped.call("_max_episode_steps") == (2,) * NUM
    shorter = gym.make_vec("worldmodel/Maze-v0", NUM, max_episode_steps=9, num_frames=3, pixels=False)
    assert shorter.unwrapped.call("_max_episode_steps") == (2,) * NUM


@pytest.mark.parametrize("name", IDS)
def test_lerobot_learns_of_every_env_what_it_learns_of_single_ones(name):
    vector, reference = pair(name)
    vector.reset(seed=0)
    reference.reset(seed=0)
    for asked in ("task", "task_description", "_max_episode_steps"):
        assert vector.unwrapped.call(asked) == reference.call(asked)
    with pytest.raises(ValueError, match="call: got 'close', expected one of task"):
        vector.unwrapped.call("close")


def test_misuse_is_refused():
    vector, _ = pair("worldmodel/FreeFall-v0", "Disabled")
    with pytest.raises(RuntimeError, match="call reset"):
        vector.step(np.zeros(NUM, int))
    with pytest.raises(ValueError, match="reset_mask: got some sub-environments, expected all in the first reset"):
        vector.reset(options={"reset_mask": BY_MASK})
    vector.reset(seed=0)
    for mask in ([True] * NUM, np.ones(2, bool), np.ones(NUM), np.zeros(NUM, bool)):
        with pytest.raises(ValueError, match="reset_mask: got"):
            vector.reset(options={"reset_mask": mask})
    with pytest.raises(ValueError, match="seed: got 2 seeds, expected 3"):
        vector.reset(seed=[1, 2])
    for action in (0, np.zeros(2, int), np.array([0, 1, 0])):
        with pytest.raises(ValueError, match="action: got"):
            vector.step(action)
    for _ in range(3):
        vector.step(np.zeros(NUM, int))
    with pytest.raises(ValueError, match=r"step: got ended sub-environments \[0, 1, 2\]"):
        vector.step(np.zeros(NUM, int))
