"""The flow-matching loss in closed form, and that training learns."""

import numpy as np
import pytest
import torch

from worldmodel.training import transformer
from worldmodel.training.transformer import (
    TINY_TRANSFORMER,
    CosmosTransformer3DModel,
    TransformerSettings,
    flow_matching_loss,
    initialise,
    train_transformer,
    training_batch,
)

SMALL = {**TINY_TRANSFORMER, "num_layers": 1, "num_attention_heads": 1}


def test_the_loss_at_the_start_is_that_of_predicting_zero():
    model = CosmosTransformer3DModel(**SMALL)
    initialise(model)
    z, eps = torch.randn(4, 16, 3, 4, 4), torch.randn(4, 16, 3, 4, 4)
    loss = flow_matching_loss(model, z, torch.rand(4), eps)
    assert loss.item() == pytest.approx((eps - z)[:, :, 1:].square().mean().item(), rel=1e-5)


def test_the_given_frame_reaches_the_network_clean_and_costs_nothing():
    seen = {}

    class Spy(torch.nn.Module):
        config = CosmosTransformer3DModel(**SMALL).config

        def forward(self, x, timestep, prompt, condition_mask, return_dict):
            seen.update(x=x, timestep=timestep, mask=condition_mask)
            return (torch.where(condition_mask.bool(), 1e6, 0.0).expand_as(x),)

    z, eps, sigma = torch.randn(2, 16, 3, 4, 4), torch.randn(2, 16, 3, 4, 4), torch.tensor([0.3, 0.9])
    loss = flow_matching_loss(Spy(), z, sigma, eps)
    assert loss < 100, "the given frame's error must not count"
    assert torch.equal(seen["x"][:, :, 0], z[:, :, 0])
    torch.testing.assert_close(seen["x"][1, :, 1], 0.1 * z[1, :, 1] + 0.9 * eps[1, :, 1])
    assert torch.equal(seen["timestep"], sigma)
    assert seen["mask"][:, :, 0].all()
    assert not seen["mask"][:, :, 1:].any()


def test_batches_depend_on_the_step_alone_and_cover_all_noise_levels():
    latents = np.zeros((10, 16, 2, 4, 4), np.float16)
    settings = TransformerSettings(batch=50)
    one, again, other = (training_batch(latents, settings, step) for step in (3, 3, 4))
    assert torch.equal(one[1], again[1])
    assert torch.equal(one[2], again[2])
    assert not torch.equal(one[2], other[2])
    u = one[1] / (settings.sigma_shift - (settings.sigma_shift - 1) * one[1])
    counts = np.histogram(u, bins=50, range=(0, 1))[0]
    assert counts.sum() == 50
    assert counts.max() <= 2, "levels are stratified"


def test_training_learns_a_constant_clip(tmp_path, monkeypatch):
    monkeypatch.setattr(transformer, "TINY_TRANSFORMER", SMALL)
    clip = np.random.default_rng(0).normal(size=(1, 16, 2, 4, 4)).astype(np.float16)
    settings = TransformerSettings(steps=150, batch=8, learning_rate=5e-3, warmup_steps=10, ema_decay=0.9)
    train_transformer(clip, tmp_path, settings)
    losses = [float(line.split(",")[1]) for line in (tmp_path / "transformer.csv").read_text().splitlines()]
    assert losses[-1] < 0.5 * losses[0]
