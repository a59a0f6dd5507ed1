"""Some more training of an embedded model: the transformer moves, nothing else does."""

import dataclasses

import pytest
import torch
from known_models import SHORTEST

import worldmodel
from worldmodel.backends.checksum import stated_hash
from worldmodel.model import EMBEDDED
from worldmodel.training.further import SETTINGS, train_further
from worldmodel.training.tiny import train_from_stores
from worldmodel.training.transformer import TransformerSettings

FEW = dataclasses.replace(SETTINGS, steps=2, batch=2)


@pytest.fixture(scope="module")
def start(many, tmp_path_factory):
    torch.compiler.set_stance("force_eager")
    return train_from_stores(many, tmp_path_factory.mktemp("start"), "cpu", SHORTEST)


def test_only_the_transformer_moves_and_the_card_says_from_where(many, start, tmp_path):
    folder = train_further(many, start, tmp_path / "out", "cpu", FEW, often={"worldmodel/Maze-v0": 3.0}, stride=4)
    for part in ("transformer", "vae"):
        assert str(start) not in (folder / part / "config.json").read_text(), "no folders of this machine"
    before, after = worldmodel.load(start, device="cpu"), worldmodel.load(folder, device="cpu")
    assert before.recipe == after.recipe
    kept, found = before.backend.codec.vae.state_dict(), after.backend.codec.vae.state_dict()
    assert all(torch.equal(kept[key], found[key]) for key in kept)
    assert before.backend.codec.vae.config["latents_std"] == after.backend.codec.vae.config["latents_std"]
    kept, found = before.backend.transformer.state_dict(), after.backend.transformer.state_dict()
    assert any(not torch.equal(kept[key], found[key]) for key in kept)
    card = (folder / "README.md").read_text()
    assert stated_hash(start) in card and stated_hash(folder) == after.backend.weights_hash != stated_hash(start)
    assert "worldmodel/Maze-v0 3 times" in card and "maze: 2 clips of 9 frames" in card
    again = train_further(many, start, tmp_path / "out", "cpu", FEW, often={"worldmodel/Maze-v0": 3.0}, stride=4)
    assert worldmodel.load(again, device="cpu").backend.weights_hash == after.backend.weights_hash


def test_the_embedded_model_goes_on_by_its_name(many, start, tmp_path, monkeypatch):
    monkeypatch.setitem(EMBEDDED, "tiny", start)
    transformer = train_further(many, "tiny", tmp_path / "transformer", "cpu", FEW, stride=4)
    whole = train_from_stores(many, tmp_path / "whole", "cpu", SHORTEST, start="tiny")
    assert f"- began with: tiny, SHA-256 `{stated_hash(start)}`" in (transformer / "README.md").read_text()
    assert "--start tiny" in (whole / "README.md").read_text()


@pytest.mark.parametrize(
    ("often", "message"),
    [
        ({"worldmodel/Grasp-v0": 2.0}, "often: got worldmodel/Grasp-v0, expected one of worldmodel/FreeFall-v0"),
        ({"worldmodel/Maze-v0": 0}, "often: got 0 for worldmodel/Maze-v0, expected a number above 0"),
        ({"worldmodel/Maze-v0": "twice"}, "often: got 'twice'"),
    ],
)
def test_what_is_to_be_seen_often_must_be_there(many, start, tmp_path, often, message):
    with pytest.raises(ValueError, match=message):
        train_further(many, start, tmp_path / "out", "cpu", FEW, often=often)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_else_is_refused(many, start, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"out: got .* which holds something else"):
        train_further(many, start, tmp_path, "cpu", FEW)


@pytest.mark.parametrize("name", ["steps", "batch", "warmup_steps", "learning_rate"])
def test_settings_are_checked(name):
    with pytest.raises(ValueError, match=f"{name}: got 0"):
        TransformerSettings(**{name: 0})


def test_a_transformer_of_another_width_is_refused():
    from worldmodel.training.transformer import new_transformer

    class Other(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.proj_out = torch.nn.Linear(3, 3, bias=False)

    with pytest.raises(ValueError, match="start: got a transformer with other parts"):
        new_transformer(Other())
