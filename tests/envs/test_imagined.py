"""Imagined environments: Gymnasium's contract, one batch for all, and the same policy as in MuJoCo."""

import copy
import dataclasses
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from known_models import painted, random_robots

import worldmodel.envs  # noqa: F401
from worldmodel.backends.domains import matched
from worldmodel.envs.ball import velocity_commands
from worldmodel.envs.imagined import ImaginedEnv
from worldmodel.envs.imagined_dream import Dreamer
from worldmodel.envs.imagined_starts import EnvStarts, FrameStarts
from worldmodel.envs.imagined_vector import ImaginedVectorEnv
from worldmodel.envs.imagined_wrappers import ChunkActions, SingleSteps
from worldmodel.model import WorldModel
from worldmodel.stopping import StopRule
from worldmodel.wrapped import GymStarts, PixelEnv

GRAPH = "worldmodel/GraphTraversal-v0"


@pytest.fixture(scope="module")
def robots():
    return random_robots()


@pytest.fixture(scope="module")
def ball():
    return painted()


def make(model, **options):
    return ImaginedEnv(model, **{"starts": GRAPH, "horizon": 24, "nodes": 4, **options})


@pytest.mark.parametrize("name", sorted(name for name in gym.registry if name.startswith("worldmodel/Imagined")))
def test_gymnasium_finds_no_fault_in_what_is_registered(robots, name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*(not within|float|rendering|infinity).*")
        check_env(gym.make(name, model=robots).unwrapped)


def test_episodes_begin_in_scenes_such_as_the_model_was_trained_on_unless_others_are_asked_for():
    model = painted(scenes={GRAPH: {"nodes": 3, "node_radius": 0.08}})
    for options, nodes in (({}, 3), ({"nodes": 4}, 4)):
        env = ImaginedEnv(model, GRAPH, **options)
        env.reset(seed=0)
        assert len(env.scene.graph.nodes) == nodes and env.scene.graph.node_radius == 0.08


def test_a_seed_decides_an_episode(robots):
    env = make(robots)
    runs = []
    for _ in range(2):
        env.reset(seed=4)
        env.action_space.seed(0)
        runs.append([env.step(env.action_space.sample()) for _ in range(3)])
    for one, other in zip(*runs, strict=True):
        assert np.array_equal(one[0]["pixels"], other[0]["pixels"]) and one[1:4] == other[1:4]
    assert [step[3] for step in runs[0]] == [False, False, True]
    assert runs[0][0][4]["model_calls"] == 1 and runs[0][0][4]["evaluations"] == 2
    assert runs[0][0][4]["video"].shape == (8, 32, 32, 3) and runs[0][0][4]["seconds"] > 0
    env.reset(seed=5)
    assert not np.array_equal(env.step(env.action_space.sample())[0]["pixels"], runs[0][0][0]["pixels"])


def test_the_first_chunk_is_the_models_own(robots):
    env = make(robots)
    observation, _ = env.reset(seed=4)
    action = env.action_space.sample()
    episode = env.save()
    model = robots.conditioned(domain="ball")
    state = model.start(observation["pixels"][None], seeds=[episode.seed])
    _, rollout = model.step(state, actions=action[None])
    assert np.array_equal(env.step(action)[4]["video"], rollout.video[0])


def test_a_vector_of_episodes_is_one_batch_of_the_same_episodes(ball):
    single, many = make(ball), ImaginedVectorEnv(3, ball, GRAPH, horizon=24, nodes=4)
    observation, _ = many.reset(seed=7)
    many.action_space.seed(0)
    actions = [many.action_space.sample() for _ in range(3)]
    calls = ball.backend.calls
    steps = [many.step(action) for action in actions]
    assert ball.backend.calls - calls == 3 * 2  # chunks times sampling steps, whatever the number of episodes
    for index in range(3):
        first, _ = single.reset(seed=7 + index)
        assert np.array_equal(first["pixels"], observation["pixels"][index])
        for action, (seen, reward, terminated, truncated, info) in zip(actions, steps, strict=True):
            own, own_reward, own_end, own_cut, own_info = single.step(action[index])
            assert np.array_equal(own["pixels"], seen["pixels"][index])
            assert np.array_equal(own["agent_pos"], seen["agent_pos"][index])
            assert (own_reward, own_end, own_cut) == (reward[index], terminated[index], truncated[index])
            assert own_info["distance_to_goal"] == info["distance_to_goal"][index]


def test_one_of_several_can_begin_anew_while_the_others_go_on(robots):
    env = ImaginedVectorEnv(2, robots, GRAPH, horizon=24, nodes=4, autoreset_mode="Disabled")
    action = np.zeros(env.action_space.shape, np.float32)
    for again in (0, 1):
        env.reset(seed=0)
        env.step(action)
        mask = np.arange(2) == again
        env.reset(seed=5, options={"reset_mask": mask})
        seen, *_ = env.step(action)
        assert [episode.chunk for episode in env.save()] == np.where(mask, 1, 2).tolist()
        assert not np.array_equal(seen["pixels"][0], seen["pixels"][1])


@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
def test_what_has_ended_begins_anew_as_the_mode_says(ball, mode):
    env = ImaginedVectorEnv(2, ball, GRAPH, horizon=8, nodes=4, autoreset_mode=mode)
    first, _ = env.reset(seed=0)
    still = np.zeros(env.action_space.shape, np.float32)
    seen, _, _, truncated, info = env.step(still)
    assert truncated.all()
    if mode == "SameStep":
        assert info["_final_obs"].all() and not np.array_equal(seen["pixels"], first["pixels"])
        assert np.array_equal(info["final_obs"][0]["agent_pos"].shape, (4,))
    elif mode == "Disabled":
        with pytest.raises(ValueError, match="reset_mask"):
            env.step(still)
        env.reset(options={"reset_mask": np.array([True, False])})
        with pytest.raises(ValueError, match=r"\[1\]"):
            env.step(still)
    else:
        seen, reward, _, truncated, info = env.step(still)
        assert not truncated.any() and not reward.any() and (info["frames"] == 0).all()


def test_saved_episodes_go_on_and_forks_differ(robots):
    env = make(robots)
    env.reset(seed=1)
    actions = [env.action_space.sample() for _ in range(2)]
    env.step(actions[0])
    saved, forks = env.save(), env.fork(3)
    straight = env.step(actions[1])[0]["pixels"]
    ends = []
    for each in (saved, *forks):
        env.restore(each)
        ends.append(env.step(actions[1])[0]["pixels"])
    assert np.array_equal(ends[0], straight) and np.array_equal(ends[1], straight)
    assert not np.array_equal(ends[2], straight) and not np.array_equal(ends[2], ends[3])


def test_single_steps_come_to_the_chunk_itself(ball):
    chunks, singles = make(ball), SingleSteps(make(ball))
    chunks.reset(seed=3), singles.reset(seed=3)
    for _ in range(2):
        action = chunks.action_space.sample()
        whole = chunks.step(action)
        steps = [singles.step(each) for each in action]
        assert np.array_equal(steps[-1][0]["pixels"], whole[0]["pixels"])
        assert np.array_equal(steps[-1][0]["agent_pos"], whole[0]["agent_pos"])
        assert sum(step[1] for step in steps) == whole[1]
        # This model paints each frame from the actions before it, so that nothing shown changes later.
        assert np.array_equal(np.stack([step[0]["pixels"] for step in steps]), whole[4]["video"])
    assert steps[-1][3] == whole[3] and steps[-1][4]["frames"] == 16


@pytest.mark.parametrize(("limit", "stops"), [(0.0, True), (np.inf, False)])
def test_a_rule_stops_an_episode_or_measures_alone(robots, limit, stops):
    env = make(robots, stop=StopRule(limit))
    env.reset(seed=0)
    *_, truncated, info = env.step(env.action_space.sample())
    assert truncated == stops and info["uncertainty"] > 0


def test_a_model_of_another_rate_sets_that_of_its_beginnings(ball):
    for fps, starts, spec, options in (
        (8.0, GRAPH, velocity_commands(0.6, 8.0), {}),
        (8.0, EnvStarts(GRAPH, nodes=4), velocity_commands(0.6, 8.0), {}),
        (25.0, GymStarts("Reacher-v5"), PixelEnv("Reacher-v5", fps=25.0).action_spec, {"reward": lambda chunk: 0.0}),
    ):
        backend = copy.copy(ball.backend)
        backend.recipe, backend.action_spec = dataclasses.replace(ball.recipe, fps=fps), spec
        env = ImaginedEnv(WorldModel(backend), starts, **options)
        env.reset(seed=0)
        assert env.fps == fps and env.action_spec.control_hz == fps
        assert env.step(np.zeros(env.action_space.shape))[4]["frames"] == 8
    with pytest.raises(ValueError, match="differ from those given"):
        ImaginedEnv(ball, GymStarts("Reacher-v5"), reward=lambda chunk: 0.0)


@pytest.mark.parametrize(
    ("starts", "options", "message"),
    [
        ("worldmodel/Grasp-v0", {"task": "place"}, "task 'place', expected 'pick'"),
        (GRAPH, {"task": "flood"}, "readout of your own"),
        ("worldmodel/FreeFall-v0", {}, "readout of your own"),
    ],
)
def test_scenes_that_cannot_be_read_are_refused_before_the_first_reset(robots, starts, options, message):
    with pytest.raises(ValueError, match=message):
        ImaginedEnv(robots, starts, **options)


def test_a_policy_that_paints_over_its_pictures_paints_over_its_own_alone(ball):
    scenes = EnvStarts(GRAPH, nodes=4)
    start = scenes.draw(np.random.default_rng(0), {})
    dreamer, actions = Dreamer(ball, {}), np.zeros((1, 8, 2))
    frame = start.frame.copy()
    for _ in range(2):
        episode = dreamer.begin(start, 0)
        assert np.array_equal(episode.frame, frame)
        episode.frame[:] = 0
        ((after, chunk),) = dreamer.step([episode], actions)
        assert chunk.signals["found"].all(), "the model goes on from what it was given"
        after.frame[:] = 0
        ((_, chunk),) = dreamer.step([after], actions)
        assert chunk.video.any() and chunk.signals["found"].all()


def test_one_policy_object_runs_in_mujoco_and_in_the_imagined_twin(ball):
    def to_the_right(observation):
        assert observation["agent_pos"].shape == (4,) and observation["pixels"].shape == (64, 64, 3)
        return np.tile([0.1 - observation["agent_pos"][2], 0.0], (8, 1)).clip(-0.6, 0.6)

    true = ChunkActions(gym.make(GRAPH, image_size=64, num_frames=17, nodes=4).unwrapped, 8)
    dream = make(ball)
    assert true.action_space == dream.action_space
    assert true.observation_space["agent_pos"] == dream.observation_space["agent_pos"]
    starts = []
    for env in (true, dream):
        observation, _ = env.reset(seed=2, options={"scene": starts[0][1]} if starts else None)
        starts.append((observation, env.unwrapped.scene))
        observation, _, _, truncated, info = env.step(to_the_right(observation))
        assert not truncated and info["video"].shape == (8, 64, 64, 3)
    assert np.array_equal(starts[0][0]["pixels"], starts[1][0]["pixels"])


def test_pictures_alone_need_a_reward(robots):
    frames = np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3), dtype=np.uint8)
    model = robots.conditioned(domain="ball")
    with pytest.raises(ValueError, match="expected a function of the imagined chunk"):
        ImaginedEnv(model, FrameStarts(frames))
    env = ImaginedEnv(model, FrameStarts(frames), reward=lambda chunk: chunk.video.mean(), success=lambda chunk: True)
    observation, _ = env.reset(seed=0, options={"start": 1})
    assert np.array_equal(observation["pixels"], frames[1])
    _, reward, _, _, info = env.step(env.action_space.sample())
    assert reward == info["video"].mean() and info["is_success"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizon": 0}, "horizon: got 0"),
        ({"starts": "worldmodel/FreeFall-v0", "nodes": None}, "options"),
        ({"starts": FrameStarts(np.zeros((1, 8, 8, 3), np.uint8)), "reward": len}, "expected none beside"),
        ({"reward": 3}, "reward: got 3"),
        ({"render_mode": "human"}, "render_mode"),
        ({"max_speed": 1.0}, "from -1 to 1 where -0.6 to 0.6"),
    ],
)
def test_refusals_come_before_any_compute(ball, options, message):
    calls = ball.backend.calls
    with pytest.raises(ValueError, match=message):
        make(ball, **options)
    assert ball.backend.calls == calls


def test_a_model_without_actions_and_chunks_of_another_shape_are_refused(robots, ball):
    env = make(ball)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"shape \(1, 3, 2\), expected \(1, 8, 2\)"):
        env.step(np.zeros((3, 2)))
    with pytest.raises(ValueError, match="takes no actions"):
        matched(robots, None)
    with pytest.raises(ValueError, match="finite number"):
        broken = make(ball, reward=lambda chunk: np.nan)
        broken.reset(seed=0)
        broken.step(broken.action_space.sample() * 0)


@pytest.mark.parametrize("name", ["GraphTraversal", "Maze", "Grasp"])
def test_registered_names_make_single_and_vector_environments(robots, name):
    env = gym.make(f"worldmodel/Imagined{name}-v0", model=robots)
    assert env.action_space.shape == (8, 4 if name == "Grasp" else 2)
    many = gym.make_vec(f"worldmodel/Imagined{name}-v0", num_envs=2, model=robots)
    observation, _ = many.reset(seed=0)
    assert observation["pixels"].shape == (2, 32, 32, 3)


def test_recorded_clips_and_picture_files_are_beginnings(robots, tmp_path):
    from PIL import Image

    from worldmodel.envs.imagined_starts import StoreStarts
    from worldmodel.storage import EpisodeStore

    recorded = gym.make("worldmodel/Maze-v0", image_size=32, num_frames=3, rows=3, columns=3).unwrapped
    store = EpisodeStore.create(tmp_path / "clips", "truth", settings={})
    truths = [recorded.record(seed=seed) for seed in (0, 1)]
    for key, truth in enumerate(truths):
        store.write_truth(f"{key:08d}", truth, seed=key)
    Image.fromarray(np.repeat(np.repeat(truths[1].video[0], 2, axis=0), 2, axis=1)).save(tmp_path / "large.png")
    for starts in (StoreStarts(tmp_path / "clips"), FrameStarts([tmp_path / "large.png"] * 2, recorded.action_spec)):
        env = ImaginedEnv(robots, starts, reward=lambda chunk: 0.0)
        observation, _ = env.reset(seed=0, options={"start": 1})
        assert np.array_equal(observation["pixels"], truths[1].video[0])
        assert env.action_spec == recorded.action_spec
    with pytest.raises(ValueError, match="no file"):
        ImaginedEnv(robots, FrameStarts(["nowhere.png"], recorded.action_spec), reward=len)
