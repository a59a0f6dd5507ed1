"""The free-fall scene against mechanics, and its contract with Gymnasium."""

import dataclasses

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import worldmodel.envs  # noqa: F401  registers the ids
from worldmodel.envs.free_fall import COLOURS, SHAPES, DropSampler, DropScene, FreeFallEnv

SPHERE = DropScene("sphere", (0.12, 0.0, 0.0), "red", (0.1, 0.0, 0.12 + 0.8), (1.0, 0.0, 0.0, 0.0))


@pytest.fixture(scope="module")
def env():
    env = FreeFallEnv(image_size=64)
    yield env
    env.close()


@pytest.fixture(scope="module")
def drop(env):
    return env.record(SPHERE)


def test_passes_gymnasiums_checker():
    check_env(gym.make("worldmodel/FreeFall-v0", image_size=32).unwrapped)


def test_an_episode_ends_by_truncation_at_the_last_frame(env):
    env.reset(seed=0)
    ends = [env.step(0)[2:4] for _ in range(16)]
    assert ends == [(False, False)] * 15 + [(False, True)]


def test_the_fall_is_a_parabola_of_the_given_gravity(drop):
    falling = drop.time < drop.impact_time
    acceleration = 2 * np.polyfit(drop.time[falling], drop.position[falling, 2], 2)[0]
    assert acceleration == pytest.approx(-9.81, rel=1e-6)
    np.testing.assert_allclose(drop.velocity[falling, 2], -9.81 * drop.time[falling], atol=1e-9)


def test_the_impact_comes_at_the_root_of_2h_over_g(drop):
    assert drop.impact_time == pytest.approx(np.sqrt(2 * 0.8 / 9.81), abs=0.0025)
    first = int(np.argmax(drop.contact))
    assert drop.time[first - 1] < drop.impact_time <= drop.time[first]


@pytest.mark.parametrize("gravity", [1.62, 3.72, 24.8])
def test_impact_times_scale_as_one_over_root_g(gravity):
    env = FreeFallEnv(image_size=16, num_frames=33)
    slow = env.record(dataclasses.replace(SPHERE, gravity=gravity))
    assert slow.impact_time == pytest.approx(np.sqrt(2 * 0.8 / gravity), abs=0.0025)


@pytest.mark.parametrize("restitution", [0.2, 0.4, 0.6, 0.8])
def test_a_sphere_bounces_with_the_given_restitution(restitution):
    env = FreeFallEnv(image_size=16, fps=200, num_frames=140)
    clip = env.record(dataclasses.replace(SPHERE, restitution=restitution))
    before = clip.velocity[clip.time < clip.impact_time, 2][-1]
    assert clip.velocity[:, 2].max() / -before == pytest.approx(restitution, abs=0.04)


@pytest.mark.parametrize("change", [{"gravity": 3.0}, {"restitution": 0.8}, {"friction": 0.1}])
def test_interventions_leave_the_first_frame_as_it_was(env, change):
    plain, _ = env.reset(seed=4)
    changed, _ = env.reset(seed=4, options=change)
    np.testing.assert_array_equal(plain, changed)


def test_friction_decides_how_far_a_tilted_box_slides(env):
    boxes = DropSampler(shapes=("box",))
    travelled = {}
    for friction in (0.02, 1.0):
        clips = [
            env.record(dataclasses.replace(boxes(np.random.default_rng(seed)), friction=friction)) for seed in range(6)
        ]
        travelled[friction] = [np.abs(clip.position[-1, :2] - clip.position[0, :2]).sum() for clip in clips]
    assert not np.allclose(travelled[0.02], travelled[1.0], atol=0.01)


def test_a_clip_does_not_depend_on_what_was_played_before():
    fresh, used = FreeFallEnv(image_size=48), FreeFallEnv(image_size=48)
    for seed in range(4):
        used.record(seed=seed)
    one, other = fresh.record(seed=11), used.record(seed=11)
    for name in ("video", "mask", "qpos", "qvel", "contact_force"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert one.impact_time == other.impact_time


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("colour", COLOURS)
def test_every_object_starts_at_rest_in_view_and_lands(env, shape, colour):
    sampler = DropSampler(shapes=(shape,), colours=(colour,))
    clip = env.record(sampler(np.random.default_rng(3)))
    assert clip.mask[0].sum() > 20
    np.testing.assert_array_equal(clip.velocity[0], 0.0)
    assert 0.1 < clip.impact_time < 0.6
    assert not clip.contact[0]


def test_the_camera_sees_the_object_where_its_mask_is(env):
    clip = env.record(SPHERE)
    rows, columns = np.nonzero(clip.mask[3])
    u, v = clip.camera.project(clip.position[3])
    assert u == pytest.approx(columns.mean() + 0.5, abs=0.5)
    assert v == pytest.approx(rows.mean() + 0.5, abs=0.5)
    radius_px = np.sqrt(clip.mask[3].sum() / np.pi)
    assert radius_px == pytest.approx(clip.camera.focal_px * 0.12 / clip.camera.depth(clip.position[3]), rel=0.08)


def test_truth_carries_what_plays_it_again(env):
    clip = env.record(seed=8)
    scene = {name: value for name, value in clip.scene.items() if name != "env"}
    again = env.record(DropScene(**scene))
    np.testing.assert_array_equal(clip.video, again.video)


def test_kinematic_rendering_shows_the_recorded_poses(env):
    clip = env.record(seed=2)
    scene = DropScene(**{name: value for name, value in clip.scene.items() if name != "env"})
    np.testing.assert_array_equal(env.render_at(scene, clip.qpos[:, :3], clip.qpos[:, 3:7]), clip.video)


@pytest.mark.parametrize("size", [64, (48, 80)])
def test_image_size_is_free(size):
    env = FreeFallEnv(image_size=size)
    observation, _ = env.reset(seed=0)
    assert observation.shape == ((64, 64, 3) if size == 64 else (48, 80, 3))
    assert observation in env.observation_space


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": "cone"}, "shape: got 'cone', expected one of box"),
        ({"colour": "mauve"}, "colour: got 'mauve'"),
        ({"size": (0.0, 0.0, 0.0)}, "size: got"),
        ({"restitution": 1.0}, "restitution: got 1.0"),
        ({"gravity": -1.0}, "gravity: got -1.0"),
        ({"friction": -0.1}, "friction: got -0.1"),
        ({"position": (0.0, 0.0, 0.05)}, "position: got"),
        ({"height": 1.0}, r"options: got \['height'\]"),
        ({"scene": {"shape": "box"}}, "options: got a scene of type dict"),
        ({"position": (0.0, float("nan"), 1.0)}, "position: got"),
        ({"quaternion": (0.0, 0.0, 0.0, 0.0)}, "quaternion: got"),
        ({"shape": "box", "size": (0.1, 0.1, 0.0)}, "the first 3 above 0"),
    ],
)
def test_impossible_scenes_are_refused(env, change, message):
    with pytest.raises(ValueError, match=message):
        env.reset(options={"scene": SPHERE, **change})


def test_stepping_before_reset_is_refused():
    with pytest.raises(RuntimeError, match="call reset"):
        FreeFallEnv(image_size=16).step(0)


def test_ranges_are_options_of_the_env():
    env = gym.make("worldmodel/FreeFall-v0", image_size=16, gravity=1.62, radius=(0.1, 0.11), clearance=(0.5, 0.6))
    env.reset(seed=0)
    scene = env.unwrapped.scene
    assert scene.gravity == 1.62
    assert max(scene.size) < 0.15
    clip = env.unwrapped.record(seed=0)
    assert np.sqrt(2 * 0.5 / 1.62) < clip.impact_time < np.sqrt(2 * 0.6 / 1.62) + 0.01


def test_impossible_options_are_refused():
    with pytest.raises(ValueError, match=r"ranges: got \['height'\]"):
        FreeFallEnv(height=1.0)
    with pytest.raises(ValueError, match="render_mode: got 'human'"):
        FreeFallEnv(render_mode="human")
    with pytest.raises(ValueError, match="image_size: got 8"):
        FreeFallEnv(image_size=8)
    with pytest.raises(ValueError, match="num_frames, fps: got 1"):
        FreeFallEnv(num_frames=1)
