"""Training that was interrupted goes on as if it had not been."""

import dataclasses

import numpy as np
import pytest
import torch

from worldmodel.training import autoencoder, transformer
from worldmodel.training.autoencoder import AutoencoderSettings, Stage, train_autoencoder
from worldmodel.training.transformer import TransformerSettings, train_transformer

AUTOENCODER = AutoencoderSettings(
    stages=(Stage(1, 16, 16, 2, 2), Stage(5, 16, 16, 1, 2)), warmup_steps=2, checkpoint_seconds=0.0
)
TRANSFORMER = TransformerSettings(steps=4, batch=2, warmup_steps=2, checkpoint_seconds=0.0)


@pytest.fixture(autouse=True)
def small_networks(monkeypatch):
    monkeypatch.setitem(autoencoder.TINY_AUTOENCODER, "base_dim", 4)
    monkeypatch.setitem(transformer.TINY_TRANSFORMER, "num_layers", 1)
    monkeypatch.setitem(transformer.TINY_TRANSFORMER, "num_attention_heads", 1)


def run_autoencoder(out):
    rng = np.random.default_rng(0)
    video = rng.integers(0, 255, (3, 5, 16, 16, 3), dtype=np.uint8)
    mask = rng.random((3, 5, 16, 16)) < 0.2
    return train_autoencoder(video, mask, out, AUTOENCODER)


def run_transformer(out, settings=TRANSFORMER):
    latents = np.random.default_rng(0).normal(size=(4, 16, 2, 4, 4)).astype(np.float16)
    return train_transformer(latents, out, settings)


@pytest.mark.parametrize(
    ("module", "run"),
    [(autoencoder, run_autoencoder), (transformer, run_transformer)],
    ids=["autoencoder", "transformer"],
)
def test_an_interrupted_run_ends_with_the_same_weights(module, run, tmp_path, monkeypatch):
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
    whole = run(tmp_path / "whole")
    save, calls = module.save_checkpoint, []

    def interrupted(path, state):
        save(path, state)
        calls.append(state["step"])
        if state["step"] == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(module, "save_checkpoint", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken")
    monkeypatch.setattr(module, "save_checkpoint", save)
    resumed = run(tmp_path / "broken")
    assert calls == [1, 2, 3]
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_a_checkpoint_of_other_settings_is_refused(tmp_path):
    run_transformer(tmp_path)
    with pytest.raises(ValueError, match=r"other settings \(learning_rate\)"):
        run_transformer(tmp_path, dataclasses.replace(TRANSFORMER, learning_rate=1.0))


def test_a_half_written_checkpoint_leaves_the_one_before(tmp_path, monkeypatch):
    run_transformer(tmp_path)
    before = (tmp_path / "transformer.pt").read_bytes()

    def full_disk(state, path):
        path.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="no space"):
        transformer.save_checkpoint(tmp_path / "transformer.pt", {})
    assert (tmp_path / "transformer.pt").read_bytes() == before
