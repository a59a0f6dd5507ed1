"""LeRobot datasets: what is read of them, what is refused, and a model that is fine-tuned on one."""

import json
import shutil

import numpy as np
import pytest
from lerobot_data import CAMERA, SIZE, brightness, write_dataset

import worldmodel
from worldmodel.backends.checksum import stated_hash
from worldmodel.training.finetune import FinetuneSettings, finetune_from_folder
from worldmodel.training.lerobot import is_lerobot, read_lerobot

FPS = 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("lerobot") / "pushing", FPS)


WANTED = {"frames": 5, "stride": 4, "image_size": (SIZE, SIZE), "fps": float(FPS)}


def test_windows_have_their_own_frames_and_actions(folder):
    assert is_lerobot(folder)
    clips = read_lerobot(folder, **WANTED)
    assert clips.video.shape == (3, 5, SIZE, SIZE, 3), "one window of the first episode, two of the second"
    expected = [[brightness(e, start + k) for k in range(5)] for e, start in ((0, 0), (1, 0), (1, 4))]
    np.testing.assert_allclose(clips.video.mean(axis=(2, 3, 4)), expected, atol=4)
    np.testing.assert_array_equal(clips.actions[:, :, 0], [[0, 1, 2, 3], [0, 1, 2, 3], [4, 5, 6, 7]])
    assert clips.spec.names == ("x", "y")
    assert clips.spec.high == (12.0, 1.0)


def test_other_rates_sizes_cameras_and_versions_are_refused(folder, tmp_path):
    with pytest.raises(ValueError, match=r"at 10 frames/s .* expected 16"):
        read_lerobot(folder, **{**WANTED, "fps": 16.0})
    with pytest.raises(ValueError, match=r"pictures of \(32, 32\) pixels .* pass resize"):
        read_lerobot(folder, **{**WANTED, "image_size": (16, 16)})
    assert read_lerobot(folder, **{**WANTED, "image_size": (16, 16)}, resize=True).video.shape[2:4] == (16, 16)
    with pytest.raises(ValueError, match=r"camera: got .wrist. .*observation\.images\.top"):
        read_lerobot(folder, **WANTED, camera="wrist")
    with pytest.raises(ValueError, match="no episode of 13 frames"):
        read_lerobot(folder, **{**WANTED, "frames": 13})
    (tmp_path / "meta").mkdir()
    info = json.loads((folder / "meta" / "info.json").read_text())
    (tmp_path / "meta" / "info.json").write_text(json.dumps({**info, "codebase_version": "v2.1"}))
    with pytest.raises(ValueError, match=r"got a LeRobot dataset v2\.1"):
        read_lerobot(tmp_path, **WANTED)


def test_bounds_are_widened_to_actions_that_the_statistics_do_not_know(folder, tmp_path):
    stale = shutil.copytree(folder, tmp_path / "stale")
    (stale / "meta" / "stats.json").write_text(json.dumps({"action": {"min": [1.0, -2.0], "max": [5.0, 0.5]}}))
    clips = read_lerobot(stale, **WANTED)
    np.testing.assert_array_equal(clips.actions, read_lerobot(folder, **WANTED).actions)
    assert (clips.spec.low, clips.spec.high) == ((0.0, -2.0), (7.0, 1.0))


@pytest.mark.parametrize("robot", [True, False])
def test_a_model_fine_tuned_on_a_dataset_rolls_out_with_its_actions(robot, robot_folder, pipeline_folder, tmp_path):
    start = robot_folder if robot else pipeline_folder
    data = write_dataset(tmp_path / "pushing", fps=16, lengths=(9, 12))
    settings = FinetuneSettings(steps=2, batch=2, levels=1, warmup_steps=1, stride=3)
    out = finetune_from_folder(data, start, tmp_path / "out", "cpu", settings)
    clips = read_lerobot(data, frames=9, stride=3, image_size=(SIZE, SIZE), fps=16.0)
    model, actions = worldmodel.load(out, device="cpu"), None
    if robot:
        model, actions = model.conditioned(domain=clips.spec), clips.actions[:1]
        assert model.backend.action_spec == clips.spec
    video = model.rollout(clips.video[:1, 0], actions=actions, seeds=[0], progress=False).video
    assert video.shape == (1, 9, SIZE, SIZE, 3)
    card = (out / "README.md").read_text()
    assert f"pushing: 3 clips of 9 frames (LeRobot {CAMERA})" in card
    assert stated_hash(out) == model.backend.weights_hash != worldmodel.load(start, device="cpu").backend.weights_hash
