"""Training that was interrupted goes on as if it had not been."""

import dataclasses
import signal

import pytest
import torch

from worldmodel.training import autoencoder, transformer
from worldmodel.training import run as training_run
from worldmodel.training.autoencoder import AutoencoderSettings, Stage, train_autoencoder
from worldmodel.training.transformer import TransformerSettings, train_transformer

AUTOENCODER = AutoencoderSettings(stages=(Stage(1, 16, 16, 2, 2), Stage(5, 16, 16, 1, 2)), warmup_steps=2)
TRANSFORMER = TransformerSettings(steps=4, batch=2, warmup_steps=2)


@pytest.fixture(autouse=True)
def small_networks(monkeypatch):
    monkeypatch.setitem(autoencoder.TINY_AUTOENCODER, "base_dim", 4)
    monkeypatch.setitem(transformer.TINY_TRANSFORMER, "num_layers", 1)
    monkeypatch.setitem(transformer.TINY_TRANSFORMER, "num_attention_heads", 1)


def run_autoencoder(out, clip_set, windows):
    return train_autoencoder([clip_set], out, AUTOENCODER)


def run_transformer(out, clip_set, windows, settings=TRANSFORMER):
    return train_transformer(windows, out, settings)


@pytest.mark.parametrize("run", [run_autoencoder, run_transformer])
def test_an_interrupted_run_ends_with_the_same_weights(run, tmp_path, monkeypatch, clip_set, windows):
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
    whole = run(tmp_path / "whole", clip_set, windows)
    advance, steps = training_run.tqdm.update, []

    def control_c_at_the_second_step(self, n=1):
        steps.append(n)
        if len(steps) == 2:
            signal.raise_signal(signal.SIGINT)
        return advance(self, n)

    monkeypatch.setattr(training_run.tqdm, "update", control_c_at_the_second_step)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", clip_set, windows)
    assert len(steps) == 2
    resumed = run(tmp_path / "broken", clip_set, windows)
    assert len(steps) == 4, "no step is done twice"
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    for file in tmp_path.glob("whole/*.csv"):
        assert file.read_text() == (tmp_path / "broken" / file.name).read_text()


def test_a_run_killed_after_its_checkpoint_does_not_log_twice(tmp_path, clip_set, windows):
    run_transformer(tmp_path, clip_set, windows)
    log = tmp_path / "transformer.csv"
    log.write_text("0,1.0\n3,0.9\n7,0.8\n")
    run_transformer(tmp_path, clip_set, windows)
    assert log.read_text() == "0,1.0\n3,0.9\n"


def test_other_data_are_refused(tmp_path, clip_set, windows):
    run_transformer(tmp_path, clip_set, windows)
    with pytest.raises(ValueError, match=r"other settings \(data\)"):
        train_transformer(dataclasses.replace(windows, actions=windows.actions + 1), tmp_path, TRANSFORMER)


def test_a_damaged_checkpoint_is_named(tmp_path, clip_set, windows):
    (tmp_path / "transformer.pt").write_bytes(b"torn")
    with pytest.raises(ValueError, match=r"transformer.pt: got a damaged checkpoint"):
        run_transformer(tmp_path, clip_set, windows)


def test_a_checkpoint_of_other_settings_is_refused(tmp_path, clip_set, windows):
    run_transformer(tmp_path, clip_set, windows)
    with pytest.raises(ValueError, match=r"other settings \(learning_rate\)"):
        run_transformer(tmp_path, clip_set, windows, dataclasses.replace(TRANSFORMER, learning_rate=1.0))


def test_a_half_written_checkpoint_leaves_the_one_before(tmp_path, monkeypatch, clip_set, windows):
    run_transformer(tmp_path, clip_set, windows)
    before = (tmp_path / "transformer.pt").read_bytes()

    def full_disk(state, path):
        path.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="no space"):
        training_run.save_checkpoint(tmp_path / "transformer.pt", {})
    assert (tmp_path / "transformer.pt").read_bytes() == before


@pytest.mark.parametrize(("first", "total"), [(0, 9), (3, 5), (0, 2)])
def test_what_is_made_ahead_comes_in_order_and_nothing_is_made_after_the_last(first, total):
    made = []

    def make(step):
        made.append(step)
        return step**2

    with training_run.Ahead(make, first, total) as ahead:
        assert [ahead(step) for step in range(first, total)] == [step**2 for step in range(first, total)]
    assert sorted(made) == list(range(first, total))


def test_what_cannot_be_made_is_said_by_the_step_that_needs_it():
    with training_run.Ahead(lambda step: 1 // (step - 1), 0, 9) as ahead:
        assert ahead(0) == -1
        with pytest.raises(ZeroDivisionError):
            ahead(1)
