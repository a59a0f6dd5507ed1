"""Every registered environment keeps what Gymnasium, LeRobot and the project's Truth promise."""

import dataclasses
import json
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import worldmodel.envs  # noqa: F401  registers the ids
from worldmodel.storage import EpisodeStore
from worldmodel.storage.episodes import is_key

IDS = sorted(name for name in gym.registry if name.startswith("worldmodel/") and "Imagined" not in name)
CLIP = {"image_size": 32, "num_frames": 4}


@pytest.fixture(scope="module", params=IDS)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def env(name):
    made = gym.make(name, **CLIP)
    yield made.unwrapped
    made.close()


@pytest.fixture(scope="module")
def clip(env):
    return env.record(seed=1, depth=True)


def play(env, seed, steps=3):
    """What reset and all steps return under sampled actions."""
    env.action_space.seed(seed)
    returned = [env.reset(seed=seed)]
    returned += [env.step(env.action_space.sample()) for _ in range(steps)]
    return returned


def leaves(value):
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in leaves(item)]
    return [leaf for item in value for leaf in leaves(item)] if isinstance(value, (tuple, list)) else [value]


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(leaves(one), leaves(other), strict=True))


def test_gymnasiums_checker_passes_without_a_warning(name):
    env = gym.make(name, render_mode="rgb_array", **CLIP)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # ours: an observation may have no natural bound
        warnings.filterwarnings("ignore", message=".*(infinity|unbounded).*")
        check_env(env.unwrapped)


def test_a_seed_decides_everything(name, env):
    fresh = gym.make(name, **CLIP)
    assert same(play(fresh.unwrapped, 5), play(env, 5))
    assert same(play(env, 5), play(fresh.unwrapped, 5)), "whatever was played before"
    assert not same(play(env, 6), play(fresh.unwrapped, 5))
    fresh.close()


def test_no_number_is_missing(env):
    for returned in play(env, 2):
        for leaf in leaves(returned):
            assert not np.isnan(leaf).any()


def test_truth_is_complete(env, clip):
    frames, objects = env.num_frames, len(clip.objects)
    shapes = {"position": 3, "quaternion": 4, "velocity": 3, "angular_velocity": 3}
    for each, width in shapes.items():
        assert getattr(clip, each).shape == (frames, objects, width), each
    assert clip.video.shape == (frames, 32, 32, 3) and clip.video.dtype == np.uint8
    assert clip.segmentation.shape == clip.depth.shape == (frames, 32, 32)
    assert clip.depth.dtype == np.float32 and (clip.depth > 0).all()
    assert set(np.unique(clip.segmentation)) <= set(range(objects + 1))
    assert clip.mask[0].any(), "the object is in the first picture"
    np.testing.assert_allclose(clip.time, np.arange(frames) / clip.fps, rtol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(clip.quaternion, axis=-1), 1.0, rtol=1e-9)
    for each in (*shapes, "qpos", "qvel", "time", "depth"):
        assert np.isfinite(getattr(clip, each)).all(), each
    assert set(clip.signals) == set(clip.units) == set(env.family.signals)
    assert all(len(value) == frames and not np.isnan(value).any() for value in clip.signals.values())
    assert all(clip.units.values())
    assert isinstance(clip.outcome["success"], bool)
    assert all(value.shape == (32, 32) for value in clip.maps.values())
    json.dumps([clip.outcome, clip.scene])
    if env.action_spec is not None:
        assert clip.action_spec == env.action_spec
        assert clip.action_spec.control_hz == clip.fps
        np.testing.assert_array_equal(clip.action_spec.check(clip.actions), clip.actions)


def test_pictures_depth_and_poses_are_of_one_scene(clip):
    """Where the object's centre is projected, or close by, its pixels lie at about its distance."""
    rows, columns = np.nonzero(clip.mask[0])
    u, v = clip.camera.project(clip.position[0, 0])
    reach = 3.0 + np.hypot(np.ptp(rows), np.ptp(columns)) / 2  # pixels
    assert np.hypot(columns + 0.5 - u, rows + 0.5 - v).min() < reach
    assert np.median(clip.depth[0][clip.mask[0]]) == pytest.approx(clip.camera.depth(clip.position[0, 0]), rel=0.15)


def test_truth_is_stored_and_read_to_the_last_bit(clip, tmp_path):
    store = EpisodeStore.create(tmp_path / "truth", "truth")
    store.write_truth("one", clip, seed=1)
    read = store.read_truth("one")
    for field in dataclasses.fields(clip):
        one, other = getattr(read, field.name), getattr(clip, field.name)
        if isinstance(other, np.ndarray):
            assert one.dtype == other.dtype and one.tobytes() == other.tobytes(), field.name
    assert same(read.signals, clip.signals)
    assert list(read.signals) == list(clip.signals)
    assert read.action_spec == clip.action_spec


def test_truth_plays_again_from_its_scene_and_actions(env, clip):
    scene = env.family.scene_from_json(json.loads(json.dumps(clip.scene)))
    observation, info = env.reset(options={"scene": scene})
    for frame in range(len(clip)):
        np.testing.assert_array_equal(observation["pixels"], clip.video[frame])
        np.testing.assert_array_equal(info["position"], clip.position[frame])
        assert same({signal: info[signal] for signal in clip.signals}, rows(clip.signals, frame))
        if frame < len(clip) - 1:
            observation, _, _, _, info = env.step(0 if clip.actions is None else clip.actions[frame])


def rows(signals, frame):
    return {name: value[frame] for name, value in signals.items()}


def test_every_policy_gives_its_scene_the_same_first_frame(env, clip):
    for policy in env.family.policies:
        played = env.record(seed=1, policy=policy)
        np.testing.assert_array_equal(played.video[0], clip.video[0])
        assert is_key(policy), "a name that fits into an episode's"


def test_lerobots_contract(env):
    observation, info = env.reset(seed=3)
    for _ in range(env.num_frames - 1):
        assert observation["pixels"].shape == (32, 32, 3) and observation["pixels"].dtype == np.uint8
        assert observation["agent_pos"].ndim == 1
        assert isinstance(info["is_success"], bool)
        observation, _, _, _, info = env.step(env.action_space.sample())
    assert env._max_episode_steps == env.num_frames - 1
    assert len(env.task_description.split()) > 3
    assert env.task


def test_an_episode_has_the_length_of_a_clip(env):
    assert [step[3] for step in play(env, 4)[1:]] == [False, False, True]


@pytest.mark.parametrize("size", [(16, 40), (48, 48), 24])
def test_pictures_have_the_size_that_was_asked_for(name, size):
    env = gym.make(name, image_size=size, num_frames=2)
    observation, _ = env.reset(seed=0)
    expected = (size, size, 3) if isinstance(size, int) else (*size, 3)
    assert observation["pixels"].shape == env.render().shape == expected
    np.testing.assert_array_equal(observation["pixels"], env.render())
    assert np.ptp(observation["pixels"]) > 20, "there is something to see"
    env.close()


def test_pictures_can_be_left_out(name):
    env = gym.make(name, pixels=False, render_mode=None, num_frames=3)
    observation, _ = env.reset(seed=0)
    assert "pixels" not in observation and "pixels" not in env.observation_space.spaces
    assert env.unwrapped._eye is None, "no renderer is made"


def test_rate_and_length_are_options(name):
    env = gym.make(name, pixels=False, fps=5.0, num_frames=3)
    env.reset(seed=0)
    info = env.step(env.action_space.sample())[4]
    assert info["time"] == pytest.approx(0.2)
    assert env.metadata["render_fps"] == 5.0
    assert env.unwrapped.action_spec is None or env.unwrapped.action_spec.control_hz == 5.0


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"no_such_range": 1.0}, "options: got no_such_range=.*, expected one of"),
        ({"image_size": 8}, "image_size: got 8, expected 16 to"),
        ({"image_size": (32, 32.5)}, r"image_size: got \(32, 32.5\)"),
        ({"image_size": 10**6}, "image_size: got 1000000"),
        ({"image_size": "64"}, "image_size: got '64'"),
        ({"image_size": (48, 32)}, r"image_size: got \(48, 32\), expected .* not less wide than high"),
        ({"num_frames": 1}, "num_frames, fps: got 1"),
        ({"num_frames": 4.5}, "num_frames, fps: got 4.5"),
        ({"fps": 0.0}, "num_frames, fps: got .*, 0.0"),
        ({"fps": float("nan")}, "num_frames, fps: got .*, nan"),
        ({"fps": float("inf")}, "num_frames, fps: got .*, inf"),
        ({"fps": 1e-20}, "fps: got 1e-20, expected 0.1 to 10000 frames a second"),
        ({"render_mode": "human"}, "render_mode: got 'human'"),
        ({"pixels": "x"}, "pixels: got 'x', expected True or False"),
        ({"terminate": 1.0}, "terminate: got 1.0, expected True or False"),
    ],
)
def test_impossible_options_are_refused_by_name_range_and_value(name, option, message):
    creator = gym.envs.registration.load_env_creator(gym.registry[name].entry_point)
    with pytest.raises(ValueError, match=message):
        creator(**option)


def test_fields_of_another_kind_are_refused_by_name_kind_and_value(env):
    for field in dataclasses.fields(env.family.scene_type):
        for value in (object(), None, {}, 1j, ((0.5, "x"),)):
            with pytest.raises(ValueError, match=rf"^{field.name}: got .*, expected (a|True)"):
                env.reset(seed=0, options={field.name: value})
    env.step(env.action_space.sample())


def test_impossible_resets_and_actions_are_refused(env):
    for options in ({"no_such_field": 1}, {"scene": "an interesting one"}, "abc", 5):
        with pytest.raises(ValueError, match="options: got"):
            env.reset(options=options)
    env.reset(seed=0)
    spec = env.action_spec
    if spec is None:
        wrong = [1, [0], None, 0.5, float("nan"), [[0], 0]]
    else:
        middle = (np.array(spec.low) + spec.high) / 2
        wrong = [middle[:-1], middle[None], [*middle[:-1], np.nan], 1000.0 * np.array(spec.high) + 1000.0, None]
        wrong += [middle + 0j, middle.astype(str), middle > 0, np.ma.masked_array(middle), [10**400] * len(middle)]
    for action in wrong:
        with pytest.raises(ValueError, match=r"(?s)^action.*: got .*, expected .*; "):
            env.step(action)
    env.step(env.action_space.sample())


def test_wrappers_work(name, env):
    limited = gym.make(name, max_episode_steps=2, **CLIP)
    assert [step[3] for step in play(limited, 0, 2)[1:]] == [False, True]
    stacked = gym.wrappers.FrameStackObservation(env, 2)
    before = stacked.reset(seed=0)[0]["pixels"]
    after = stacked.step(stacked.action_space.sample())[0]
    assert after in stacked.observation_space
    np.testing.assert_array_equal(after["pixels"][0], before[-1])
    if env.action_spec is None:
        return
    scaled = gym.wrappers.RescaleAction(env, np.float32(-1), np.float32(1))
    for end, bound in ((-1, env.action_spec.low), (1, env.action_spec.high)):
        scaled.reset(seed=0)
        one = scaled.step(np.full(scaled.action_space.shape, end, np.float32))
        env.reset(seed=0)
        np.testing.assert_array_equal(one[0]["pixels"], env.step(np.float32(bound))[0]["pixels"])


def test_videos_are_recorded(name, tmp_path):
    pytest.importorskip("moviepy", reason="gymnasium.wrappers.RecordVideo needs moviepy")
    env = gym.wrappers.RecordVideo(gym.make(name, render_mode="rgb_array", **CLIP), str(tmp_path / "videos"))
    play(env, 0)
    env.close()
    assert next(tmp_path.rglob("*.mp4")).stat().st_size > 500
