"""NVIDIA's action recipe, and eight faults of its autoregressive script that are not ours."""

import numpy as np
import pytest
import tiny_predict
import torch

import worldmodel
from worldmodel.actions import repeated
from worldmodel.backends.cosmos25_actions import (
    euler,
    from_bridge,
    from_droid,
    from_poses,
    model_numbers,
    rotation,
)
from worldmodel.backends.text import ship_prompt
from worldmodel.storage import StoreError, load_rollout, save_rollout

SIZE = (32, 48)
RECIPE = {"name": "tiny-action", "image_size": SIZE, "num_frames": 13, "fps": 4.0, "steps": 3}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("action") / "pipeline"
    pipe = tiny_predict.pipeline(tiny_predict.shifted())
    tiny_predict.save(pipe, folder, RECIPE)
    tiny_predict.action_transformer().save_pretrained(folder / "transformer")
    ship_prompt(folder, "", tiny_predict.embeddings(0))
    return worldmodel.load(folder, "cpu", guardrail="none")


def frames(batch=1, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (batch, *SIZE, 3), dtype=np.uint8)


def motion(batch, count, seed=1):
    draw = np.random.default_rng(seed).uniform(-0.05, 0.05, (batch, count, 7))
    draw[..., 6] = np.random.default_rng(seed + 1).uniform(0.0, 1.0, (batch, count))
    return draw


def walk(count=6, seed=0):
    """Poses of a gripper that moves and turns at random."""
    rng = np.random.default_rng(seed)
    angles = np.cumsum(rng.uniform(-0.2, 0.2, (count, 3)), axis=0)
    return np.cumsum(rng.uniform(-0.05, 0.05, (count, 3)), axis=0), angles, rng.uniform(0, 1, count)


def roll(model, given, **options):
    return model.rollout(given, **{"keep_latents": True, "progress": False} | options)


def test_a_quarter_turn_by_hand():
    """Turned a quarter to the left, a step along the world's y is a step along the gripper's x."""
    positions = np.array([[0.0, 0.0, 0.0], [0.0, 0.1, 0.0]])
    turned = rotation(np.array([[0.0, 0.0, np.pi / 2], [0.0, 0.0, np.pi / 2 + 0.3]]))
    np.testing.assert_allclose(from_poses(positions, turned, [0.0, 1.0]), [[0.1, 0, 0, 0, 0, 0.3, 1.0]], atol=1e-12)


def test_actions_put_together_are_the_motion():
    positions, angles, gripper = walk()
    pose, place = rotation(angles)[0], positions[0]
    for action, angle, position in zip(
        from_poses(positions, rotation(angles), gripper), angles[1:], positions[1:], strict=True
    ):
        place, pose = place + pose @ action[:3], pose @ rotation(action[3:6])
        np.testing.assert_allclose(place, position, atol=1e-12)
        np.testing.assert_allclose(pose, rotation(angle), atol=1e-12)


def test_actions_do_not_depend_on_the_world_frame():
    positions, angles, gripper = walk()
    world = rotation(np.array([0.4, -0.3, 2.0]))
    moved = from_poses(positions @ world.T + 3.0, world @ rotation(angles), gripper)
    np.testing.assert_allclose(moved, from_poses(positions, rotation(angles), gripper), atol=1e-12)


def test_angles_come_back_and_so_do_rotations_of_a_locked_gimbal():
    angles = np.random.default_rng(0).uniform(-1.5, 1.5, (50, 3))
    np.testing.assert_allclose(euler(rotation(angles)), angles, atol=1e-12)
    locked = rotation(np.array([[0.3, np.pi / 2, 0.5], [0.3, -np.pi / 2, 0.5]]))
    np.testing.assert_allclose(rotation(euler(locked)), locked, atol=1e-7)


def bridge(count=6):
    """An annotation whose ``action`` is what it is in the data set: another frame, scale and polarity."""
    positions, angles, gripper = walk(count)
    return {
        "state": np.concatenate([positions, angles, gripper[:, None]], axis=1).tolist(),
        "continuous_gripper_state": gripper.tolist(),
        "action": np.concatenate([np.full((count - 1, 6), 9.0), 1.0 - gripper[1:, None]], axis=1).tolist(),
    }


def test_fault_1_actions_come_from_states_and_are_scaled_by_20():
    annotation, (positions, angles, gripper) = bridge(), walk()
    actions = from_bridge(annotation)
    np.testing.assert_allclose(actions, from_poses(positions, rotation(angles), gripper))
    del annotation["action"]
    np.testing.assert_array_equal(from_bridge(annotation), actions)
    np.testing.assert_allclose(model_numbers(actions), actions * [20, 20, 20, 20, 20, 20, 1], rtol=1e-6)
    with pytest.raises(ValueError, match="annotation: got no state, expected states of the gripper"):
        from_bridge({"action": [], "continuous_gripper_state": []})


def test_fault_2_the_gripper_is_0_open_and_1_closed_whatever_the_data_says():
    annotation = bridge()
    closed = np.array(annotation["continuous_gripper_state"])[1:]
    np.testing.assert_allclose(from_bridge(annotation)[:, 6], closed)
    positions, angles, gripper = walk()
    flipped = from_poses(positions, rotation(angles), 1.0 - gripper, "1 open, 0 closed")
    np.testing.assert_allclose(flipped[:, 6], closed)
    with pytest.raises(ValueError, match="polarity: got 'closed'"):
        from_poses(positions, rotation(angles), gripper, "closed")


def test_fault_3_quaternions_work():
    positions, angles, gripper = walk()
    half = angles / 2
    (cr, cp, cy), (sr, sp, sy) = np.cos(half).T, np.sin(half).T
    quaternions = np.stack(
        [
            cr * cp * cy + sr * sp * sy,
            sr * cp * cy - cr * sp * sy,
            cr * sp * cy + sr * cp * sy,
            cr * cp * sy - sr * sp * cy,
        ],
        axis=1,
    )
    expected = from_poses(positions, rotation(angles), gripper)
    np.testing.assert_allclose(from_poses(positions, quaternions, gripper), expected, atol=1e-12)


def test_fault_4_an_incomplete_last_chunk_repeats_the_last_action_and_says_so(model):
    actions = motion(1, 15)
    actions[:, -1, 6] = 1.0
    rest = repeated(actions[:, 12:], 12)
    assert (rest[:, 3:] == actions[:, -1:]).all() and rest.shape == (1, 12, 7)
    with pytest.raises(ValueError, match="horizon: got 15 frames, expected 12 or 24"):
        roll(model, frames(), seeds=[0], actions=actions)
    cut = roll(model, frames(), seeds=[0], actions=actions, tail="cut")
    whole = roll(model, frames(), seeds=[0], actions=np.concatenate([actions[:, :12], rest], axis=1))
    assert cut.video.shape[1] == 16 and cut.actions.shape == (1, 15, 7)
    assert (cut.provenance["tail"], whole.provenance["tail"]) == ("cut", "refuse")
    np.testing.assert_array_equal(cut.video, whole.video[:, :16])


def test_fault_5_seeds_are_the_users_and_chunks_have_noise_of_their_own(model):
    still = np.zeros((2, 24, 7))
    same = np.repeat(frames(), 2, axis=0)
    rollout = roll(model, same, seeds=[5, 6], actions=still)
    assert np.abs(rollout.latents[0] - rollout.latents[1]).mean() > 0.1, "episodes differ by their seed"
    again = roll(model, same[:1], seeds=[6], actions=still[:1])
    np.testing.assert_allclose(again.latents[0], rollout.latents[1], atol=1e-3)
    first, second = rollout.latents[0, :, 1:4], rollout.latents[0, :, 4:7]
    assert np.abs(first - second).mean() > 0.1


def test_fault_6_latents_can_be_handed_over_and_no_frame_is_shown_twice(model):
    actions, given = motion(1, 24), []
    denoiser = model.backend.denoiser
    try:
        model.backend.denoiser = lambda latents, *rest, **more: (
            given.append(latents) or denoiser(latents, *rest, **more)
        )
        kept = roll(model, frames(), seeds=[0], actions=actions, handover="latent")
    finally:
        del model.backend.denoiser
    assert torch.equal(given[1], torch.from_numpy(kept.latents[:, :, 3:4])), "never decoded"
    assert kept.video.shape[1] == 25
    again = roll(model, frames(), seeds=[0], actions=actions)
    assert again.provenance["handover"] == "frame" and kept.provenance["handover"] == "latent"


def test_fault_7_an_existing_result_is_neither_skipped_nor_written_over(model, tmp_path):
    rollout = roll(model, frames(), seeds=[0], actions=motion(1, 12))
    save_rollout(tmp_path / "rollouts", rollout)
    with pytest.raises((ValueError, FileExistsError, StoreError), match="exist"):
        save_rollout(tmp_path / "rollouts", rollout)
    np.testing.assert_array_equal(load_rollout(tmp_path / "rollouts").actions, rollout.actions)


def test_fault_8_a_batch_is_its_samples_each_with_its_own_actions(model):
    given, actions = frames(3), motion(3, 12)
    together = roll(model, given, seeds=[1, 2, 3], actions=actions)
    alone = roll(model, given[1:2], seeds=[2], actions=actions[1:2])
    np.testing.assert_allclose(alone.latents[0], together.latents[1], atol=1e-3)
    swapped = roll(model, given[1:2], seeds=[2], actions=actions[2:3])
    assert np.abs(swapped.latents[0, :, 1:] - alone.latents[0, :, 1:]).mean() > 1e-3, "actions steer"
    np.testing.assert_array_equal(together.actions, actions)


def test_a_droid_episode_at_a_quarter_of_its_rate():
    positions, angles, gripper = walk(9)
    actions = from_droid(np.concatenate([positions, angles], axis=1), gripper[:, None], every=4)
    np.testing.assert_allclose(actions, from_poses(positions[::4], rotation(angles[::4]), gripper[::4]))
    with pytest.raises(ValueError, match=r"cartesian: got shape \(9, 3\)"):
        from_droid(positions, gripper)


def test_no_actions_are_a_rollout_too_and_text_is_not_needed(model):
    rollout = roll(model, frames(), seeds=[0])
    assert rollout.actions is None and rollout.video.shape[1] == 13
    assert rollout.provenance["prompt"] == "" and rollout.provenance["guidance_scale"] == 1.0


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (np.zeros((1, 12, 6)), "action: got shape"),
        (np.full((1, 12, 7), 0.9), "action x: got 0.9 m, expected -0.25 to 0.25 m in the previous gripper frame"),
        (np.zeros((2, 12, 7)), r"actions: got shape \(2, 12, 7\), expected \(1, n, 7\)"),
        (np.zeros((12, 7)), r"actions: got shape \(12, 7\)"),
    ],
)
def test_actions_that_do_not_fit_are_refused_before_any_work(model, actions, message):
    with pytest.raises(ValueError, match=message):
        roll(model, frames(), seeds=[0], actions=actions)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rotations": np.ones((6, 3, 3))}, "rotations: got shape"),
        ({"positions": np.zeros((5, 3))}, "poses: got positions"),
        ({"gripper": np.full(6, 2.0)}, "action gripper: got 2"),
    ],
)
def test_poses_that_are_none_are_refused(change, message):
    positions, angles, gripper = walk()
    poses = {"positions": positions, "rotations": rotation(angles), "gripper": gripper} | change
    with pytest.raises(ValueError, match=message):
        from_poses(**poses)
