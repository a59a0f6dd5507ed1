"""The Fetch arm at its table against geometry and statics."""

import colorsys
import importlib.util
import subprocess
import sys

import mujoco
import numpy as np
import pytest

from worldmodel.envs import fetch

START = (1.34, 0.75, 0.55)
TIMESTEP = 1 / 512  # s


class Bench:
    """The robot alone, or with a box between its fingers."""

    def __init__(self, opening=fetch.MAX_OPENING, grip_force=20.0, box_half_width=0.0, start=START):
        spec = fetch.fetch_spec(grip_force)
        spec.option.timestep = TIMESTEP
        qpos = list(fetch.start_qpos(start, opening))
        if box_half_width:
            body = spec.worldbody.add_body(name="box")
            body.add_freejoint()
            geom = body.add_geom(name="box", type=mujoco.mjtGeom.mjGEOM_BOX, size=(0.02, box_half_width, 0.02))
            geom.mass, geom.priority, geom.condim = 0.1, 1, 4
            geom.solref, geom.solimp = (0.01, 1.0), (0.95, 0.99, 0.001, 0.5, 2.0)
            qpos += [*start, 1, 0, 0, 0]
        spec.add_key(qpos=qpos, ctrl=fetch.servo_ctrl(np.array(start), np.zeros(3), np.array(opening)))
        self.model = spec.compile()
        self.data = mujoco.MjData(self.model)
        mujoco.mj_resetDataKeyframe(self.model, self.data, 0)
        mujoco.mj_forward(self.model, self.data)

    def play(self, seconds, to=START, speed=(0.0, 0.0, 0.0), opening=fetch.MAX_OPENING):
        for _ in range(round(seconds / TIMESTEP)):
            self.data.ctrl[:] = fetch.servo_ctrl(np.array(to), np.array(speed), np.array(opening))
            mujoco.mj_step(self.model, self.data)
        mujoco.mj_forward(self.model, self.data)

    @property
    def grip(self):
        return self.data.site(fetch.GRIP).xpos.copy()

    def gap(self):
        """Metres between the inner faces of the pads."""
        left, right = (self.data.geom(name).xpos[1] for name in (fetch.LEFT_FINGER, fetch.RIGHT_FINGER))
        half = self.model.geom(fetch.LEFT_FINGER).size[1]
        return right - left - 2 * half


@pytest.mark.parametrize("start", [START, (1.25, 0.6, 0.45), (1.42, 0.9, 0.6)])
def test_the_arm_starts_where_it_is_asked_to_pointing_down(start):
    bench = Bench(start=start)
    np.testing.assert_allclose(bench.grip, start, atol=1e-9)
    np.testing.assert_allclose(bench.data.site(fetch.GRIP).xmat.reshape(3, 3), np.eye(3), atol=1e-8)


@pytest.mark.parametrize("opening", [0.0, 0.04, fetch.MAX_OPENING])
def test_an_opening_is_the_distance_between_the_pads(opening):
    bench = Bench(opening=opening)
    assert bench.gap() == pytest.approx(opening, abs=1e-9)
    bench.play(0.3, opening=opening)
    assert bench.gap() == pytest.approx(opening, abs=5e-4)


def test_the_finger_tips_and_the_palm_are_where_the_constants_say():
    bench = Bench()
    pad = bench.model.geom(fetch.LEFT_FINGER)
    assert bench.grip[2] - (bench.data.geom(fetch.LEFT_FINGER).xpos[2] - pad.size[0]) == pytest.approx(
        fetch.FINGER_DEPTH, abs=1e-9
    )
    assert 2 * pad.size[1] == pytest.approx(fetch.FINGER_THICKNESS)
    ray = np.array([-1], np.int32)
    distance = mujoco.mj_ray(
        bench.model, bench.data, bench.grip, np.array([0.0, 0.0, 1.0]), None, 1, -1, ray, np.zeros(3)
    )
    assert bench.model.geom(ray[0]).name == fetch.PALM
    assert distance == pytest.approx(fetch.PALM_HEIGHT, abs=5e-4)


def test_a_start_is_at_rest():
    bench = Bench()
    start = bench.data.qpos.copy()
    bench.play(0.5)
    np.testing.assert_allclose(bench.data.qpos, start, atol=1e-6)


def test_the_gripper_goes_where_it_is_sent_and_stays_upright():
    bench = Bench()
    there = np.add(START, (0.05, -0.08, -0.06))
    bench.play(0.5, to=there)
    np.testing.assert_allclose(bench.grip, there, atol=2e-4)
    np.testing.assert_allclose(bench.data.site(fetch.GRIP).xmat.reshape(3, 3), np.eye(3), atol=2e-3)


@pytest.mark.parametrize("grip_force", [5.0, 20.0, 60.0])
def test_a_closed_gripper_presses_with_its_force_and_not_more(grip_force):
    bench = Bench(opening=0.06, grip_force=grip_force, box_half_width=0.025)
    bench.play(0.5, opening=0.0)
    wrench, forces = np.zeros(6), {fetch.LEFT_FINGER: 0.0, fetch.RIGHT_FINGER: 0.0}
    for index, contact in enumerate(bench.data.contact):
        mujoco.mj_contactForce(bench.model, bench.data, index, wrench)
        for geom in contact.geom:
            if bench.model.geom(geom).name in forces:
                forces[bench.model.geom(geom).name] += wrench[0]
    assert list(forces.values()) == pytest.approx([grip_force, grip_force], rel=0.03)
    assert 0.048 < bench.gap() < 0.05


def test_fingers_move_alike_at_their_speed():
    bench = Bench()
    bench.play(0.15, opening=0.0)
    left, right = (bench.data.joint(name) for name in (fetch.LEFT_JOINT, fetch.RIGHT_JOINT))
    assert left.qpos[0] == pytest.approx(right.qpos[0], abs=1e-5)
    assert left.qvel[0] == pytest.approx(-fetch.FINGER_SPEED, rel=0.05)


def test_no_part_of_the_scene_has_an_objects_hue():
    model = Bench().model
    for index in range(model.ngeom):
        _, saturation, _ = colorsys.rgb_to_hsv(*model.geom_rgba[index, :3])
        assert saturation < 0.1


def test_a_spec_is_a_new_one_every_time():
    one = fetch.fetch_spec(20.0)
    one.body(fetch.PALM).add_site(name="extra")
    assert fetch.fetch_spec(20.0).site("extra") is None


def test_what_the_arm_does_not_reach_is_refused():
    with pytest.raises(ValueError, match=r"gripper: got \(2.5, 0.75, 0.5\), expected a point that the arm reaches"):
        fetch.start_qpos((2.5, 0.75, 0.5))


def test_missing_assets_are_named_with_the_command_that_installs_them(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"gymnasium_robotics: got no such package.*pip install"):
        fetch.assets()


def test_assets_are_found_without_importing_their_package():
    code = "import sys; from worldmodel.envs import fetch; fetch.fetch_spec(20.0); assert not "
    code += "any(name.startswith('gymnasium_robotics') for name in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
