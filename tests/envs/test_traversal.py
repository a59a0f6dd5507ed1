"""Graph traversal by a ball and by water against mechanics, geometry and graph distances."""

import dataclasses
import json

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from worldmodel.envs.ball import MASS, TIME_CONSTANT
from worldmodel.envs.fill_times import fill_times
from worldmodel.envs.flood import FloodTraversal
from worldmodel.envs.graphs import channel_walls, shortest_route
from worldmodel.envs.overhead import floor_points
from worldmodel.envs.places import Moves, legal_moves
from worldmodel.envs.simulation import Simulation
from worldmodel.envs.traversal import (
    FloodScene,
    GraphTraversal,
    GraphTraversalEnv,
    GraphTraversalVectorEnv,
    TraversalSampler,
    VisitScene,
)
from worldmodel.envs.visiting import AgentTraversal
from worldmodel.geometry import WALL, crosses

SEEDS = range(8)
# Three nodes in a row, along x.
ROW = VisitScene(
    nodes=((-0.3, 0.0), (0.0, 0.0), (0.3, 0.0)),
    edges=((0, 1), (1, 2)),
    start=0,
    node_radius=0.064,
    channel_width=0.056,
    goals=(2,),
    ordered=True,
    ball_radius=0.022,
    max_speed=0.6,
    friction=0.2,
)


@pytest.fixture(scope="module")
def env():
    env = GraphTraversalEnv(image_size=64)
    yield env
    env.close()


@pytest.fixture(scope="module")
def clips(env):
    return [env.record(seed=seed) for seed in SEEDS]


@pytest.fixture(scope="module")
def floods():
    env = GraphTraversalEnv(image_size=128, task="flood", kind="graph", fps=8, num_frames=41)
    return env, [env.record(seed=seed) for seed in range(4)]


def drive(scene, velocity, frames, fps=16.0, **options):
    """Signals and velocities after each frame of a constant command."""
    simulation = Simulation(GraphTraversal(**options), 1, fps=fps)
    simulation.reset([scene])
    history = []
    for _ in range(frames):
        simulation.step(np.array([velocity]))
        history.append(simulation.info(0))
    return {name: np.array([info[name] for info in history]) for name in history[0]}


def play(family, seeds, policy, frames):
    """Scenes and outcomes of whole clips, without pictures."""
    simulation = Simulation(family, len(seeds), fps=16.0)
    scenes = [family.sampler(np.random.default_rng(seed)) for seed in seeds]
    simulation.reset(scenes)
    policies = [family.policy(policy, scene, np.random.default_rng(0)) for scene in scenes]
    history = [simulation.signals.copy()]
    for _ in range(frames - 1):
        actions = [act(simulation.info(index)) for index, act in enumerate(policies)]
        simulation.step(family.action_spec.check(actions))
        history.append(simulation.signals.copy())
    signals = [
        {name: np.stack([each[name][i] for each in history]) for name in family.signals} for i in range(len(seeds))
    ]
    time = np.arange(frames) / 16.0
    return scenes, signals, [family.outcome(scene, time, known) for scene, known in zip(scenes, signals, strict=True)]


@pytest.mark.parametrize("task", ["agent", "flood"])
def test_passes_gymnasiums_checker(task):
    check_env(GraphTraversalEnv(image_size=32, task=task))


def test_the_ball_takes_on_the_commanded_velocity_exponentially():
    run = drive(ROW, (0.5, 0.0), frames=40, fps=200.0)
    expected = 0.5 * (1 - np.exp(-run["time"] / TIME_CONSTANT))
    np.testing.assert_allclose(run["velocity"][:, 0, 0], expected, atol=0.012)
    assert run["velocity"][-1, 0, 0] == pytest.approx(0.5, rel=2e-3)
    assert (0.5 * MASS * run["velocity"][:, 0, 0] ** 2 <= 0.5 * MASS * 0.5**2).all()  # no energy from nowhere


@pytest.mark.parametrize(("friction", "along"), [(0.0, 0.3), (0.2, 0.3 - 0.2 * 0.6), (0.4, 0.3 - 0.4 * 0.6)])
def test_the_ball_slides_along_a_wall_as_coulomb_says(friction, along):
    scene = dataclasses.replace(ROW, friction=friction, nodes=((-0.4, 0.0), (0.4, 0.0)), edges=((0, 1),), goals=(1,))
    # It leaves the start along the channel before it is pushed into the channel's wall.
    simulation = Simulation(GraphTraversal(), 1, fps=16.0)
    simulation.reset([scene])
    history = []
    for command in [(0.6, 0.0)] * 4 + [(0.3, 0.6)] * 14:
        simulation.step(np.array([command]))
        history.append(simulation.info(0))
    # Under friction MuJoCo's contacts open and close from step to step; what is meant holds on average.
    sliding = history[-10:]
    distance = sliding[-1]["position"][0, 0] - history[-11]["position"][0, 0]
    assert distance == pytest.approx(10 / 16 * along, abs=0.002)
    force = np.mean([info["wall_force"] for info in sliding])
    assert force == pytest.approx(MASS / TIME_CONSTANT * 0.6 * np.hypot(1, friction), rel=0.01)
    assert all(info["wall_contact"] and abs(info["wall_gap"]) < 2e-4 for info in sliding)


def test_the_ball_sticks_to_a_wall_where_friction_is_enough():
    scene = dataclasses.replace(ROW, friction=0.7)
    run = drive(scene, (0.3, 0.6), frames=20)
    np.testing.assert_allclose(run["velocity"][-5:, 0], 0.0, atol=2e-3)


@pytest.mark.parametrize("kind", ["tree", "graph"])
def test_no_wall_is_passed_even_at_the_highest_speed(kind):
    family = GraphTraversal(kind=kind, max_speed=2.0)
    simulation = Simulation(family, 24, fps=8.0, threads=1)
    rng = np.random.default_rng(0)
    simulation.reset([family.sampler(np.random.default_rng(seed)) for seed in range(24)])
    touched = np.zeros(24, bool)
    for _ in range(24):
        simulation.step(rng.choice([-2.0, 2.0], size=(24, 2)))
        touched |= simulation.signals["wall_contact"]
        assert simulation.signals["legal"].all()
        assert simulation.signals["wall_gap"].min() > -WALL / 2.0
    assert touched.all()


def test_the_shortest_way_succeeds_within_the_clip(clips):
    for clip in clips:
        assert clip.success
        assert clip.outcome["spl"] > 0.95
        assert clip.signals["legal"].all()
        assert clip.outcome["illegal_moves"] == clip.outcome["wall_contacts"] == 0
        assert clip.outcome["path_length"] == pytest.approx(clip.outcome["shortest_length"], abs=0.12)


def test_nodes_are_visited_in_the_order_of_the_route(clips, env):
    for clip in clips:
        scene = env.family.scene_from_json(clip.scene)
        route = shortest_route(scene.graph, scene.start, scene.goals)
        assert clip.outcome["shortest_route"] == route
        times = clip.outcome["visit_times"]
        assert sorted((k for k in range(len(times)) if times[k] is not None), key=lambda k: times[k]) == route
        # Never faster than the motor allows, from rim to rim.
        away = scene.graph.distances[scene.start, scene.goals[0]] - scene.node_radius
        assert times[scene.goals[0]] > away / (np.sqrt(2) * scene.max_speed)


def test_the_distance_to_the_goal_starts_as_the_graphs_and_falls(clips, env):
    for clip in clips:
        scene = env.family.scene_from_json(clip.scene)
        distance = clip.signals["distance_to_goal"]
        assert distance[0] == pytest.approx(scene.graph.distances[scene.start, scene.goals[0]])
        assert (np.diff(distance[: clip.signals["success"].argmax() + 1]) < 1e-3).all()
        assert distance[-1] == 0.0


def test_signals_agree_with_geometry(clips, env):
    for clip in clips:
        scene = env.family.scene_from_json(clip.scene)
        offset = np.linalg.norm(clip.position[:, 0, None, :2] - scene.graph.centres, axis=-1)
        node = np.where(offset.min(axis=1) <= scene.node_radius, offset.argmin(axis=1), -1)
        np.testing.assert_array_equal(clip.signals["node"], node)
        assert ((clip.signals["edge"] >= 0) == (node < 0)).all()
        assert not crosses(clip.position[:-1, 0, :2], clip.position[1:, 0, :2], channel_walls(scene.graph)).any()


@pytest.mark.parametrize("policy", ["wrong_branch", "halfway"])
@pytest.mark.parametrize("goal", ["node", "sequence", "all"])
def test_named_failures_fail(policy, goal):
    _, signals, outcomes = play(GraphTraversal(goal=goal), SEEDS, policy, 81)
    for known, outcome in zip(signals, outcomes, strict=True):
        assert not outcome["success"]
        assert outcome["spl"] == 0.0
        assert known["legal"].all()


def test_success_and_failure_have_the_same_first_frame(env, clips):
    failed = env.record(seed=0, policy="halfway")
    assert clips[0].success > failed.success
    np.testing.assert_array_equal(failed.video[0], clips[0].video[0])


@pytest.mark.parametrize("policy", ["straight", "random"])
def test_driving_straight_or_at_random_mostly_ends_at_walls(policy):
    _, signals, outcomes = play(GraphTraversal(), range(16), policy, 81)
    assert sum(outcome["success"] for outcome in outcomes) < 8  # sliding along walls may lead there
    assert sum(outcome["wall_contacts"] > 10 for outcome in outcomes) >= 12
    assert all(known["legal"].all() for known in signals)


@pytest.mark.parametrize("goal", ["sequence", "all"])
@pytest.mark.parametrize("kind", ["tree", "graph"])
def test_several_goals_are_all_visited(goal, kind):
    scenes, signals, outcomes = play(GraphTraversal(goal=goal, kind=kind, nodes=(5, 7)), SEEDS, "shortest", 181)
    for scene, known, outcome in zip(scenes, signals, outcomes, strict=True):
        assert outcome["success"]
        assert outcome["goals_reached"] == len(scene.goals)
        assert outcome["spl"] > 0.9
        assert known["distance_to_goal"][-1] == 0.0


def test_a_sequence_in_the_wrong_order_does_not_count():
    scene = dataclasses.replace(ROW, nodes=(*ROW.nodes, (0.3, 0.3)), edges=(*ROW.edges, (2, 3)), goals=(3, 2))
    run = drive(scene, (0.6, 0.0), frames=24)
    assert run["visited"][-1, :4].tolist() == [True, True, True, False]
    assert run["goals_reached"][-1] == 0
    free = drive(dataclasses.replace(scene, ordered=False), (0.6, 0.0), frames=24)
    assert free["goals_reached"][-1] == 1


def test_a_teleport_is_illegal():
    simulation = Simulation(GraphTraversal(), 1, fps=16.0)
    for target, legal in (((0.0, 0.0), False), ((-0.3, 0.01), True), ((-0.15, 0.2), False)):
        simulation.reset([ROW])
        simulation.batch.bind("qpos")[0] = target
        simulation.step(np.zeros((1, 2)))
        assert bool(simulation.signals["legal"][0]) is legal


def test_moves_are_legal_between_neighbours_only():
    neighbours = np.array([[[1, -2], [0, 2], [1, -2]]])
    for places, legal in (([0, 0, 1, 2], True), ([0, 2], False), ([1, -1, 1], False), ([2, 1, 1, 0], True)):
        sequence = np.array([places])
        assert bool(legal_moves(sequence, Moves.within(sequence), neighbours)[0]) is legal


def test_node_masks_lie_around_their_projected_centres():
    env = GraphTraversalEnv(image_size=128, kind="graph", num_frames=2)
    for seed in range(4):
        clip = env.record(seed=seed)
        scene, node, edge = env.scene, clip.maps["node"], clip.maps["edge"]
        centres = np.column_stack([scene.graph.centres, np.zeros(len(scene.nodes))])
        scale = clip.camera.focal_px / clip.camera.depth(centres[0])
        for k, (u, v) in enumerate(clip.camera.project(centres)):
            rows, columns = np.nonzero(node == k + 1)
            assert (columns.mean() + 0.5, rows.mean() + 0.5) == pytest.approx((u, v), abs=0.25)
            assert len(rows) == pytest.approx(np.pi * (scale * scene.node_radius) ** 2, rel=0.06)
        assert set(np.unique(edge)) == set(range(len(scene.edges) + 1))
        assert not ((node > 0) & (edge > 0)).any()
        # What is painted is where the maps say, but for pixels on the rim.
        bright = clip.video[0].max(axis=-1) > 60
        labelled = (node > 0) | (edge > 0)
        assert (bright & labelled).sum() / (bright | labelled).sum() > 0.93


def test_the_ball_is_seen_where_it_is(clips):
    for clip in clips:
        for t in (0, 20, 60):
            rows, columns = np.nonzero(clip.mask[t])
            u, v = clip.camera.project(clip.position[t, 0])
            assert (columns.mean() + 0.5, rows.mean() + 0.5) == pytest.approx((u, v), abs=0.5)


def test_pixels_on_the_ground_project_back_to_themselves(clips):
    camera = clips[0].camera
    points = floor_points(camera)
    u, v = np.moveaxis(camera.project(np.dstack([points, np.zeros(points.shape[:2])])), -1, 0)
    rows, columns = np.indices((64, 64))
    np.testing.assert_allclose(u, columns + 0.5, atol=1e-9)
    np.testing.assert_allclose(v, rows + 0.5, atol=1e-9)


def test_the_whole_arena_is_in_view(clips):
    camera = clips[0].camera
    corners = np.array([[x, y, 0.0] for x in (-0.48, 0.48) for y in (-0.48, 0.48)])
    assert ((camera.project(corners) > 0) & (camera.project(corners) < 64)).all()


def test_water_is_at_a_nodes_centre_when_graph_distance_over_speed_has_passed(floods):
    env, clips = floods
    for clip in clips:
        scene = env.family.scene_from_json(clip.scene)
        np.testing.assert_allclose(clip.position[:, 0], [(*scene.graph.centres[scene.start], 0.0)] * len(clip))
        arrival = scene.graph.distances[scene.start] / scene.flood_speed
        np.testing.assert_allclose(clip.outcome["node_arrival"], arrival)
        for k, centre in enumerate(scene.graph.centres):
            u, v = np.floor(clip.camera.project((*centre, 0.0))).astype(int)
            wet = clip.mask[:, v, u]
            pixel = 2 / 128 / scene.flood_speed  # s, two pixels of way
            if k != scene.start:
                assert clip.time[wet.argmax()] == pytest.approx(arrival[k], abs=pixel + 1 / clip.fps)
            assert wet[wet.argmax() :].all()
        assert clip.success == (clip.time[-1] >= max(clip.outcome["node_filled"] + clip.outcome["edge_filled"]))


def test_the_shares_of_water_in_the_picture_are_those_of_the_signals(floods):
    env, clips = floods
    for clip in clips:
        scene = env.family.scene_from_json(clip.scene)
        for k in range(len(scene.edges)):
            pixels = clip.maps["edge"] == k + 1
            inset = 0.06 / scene.graph.lengths[k]  # the ends of a channel's centre line lie within the discs
            expected = np.clip(clip.signals["edge_filled"][:, k], inset, 1 - inset)
            seen = inset + (1 - 2 * inset) * clip.mask[:, pixels].mean(axis=1)
            far = max(scene.graph.distances[scene.start][list(scene.edges[k])])
            near = min(scene.graph.distances[scene.start][list(scene.edges[k])])
            if far - near == pytest.approx(scene.graph.lengths[k]):  # filled from one end
                np.testing.assert_allclose(seen, expected, atol=0.1)


def test_water_does_not_spill_and_does_not_recede(floods):
    _, clips = floods
    for clip in clips:
        graph = (clip.maps["node"] > 0) | (clip.maps["edge"] > 0)
        assert (clip.mask & ~graph).sum(axis=(1, 2)).max() <= 0.03 * graph.sum()  # rims
        assert (clip.mask[:-1] & ~clip.mask[1:]).sum() <= 0.001 * clip.mask[-1].sum()  # rims again
        assert clip.mask[0].sum() == pytest.approx((clip.maps["node"] == clip.scene["start"] + 1).sum(), rel=0.1)


def test_the_same_seed_gives_both_tasks_the_same_graph(floods, env):
    _, clips = floods
    for seed, clip in enumerate(clips):
        agent = TraversalSampler(kind="graph")(np.random.default_rng(seed))
        flood = TraversalSampler(kind="graph", task="flood")(np.random.default_rng(seed))
        assert (agent.nodes, agent.edges, agent.start) == (flood.nodes, flood.edges, flood.start)
        assert len(clip.scene["nodes"]) == len(clip.outcome["node_arrival"])


def test_each_task_has_its_family():
    assert isinstance(GraphTraversal(), AgentTraversal)
    assert isinstance(GraphTraversal(TraversalSampler(task="flood")), FloodTraversal)
    assert isinstance(FloodTraversal().sampler(np.random.default_rng(0)), FloodScene)


def test_slower_water_comes_later_in_proportion():
    scene = TraversalSampler(task="flood")(np.random.default_rng(0))
    fast, slow = (fill_times(scene.graph, scene.start, speed) for speed in (0.6, 0.2))
    np.testing.assert_allclose(slow.node_filled, 3 * fast.node_filled)


@pytest.mark.parametrize("options", [{}, {"task": "flood", "kind": "graph"}])
def test_many_at_once_are_bit_equal_to_one(options):
    one = GraphTraversalEnv(image_size=16, **options)
    many = GraphTraversalVectorEnv(3, image_size=16, threads=2, **options)
    observations, _ = many.reset(seed=5)
    singles = [GraphTraversalEnv(image_size=16, **options) for _ in range(3)]
    rng = np.random.default_rng(0)
    for index, single in enumerate(singles):
        first, _ = single.reset(seed=5 + index)
        np.testing.assert_array_equal(first["pixels"], observations["pixels"][index])
    for _ in range(12):
        actions = rng.uniform(-0.6, 0.6, size=(3, 2)) if one.action_spec else np.zeros(3, np.int64)
        observations, _, _, _, infos = many.step(actions)
        for index, single in enumerate(singles):
            observation, _, _, _, info = single.step(actions[index])
            for name in observation:
                np.testing.assert_array_equal(observation[name], observations[name][index])
            for name in single.family.signals:
                np.testing.assert_array_equal(info[name], infos[name][index])


@pytest.mark.parametrize("task", ["agent", "flood"])
def test_truth_carries_what_plays_it_again(task):
    env = GraphTraversalEnv(image_size=32, task=task, num_frames=25)
    clip = env.record(seed=3)
    scene = env.family.scene_from_json(json.loads(json.dumps(clip.scene)))
    again = env.record(scene)
    np.testing.assert_array_equal(clip.video, again.video)
    assert json.loads(json.dumps(clip.outcome)) == clip.outcome == again.outcome
    assert {name: len(value) for name, value in clip.signals.items()} == dict.fromkeys(env.family.signals, 25)


def test_friction_leaves_the_first_frame_as_it_was(env):
    plain, _ = env.reset(seed=4)
    changed, _ = env.reset(seed=4, options={"friction": 0.9})
    np.testing.assert_array_equal(plain["pixels"], changed["pixels"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "swim"}, "task: got 'swim', expected one of agent, flood"),
        ({"goal": "some"}, "goal: got 'some'"),
        ({"goal": "sequence", "nodes": 3}, "sequence_length: got 3"),
        ({"goal": "all", "kind": "graph", "nodes": 20}, "nodes: got 20"),
        ({"nodes": 60}, "ask for fewer nodes"),
        ({"colour": "red"}, "options: got colour"),
        ({"max_speed": 9.0}, "max_speed: got 9.0"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        GraphTraversalEnv(image_size=16, **options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nodes": ((-0.3, 0.0), (-0.2, 0.0), (0.3, 0.0))}, "nodes: got two 0.100 m apart"),
        ({"edges": ((0, 1),)}, "expected a connected graph"),
        ({"start": 3}, "start: got 3"),
        ({"goals": (0,)}, r"goals: got \(0,\)"),
        ({"goals": ()}, r"goals: got \(\)"),
        ({"ball_radius": 0.03}, "ball_radius: got 0.03, expected .* up to half a corridor, 0.0280 m"),
        ({"max_speed": 0.5}, "max_speed: got 0.5, expected the environment's 0.6 m/s"),
        ({"friction": -0.1}, "friction: got -0.1"),
        ({"friction": np.inf}, "friction: got inf"),
    ],
)
def test_impossible_scenes_are_refused(env, change, message):
    with pytest.raises(ValueError, match=message):
        env.reset(options={"scene": ROW, **change})


def test_larger_graphs_than_the_environment_was_made_for_are_refused():
    env = GraphTraversalEnv(image_size=16, nodes=(2, 2))
    with pytest.raises(ValueError, match="nodes: got 3, expected at most the 2"):
        env.reset(options={"scene": ROW})
    flood = GraphTraversalEnv(image_size=16, task="flood")
    for speed in (0.0, np.inf, np.nan):
        with pytest.raises(ValueError, match=f"flood_speed: got {speed}"):
            flood.reset(seed=0, options={"flood_speed": speed})
    with pytest.raises(ValueError, match="got a scene of type VisitScene, expected a FloodScene"):
        flood.reset(options={"scene": ROW})
    assert isinstance(flood.family.sampler(np.random.default_rng(0)), FloodScene)


@pytest.mark.parametrize("action", [(0.7, 0.0), (np.nan, 0.0), (0.1,)])
def test_impossible_actions_are_refused(env, action):
    env.reset(seed=0)
    with pytest.raises(ValueError, match="action"):
        env.step(np.array(action))
