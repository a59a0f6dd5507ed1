"""The shared physics loop against bare MuJoCo and closed forms."""

from dataclasses import dataclass

import mujoco
import numpy as np
import pytest

from worldmodel.actions import ActionSpec
from worldmodel.envs.family import Family
from worldmodel.envs.free_fall import FreeFall
from worldmodel.envs.simulation import Simulation

FORCE, MASS = 3.0, 2.0  # N, kg


@dataclass(frozen=True)
class Sled:
    """A mass on a rail."""

    mass: float = MASS  # kg


@dataclass(frozen=True)
class SledSampler:
    mass: float = MASS

    def __call__(self, rng):
        return Sled(self.mass)


class Push(Family):
    """A sled pushed by a motor, beside a marker that is moved by hand."""

    id = "test/Push-v0"
    sampler_type, scene_type = SledSampler, Sled
    signals = {"impulse": "N s since the reset", "success": "never"}
    policies = {"push": lambda scene, rng: lambda info: [FORCE]}
    max_timestep = 0.01
    fields = ("ctrl",)

    @property
    def action_spec(self):
        return ActionSpec(("push",), ("N",), (-10.0,), (10.0,), "world", self.fps)

    def check(self, scene):
        if not scene.mass > 0:
            raise ValueError(f"mass: got {scene.mass}, expected above 0; change it")

    def build(self, scene):
        return mujoco.MjSpec.from_string(
            f"""<mujoco><option gravity="0 0 0"/><worldbody><camera name="front" pos="0 -3 0" xyaxes="1 0 0 0 0 1"/>
            <body name="object"><joint name="rail" type="slide" axis="1 0 0"/>
            <geom type="sphere" size="0.1" mass="{scene.mass}"/></body>
            <body name="marker" mocap="true"><geom size="0.01" contype="0" conaffinity="0"/></body></worldbody>
            <actuator><motor name="push" joint="rail"/></actuator>
            <sensor><actuatorfrc name="force" actuator="push"/><framepos name="marker" objtype="body" objname="marker"/>
            </sensor></mujoco>"""
        )

    def memory(self, scene):
        return {"impulse": 0.0}

    def command(self, actions, memory, substeps):
        ramp = np.repeat(actions[:, None], substeps, axis=1)
        ramp[:, 0] = 0.0  # nothing in the first physics step of every frame
        commands = {"ctrl": ramp, "mocap_pos": np.stack([actions, 2 * actions, 3 * actions], axis=2)}
        return {name: commands[name] for name in self.fields}

    def measure(self, readings, memory):
        memory["impulse"] = memory["impulse"] + readings.before("force").sum(axis=(1, 2)) * readings.timestep
        return {"impulse": memory["impulse"], "success": np.zeros(len(readings.time), bool)}


def scenes(num, seed=0):
    rng = np.random.default_rng(seed)
    return [FreeFall().sampler(rng) for _ in range(num)]


@pytest.mark.parametrize("fps", [7.0, 16.0, 30.0, 4000.0])
def test_physics_steps_fill_the_frame_and_are_short_enough(fps):
    simulation = Simulation(FreeFall(), 1, fps=fps)
    assert simulation.substeps * simulation.timestep * fps == pytest.approx(1.0, rel=1e-12)
    assert simulation.timestep <= FreeFall.max_timestep
    simulation.reset(scenes(1))
    for _ in range(3):
        simulation.step()
    assert simulation.time()[0] == pytest.approx(3 / fps, rel=1e-9)


def test_a_frame_is_what_bare_mujoco_computes():
    simulation, scene = Simulation(FreeFall(), 2, fps=16.0), scenes(1)[0]
    simulation.reset([scene, scenes(1, seed=5)[0]])
    model = simulation.compile(scene)
    data = mujoco.MjData(model)
    for _ in range(12):
        simulation.step()
        mujoco.mj_step(model, data, nstep=simulation.substeps)
        mujoco.mj_forward(model, data)
        state = np.empty(simulation.batch.nstate)
        mujoco.mj_getState(model, data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
        np.testing.assert_array_equal(simulation.batch.state[0], state)
        np.testing.assert_array_equal(simulation.objects()["position"][0, 0], data.body("object").xipos)
        np.testing.assert_array_equal(simulation.objects()["quaternion"][0, 0], data.body("object").xquat)
    assert data.ncon or data.qvel[2] > 0, "the clip has a bounce in it"


@pytest.mark.parametrize("threads", [1, 2])
def test_a_course_does_not_depend_on_the_others(threads):
    alone, among = Simulation(FreeFall(), 1, fps=16.0), Simulation(FreeFall(), 5, fps=16.0, threads=threads)
    drawn = scenes(5)
    among.reset(drawn)
    among.step()
    among.reset(drawn[3:4], np.array([3]))
    alone.reset(drawn[3:4])
    for frame in range(10):
        alone.step()
        among.step(ids=np.array([1, 3]) if frame % 2 else None)
    for name, value in alone.signals.items():
        np.testing.assert_array_equal(among.signals[name][3], value[0], err_msg=name)
    for name, value in alone.objects().items():
        np.testing.assert_array_equal(among.objects()[name][3], value[0], err_msg=name)
    np.testing.assert_array_equal(among.frame, [6, 11, 6, 10, 6])


def test_what_was_handed_out_does_not_change_with_the_next_frame():
    simulation = Simulation(FreeFall(), 2, fps=16.0)
    simulation.reset(scenes(2))
    handed = {**simulation.objects(), **simulation.signals, **simulation.observation, "time": simulation.time()}
    before = {name: value.copy() for name, value in handed.items()}
    simulation.step()
    simulation.step(ids=np.array([1]))
    for name, value in before.items():
        np.testing.assert_array_equal(handed[name], value, err_msg=name)


def test_commands_reach_every_physics_step_in_its_order():
    """Semi-implicit Euler under F from the second step of each frame on: v = F t / m without the pauses."""
    simulation = Simulation(Push(), 2, fps=10.0)
    simulation.reset([Sled(), Sled()])
    for _ in range(3):
        simulation.step(np.array([[FORCE], [-FORCE]]))
    pushed = 3 * (simulation.substeps - 1) * simulation.timestep
    np.testing.assert_allclose(simulation.signals["impulse"], [FORCE * pushed, -FORCE * pushed], rtol=1e-12)
    velocity = simulation.objects()["velocity"][:, 0, 0]
    np.testing.assert_allclose(velocity, [FORCE * pushed / MASS, -FORCE * pushed / MASS], rtol=1e-12)


@pytest.mark.parametrize("fields", [("ctrl", "mocap_pos"), ("mocap_pos", "ctrl")])
def test_several_commands_are_told_apart_whatever_their_order(monkeypatch, fields):
    monkeypatch.setattr(Push, "fields", fields)
    simulation = Simulation(Push(), 2, fps=10.0)
    simulation.reset([Sled(), Sled(mass=1.0)])
    simulation.step(np.array([[1.0], [2.0]]))
    np.testing.assert_array_equal(simulation.batch.bind("mocap_pos")[:, 0], [[1, 2, 3], [2, 4, 6]])
    pushed = (simulation.substeps - 1) * simulation.timestep
    np.testing.assert_allclose(simulation.objects()["velocity"][:, 0, 0], [pushed / MASS, 2 * pushed], rtol=1e-12)


def test_a_command_for_an_unknown_field_is_refused(monkeypatch):
    monkeypatch.setattr(Push, "command", lambda self, actions, memory, substeps: {"qpos": actions})
    simulation = Simulation(Push(), 1, fps=10.0)
    simulation.reset([Sled()])
    with pytest.raises(ValueError, match=r"command: got \['qpos'\], expected ctrl"):
        simulation.step(np.zeros((1, 1)))


def test_memory_cannot_be_changed_in_place(monkeypatch):
    def measure(self, readings, memory):
        memory["impulse"] += 1.0
        return {"impulse": memory["impulse"], "success": np.zeros(len(readings.time), bool)}

    monkeypatch.setattr(Push, "measure", measure)
    with pytest.raises(ValueError, match="read-only"):
        Simulation(Push(), 2, fps=10.0).reset([Sled(), Sled()])


def test_an_impossible_scene_is_refused_before_anything_changes():
    simulation = Simulation(Push(), 2, fps=10.0)
    simulation.reset([Sled(), Sled(3.0)])
    with pytest.raises(ValueError, match=r"mass: got -1"):
        simulation.reset([Sled(4.0), Sled(-1.0)])
    assert simulation.scenes == [Sled(), Sled(3.0)]


def test_a_simulation_that_blows_up_is_an_error_and_no_standstill(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where MuJoCo logs its warning
    simulation = Simulation(Push(), 1, fps=10.0)
    simulation.reset([Sled(mass=1e-12)])
    with pytest.raises(ValueError, match=r"scene: got one that becomes unstable in simulation 0 before frame 1"):
        simulation.step(np.array([[FORCE]]))


def test_what_becomes_unstable_leaves_the_others_where_they_were(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where MuJoCo logs its warning
    simulation, alone = Simulation(Push(), 2, fps=10.0), Simulation(Push(), 1, fps=10.0)
    simulation.reset([Sled(), Sled()])
    alone.reset([Sled()])
    actions = np.array([[FORCE], [FORCE]])
    simulation.step(actions), alone.step(actions[:1])
    simulation.reset([Sled(mass=1e-12)], np.array([1]))
    with pytest.raises(ValueError, match="unstable in simulation 1 before frame 1"):
        simulation.step(actions)
    assert simulation.frame.tolist() == [1, 0]
    simulation.reset([Sled()], np.array([1]))
    simulation.step(actions), alone.step(actions[:1])
    np.testing.assert_array_equal(simulation.batch.state[0], alone.batch.state[0])
    np.testing.assert_array_equal(simulation.signals["impulse"][0], alone.signals["impulse"][0])


def test_simulations_out_of_order_are_refused():
    simulation = Simulation(Push(), 2, fps=10.0)
    simulation.reset([Sled(), Sled()])
    with pytest.raises(ValueError, match=r"ids: got \[1, 0\], expected simulations in their order"):
        simulation.step(np.array([[1.0], [2.0]]), np.array([1, 0]))


def test_what_a_family_hands_out_stays_its_own(monkeypatch):
    """A list, a constant and a view of the record are signals like any other."""
    constant, views = np.zeros(2, bool), []

    def measure(self, readings, memory):
        first = readings.before("force")[:, :1, 0] if readings.before("force").shape[1] else np.zeros((2, 1))
        return {"impulse": first, "list": [1.0, 2.0], "success": constant}

    monkeypatch.setattr(Push, "measure", measure)
    simulation = Simulation(Push(), 2, fps=10.0)
    simulation.reset([Sled(), Sled()])
    for force in (0.5, 3.0):
        simulation.batch.bind("ctrl")[:] = force
        simulation.step()
        views.append(simulation.signals["impulse"])
    assert constant.flags.writeable and simulation.signals["list"].tolist() == [1.0, 2.0]
    np.testing.assert_allclose(np.concatenate(views, axis=1), [[0.5, 3.0], [0.5, 3.0]])


@pytest.mark.parametrize("name", ["GraphTraversal", "Maze", "Grasp"])
def test_a_snapshot_goes_on_as_the_simulation_itself(name):
    import gymnasium as gym

    import worldmodel.envs  # noqa: F401

    env = gym.make(f"worldmodel/{name}-v0", image_size=32).unwrapped
    env.reset(seed=3)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(10)]
    for action in actions[:5]:
        env.step(action)
    snapshot = env.snapshot()
    straight = [env.step(action) for action in actions[5:]]
    env.reset(seed=4)
    env.restore(snapshot)
    forked = Simulation(env.family, 3, fps=env.fps)
    forked.load([snapshot] * 3)
    for (observation, reward, _, _, info), action in zip(straight, actions[5:], strict=True):
        again, same_reward, _, _, same_info = env.step(action)
        forked.step(np.stack([action] * 3))
        assert reward == same_reward
        for value, other in ((observation, again), (info, same_info), (info, forked.info(2))):
            for key in value:
                assert np.array_equal(value[key], other[key], equal_nan=True), key
