import camera_scenes as scenes
import cv2
import numpy as np
import pytest

from worldmodel.evaluators.reprojection import reproject, reprojection

SIDE, FOCAL, DEPTH = 64, 80.0, 2.0
PLANE = np.full((SIDE, SIDE), DEPTH)
V, U = np.indices((SIDE, SIDE)) + 0.5
CENTRES = np.stack([U, V], axis=-1)
HERE = scenes.pinhole()


def test_a_plane_before_a_camera_that_steps_aside_moves_by_f_b_over_z():
    target, seen = reproject(PLANE, HERE, scenes.pinhole((0.1, -0.05, 0.0)))
    assert np.allclose(target - CENTRES, np.array([-0.1, 0.05]) * FOCAL / DEPTH)  # -4 px, +2 px
    assert seen[:-2, 4:].all() and not seen[:, :4].any() and not seen[-2:].any()


def test_a_plane_that_is_approached_grows_from_the_middle():
    target, seen = reproject(PLANE, HERE, scenes.pinhole((0.0, 0.0, 0.5)))
    assert np.allclose(target - 32, (CENTRES - 32) * DEPTH / 1.5)
    assert not seen[0].any() and seen[32, 32]
    assert not reproject(PLANE, HERE, scenes.pinhole((0.0, 0.0, 2.5)))[1].any()  # behind the camera


def test_a_slanted_plane_follows_its_homography():
    normal, distance = np.array([0.2, -0.3, 1.0]), 2.0  # n X = d in camera coordinates
    rays = np.concatenate([CENTRES, np.ones((SIDE, SIDE, 1))], axis=-1) @ np.linalg.inv(HERE.intrinsics).T
    later = scenes.pinhole((0.2, 0.1, -0.3))
    translation = later.world_to_camera[:3, 3]
    homography = (
        HERE.intrinsics @ (np.eye(3) + np.outer(translation, normal) / distance) @ np.linalg.inv(HERE.intrinsics)
    )
    target, _ = reproject(distance / (rays @ normal), HERE, later)
    assert np.allclose(target, cv2.perspectiveTransform(CENTRES.reshape(-1, 1, 2), homography).reshape(SIDE, SIDE, 2))


def test_what_lies_behind_a_nearer_thing_is_not_seen():
    depth = PLANE.copy()
    depth[:, 30:40] = 1.0
    _, seen = reproject(depth, HERE, scenes.pinhole((0.1, 0.0, 0.0)))  # near moves 8 px to the left, far 4 px
    assert seen[:, 30:40].all()
    assert not seen[:, 26:30].any()  # far pixels that land under the near ones
    assert seen[:, 5:25].all() and seen[:, 41:].all()


def panning(step_m: float, shift_px: float, frames: int = 5) -> tuple[np.ndarray, list]:
    """A textured plane that moves by ``shift_px`` a frame before a camera that moves by ``step_m``."""
    picture = scenes.texture(SIDE)
    matrices = [np.float32([[1, 0, -t * shift_px], [0, 1, 0]]) for t in range(frames)]
    flags = {"flags": cv2.INTER_CUBIC, "borderMode": cv2.BORDER_REFLECT}
    video = np.stack([cv2.warpAffine(picture, matrix, (SIDE, SIDE), **flags) for matrix in matrices])
    return video, [scenes.pinhole((t * step_m, 0.0, 0.0)) for t in range(frames)]


EVERYWHERE = np.ones((5, SIDE, SIDE), bool)


def test_a_plane_that_moves_as_it_must_has_no_error():
    video, cameras = panning(0.1, 0.1 * FOCAL / DEPTH)
    score = reprojection(video, PLANE, cameras, EVERYWHERE)
    assert score.error_px < 0.05 and score.mae < 0.5


@pytest.mark.parametrize("missing", [0.5, 1.0])
def test_a_plane_that_lags_behind_is_off_by_what_is_missing(missing):
    video, cameras = panning(0.1, 0.1 * FOCAL / DEPTH - missing)
    score = reprojection(video, PLANE, cameras, EVERYWHERE)
    assert score.error_px == pytest.approx(missing * np.mean([1, 2, 3, 4]), rel=0.1)
    assert score.mae > 3


def test_before_a_camera_at_rest_every_motion_is_error():
    video, cameras = panning(0.0, 1.0)
    assert reprojection(video, PLANE, cameras, EVERYWHERE).error_px == pytest.approx(2.5, rel=0.1)
    still = np.repeat(video[:1], 5, axis=0)
    assert reprojection(still, PLANE, cameras, EVERYWHERE) == reprojection(still, PLANE, [HERE] * 5, EVERYWHERE)
    assert reprojection(still, PLANE, cameras, EVERYWHERE).error_px == 0


def test_pixels_that_are_no_scenery_are_left_out():
    video, cameras = panning(0.0, 0.0)
    scenery = EVERYWHERE.copy()
    video[2, 10:30, 10:30], scenery[2, 10:30, 10:30] = 255, False
    score = reprojection(video, PLANE, cameras, scenery)
    assert (score.error_px, score.mae) == (0, 0)
    nothing = reprojection(video, PLANE, cameras, ~EVERYWHERE)
    assert np.isnan([nothing.error_px, nothing.mae]).all()


def test_mujoco_s_own_flight_is_explained_by_its_depth_and_cameras():
    flight = scenes.flight()
    scenery = flight.truth.segmentation == 0
    true = reprojection(flight.truth.video, flight.truth.depth[0], flight.cameras, scenery)
    frozen = np.repeat(flight.truth.video[:1], len(flight.truth), axis=0)
    assert true.error_px < 0.3 and true.mae < 4
    still = reprojection(frozen, flight.truth.depth[0], flight.cameras, scenery)
    assert still.error_px > 3 and still.mae > 15


@pytest.mark.parametrize(
    "depth, cameras, message",
    [
        (PLANE[:9], [HERE] * 5, r"depth: got shape \(9, 64\)"),
        (PLANE * 0, [HERE] * 5, "depth: got shape .* with values from 0.0, expected .* above 0"),
        (PLANE * np.nan, [HERE] * 5, "depth: got shape .* values from nan"),
        (PLANE, [HERE] * 4, "cameras: got 4, expected 5, one a frame"),
        (PLANE, [scenes.pinhole(side_px=32)] * 5, "cameras: got one of 32 x 32 px, expected 64 x 64"),
    ],
)
def test_bad_input_is_refused(depth, cameras, message):
    video, _ = panning(0.0, 0.0)
    with pytest.raises(ValueError, match=message):
        reprojection(video, depth, cameras, EVERYWHERE)
