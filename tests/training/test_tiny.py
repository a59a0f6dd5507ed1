"""From collected clips to a pipeline that rolls out, in one command that can be repeated."""

import json

import pytest

import worldmodel
from worldmodel.collect import collect
from worldmodel.storage import read_videos
from worldmodel.training.autoencoder import AutoencoderSettings, Stage
from worldmodel.training.tiny import TinySettings, train_from_store
from worldmodel.training.transformer import TransformerSettings

SETTINGS = TinySettings(
    AutoencoderSettings(stages=(Stage(1, 32, 32, 2, 2), Stage(5, 32, 32, 1, 1)), warmup_steps=1),
    TransformerSettings(steps=2, batch=2, warmup_steps=1),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return collect(tmp_path_factory.mktemp("data") / "truth", episodes=3, seed=5, image_size=32, num_frames=5)


def test_training_ends_in_a_pipeline_that_rolls_out(data, tmp_path):
    folder = train_from_store(data.path, tmp_path / "out", "cpu", SETTINGS)
    model = worldmodel.load(folder, device="cpu")
    frames = read_videos(data.path, progress=False)[:, 0]
    assert model.rollout(frames, seeds=range(3), steps=2, progress=False).video.shape == (3, 5, 32, 32, 3)
    config = json.loads((folder / "vae" / "config.json").read_text())
    assert len(set(config["latents_std"])) == 16, "latents are normalised by the data's own statistics"
    card = (folder / "README.md").read_text()
    assert "`worldmodel collect --out data --seed 5 --episodes 3 --image-size 32`" in card
    assert "5 frames of 32 x 32 pixels" in card

    weights = model.backend.weights_hash
    again = train_from_store(data.path, tmp_path / "out", "cpu", SETTINGS)
    assert worldmodel.load(again, device="cpu").backend.weights_hash == weights


def test_clips_that_do_not_fit_are_refused_before_training(data, tmp_path):
    with pytest.raises(ValueError, match=r"data: got clips of 5 frames, expected 4n \+ 1, at least 17"):
        train_from_store(data.path, tmp_path / "out", "cpu")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_else_is_refused(data, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"out: got .* which holds something else"):
        train_from_store(data.path, tmp_path, "cpu", SETTINGS)
