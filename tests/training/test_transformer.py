"""The flow-matching loss in closed form, what a batch is told, and that training learns."""

import dataclasses

import numpy as np
import pytest
import torch
from diffusers import CosmosTransformer3DModel

from worldmodel.backends.cosmos25_network import CosmosNetwork
from worldmodel.training import transformer
from worldmodel.training.latents import Windows
from worldmodel.training.transformer import (
    TINY_TRANSFORMER,
    ActionCosmosTransformer3DModel,
    Batch,
    TransformerSettings,
    batches_of,
    flow_matching_loss,
    initialise,
    new_transformer,
    train_transformer,
)

SMALL = {**TINY_TRANSFORMER, "num_layers": 1, "num_attention_heads": 1}


@pytest.fixture(autouse=True)
def small_network(monkeypatch):
    monkeypatch.setattr(transformer, "TINY_TRANSFORMER", SMALL)


def random_batch(known, told=True):
    size = len(known)
    return Batch(
        torch.randn(size, 16, 3, 4, 4),
        torch.rand(size),
        torch.randn(size, 16, 3, 4, 4),
        torch.arange(3) < torch.tensor(known)[:, None],
        torch.rand(size, 8, 7),
        torch.full((size,), told),
        torch.ones(size, 3, 4, 4),
    )


def loss_of(model, batch):
    return flow_matching_loss(CosmosNetwork(model), batch)


def shaken(model):
    """A network whose every part does something."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def test_the_loss_at_the_start_is_that_of_predicting_zero():
    batch = random_batch([1, 2, 0, 1])
    error = (batch.eps - batch.z).square().mean(dim=(1, 3, 4))
    loss = loss_of(new_transformer(), batch)
    assert loss.item() == pytest.approx(error[~batch.given].mean().item(), rel=1e-5)


@pytest.mark.parametrize("known", [0, 1, 2])
def test_given_frames_are_seen_clean_and_cost_nothing(known):
    model = shaken(new_transformer())
    batch = random_batch([known, known])
    loss = loss_of(model, batch)
    batch.eps[:, :, :known] += 5.0
    assert torch.equal(loss_of(model, batch), loss), "noise of given frames must not matter"
    batch.eps[:, :, known:] += 5.0
    assert not torch.isclose(loss_of(model, batch), loss)


def test_actions_that_are_not_told_change_nothing_and_those_told_do():
    model = shaken(new_transformer())
    for told in (True, False):
        batch = random_batch([1, 1], told)
        loss = loss_of(model, batch)
        batch.actions.add_(1.0)
        assert torch.equal(loss_of(model, batch), loss) == (not told)


def test_a_network_without_actions_goes_on_as_it_was():
    plain = {key: value for key, value in SMALL.items() if not key.startswith("action")}
    before = shaken(CosmosTransformer3DModel(**plain))
    batch = random_batch([1, 1])
    mask = batch.given[:, None, :, None, None].float().expand(-1, 1, -1, 4, 4)
    level = batch.sigma.view(-1, 1, 1, 1, 1)
    x = torch.where(mask.bool(), batch.z, (1 - level) * batch.z + level * batch.eps)
    with torch.no_grad():
        v = before(x, batch.sigma, torch.zeros(2, 1, 16), condition_mask=mask, return_dict=False)[0]
        loss = loss_of(new_transformer(before), batch)
    expected = (v - (batch.eps - batch.z))[:, :, 1:].square().mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5), "told actions, it is deaf until it has learned"


def test_another_kind_of_network_is_no_start():
    with pytest.raises(ValueError, match="start: got a transformer with other parts"):
        new_transformer(torch.nn.Linear(2, 2))


def test_errors_count_as_much_as_their_weights_say():
    batch, model = random_batch([1, 1]), new_transformer()  # which predicts 0 before it has learned
    error = (batch.eps - batch.z).square().mean(dim=1)
    batch.weight.zero_()[:, 2, 1, 1] = 5.0
    assert loss_of(model, batch).item() == pytest.approx(error[:, 2, 1, 1].mean().item(), rel=1e-5)
    batch.weight[0, 1, 0, 0] = 10.0
    parts = torch.stack([2.0 * error[0, 1, 0, 0], error[0, 2, 1, 1], error[1, 2, 1, 1]])
    assert loss_of(model, batch).item() == pytest.approx(parts.sum().item() / 4.0, rel=1e-5)
    batch.weight[:, 0] = 100.0
    assert loss_of(model, batch).item() == pytest.approx(parts.sum().item() / 4.0, rel=1e-5), "given: costs nothing"


def windows_of(latents, acts=True):
    size, frames = len(latents), 4 * (latents.shape[2] - 1)
    focus = np.zeros((size, *latents.shape[2:]), bool)
    return Windows(
        latents, np.zeros((size, frames, 7), np.float32), np.full(size, acts), focus, np.full(size, 1 / size)
    )


def test_batches_depend_on_the_step_alone_and_cover_all_noise_levels():
    windows = windows_of(np.zeros((10, 16, 3, 4, 4), np.float16))
    settings = TransformerSettings(batch=200)
    one, again, other = map(batches_of(windows, settings), (3, 3, 4))
    assert torch.equal(one.sigma, again.sigma)
    assert torch.equal(one.eps, again.eps)
    assert not torch.equal(one.eps, other.eps)
    u = one.sigma / (settings.sigma_shift - (settings.sigma_shift - 1) * one.sigma)
    counts = np.histogram(u, bins=200, range=(0, 1))[0]
    assert counts.sum() == 200
    assert counts.max() <= 2, "levels are stratified"


def test_what_a_batch_is_told_has_the_shares_of_the_settings():
    settings = TransformerSettings(batch=4000)
    batch = batches_of(windows_of(np.zeros((10, 16, 3, 4, 4), np.float16)), settings)(0)
    shares = np.bincount(batch.given.sum(dim=1).numpy(), minlength=3) / 4000
    assert shares == pytest.approx(settings.given, abs=0.03)
    assert batch.told.float().mean().item() == pytest.approx(0.9, abs=0.02)
    still = batches_of(windows_of(np.zeros((10, 16, 3, 4, 4), np.float16), acts=False), settings)(0)
    assert not still.told.any()


def test_windows_are_drawn_as_often_as_they_say_and_what_matters_weighs_more():
    latents = np.arange(100, dtype=np.float16).reshape(100, 1, 1, 1, 1) * np.ones((1, 16, 3, 4, 4), np.float16)
    windows = windows_of(latents)
    windows.chance[:], windows.focus[::10, 1, 2, 3] = 0.5 / 90, True
    windows.chance[::10] = 0.5 / 10
    batch = batches_of(windows, TransformerSettings(batch=4000, object_weight=4.0))(0)
    row = batch.z[:, 0, 0, 0, 0].long().numpy()
    rare = row % 10 == 0
    assert rare.mean() == pytest.approx(0.5, abs=0.03)
    assert np.unique(row).size == 100
    assert (batch.weight[rare, 1, 2, 3] == 5.0).all()
    assert batch.weight.sum().item() == batch.weight.numel() + 4.0 * rare.sum()


def test_training_learns_a_constant_clip(tmp_path):
    clip = np.random.default_rng(0).normal(size=(1, 16, 2, 4, 4)).astype(np.float16)
    settings = TransformerSettings(
        steps=300, batch=8, learning_rate=5e-3, warmup_steps=10, ema_decay=0.9, given=(0.0, 1.0)
    )
    train_transformer(windows_of(clip), tmp_path, settings)
    losses = [float(line.split(",")[1]) for line in (tmp_path / "transformer.csv").read_text().splitlines()]
    assert losses[-1] < 0.5 * losses[0]


def test_training_learns_what_actions_do(tmp_path):
    """Two futures of one first frame, told apart by the action alone."""
    rng = np.random.default_rng(0)
    latents = np.repeat(rng.normal(size=(1, 16, 2, 4, 4)), 2, axis=0).astype(np.float16)
    latents[1, :, 1] *= -1
    actions = np.stack([np.full((4, 7), sign, np.float32) for sign in (1, -1)])
    windows = dataclasses.replace(windows_of(latents), actions=actions)
    settings = TransformerSettings(
        steps=200, batch=16, learning_rate=5e-3, warmup_steps=10, ema_decay=0.9, given=(0.0, 1.0), untold=0.0
    )
    model = train_transformer(windows, tmp_path, settings)
    batch = batches_of(windows, TransformerSettings(batch=32, given=(0.0, 1.0), untold=0.0))(10_000)
    with torch.no_grad():
        right = loss_of(model, batch)
        batch.actions.neg_()
        wrong = loss_of(model, batch)
    assert wrong > 1.5 * right


def test_the_shipped_shape_is_that_of_its_kind():
    model = ActionCosmosTransformer3DModel(**SMALL)
    initialise(model)
    assert model.config.action_width == 4 * model.config.action_dim
