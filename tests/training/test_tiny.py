"""From collected clips to a pipeline that rolls out, in one command that can be repeated."""

import json

import pytest
from known_models import SHORTEST as SETTINGS

import worldmodel
from worldmodel.backends.checksum import stated_hash
from worldmodel.collect import collect
from worldmodel.storage import read_videos
from worldmodel.training.tiny import ON_CPU, ON_GPU, TinySettings, train_from_stores, usual_settings


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return collect(tmp_path_factory.mktemp("data") / "truth", episodes=3, seed=5, image_size=32, num_frames=5)


def test_training_ends_in_a_pipeline_that_rolls_out(data, tmp_path):
    folder = train_from_stores(data.path, tmp_path / "out", "cpu", SETTINGS)
    model = worldmodel.load(folder, device="cpu")
    assert list(model.recipe.cameras) == ["worldmodel/FreeFall-v0"]
    frames = read_videos(data.path, progress=False)[:, 0]
    assert model.rollout(frames, seeds=range(3), steps=2, progress=False).video.shape == (3, 5, 32, 32, 3)
    config = json.loads((folder / "vae" / "config.json").read_text())
    assert len(set(config["latents_std"])) == 16, "latents are normalised by the data's own statistics"
    card = (folder / "README.md").read_text()
    assert "3 clips of 5 frames (worldmodel/FreeFall-v0, seeds 5 to 7)" in card
    assert "5 frames of 32 x 32 pixels" in card

    weights = model.backend.weights_hash
    assert stated_hash(folder) == weights
    again = train_from_stores(data.path, tmp_path / "out", "cpu", SETTINGS)
    assert worldmodel.load(again, device="cpu").backend.weights_hash == weights


def test_clips_that_do_not_fit_are_refused_before_training(data, tmp_path):
    with pytest.raises(ValueError, match=r"data: got clips of 5 frames in truth, expected at least 17"):
        train_from_stores(data.path, tmp_path / "out", "cpu")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_else_is_refused(data, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"out: got .* which holds something else"):
        train_from_stores(data.path, tmp_path, "cpu", SETTINGS)


def test_stores_of_several_kinds_make_a_model_that_takes_actions_and_goes_on_from_another(many, data, tmp_path):
    first = train_from_stores(data.path, tmp_path / "first", "cpu", SETTINGS)
    folder = train_from_stores(many, tmp_path / "second", "cpu", SETTINGS, start=first)
    recipe = worldmodel.load(folder, device="cpu").recipe
    assert [domain.name for domain in recipe.domains] == ["ball"]
    assert recipe.domains[0].spec.names == ("velocity_x", "velocity_y")
    assert "--start pipeline" in (folder / "README.md").read_text()
    shards = {path.name for path in (tmp_path / "second" / "latents").glob("*.npy")}
    assert shards == {
        "drop_0000_000000.npy",
        "drop_0000_mirrored_000000.npy",
        "maze_0000_000000.npy",
        "maze_0004_000000.npy",
    }


def test_clips_of_two_sizes_are_refused(many, tmp_path):
    collect(many / "large", episodes=1, seed=5, image_size=48, num_frames=5)
    with pytest.raises(ValueError, match=r"data: got clips of .*48.* pixels"):
        train_from_stores(many, tmp_path / "out", "cpu", SETTINGS)


def test_a_gpu_sees_more_samples_than_a_cpu_in_every_stage():
    assert usual_settings("cpu") == ON_CPU and usual_settings("cuda:1") == ON_GPU
    gpu, cpu = ON_GPU.transformer, ON_CPU.transformer
    assert gpu.steps * gpu.batch > 10 * cpu.steps * cpu.batch
    for more, less in zip(ON_GPU.autoencoder.stages, ON_CPU.autoencoder.stages, strict=True):
        assert (more.frames, more.height, more.width) == (less.frames, less.height, less.width)
        assert more.steps * more.batch >= less.steps * less.batch


def test_effort_scales_every_stage():
    half = TinySettings().scaled(0.5)
    assert half.transformer.steps == TinySettings().transformer.steps / 2
    steps = [stage.steps / 2 for stage in TinySettings().autoencoder.stages]
    assert [stage.steps for stage in half.autoencoder.stages] == steps
    assert TinySettings().scaled(1.0) == TinySettings()
    with pytest.raises(ValueError, match="effort: got 0"):
        TinySettings().scaled(0)
