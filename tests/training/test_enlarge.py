"""An enlarged model begins as the one that it was made of, seeing averaged pictures."""

import json

import pytest
import torch
import torch.nn.functional as F
from known_models import SHORTEST as SETTINGS

import worldmodel
from worldmodel.collect import collect
from worldmodel.storage import read_videos
from worldmodel.training.enlarge import enlarged
from worldmodel.training.tiny import ENLARGING, ON_GPU, train_from_stores


@pytest.fixture(scope="module")
def vae():
    return worldmodel.load("tiny", "cpu").backend.codec.vae


@pytest.mark.parametrize("times", [1, 2, 3])
@torch.no_grad()
def test_it_encodes_averages_and_decodes_every_pixel_several_times(vae, times):
    larger = enlarged(vae, times)
    video = 2.0 * torch.rand(1, 3, 5, 32 * times, 48 * times, generator=torch.Generator().manual_seed(0)) - 1.0
    small = F.avg_pool3d(video, (1, times, times))
    latents = vae.encode(small).latent_dist.mode()
    torch.testing.assert_close(larger.encode(video).latent_dist.mode(), latents, rtol=1e-4, atol=1e-4)
    once = vae.decode(latents).sample
    expected = once.repeat_interleave(times, dim=3).repeat_interleave(times, dim=4)
    torch.testing.assert_close(larger.decode(latents).sample, expected, rtol=1e-4, atol=1e-4)
    assert larger.config.scale_factor_spatial == 8 * times and larger.config.latents_mean == vae.config.latents_mean
    assert next(vae.parameters()).dtype == next(larger.parameters()).dtype


@pytest.mark.parametrize("times", [0, -1, 1.5, True])
def test_a_size_that_is_no_multiple_is_refused(vae, times):
    with pytest.raises(ValueError, match="enlarge: got"):
        enlarged(vae, times)


def test_a_model_for_larger_pictures_is_made_of_a_smaller_one(tmp_path):
    paths = {size: collect(tmp_path / f"truth{size}", episodes=2, seed=5, image_size=size, num_frames=5).path
             for size in (32, 64)}  # fmt: skip
    small = train_from_stores(paths[32], tmp_path / "small", "cpu", SETTINGS)
    large = train_from_stores(paths[64], tmp_path / "large", "cpu", SETTINGS, start=small, enlarge=2)
    model = worldmodel.load(large, "cpu")
    assert (model.recipe.name, model.recipe.image_size) == ("tiny-64", (64, 64))
    assert model.backend.latent_shape == worldmodel.load(small, "cpu").backend.latent_shape
    frames = read_videos(paths[64], progress=False)[:, 0]
    assert model.rollout(frames, seeds=range(2), steps=2, progress=False).video.shape == (2, 5, 64, 64, 3)
    card = (large / "README.md").read_text()
    assert "--start pipeline --enlarge 2" in card and "(4 x 16 x 16)" in card
    assert json.loads((large / "vae" / "config.json").read_text())["scale_factor_spatial"] == 16

    with pytest.raises(ValueError, match=r"enlarge: got 2 for a model of 32 x 32 .* 32 x 32 in truth32, expected 64"):
        train_from_stores(paths[32], tmp_path / "other", "cpu", SETTINGS, start=small, enlarge=2)
    with pytest.raises(ValueError, match="enlarge: got 2 without start"):
        train_from_stores(paths[64], tmp_path / "other", "cpu", SETTINGS, enlarge=2)
    assert not (tmp_path / "other").exists()
    odd = collect(tmp_path / "odd", episodes=1, seed=5, image_size=80, num_frames=5).path
    with pytest.raises(ValueError, match=r"data: got 80 x 80 pixels, expected multiples of 32, at least 64 x 64"):
        train_from_stores(odd, tmp_path / "other", "cpu", SETTINGS, start=large)


def test_stages_see_as_much_of_a_scene():
    stages = ENLARGING.enlarged(2).autoencoder.stages
    assert [(stage.height, stage.width) for stage in stages] == [(64, 64), (128, 64), (128, 128)]
    sizes = [(stage.frames, stage.height, stage.width) for stage in ON_GPU.autoencoder.stages]
    assert [(stage.frames, stage.height, stage.width) for stage in ENLARGING.autoencoder.stages] == sizes
    assert ENLARGING.enlarged(1) == ENLARGING
