"""Fine-tuning through the denoiser: the loss in closed form, what is trained, and that processes agree."""

import dataclasses
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

import worldmodel
from worldmodel.backends.checksum import stated_hash
from worldmodel.collect import collect
from worldmodel.model import EMBEDDED
from worldmodel.training.clip_sets import read_clip_sets
from worldmodel.training.finetune import (
    FinetuneSettings,
    Part,
    denoising_loss,
    finetune,
    finetune_from_folder,
    training_part,
)
from worldmodel.training.further import train_further
from worldmodel.training.latents import Stretch
from worldmodel.training.run import fingerprint_of
from worldmodel.training.tiny import train_from_stores

SHORT = FinetuneSettings(steps=2, batch=4, levels=2, warmup_steps=1, stride=8)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    collect(folder / "maze", "maze", episodes=3, seed=5, image_size=32, num_frames=9, policies=["random"])
    collect(folder / "drop", episodes=2, seed=5, image_size=32, num_frames=9)
    return folder


class Known:
    """A backend whose prediction is a constant, with one given latent frame."""

    device = "cpu"

    def __init__(self, value):
        self.value = value
        self.recipe = dataclasses.make_dataclass("Recipe", ["domains"])(())

    def denoiser(self, given, actions, frames):
        pinned = torch.zeros(len(given), 1, 3, 2, 2, dtype=torch.bool)
        pinned[:, :, :1] = True
        denoise = lambda x, sigma: torch.full_like(x, self.value)  # noqa: E731  it gets an attribute
        denoise.pinned = pinned
        return denoise


@pytest.mark.parametrize("sigma", [0.1, 0.9])
def test_the_loss_is_the_velocitys_error_on_what_is_not_given(sigma):
    z, eps = torch.randn(2, 4, 3, 2, 2), torch.randn(2, 4, 3, 2, 2)
    part = Part(z, eps, np.zeros((2, 1, 16, 16, 3), np.uint8), None, None, sigma)
    x = (1 - sigma) * z + sigma * eps
    velocity = (x - 0.3) / sigma
    expected = (velocity - (eps - z))[:, :, 1:].square().mean()
    assert denoising_loss(Known(0.3), part).item() == pytest.approx(expected.item(), rel=1e-4)


def test_parts_are_the_same_for_the_same_step_and_split_without_loss():
    latents = np.arange(10, dtype=np.float16)[:, None, None, None, None] * np.ones((10, 4, 3, 2, 2), np.float16)
    video = np.zeros((10, 9, 16, 16, 3), np.uint8)
    stretch = Stretch("noise", "free-fall", latents, video, np.zeros(video.shape[:-1], bool), None, None)
    part, again = (training_part([stretch], FinetuneSettings(), 7, 1) for _ in range(2))
    assert torch.equal(part.eps, again.eps) and part.sigma == again.sigma
    halves = [part.rows(rank, 2).latents for rank in range(2)]
    assert sorted(torch.cat(halves)[:, 0, 0, 0, 0].tolist()) == sorted(part.latents[:, 0, 0, 0, 0].tolist())
    sigmas = [training_part([stretch], FinetuneSettings(), 7, level).sigma for level in range(4)]
    assert sigmas == sorted(sigmas), "levels are stratified"


@pytest.mark.parametrize("rank", [0, 2])
def test_a_fine_tuned_model_rolls_out_and_only_its_transformer_is_new(data, robot_folder, tmp_path, rank):
    settings = dataclasses.replace(SHORT, lora_rank=rank)
    folder = finetune_from_folder(data, robot_folder, tmp_path / "out", "cpu", settings)
    before, after = (worldmodel.load(each, device="cpu") for each in (robot_folder, folder))
    assert fingerprint_of(before.backend.transformer) != fingerprint_of(after.backend.transformer)
    assert fingerprint_of(before.backend.codec.vae) == fingerprint_of(after.backend.codec.vae)
    names = [name for name, _ in before.backend.transformer.named_parameters()]
    assert [name for name, _ in after.backend.transformer.named_parameters()] == names
    assert (tmp_path / "out" / "lora").exists() == (rank > 0)
    ball = after.conditioned(domain="ball")
    frames = np.zeros((1, 32, 32, 3), np.uint8)
    assert ball.rollout(frames, actions=np.zeros((1, 8, 2)), seeds=[0], progress=False).video.shape[1] == 9


def test_a_model_without_actions_learns_from_the_pictures_of_clips_that_have_some(
    data, pipeline_folder, tmp_path, capsys
):
    start = shutil.copytree(pipeline_folder, tmp_path / "start")
    weights = worldmodel.load(start, device="cpu").backend.weights_hash
    (start / "README.md").write_text(f"- weights: SHA-256 `{weights}`\n")
    folder = finetune_from_folder(data / "maze", start, tmp_path / "out", "cpu", SHORT)
    assert "takes no actions" in capsys.readouterr().out
    assert worldmodel.load(folder, device="cpu").backend.action_spec is None
    assert stated_hash(folder) != weights, "the card before is about other weights"
    assert f"- began with: random, SHA-256 `{weights}`" in (folder / "README.md").read_text()


def test_training_lowers_the_loss_of_a_single_clip(data, robot_folder, tmp_path):
    (clip,) = (each for each in read_clip_sets(data) if each.name == "drop")
    one = dataclasses.replace(clip, video=clip.video[:1], focus=clip.focus[:1])
    settings = dataclasses.replace(SHORT, steps=40, batch=8, learning_rate=3e-3)
    finetune(worldmodel.load(robot_folder, device="cpu").backend, robot_folder, [one], tmp_path / "out", settings)
    losses = [float(line.split(",")[1]) for line in (tmp_path / "out" / "finetune.csv").read_text().splitlines()]
    assert losses[-1] < 0.9 * losses[0]


def test_two_processes_train_what_one_does(data, robot_folder, tmp_path):
    single = finetune_from_folder(data, robot_folder, tmp_path / "one", "cpu", SHORT)
    launch = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--cpu",
        "--num_processes",
        "2",
        "--num_machines",
        "1",
    ]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "29517", "-c"]
    script = tmp_path / "launch.py"
    script.write_text(
        "from pathlib import Path\n"
        "from worldmodel.training.finetune import FinetuneSettings, finetune_from_folder\n"
        f"folders = [Path(each) for each in ({str(data)!r}, {str(robot_folder)!r}, {str(tmp_path / 'two')!r})]\n"
        f"finetune_from_folder(*folders, 'cpu', "
        f"{SHORT!r})\n"
    )
    done = subprocess.run(
        [*launch[:-1], str(script)], capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = (worldmodel.load(each, device="cpu").backend.transformer for each in (single, tmp_path / "two/pipeline"))
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=2e-5)


def test_clips_of_another_size_or_too_many_robots_are_refused(data, robot_folder, tmp_path):
    backend = worldmodel.load(robot_folder, device="cpu").backend
    sets = read_clip_sets(data)
    small = dataclasses.replace(sets[0], video=sets[0].video[:, :, :16, :16])
    with pytest.raises(ValueError, match=r"data: got clips of 9 frames of \(16, 16\) pixels"):
        finetune(backend, robot_folder, [small], tmp_path / "out", SHORT)
    maze = next(each for each in sets if each.spec is not None)
    low, high = 3 * tuple(maze.spec.low), 3 * tuple(maze.spec.high)
    wide = dataclasses.replace(maze.spec, names=tuple("abcdef"), units=("m/s",) * 6, low=low, high=high)
    other = dataclasses.replace(maze, env="other", spec=wide, actions=np.tile(maze.actions, 3))
    with pytest.raises(ValueError, match="data: got 8 numbers of actions of ball, other, expected up to 7"):
        finetune(backend, robot_folder, [maze, other], tmp_path / "out", SHORT)
    assert not (tmp_path / "out").exists()


def test_a_run_continued_after_its_end_writes_the_same_weights_and_their_card(data, robot_folder, tmp_path):
    settings = dataclasses.replace(SHORT, lora_rank=2)
    cards = []
    for _ in range(2):
        folder = finetune_from_folder(data, robot_folder, tmp_path / "out", "cpu", settings)
        assert worldmodel.load(folder, device="cpu").backend.weights_hash == stated_hash(folder)
        cards.append((folder / "README.md").read_text())
    assert cards[0] == cards[1] and "| step | loss |" in cards[0]
    file = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(ValueError, match=r"got weights of SHA-256 .* which README\.md describes"):
        worldmodel.load(folder, device="cpu")


def test_the_embedded_model_is_fine_tuned_by_its_name(data, robot_folder, tmp_path, monkeypatch):
    monkeypatch.setitem(EMBEDDED, "tiny", robot_folder)
    hashes = {
        stated_hash(finetune_from_folder(data, start, tmp_path / str(index), "cpu", SHORT))
        for index, start in enumerate(["tiny", robot_folder])
    }
    assert len(hashes) == 1


@pytest.mark.parametrize("train", [finetune_from_folder, train_further, train_from_stores])
def test_a_start_that_is_no_pipeline_is_refused_before_anything_is_written(train, data, tmp_path):
    with pytest.raises(ValueError, match="start: got 'nowhere', expected tiny, tiny-128, an existing pipeline folder"):
        train(data=data, start="nowhere", out=tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()


def test_conditions_are_of_released_models(data, robot_folder, tmp_path):
    with pytest.raises(ValueError, match="conditions: got frame_guidance for robots, expected none"):
        finetune_from_folder(data, robot_folder, tmp_path / "out", "cpu", SHORT, conditions={"frame_guidance": 1.0})
    for options in ({"resize": True}, {"camera": "front"}):
        with pytest.raises(ValueError, match=r"resize, camera: got .* which are of LeRobot datasets"):
            finetune_from_folder(data, robot_folder, tmp_path / "out", "cpu", SHORT, **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("name", "value"), [("steps", 0), ("batch", 3), ("lora_rank", -1)])
def test_settings_are_checked(name, value):
    with pytest.raises(ValueError, match=f"{name}: got {value}"):
        FinetuneSettings(**{name: value, "levels": 2})
