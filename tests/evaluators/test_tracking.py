import disc_scenes as scenes
import mujoco
import numpy as np
import pytest

from worldmodel.envs.free_fall import FreeFallEnv
from worldmodel.evaluators.grasp_item import half_turns
from worldmodel.evaluators.tracking import track

CENTRES = np.array([[20.0 + 0.37 * t, 12.0 + 1.83 * t] for t in range(12)])


@pytest.mark.parametrize("colour", [(200, 40, 40), (40, 140, 50), (40, 70, 200), (210, 180, 30), (30, 150, 160)])
def test_disc_between_pixels_is_found_where_it_is(colour):
    tracks = track(scenes.disc(CENTRES, colour), scenes.masks(CENTRES)[0])
    assert tracks.detected.all()
    assert np.abs(tracks.centroid - CENTRES).max() < 0.1
    assert np.abs(tracks.area / (np.pi * scenes.RADIUS_PX**2) - 1).max() < 0.15
    overlap = (tracks.mask & scenes.masks(CENTRES)).sum() / (tracks.mask | scenes.masks(CENTRES)).sum()
    assert overlap > 0.9


def test_moving_the_picture_moves_the_centroid():
    video, mask = scenes.disc(CENTRES), scenes.masks(CENTRES)[0]
    here = track(video, mask).centroid
    there = track(np.roll(video, 7, axis=2), np.roll(mask, 7, axis=1)).centroid
    np.testing.assert_allclose(there, here + np.array([7, 0]), atol=1e-3)


def test_mirrored_picture_has_a_mirrored_centroid():
    video, mask = scenes.disc(CENTRES), scenes.masks(CENTRES)[0]
    mirrored = track(video[:, :, ::-1].copy(), mask[:, ::-1].copy()).centroid
    np.testing.assert_allclose(64 - mirrored[:, 0], track(video, mask).centroid[:, 0], atol=0.02)


def test_box_encloses_the_disc():
    tracks = track(scenes.disc(CENTRES), scenes.masks(CENTRES)[0])
    assert np.abs(tracks.box - np.concatenate([CENTRES - 5, CENTRES + 5], axis=1)).max() <= 1.0


def test_shadow_does_not_pull_the_centroid():
    video = scenes.disc(CENTRES)
    shaded = video.copy()
    shaded[:, 50:54, 15:35] = (shaded[:, 50:54, 15:35] * 0.45).astype(np.uint8)
    mask = scenes.masks(CENTRES)[0]
    assert np.abs(track(shaded, mask).centroid - track(video, mask).centroid).max() < 0.02


def test_vanished_recoloured_and_flooded_objects_are_lost():
    video, mask = scenes.disc(CENTRES), scenes.masks(CENTRES)[0]
    video[3] = scenes.empty()
    video[5] = scenes.disc(CENTRES[5:6], (40, 70, 200))[0]
    video[7] = (200, 40, 40)
    tracks = track(video, mask)
    assert tracks.detected.tolist() == [t not in (3, 5, 7) for t in range(len(video))]
    assert np.isnan(tracks.centroid[3]).all() and not tracks.mask[3].any() and tracks.area[3] == 0


def test_noise_alone_is_no_object():
    rng = np.random.default_rng(0)
    video = np.repeat(scenes.empty()[None], 40, axis=0) + rng.normal(0, 10, (40, 64, 64, 3))
    video = np.clip(video, 0, 255).astype(np.uint8)
    tracks = track(video, scenes.masks(CENTRES)[0], scenes.disc(CENTRES)[0])
    assert not tracks.detected.any()


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda v, m: (v.astype(float), m), "video: got dtype float64, expected uint8"),
        (lambda v, m: (v[..., :1], m), r"video: got shape \(12, 64, 64, 1\), expected"),
        (lambda v, m: (v, m[:32]), r"first_mask: got shape \(32, 64\), expected \(64, 64\)"),
        (lambda v, m: (v, m.astype(int)), "first_mask: got dtype int64, expected bool"),
        (lambda v, m: (v, m & False), "first_mask: got no pixel"),
        (lambda v, m: (v, np.roll(m, 30, axis=1)), "first_mask: got an object"),
    ],
)
def test_bad_input_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        track(*change(scenes.disc(CENTRES), scenes.masks(CENTRES)[0]))


def test_the_long_axis_is_mujoco_s_where_it_can_be_seen():
    env = FreeFallEnv(image_size=128, shapes=("capsule",))
    apart, seen = [], 0
    for seed in range(6):
        truth = env.record(seed=seed)
        angle = track(truth.video, truth.mask[0]).angle
        for t in range(len(truth)):
            axis = np.zeros(3)
            mujoco.mju_rotVecQuat(axis, np.array([0.0, 0.0, truth.scene["size"][1]]), truth.quaternion[t, 0])
            ends = truth.camera.project(truth.position[t, 0] + np.array([[-1.0], [1.0]]) * axis)
            along = ends[1] - ends[0]
            # One end turned to the camera, or part of it behind the picture's edge: no length to be seen.
            if np.linalg.norm(along) >= 0.7 * 2 * truth.scene["size"][1] * truth.camera.focal_px / truth.camera.depth(
                truth.position[t, 0]
            ):
                seen += 1
                apart.append(half_turns(angle[t] - np.arctan2(along[1], along[0])))
    found = np.isfinite(apart)
    assert seen > 30 and found.mean() > 0.95
    assert np.abs(np.array(apart)[found]).max() < np.deg2rad(10) and np.median(np.abs(apart)) < np.deg2rad(2)


def test_a_ball_shows_no_direction():
    truth = FreeFallEnv(image_size=128, shapes=("sphere",)).record(seed=0)
    assert np.isnan(track(truth.video, truth.mask[0]).angle).all()
