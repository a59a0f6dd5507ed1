"""The gripper that lets things fall: it follows its command, holds without creep, and lets go once."""

import dataclasses

import numpy as np
import pytest

from worldmodel.envs.drop_gripper import GRIPPER_POLICIES, MAX_SPEED
from worldmodel.envs.free_fall import FreeFallEnv

G = 9.81


@pytest.fixture(scope="module")
def gripper():
    return FreeFallEnv(image_size=48, release="gripper")


@pytest.mark.parametrize("policy", GRIPPER_POLICIES)
def test_the_gripper_follows_its_command_and_holds_without_creep(gripper, policy):
    clip = gripper.record(seed=1, policy=policy)
    hand = clip.objects.index("gripper")
    commanded = np.vstack([np.zeros(3), np.cumsum(clip.actions[:, :3] / clip.fps, axis=0)])
    np.testing.assert_allclose(clip.position[:, hand] - clip.position[0, hand], commanded, atol=1e-3)
    held = clip.signals["held"]
    offset = clip.position[:, 0] - clip.position[:, hand]
    np.testing.assert_allclose(offset[held], np.broadcast_to(offset[0], offset[held].shape), atol=1e-4)
    assert not clip.signals["contact"][held].any()
    assert held.all() == (policy == "never_release")
    assert (clip.outcome["release_time"] is None) == (policy == "never_release")


@pytest.mark.parametrize("policy", ["lower_and_release", "release_at_once", "carry_sideways_and_release"])
def test_what_is_let_go_falls_with_the_grippers_velocity(gripper, policy):
    for seed in range(3):
        clip = gripper.record(seed=seed, policy=policy)
        released = clip.outcome["release_time"]
        falling = (clip.time > released) & (clip.time < clip.outcome["impact_time"])
        since = clip.time[falling] - released
        frame = np.argmax(clip.signals["held"] == 0) - 1
        sideways = clip.actions[max(frame, 0), 0]
        assert (abs(sideways) > 0.2) == (policy == "carry_sideways_and_release")
        np.testing.assert_allclose(clip.velocity[falling, 0, 2], -G * since, atol=0.01)
        np.testing.assert_allclose(clip.velocity[falling, 0, 0], sideways, atol=1e-3)
        np.testing.assert_allclose(clip.angular_velocity[falling, 0], 0.0, atol=1e-6)


def test_the_grip_does_not_depend_on_mass(gripper):
    scene = gripper.family.scene_from_json(gripper.record(seed=1).scene)
    light, heavy = (gripper.record(dataclasses.replace(scene, mass=mass), seed=1) for mass in (0.01, 500.0))
    np.testing.assert_allclose(light.position, heavy.position, atol=1e-6)
    np.testing.assert_array_equal(light.video[0], heavy.video[0])


def test_a_released_object_is_not_gripped_again_and_a_command_beyond_reach_is_cut(gripper):
    def open_then_close(info):
        return np.array([MAX_SPEED, 0.0, MAX_SPEED, 1.0 if info["time"] < 0.01 else 0.0])

    clip = gripper.record(seed=1, policy=open_then_close)
    assert clip.signals["held"].tolist() == [True] + [False] * 16
    reach = clip.position[:, clip.objects.index("gripper")]
    assert reach[-1, 0] == pytest.approx(0.9, abs=1e-3) and reach[-1, 2] == pytest.approx(1.6, abs=1e-3)
    observation = gripper.reset(seed=1)[0]["agent_pos"]
    np.testing.assert_allclose(observation, [*gripper.scene.position, 0.0], atol=1e-12)
    for _ in range(3):
        observation, *_ = gripper.step(np.array([0.0, 0.0, 0.0, 1.0], np.float32))
    assert observation["agent_pos"][3] == pytest.approx(1.0, abs=0.02)


def test_actions_out_of_bounds_and_unknown_policies_are_refused(gripper):
    gripper.reset(seed=0)
    with pytest.raises(ValueError, match="action velocity x: got 3 m/s, expected -1 to 1 m/s in the world frame"):
        gripper.step(np.array([3.0, 0.0, 0.0, 0.0]))
    with pytest.raises(ValueError, match="policy: got 'watch', expected one of lower_and_release"):
        gripper.record(seed=0, policy="watch")
