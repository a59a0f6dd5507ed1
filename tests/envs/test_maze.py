"""Mazes with a ball in them against geometry and the distance-to-goal field."""

import dataclasses
import json

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from worldmodel.envs.maze import MazeEnv, MazeScene, MazeTraversal, MazeVectorEnv
from worldmodel.envs.mazes import distance_field, maze_walls, solve
from worldmodel.envs.simulation import Simulation
from worldmodel.geometry import crosses, distance_to_segments

SEEDS = range(6)


@pytest.fixture(scope="module")
def env():
    env = MazeEnv(image_size=64)
    yield env
    env.close()


@pytest.fixture(scope="module")
def clips(env):
    return [env.record(seed=seed) for seed in SEEDS]


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


def test_passes_gymnasiums_checker():
    check_env(MazeEnv(image_size=32))


@pytest.mark.parametrize("size", [{}, {"rows": 15, "columns": 15}, {"rows": 4, "columns": 9, "braid": 1.0}])
def test_the_shortest_way_succeeds(size):
    for scene, known, outcome in zip(*play(MazeTraversal(**size), SEEDS, "shortest", 320), strict=True):
        assert outcome["success"]
        assert outcome["shortest_steps"] == known["steps_to_goal"][0]
        assert outcome["spl"] > 0.95
        assert outcome["illegal_moves"] == 0
        path = solve(scene.maze, scene.start, scene.goal)
        cells = known["cell"]
        assert [cell for cell, before in zip(cells, [-1, *cells[:-1]], strict=True) if cell != before] == path


def test_signals_agree_with_geometry(clips, env):
    for clip in clips:
        scene = env.family.scene_from_json(clip.scene)
        place = clip.position[:, 0, :2]
        centres = scene.maze.centres(scene.cell_size)
        np.testing.assert_array_equal(
            clip.signals["cell"], np.linalg.norm(place[:, None] - centres, axis=-1).argmin(axis=1)
        )
        walls = maze_walls(scene.maze, scene.cell_size)
        gap = distance_to_segments(place, walls).min(axis=1) - scene.wall_thickness / 2 - scene.ball_radius
        np.testing.assert_allclose(clip.signals["wall_gap"], gap, atol=1e-12)
        assert not crosses(place[:-1], place[1:], walls).any()
        assert clip.signals["path_length"][-1] >= np.linalg.norm(np.diff(place, axis=0), axis=1).sum() - 1e-12


def test_the_distance_falls_to_nothing_and_agrees_with_the_field(clips, env):
    for clip in clips:
        scene = env.family.scene_from_json(clip.scene)
        distance, field = clip.signals["distance_to_goal"], distance_field(scene.maze, scene.goal)
        assert distance[0] == pytest.approx(field[scene.start] * scene.cell_size)
        np.testing.assert_array_equal(clip.signals["steps_to_goal"], field[clip.signals["cell"]])
        assert (np.diff(distance[: clip.signals["success"].argmax() + 1]) < 1e-3).all()
        assert distance[-1] < 1e-3


def test_cells_are_entered_along_the_shortest_path(clips, env):
    for clip in clips:
        scene = env.family.scene_from_json(clip.scene)
        path, times = clip.outcome["shortest_path"], clip.outcome["visit_times"]
        assert path == solve(scene.maze, scene.start, scene.goal) and len(path) - 1 == clip.outcome["shortest_steps"]
        entered = sorted((cell for cell in range(len(times)) if times[cell] is not None), key=lambda cell: times[cell])
        assert entered == path and times[scene.start] == 0.0
        visited, visit_time = clip.signals["visited"], clip.signals["visit_time"]
        np.testing.assert_array_equal(visited, visit_time <= clip.time[:, None])
        assert visited[np.arange(len(clip)), clip.signals["cell"]].all()
        # A cell away at the motor's greatest speed along one axis.
        assert times[path[1]] > 0.5 * scene.cell_size / scene.max_speed


@pytest.mark.parametrize("policy", ["wrong_branch", "halfway"])
@pytest.mark.parametrize("braid", [0.0, 1.0])
def test_named_failures_fail(policy, braid):
    for _, known, outcome in zip(*play(MazeTraversal(braid=braid), SEEDS, policy, 81), strict=True):
        assert not outcome["success"]
        assert known["legal"].all()


def test_success_and_failure_have_the_same_first_frame(env, clips):
    failed = env.record(seed=0, policy="halfway")
    assert clips[0].success > failed.success
    np.testing.assert_array_equal(failed.video[0], clips[0].video[0])


@pytest.mark.parametrize("options", [{}, {"rows": 15, "columns": 15}])
def test_no_wall_is_passed_even_at_the_highest_speed(options):
    family = MazeTraversal(max_speed=2.0, **options)
    simulation = Simulation(family, 8, fps=8.0)
    rng = np.random.default_rng(0)
    simulation.reset([family.sampler(np.random.default_rng(seed)) for seed in range(8)])
    touched = np.zeros(8, bool)
    for _ in range(24):
        simulation.step(rng.choice([-2.0, 2.0], size=(8, 2)))
        touched |= simulation.signals["wall_contact"]
        assert simulation.signals["legal"].all()
        assert simulation.signals["wall_gap"].min() > -0.004
    assert touched.all()


def test_driving_straight_at_the_goal_ends_at_a_wall():
    scene = MazeScene(2, 2, ((0, 2), (2, 3), (1, 3)), 0, 1, 0.08, 0.08, 0.6, 0.2)  # a U: cells 0 and 1 are side by side
    family = MazeTraversal(rows=(2, 5), columns=(2, 5))
    simulation = Simulation(family, 1, fps=16.0)
    simulation.reset([scene])
    straight = family.policy("straight", scene, np.random.default_rng(0))
    for _ in range(32):
        simulation.step(straight(simulation.info(0))[None])
    info = simulation.info(0)
    assert (info["cell"], info["steps_to_goal"], info["is_success"]) == (0, 3, False)
    assert info["wall_contact"]
    assert info["wall_force"] == pytest.approx(1.0, rel=0.02)  # 0.6 m/s x 0.05 kg / 0.03 s
    assert info["distance_to_goal"] > 3 * scene.cell_size


def test_a_teleport_through_a_wall_is_illegal(env):
    scene = env.family.sampler(np.random.default_rng(0))
    centres = scene.maze.centres(scene.cell_size)
    joined = scene.maze.network[scene.start]
    apart = next(cell for cell in range(25) if cell != scene.start and cell not in joined)
    simulation = Simulation(env.family, 1, fps=16.0)
    for cell, legal in ((scene.start, True), (next(iter(joined)), True), (apart, False)):
        simulation.reset([scene])
        simulation.batch.bind("qpos")[0] = centres[cell]
        simulation.step(np.zeros((1, 2)))
        assert bool(simulation.signals["legal"][0]) is legal


def test_maps_are_the_picture(clips, env):
    for clip in clips:
        scene, wall, cell = env.family.scene_from_json(clip.scene), clip.maps["wall"], clip.maps["cell"]
        dark = clip.video[0].max(axis=-1) < 130  # a little over half of the floor's
        assert (dark & (wall > 0)).sum() / (dark | (wall > 0)).sum() > 0.9
        centres = scene.maze.centres(scene.cell_size)
        for k, (u, v) in enumerate(clip.camera.project(np.column_stack([centres, np.zeros(25)]))):
            rows, columns = np.nonzero(cell == k + 1)
            assert (columns.mean() + 0.5, rows.mean() + 0.5) == pytest.approx((u, v), abs=0.5)
        field = distance_field(scene.maze, scene.goal)
        expected = np.where(wall, -1, field[np.maximum(cell.astype(int) - 1, 0)])
        np.testing.assert_array_equal(clip.maps["steps_to_goal"], expected)
        red, green, blue = np.moveaxis(clip.video[0].astype(int), -1, 0)
        is_green = green > np.maximum(red, blue) + 40
        goal = (clip.maps["steps_to_goal"] == 0) & ~clip.mask[0]
        assert (is_green & goal).sum() / (is_green | goal).sum() > 0.8


def test_the_ball_is_seen_where_it_is(clips):
    for clip in clips:
        for t in (0, 20, 60):
            rows, columns = np.nonzero(clip.mask[t])
            u, v = clip.camera.project(clip.position[t, 0])
            assert (columns.mean() + 0.5, rows.mean() + 0.5) == pytest.approx((u, v), abs=0.4)


def test_many_at_once_are_bit_equal_to_one():
    options = {"rows": (3, 6), "columns": (3, 6), "braid": 0.5, "image_size": 16}
    many = MazeVectorEnv(3, threads=2, **options)
    observations, _ = many.reset(seed=5)
    singles = [MazeEnv(**options) for _ in range(3)]
    rng = np.random.default_rng(0)
    for index, single in enumerate(singles):
        single.reset(seed=5 + index)
    for _ in range(10):
        actions = rng.uniform(-0.6, 0.6, size=(3, 2))
        observations, _, _, _, infos = many.step(actions)
        for index, single in enumerate(singles):
            observation, _, _, _, info = single.step(actions[index])
            for name in observation:
                np.testing.assert_array_equal(observation[name], observations[name][index])
            for name in single.family.signals:
                np.testing.assert_array_equal(info[name], infos[name][index])


def test_truth_carries_what_plays_it_again(env):
    clip = env.record(seed=3)
    again = env.record(env.family.scene_from_json(json.loads(json.dumps(clip.scene))))
    np.testing.assert_array_equal(clip.video, again.video)
    assert json.loads(json.dumps(clip.outcome)) == clip.outcome == again.outcome


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": 1}, "rows: got 1"),
        ({"columns": (5, 40)}, "columns: got 40"),
        ({"rows": (7, 5)}, r"rows: got \(7, 5\)"),
        ({"braid": 2.0}, r"braid: got 2\.0"),
        ({"wall_share": 0.8}, r"wall_share: got 0\.8"),
        ({"ball_share": 0.6}, r"ball_share: got 0\.6"),
        ({"size": 5}, "options: got size"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MazeEnv(image_size=16, **options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": 6}, "passages: got"),
        ({"goal": 25}, "goal: got 25, expected a cell from 0 to 24"),
        ({"goal": 3, "start": 3}, "goal: got 3, expected another cell"),
        ({"passages": ((0, 1),)}, "expected a connected maze"),
        ({"wall_thickness": 0.2}, r"wall_thickness: got 0\.2"),
        ({"wall_thickness": 1e-20}, "wall_thickness: got 1e-20, expected 0.0019 to"),
        ({"ball_radius": 0.001}, "ball_radius: got 0.001, expected 0.0078 m, a pixel of 64 in diameter"),
        ({"start": 10**400}, "start: got 1000.*, expected a cell"),
        ({"ball_radius": 0.2}, r"ball_radius: got 0\.2"),
    ],
)
def test_impossible_scenes_are_refused(env, change, message):
    with pytest.raises(ValueError, match=message):
        env.reset(seed=0, options=change)


def test_larger_mazes_than_the_environment_was_made_for_are_refused(env):
    large = MazeTraversal(rows=6, columns=6).sampler(np.random.default_rng(0))
    with pytest.raises(ValueError, match="rows: got 6, expected at most this environment's 5"):
        env.reset(options={"scene": large})
    assert dataclasses.asdict(large)["rows"] == 6
