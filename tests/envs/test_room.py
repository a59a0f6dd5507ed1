"""Rooms: the camera is where its pose says, and what it sees from there is what depth predicts."""

import numpy as np
import pytest

from worldmodel.envs.room import AWAY, BACK, EYE_LEVEL, PERIOD, WALK, RoomEnv, RoomVectorEnv, world_to_camera
from worldmodel.evaluators.reprojection import reprojection
from worldmodel.evaluators.revisit import returns
from worldmodel.evaluators.scene import cameras_of


@pytest.fixture(scope="module")
def env():
    made = RoomEnv(image_size=64)
    yield made
    made.close()


@pytest.fixture(scope="module")
def clips(env):
    return [env.record(seed=seed, depth=True) for seed in range(3)]


def test_the_pose_is_that_of_the_camera_that_renders(env):
    env.reset(seed=0)
    for action in ([1.0, 0.5, 0.3], [-1.0, 0.0, 1.0], [0.0, 1.0, -1.0]):
        *_, info = env.step(np.array(action, np.float32))
        env.eye.look(0)
        assert np.allclose(info["world_to_camera"], env.eye.camera().world_to_camera, atol=1e-12)


def test_a_camera_that_looks_along_y_has_its_axes_in_closed_form():
    matrix = world_to_camera(np.zeros(3))
    right, down = matrix[:3, :3] @ [1.0, 0.0, 0.0], matrix[:3, :3] @ [0.0, 0.0, -1.0]
    assert np.allclose(right, [1, 0, 0]) and down[1] > 0.9 and down[2] > 0
    assert np.allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3)) and np.linalg.det(matrix[:3, :3]) > 0
    assert np.allclose(matrix[:3, 3], matrix[:3, :3] @ [0.0, 0.0, -EYE_LEVEL])
    quarter = world_to_camera(np.array([0.0, 0.0, np.pi / 2]))  # to the left: world -x is ahead, y to the right
    assert (quarter[:3, :3] @ [-1.0, 0.0, 0.0])[2] > 0.9 and np.allclose(quarter[:3, :3] @ [0.0, 1.0, 0.0], [1, 0, 0])


def test_the_camera_goes_and_comes_back_to_places_it_has_seen(clips):
    for truth in clips:
        pose = truth.signals["pose"]
        offset = np.abs(pose - pose[0])
        assert np.linalg.norm(offset[:, :2], axis=1).max() > AWAY[0]
        assert (offset[round(PERIOD * truth.fps)] <= 1e-9).all()
        assert truth.success and not truth.signals["success"][:3].any()
        assert len(returns(cameras_of(truth))) >= 5


def test_depth_and_poses_explain_the_picture(clips):
    for truth in clips:
        cameras, scenery = cameras_of(truth), truth.segmentation == 0
        assert np.allclose(truth.camera.world_to_camera, cameras[0].world_to_camera)
        moved = reprojection(truth.video, truth.depth[0], cameras, scenery)
        stood = reprojection(truth.video, truth.depth[0], cameras[:1] * len(truth), scenery)
        assert moved.error_px < 0.15 and moved.mae < 4
        assert stood.error_px > 5 * moved.error_px and stood.mae > 2 * moved.mae


def test_a_camera_that_goes_away_or_stands_has_not_come_back(env):
    away, stand = (env.record(seed=1, policy=policy) for policy in ("away", "stand"))
    assert not away.success and away.signals["away"][-1]
    assert not stand.success and not stand.signals["away"].any()
    assert (stand.signals["pose"] == stand.signals["pose"][0]).all()
    assert (away.signals["pose"] >= WALK[0]).all() and (away.signals["pose"] <= WALK[1]).all()


def test_back_is_near_and_away_is_far(env):
    assert (BACK < AWAY / 5).all()
    env.reset(seed=2)
    *_, info = env.step(np.array([1.0, 0.0, 0.0], np.float32))  # 125 mm: neither back nor away
    assert not info["away"] and not info["is_success"]
    for action in (1.0, -1.0, -1.0):
        *_, info = env.step(np.array([action, 0.0, 0.0], np.float32))
    assert info["away"] and info["is_success"]


def test_a_batch_of_rooms_does_what_single_ones_do():
    many, single = RoomVectorEnv(2, image_size=32), RoomEnv(image_size=32)
    try:
        many.reset(seed=[5, 6])
        single.reset(seed=6)
        action = np.array([0.9, -0.5, 0.7], np.float32)
        observations, *_ = many.step(np.stack([-action, action]))
        observation, *_ = single.step(action)
        assert all(np.array_equal(observations[name][1], value) for name, value in observation.items())
    finally:
        many.close()
        single.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"width": (0.0, 0.2)}, r"width: got \(0.0, 0.2\)"), ({"drop": (0.9, 0.5)}, r"drop: got \(0.9, 0.5\)")],
)
def test_impossible_ranges_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        RoomEnv(image_size=32, **options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start": (0.0, 0.0, 0.0)}, "start: got"),
        ({"colours": (0, 1, 2, 3, 9)}, "colours: got"),
        ({"turns": (0.0,)}, "turns: got .* one for each of 5 things"),
        ({"ball": (0.0, 0.0, 0.01)}, "ball: got"),
        ({"ball": (0.0, -5.0, 0.5)}, "ball: got .* the camera sees from its start"),
        ({"ball": (0.0, 5.0, 0.5)}, "ball: got .* the camera sees from its start"),
        ({"half_sizes": ((0.1, 0.1, -0.1),) * 5}, "half_sizes: got"),
    ],
)
def test_impossible_rooms_are_refused(env, change, message):
    with pytest.raises(ValueError, match=message):
        env.reset(seed=0, options=change)
