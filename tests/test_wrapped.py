"""Gymnasium's own MuJoCo environments: recorded, stored, trained on, imagined."""

import gymnasium as gym
import mujoco
import numpy as np
import pytest
from gymnasium.envs.mujoco.mujoco_rendering import MujocoRenderer
from gymnasium.utils.env_checker import check_env

from worldmodel.collect import collect
from worldmodel.envs.imagined import ImaginedEnv
from worldmodel.envs.imagined_wrappers import ChunkActions
from worldmodel.policies import run_episode
from worldmodel.storage import EpisodeStore
from worldmodel.wrapped import GymStarts, PixelEnv


@pytest.mark.parametrize(("name", "repeat", "width"), [("Reacher-v5", 3, 2), ("Pusher-v5", 1, 7)])
def test_a_clip_holds_what_mujoco_knows(name, repeat, width):
    env = PixelEnv(name, (48, 64))
    assert env.repeat == repeat and env.fps == pytest.approx(1 / (env.inner.dt * repeat))
    truth = env.record(seed=3, num_frames=5)
    assert truth.video.shape == (5, 48, 64, 3) and truth.actions.shape == (4, width)
    assert np.abs(truth.actions).max() <= env.action_spec.high[0]
    env.reset(seed=3)
    assert truth.signals["reward"].tolist() == [0.0, *(env.step(action)[1] for action in truth.actions)]
    data = mujoco.MjData(env.inner.model)
    data.qpos[:] = truth.qpos[-1]
    mujoco.mj_forward(env.inner.model, data)
    body = env.inner.model.body(truth.objects[-1]).id
    assert np.allclose(data.xipos[body], truth.position[-1, -1], atol=1e-9)
    seen = np.argwhere(truth.segmentation[-1] == len(truth.objects))
    if len(seen):
        v, u = seen.mean(axis=0) + 0.5
        assert np.abs(truth.camera.project(truth.position[-1, -1]) - (u, v)).max() < 2.5


def test_actions_mean_what_the_environment_makes_of_them():
    env, plain = PixelEnv("Reacher-v5"), gym.make("Reacher-v5")
    env.reset(seed=0), plain.reset(seed=0)
    action = np.array([0.5, -0.3])
    observation, reward, *_ = env.step(action)
    steps = [plain.step(action.astype(np.float32)) for _ in range(3)]
    assert np.array_equal(observation["state"], steps[-1][0]) and reward == pytest.approx(
        sum(step[1] for step in steps)
    )


def reacher(render_mode, width, height):
    return gym.make("Reacher-v5", render_mode=render_mode, width=width, height=height)


def test_a_function_that_makes_an_environment_is_as_good_as_its_name():
    made, named = PixelEnv(reacher, (32, 48)), PixelEnv("Reacher-v5", (32, 48))
    assert np.array_equal(made.record(3, 5).video, named.record(3, 5).video) and made.task_name == "reacher"
    assert GymStarts(reacher).draw(np.random.default_rng(0), {}).frame.shape == (64, 64, 3)
    named.record(3, 20)  # 57 steps
    with pytest.raises(ValueError, match="at most 18"):
        made.record(3, 20)  # of the 50 that the maker's own limit allows


def cart_pole(render_mode, **size):
    return gym.make("CartPole-v1", render_mode=render_mode)


class Slider(gym.Env):
    """An environment of MuJoCo's that is none of Gymnasium's: its pictures are its own."""

    dt, metadata, render_mode = 0.02, {"render_modes": ["rgb_array"]}, "rgb_array"
    observation_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, render_mode, width, height):
        self.model = mujoco.MjModel.from_xml_string(
            "<mujoco><option timestep='0.02'/><worldbody><light pos='0 0 3'/><body name='bead'><joint name='x' "
            "type='slide' axis='1 0 0'/><geom size='0.2' rgba='1 0 0 1'/></body></worldbody><actuator>"
            "<motor joint='x'/></actuator></mujoco>"
        )
        self.data = mujoco.MjData(self.model)

    def reset(self, *, seed=None, options=None):
        mujoco.mj_resetData(self.model, self.data)
        mujoco.mj_forward(self.model, self.data)
        return self.data.qpos.copy(), {}

    def step(self, action):
        self.data.ctrl[:] = action
        mujoco.mj_step(self.model, self.data)
        return self.data.qpos.copy(), 0.0, False, False, {}


class Drawn(Slider):
    """The same with what the refusal asks for."""

    def __init__(self, render_mode, width, height):
        super().__init__(render_mode, width, height)
        self.mujoco_renderer = MujocoRenderer(self.model, self.data, width=width, height=height)

    def render(self):
        return self.mujoco_renderer.render("rgb_array")


def test_what_an_environment_lacks_is_said_and_is_enough():
    with pytest.raises(ValueError, match=r"got Slider without mujoco_renderer \(gymnasium.*MujocoRenderer\), expected"):
        PixelEnv(Slider)
    truth = PixelEnv(Drawn, (48, 64)).record(0, 4)
    assert truth.objects == ("bead",) and np.ptp(truth.position[:, 0, 0]) > 0
    seen = (np.argwhere(truth.segmentation[-1] == 1) + 0.5).mean(axis=0)[::-1]
    assert np.abs(truth.camera.project(truth.position[-1, 0]) - seen).max() < 1.0


def test_a_store_of_clips_goes_from_collect_to_an_imagined_twin(tmp_path):
    """As a user does: collect, a model told the environment's actions, the twin; the model's weights are random."""
    store = collect(tmp_path / "reacher", "Reacher-v5", episodes=3, seed=5, image_size=32, num_frames=9)
    assert len(store.keys()) == 3
    assert collect(tmp_path / "reacher", "Reacher-v5", episodes=4, seed=5, image_size=32, num_frames=9).keys()[:3]
    truth = EpisodeStore.open(tmp_path / "reacher").read_truth(store.keys()[1])
    assert np.array_equal(truth.video, PixelEnv("Reacher-v5", (32, 32)).record(6, 9).video)
    model = _model(truth.action_spec)

    def brightness(chunk):
        return chunk.video.mean()

    starts = GymStarts("Reacher-v5")
    twin = ImaginedEnv(model, starts, horizon=16, reward=brightness, success=lambda chunk: False)
    true = ChunkActions(PixelEnv("Reacher-v5", (32, 32)), 8)
    assert np.allclose(twin.action_space.high, true.action_space.high)

    for seed in range(3):  # also after the environment of another size has been thrown away
        assert starts.draw(np.random.default_rng(seed), {}).frame.std() > 5

    class Push:
        def reset(self):
            pass

        def infer(self, observation):
            assert observation["pixels"].shape == (32, 32, 3)
            return {"actions": np.full((8, 2), 0.1)}

    assert len(run_episode(twin, Push(), seed=0).actions) == 16


def _model(spec):
    from known_models import random_robots

    from worldmodel.backends.domains import Domain
    from worldmodel.model import WorldModel

    robots = random_robots()
    usual = tuple(zip(spec.low, spec.high, strict=True))
    backend = robots.backend
    recipe = type(backend.recipe)(
        "reacher", (32, 32), 9, 16.0, steps=2, domains=(Domain("reacher", spec, (0, 1), usual),)
    )
    return WorldModel(type(backend)(backend.transformer, backend.codec.vae, backend.scheduler, recipe))


def test_gymnasium_finds_no_fault():
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_env(PixelEnv("Reacher-v5", (32, 32)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PixelEnv("CartPole-v1"), "CartPole-v1"),
        (lambda: PixelEnv(cart_pole), "cart_pole without model .*, data .*, dt .*, mujoco_renderer"),
        (lambda: collect("nowhere", "Reacher-v9", episodes=1), "expected one of"),
        (lambda: PixelEnv("Reacher-v5").step(np.full(2, 3.0)), "clip it"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(Exception, match=message):
        make()
