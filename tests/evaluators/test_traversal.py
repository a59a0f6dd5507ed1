"""The judge of balls in graphs and mazes against MuJoCo, against closed forms, and on clips that must fail."""

import dataclasses
import json

import cv2
import numpy as np
import pytest

from worldmodel.envs.maze import MazeEnv
from worldmodel.envs.traversal import GraphTraversalEnv
from worldmodel.evaluators import controls
from worldmodel.evaluators.attempts import valid_at_k
from worldmodel.evaluators.ball_tracking import track_ball
from worldmodel.evaluators.certificate import certify
from worldmodel.evaluators.courses import course, visits
from worldmodel.evaluators.faults import zooming
from worldmodel.evaluators.floor_plans import FloorPlan, floor_plan
from worldmodel.evaluators.matting import Matte, clean_plate
from worldmodel.evaluators.registration import register
from worldmodel.evaluators.structure import structure
from worldmodel.evaluators.traversal import EVALUATOR, MAZE_EVALUATOR, evaluator_for, score_traversal
from worldmodel.storage.video_files import through_h264
from worldmodel.traversal_controls import wall_crossing

SEEDS = (0, 1, 2, 3)
PIXEL = 1.0 / 64.0


@pytest.fixture(scope="module")
def graph():
    env = GraphTraversalEnv(image_size=64)
    yield env
    env.close()


@pytest.fixture(scope="module")
def maze():
    env = MazeEnv(image_size=64, rows=6, columns=6)
    yield env
    env.close()


@pytest.fixture(scope="module")
def clips(graph):
    return [graph.record(seed=seed) for seed in SEEDS]


@pytest.fixture(scope="module")
def scores(graph, clips):
    """Kind of clip -> the score of each scene's."""
    rng = np.random.default_rng(0)
    made = []
    for clip, other in zip(clips, clips[1:] + clips[:1], strict=True):
        video, mask = clip.video, clip.mask
        made.append(
            {
                "replay": video,
                "h264": through_h264(video, clip.fps),
                "frozen": controls.frozen(video),
                "half_speed": controls.half_speed(video, mask),
                "vanish": controls.vanish(video, mask),
                "teleport": controls.teleport(video, mask, rng),
                "reversed": controls.reversed_after_first(video),
                "shuffled": controls.shuffled_after_first(video, rng),
                "other_seed": controls.other_seed(video, other.video),
                "wall_crossing": wall_crossing(graph, clip),
                "twin": controls.twin(video, mask, rng),
                "zooming": zooming(video),
            }
        )
    return {
        kind: [score_traversal(each[kind], clip) for each, clip in zip(made, clips, strict=True)] for kind in made[0]
    }


@pytest.fixture
def square():
    """Four cells of 1 m around the origin, row by row, with a wall between the upper two and around all."""
    outer = [[(-1, 1), (1, 1)], [(1, 1), (1, -1)], [(1, -1), (-1, -1)], [(-1, -1), (-1, 1)]]
    return FloorPlan(
        walls=np.array([*outer, [(0, 0), (0, 1)]], np.float64),
        wall_thickness=0.1,
        centres=np.array([(-0.5, 0.5), (0.5, 0.5), (-0.5, -0.5), (0.5, -0.5)]),
        reach=0.5,
        cells=True,
        start=0,
        goals=(3, 1),
        ordered=True,
        ball_radius=0.1,
        max_speed=1.0,
    )


def go(points, plan, second=None):
    second = np.zeros(len(points), bool) if second is None else second
    return course(np.array(points, np.float64), second, plan, frame_time=0.5, pixel=0.01)


def test_a_legal_course_has_no_fault_and_visits_its_goals_in_order(square):
    way = go([(-0.5, 0.5), (-0.5, -0.5), (0.5, -0.5), (0.5, 0.5)], square)
    assert not way.fault.any()
    seen = visits(way, square, 4)
    assert (seen.places, seen.goals, seen.in_order, seen.success_frame) == ({0, 1, 2, 3}, 2, 2, 3)
    assert seen.length == pytest.approx(3.0)
    assert visits(way, square, 3).success_frame is None  # only moves that end within so many frames


def test_goals_in_the_wrong_order_do_not_count_unless_any_order_does(square):
    way = go([(0.5, -0.5), (0.5, 0.5)], dataclasses.replace(square, goals=(1, 3), start=3))
    swapped = visits(way, dataclasses.replace(square, goals=(1, 0), start=3), 2)
    assert (swapped.goals, swapped.in_order, swapped.success_frame) == (1, 1, None)
    ordered = visits(go([(0.5, 0.5), (0.5, -0.5)], square), dataclasses.replace(square, start=1, goals=(3, 2)), 2)
    assert (ordered.goals, ordered.in_order) == (1, 1)
    late = dataclasses.replace(square, start=2, goals=(1, 3))
    path = go([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5)], late)
    assert visits(path, late, 3).success_frame is None
    assert visits(path, dataclasses.replace(late, ordered=False), 3).success_frame == 2


def test_a_move_through_a_wall_is_a_crossing_even_between_two_legal_places(square):
    way = go([(-0.5, 0.5), (0.5, 0.5)], square)
    assert way.crossing.tolist() == [False, True]
    assert not way.teleport.any()
    assert go([(-0.5, -0.5), (0.5, -0.5)], square).fault.sum() == 0


@pytest.mark.parametrize(("length", "teleport"), [(1.05, False), (1.08, True)])
def test_a_teleport_is_a_move_of_one_and_a_half_times_what_the_motor_allows(square, length, teleport):
    # sqrt 2 m/s along a diagonal for 0.5 s, and a pixel of 0.01 m
    assert 1.05 < 1.5 * np.sqrt(2.0) * 0.5 + 0.01 < 1.08
    free = dataclasses.replace(square, walls=square.walls[:4] * 9.0)
    assert bool(go([(-0.5, 0.5), (-0.5 + length, 0.5)], free).teleport[1]) is teleport


def test_two_lost_frames_are_bridged_and_three_are_a_loss(square):
    gone = (np.nan, np.nan)
    bridged = go([(-0.5, 0.5), gone, gone, (-0.5, -0.5), (0.5, -0.5)], square)
    assert not bridged.fault.any()
    assert bridged.before.tolist() == [-1, -1, -1, 0, 3]
    lost = go([(-0.5, 0.5), gone, gone, gone, (-0.5, -0.5)], square)
    assert lost.lost.tolist() == [False, False, False, True, False]
    assert go([(-0.5, 0.5), gone, (0.5, 0.5)], square).crossing[2]
    doubled = go([(-0.5, 0.5)] * 4, square, np.array([False, True, True, True]))
    assert doubled.doubled.tolist() == [False, False, False, True]


def test_clearance_is_from_the_balls_rim_to_the_walls_face(square):
    start, end = np.array([[-0.5, 0.5]]), np.array([[-0.5, -0.5]])
    assert square.clearance(start, end) == pytest.approx(0.5 - 0.05 - 0.1)
    past_the_end_of_the_inner_wall = square.clearance(np.array([[-0.5, -0.2]]), np.array([[0.5, -0.2]]))
    assert past_the_end_of_the_inner_wall == pytest.approx(0.2 - 0.05 - 0.1)
    assert square.clearance(start, np.array([[0.5, 0.5]])) == pytest.approx(-0.15)


def test_the_matte_of_a_mixed_pixel_is_its_share_and_other_colours_count_less():
    plate = np.broadcast_to(np.array([115.0, 74.0, 41.0]), (1, 4, 3)).astype(np.float32)
    ball = np.array([216.0, 30.0, 25.0])
    shares = np.array([0.0, 0.3, 1.0])
    frame = np.rint(plate[0, :3] + shares[:, None] * (ball - plate[0, :3])).astype(np.uint8)
    magenta = np.array([[204, 36, 173]], np.uint8)
    found = Matte(plate, ball).shares(np.concatenate([frame, magenta])[None])[0]
    np.testing.assert_allclose(found[:3], shares, atol=0.01)
    assert found[3] < 0.45


def test_structure_loses_what_darkens_and_gains_what_opens_but_forgives_rims():
    true = np.zeros((1, 4, 5))
    true[0, :, :3] = 1.0  # 12 pixels of floor
    seen = true.repeat(3, axis=0)
    seen[0, :, 2] = 0.6
    seen[1, :2, 0] = 0.0
    seen[2, :, 3] = 1.0
    ignored = np.zeros(seen.shape, bool)
    np.testing.assert_allclose(structure(seen, true, ignored), [1.0, 10 / 12, 12 / 16])
    ignored[2, :, 3] = True
    assert structure(seen, true, ignored)[2] == 1.0


@pytest.mark.parametrize(("shift", "growth"), [((1.5, -0.8), 0.0), ((0.0, 0.0), 0.03), ((2.5, 1.0), -0.015)])
def test_registration_finds_a_known_similarity_and_maps_the_frame_back(clips, shift, growth):
    first = clips[0].video[0]
    warp = cv2.getRotationMatrix2D((32.0, 32.0), 0.0, 1.0 + growth) + np.array([[0, 0, shift[0]], [0, 0, shift[1]]])
    moved = cv2.warpAffine(first, warp, (64, 64))
    found = register(np.stack([first, moved]), first, np.ones((64, 64), bool))
    assert found.growth[1] == pytest.approx(growth, abs=0.004)
    if not growth:
        assert found.moved_px[1] == pytest.approx(np.hypot(*shift), abs=0.05)
    assert found.held[1] == (abs(growth) <= 0.02)
    np.testing.assert_array_equal(found.video[0], first)
    inner = slice(8, -8)
    before = np.abs(moved[inner, inner].astype(float) - first[inner, inner]).mean()
    after = np.abs(found.video[1][inner, inner].astype(float) - first[inner, inner]).mean()
    assert after < 0.8 * before


def test_registration_does_not_hold_another_scene_or_a_blank_one(clips):
    everywhere = np.ones((64, 64), bool)
    others = np.stack([clips[1].video[0], np.zeros_like(clips[0].video[0])])
    assert not register(others, clips[0].video[0], everywhere).held.any()
    assert register(clips[0].video, clips[0].video[0], everywhere).residual_px.max() < 0.5


@pytest.mark.parametrize(("size", "median", "p95"), [(64, 0.1, 0.3), (128, 0.1, 0.4)])
def test_the_ball_is_tracked_to_a_fraction_of_a_pixel(size, median, p95):
    errors = []
    for env in (GraphTraversalEnv(image_size=size, goal="sequence", num_frames=49), MazeEnv(size, num_frames=49)):
        clip = env.record(seed=5)
        plan = floor_plan(clip)
        ball = track_ball(clip.video, clip, plan.reach_of_move(1.0 / clip.fps) * size)
        assert ball.detected.all()
        assert not ball.doubled.any()
        errors.append(np.linalg.norm(ball.centroid - clip.camera.project(clip.position[:, 0]), axis=1))
        empty = np.rint(clean_plate(clip)).astype(np.uint8)[None].repeat(3, axis=0)
        assert not track_ball(empty, clip, size * 0.1).detected.any()
        env.close()
    assert np.median(np.concatenate(errors)) < median
    assert np.percentile(np.concatenate(errors), 95) < p95


def test_the_true_clip_is_valid_and_measured_right(clips, scores):
    for clip, score in zip(clips, scores["replay"], strict=True):
        assert score.valid
        assert score.valid_last_frame
        assert score.coverage == score.order == score.place_agreement == 1.0
        assert score.spl == pytest.approx(clip.outcome["spl"], abs=0.01)
        assert score.path_length_m == pytest.approx(clip.outcome["path_length"], abs=0.06)  # a frame's way
        assert score.path_error_px < 0.15
        assert score.first_fault_frame is None
        assert score.success_frame == int(clip.signals["success"].argmax())
        assert 1000.0 * clip.signals["wall_gap"].min() - 5.0 < score.clearance_mm < 20.0


def test_h264_does_not_cost_validity(scores):
    assert all(score.valid for score in scores["h264"])


@pytest.mark.parametrize(
    "kind", ["frozen", "vanish", "teleport", "reversed", "shuffled", "other_seed", "wall_crossing", "twin", "zooming"]
)
def test_no_control_is_valid(scores, kind):
    assert not any(score.valid or score.valid_last_frame for score in scores[kind])


def test_each_control_fails_by_its_own_test(scores):
    assert all(score.coverage == 0.0 and score.first_fault_frame is None for score in scores["frozen"])
    assert all(score.missing > 0.4 and score.crossings == score.teleports == 0 for score in scores["vanish"])
    assert all(score.teleports >= 1 and score.missing == 0.0 for score in scores["teleport"])
    assert all(score.crossings >= 1 and score.teleports == 0 for score in scores["wall_crossing"])
    assert all(score.coverage == 0.0 and score.missing == 0.0 for score in scores["wall_crossing"])
    assert all(score.structure < 0.9 and not score.registered for score in scores["other_seed"])
    assert all(score.teleports >= 10 for score in scores["shuffled"])
    assert all(0.4 < score.doubled < 0.6 and score.path_error_px < 1.0 for score in scores["twin"])
    assert not any(score.registered for score in scores["zooming"])


@pytest.fixture(scope="module")
def deceived(graph):
    """Scores of the true clips of dead ends, and of clips of the same scenes that reach the goal."""
    truths = [graph.record(seed=seed, policy="wrong_branch") for seed in SEEDS[:2]]
    done = [graph.record(graph.family.scene_from_json(truth.scene), seed=0).video for truth in truths]
    assert all((video[0] == truth.video[0]).all() for video, truth in zip(done, truths, strict=True))
    return {
        "replay": [score_traversal(truth.video, truth) for truth in truths],
        "done_anyway": [score_traversal(video, truth) for video, truth in zip(done, truths, strict=True)],
    }


def test_a_success_where_mujoco_fails_is_a_false_one(deceived):
    assert all(score.false_success == 0.0 and score.success_agrees for score in deceived["replay"])
    assert all(score.false_success == 1.0 and not score.success_agrees for score in deceived["done_anyway"])


def test_all_declarations_hold(scores, deceived):
    plain = {kind: [score.to_dict() for score in each] for kind, each in scores.items()}
    plain["done_anyway"] = [None] * len(SEEDS)
    for kind, found in plain.items():
        found += [score.to_dict() for score in deceived[kind]] if kind in deceived else [None, None]
    json.dumps(plain)
    failed = [each for each in certify("graph", EVALUATOR.metrics, plain, np.random.default_rng(0)) if not each.holds]
    assert not failed


@pytest.mark.parametrize("policy", ["straight", "wrong_branch", "halfway", "random"])
def test_failures_and_successes_are_judged_as_by_mujoco(graph, maze, policy):
    for env in (graph, maze):
        clip = env.record(seed=11, policy=policy)
        score = score_traversal(clip.video, clip)
        assert score.valid_any_frame == score.true_success == clip.success
        assert score.success_agrees
        assert score.place_agreement > 0.8
        assert score.crossings == score.teleports == 0


def test_a_maze_is_judged_by_its_walls(maze):
    clip = maze.record(seed=3)
    assert score_traversal(clip.video, clip).valid
    crossing = score_traversal(wall_crossing(maze, clip), clip)
    assert crossing.crossings >= 1
    assert crossing.coverage == 0.0
    assert score_traversal(np.zeros_like(clip.video), clip).missing == 1.0


def test_a_ball_that_bursts_through_a_wall_that_was_painted_over_is_caught(maze):
    clip = maze.record(seed=3)
    crossing = wall_crossing(maze, clip)
    floor = np.median(clip.video[0][clip.maps["wall"] == 0], axis=0)
    open_floor = crossing.copy()
    inside = (clip.maps["wall"] == 1) & (clip.maps["cell"] > 0)
    open_floor[1:, inside] = np.maximum(open_floor[1:, inside], floor.astype(np.uint8))
    score = score_traversal(open_floor, clip)
    assert score.structure < 0.9
    assert not score.valid


def test_a_second_ball_is_a_fault(clips):
    clip = clips[0]
    twice = clip.video.copy()
    away = np.roll(clip.mask, 20, axis=2)
    for t in range(30, len(clip)):
        twice[t][away[t]] = clip.video[t][clip.mask[t]]
    score = score_traversal(twice, clip)
    assert score.doubled > 0.5
    assert not score.valid


def test_a_slow_pan_is_mapped_back_and_a_zoom_is_a_fault(clips):
    clip = clips[0]
    frames = len(clip)
    panned, zoomed = [], []
    for t, frame in enumerate(clip.video):
        pan = np.array([[1.0, 0.0, 3.0 * t / frames], [0.0, 1.0, -2.0 * t / frames]])
        panned.append(cv2.warpAffine(frame, pan, (64, 64)))
        zoom = cv2.getRotationMatrix2D((32.0, 32.0), 0.0, 1.0 + 0.05 * t / frames)
        zoomed.append(cv2.warpAffine(frame, zoom, (64, 64)))
    score = score_traversal(np.stack(panned), clip)
    assert score.valid
    assert score.path_error_px < 0.3
    assert score.camera_moved_px == pytest.approx(np.hypot(3.0, 2.0), abs=0.2)
    assert not score_traversal(np.stack(zoomed), clip).registered


def test_wall_crossing_starts_as_the_clip_and_goes_through_walls(graph, clips):
    for clip in clips:
        video = wall_crossing(graph, clip)
        assert video.shape == clip.video.shape
        assert np.abs(video[0].astype(int) - clip.video[0]).max() <= 2
    row = dataclasses.replace(
        graph.family.scene_from_json(clips[0].scene),
        nodes=((-0.3, 0.0), (0.0, 0.0), (0.3, 0.0)),
        edges=((0, 1), (1, 2)),
        start=0,
        goals=(2,),
    )
    straight = graph.record(row, seed=0)  # nothing stands between start and goal
    assert score_traversal(wall_crossing(graph, straight), straight).crossings >= 1


def test_the_evaluator_is_found_by_the_scene(graph, maze, clips):
    assert evaluator_for(clips[0]) is EVALUATOR
    assert evaluator_for(maze.record(seed=0)) is MAZE_EVALUATOR
    with pytest.raises(ValueError, match=r"^truth\.scene: got fields env, expected goals, rows or flood_speed;"):
        evaluator_for(dataclasses.replace(clips[0], scene={"env": "x"}))


def test_what_does_not_belong_together_is_refused(clips):
    clip = clips[0]
    with pytest.raises(ValueError, match=r"^video: got shape .* expected .* as in truth; roll out"):
        score_traversal(clip.video[:-1], clip)
    with pytest.raises(ValueError, match=r"^video: got dtype float64, expected uint8"):
        score_traversal(clip.video / 255.0, clip)
    scene = {name: value for name, value in clip.scene.items() if name != "max_speed"}
    with pytest.raises(ValueError, match=r"^truth\.scene: got no max_speed, expected the fields"):
        score_traversal(clip.video, dataclasses.replace(clip, scene=scene))
    with pytest.raises(ValueError, match=r"^truth\.maps: got none, expected node and edge, or wall; record"):
        score_traversal(clip.video, dataclasses.replace(clip, maps={}))
    with pytest.raises(ValueError, match=r"^truth\.outcome: got no shortest_length, expected metres"):
        score_traversal(clip.video, dataclasses.replace(clip, outcome={}))
    unseen = dataclasses.replace(clip, segmentation=np.zeros_like(clip.segmentation))
    with pytest.raises(ValueError, match=r"^truth\.mask: got no pixel of the object in the first frame"):
        score_traversal(clip.video, unseen)


def test_pass_at_k_is_unbiased_and_averages_scenes():
    rng = np.random.default_rng(0)
    valid = {"a": [True, False, False, False], "b": [True, True, True, True]}
    assert valid_at_k(valid, 1, rng).value == pytest.approx((0.25 + 1.0) / 2.0)
    assert valid_at_k(valid, 2, rng).value == pytest.approx((0.5 + 1.0) / 2.0)
    with pytest.raises(ValueError, match=r"^valid: got 4 attempts at scene a, expected at least k = 5; roll"):
        valid_at_k(valid, 5, rng)
    with pytest.raises(ValueError, match=r"^valid: got no scene"):
        valid_at_k({}, 1, rng)
