"""Signals read off MuJoCo's own pictures against those that MuJoCo gives."""

import gymnasium as gym
import numpy as np
import pytest

import worldmodel.envs  # noqa: F401
from worldmodel.envs.imagined_readout import centroids, readout_for
from worldmodel.envs.overhead import VIEW

SCENES = [
    ("worldmodel/GraphTraversal-v0", {"nodes": (4, 6)}),
    ("worldmodel/Maze-v0", {"rows": 4, "columns": 4}),
]


def played(env, seed, policy):
    first, _ = env.reset(seed=seed)
    scene, act = env.scene, env.family.policy(policy, env.scene, np.random.default_rng(seed))
    observations, infos, actions = [], [], []
    info = env._simulation.info(0)
    for _ in range(env.num_frames - 1):
        actions.append(np.asarray(act(info)))
        observation, *_, info = env.step(actions[-1])
        observations.append(observation), infos.append(info)
    return scene, first, observations, infos, np.array(actions)


@pytest.mark.parametrize(("name", "options"), SCENES)
@pytest.mark.parametrize("policy", ["shortest", "wrong_branch"])
def test_it_reads_what_mujoco_knows(name, options, policy):
    env = gym.make(name, image_size=64, num_frames=65, **options).unwrapped
    for seed in range(3):
        _, first, observations, infos, actions = played(env, seed, policy)
        readout = readout_for(env)
        video = np.stack([each["pixels"] for each in observations])[None]
        _, signals = readout.read(readout.begin(first), video, actions[None])
        true = {key: np.stack([info[key] for info in infos]) for key in ("position", "distance_to_goal", "success")}
        assert signals["found"].all() and signals["legal"].all()
        assert np.abs(signals["position"][0] - true["position"]).max() < 0.006  # 0.4 px
        assert np.nanmedian(np.abs(signals["distance_to_goal"][0] - true["distance_to_goal"])) < 0.01
        assert abs(int(signals["success"].sum()) - int(true["success"].sum())) <= 1
        agent = np.stack([each["agent_pos"] for each in observations])
        assert np.abs(readout.observe(signals)["agent_pos"][0] - agent).max(axis=0)[2:].max() < 0.7  # m/s, at a bounce


def test_pieces_read_as_the_whole_and_forks_do_not_touch_each_other():
    env = gym.make(SCENES[0][0], image_size=64, num_frames=33, **SCENES[0][1]).unwrapped
    _, first, observations, _, actions = played(env, 5, "shortest")
    readout, video = readout_for(env), np.stack([each["pixels"] for each in observations])[None]
    _, whole = readout.read(readout.begin(first), video, actions[None])
    begun = readout.begin(first)
    middle, one = readout.read(begun, video[:, :10], actions[None, :10])
    readout.read(middle.repeat(3), np.zeros((3, 4, 64, 64, 3), np.uint8), np.zeros((3, 4, 2)))
    _, two = readout.read(middle, video[:, 10:], actions[None, 10:])
    for name, value in whole.items():
        assert np.array_equal(np.concatenate([one[name], two[name]], axis=1), value, equal_nan=True), name


@pytest.mark.parametrize(("name", "options"), SCENES)
def test_a_ball_that_is_seen_at_its_goal_first_has_reached_it(name, options):
    env = gym.make(name, image_size=64, num_frames=65, **options).unwrapped
    for seed in range(3):
        _, _, observations, infos, actions = played(env, seed, "shortest")
        at = 1 + int(np.argmax([info["success"] for info in infos]))
        readout, video = readout_for(env), np.stack([each["pixels"] for each in observations])[None]
        _, signals = readout.read(readout.begin(observations[at]), video[:, at + 1 :], actions[None, at + 1 :])
        assert signals["success"].all() and signals["legal"].all()


def test_a_ball_may_be_seen_half_a_pixel_beyond_a_channel():
    env = gym.make(SCENES[0][0], image_size=64, **SCENES[0][1]).unwrapped
    first, _ = env.reset(seed=0)
    graph, readout, pixel = env.scene.graph, readout_for(env), VIEW / 64
    (a, b), length = graph.segments[graph.lengths.argmax()], graph.lengths.max()
    across = np.array([a[1] - b[1], b[0] - a[0]]) / length
    for beyond, legal in ((0.4, True), (0.6, False)):
        place = (a + b) / 2 + across * (graph.channel_width / 2 + beyond * pixel)
        memory = {**readout.begin(first).memory, "ball": place[None]}
        readings = readout._readings(place[None], place[None], np.array([1.0 / env.fps]))
        assert bool(env.family.measure(readings, memory)["legal"][0]) is legal


def test_what_no_ball_does_is_not_legal():
    env = gym.make(SCENES[1][0], image_size=64, num_frames=33, **SCENES[1][1]).unwrapped
    first, _ = env.reset(seed=1)
    readout = readout_for(env)
    gone = np.where((first["pixels"][..., :1] > 150) & (first["pixels"][..., 1:2] < 120), 235, first["pixels"])
    away = np.roll(gone, 0, axis=0).astype(np.uint8)
    jumped = away.copy()
    centre = env.scene.maze.centres(env.scene.cell_size)[(env.scene.start + 8) % 16]
    u, v = 32 + 64 * centre[0], 32 - 64 * centre[1]
    rows, columns = np.indices((64, 64)) + 0.5
    jumped[np.hypot(rows - v, columns - u) < 64 * env.scene.ball_radius] = (217, 31, 26)
    video = np.stack([first["pixels"], away, jumped])[None]
    _, signals = readout.read(readout.begin(first), video, np.zeros((1, 3, 2)))
    assert signals["found"][0].tolist() == [True, False, True]
    assert signals["legal"][0].tolist() == [True, True, False], "not seen is no proof; to come back elsewhere is"


@pytest.mark.parametrize("unseen", [1, 3])
def test_a_ball_that_is_lost_from_sight_may_come_back_where_it_can_have_rolled(unseen):
    env = gym.make(SCENES[0][0], image_size=64, num_frames=33, **SCENES[0][1]).unwrapped
    _, first, observations, _, _ = played(env, 5, "shortest")
    readout = readout_for(env)
    hidden, start = np.stack([each["pixels"] for each in observations])[None], 4
    hidden[0, start : start + unseen] = 0
    _, signals = readout.read(readout.begin(first), hidden, np.zeros((1, 32, 2)))
    assert (~signals["found"][0]).sum() == unseen
    assert signals["legal"].all()
    begun, half = readout.begin(first), start + unseen - 1
    middle, _ = readout.read(begun, hidden[:, :half], np.zeros((1, half, 2)))
    _, rest = readout.read(middle, hidden[:, half:], np.zeros((1, 32 - half, 2)))
    assert rest["legal"].all(), "how long it was not seen is remembered between pieces"


def test_a_ball_that_stays_out_of_sight_is_gone():
    env = gym.make(SCENES[0][0], image_size=64, num_frames=33, **SCENES[0][1]).unwrapped
    first, _ = env.reset(seed=5)
    readout = readout_for(env)
    start, dark = readout.begin(first), np.zeros((1, 12, 64, 64, 3), np.uint8)
    _, signals = readout.read(start, dark, np.zeros((1, 12, 2)))
    assert signals["legal"][0].tolist() == [True] * 8 + [False] * 4, "half a second at 16 frames a second"
    never = readout.begin({**first, "pixels": dark[0, 0]})
    _, signals = readout.read(never, dark, np.zeros((1, 12, 2)))
    assert signals["legal"][0].tolist() == [True] * 7 + [False] * 5, "the picture begun with counts"


def test_centroids_of_a_known_patch():
    shares = np.zeros((2, 8, 10))
    shares[0, 2:4, 5:7] = 0.5
    centre, mass, radius = centroids(shares)
    assert centre[0].tolist() == [6.0, 3.0] and mass.tolist() == [2.0, 0.0]
    assert radius[0] == pytest.approx(np.sqrt(0.5)) and np.isnan(centre[1]).all()


def test_an_environment_without_a_readout_is_refused():
    env = gym.make("worldmodel/FreeFall-v0", image_size=32).unwrapped
    env.reset(seed=0)
    with pytest.raises(ValueError, match="readout of your own"):
        readout_for(env)


def test_where_a_ball_is_seen_to_be_does_not_depend_on_where_it_was(monkeypatch):
    """Between two channels, which overlap by the half pixels that it may be beyond their rims."""
    blank, between = np.zeros((64, 64, 3), np.uint8), 0
    for seed in range(4):
        env = gym.make(SCENES[0][0], image_size=64, pixels=False, kind="graph").unwrapped
        env.reset(seed=seed)
        graph, readout = env.scene.graph, readout_for(env)
        channels = readout.begin({"pixels": blank}).memory["channels"][0]
        points = np.random.default_rng(seed).uniform(-0.5, 0.5, (100_000, 1, 2))
        x, y = points[..., 0], points[..., 1]
        held = (np.abs(channels[:, 0] * x[..., None] + channels[:, 1] * y[..., None] - channels[:, 2]) <= 1.0).all(1)
        free = (np.linalg.norm(points - graph.centres, axis=-1) > graph.node_radius).all(axis=1)
        for index in np.nonzero(free & (held.sum(axis=1) > 1))[0]:
            edges = []
            for channel in np.nonzero(held[index])[0]:
                seen = np.stack([graph.segments[channel].mean(axis=0), points[index, 0]])[None]
                monkeypatch.setattr(readout, "_locate", lambda video, seen=seen: (seen, np.ones((1, 2), bool)))
                begun = readout.begin({"pixels": blank})
                _, signals = readout.read(begun, np.zeros((1, 2, 64, 64, 3), np.uint8), np.zeros((1, 2, 2)))
                edges.append(signals["edge"][0].tolist())
                assert edges[-1][0] == channel
            assert len({edge for _, edge in edges}) == 1
            between += 1
    assert between > 4
