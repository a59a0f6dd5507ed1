"""A released model from the command line: what it is told there is what it is told in Python."""

import json

import numpy as np
import pytest
import tiny_predict
import torch

import worldmodel
from worldmodel import cli
from worldmodel.backends.cosmos25_released import default_negative_prompt
from worldmodel.backends.text import ship_prompt
from worldmodel.collect import collect
from worldmodel.storage import EpisodeStore

PROMPT = "a ball falls on a table"


def test_prompt_guidance_and_size_reach_the_model(tmp_path):
    folder = tiny_predict.save(tiny_predict.pipeline(), tmp_path / "released")
    for seed, prompt in enumerate((PROMPT, default_negative_prompt())):
        ship_prompt(folder, prompt, tiny_predict.embeddings(seed))
    truth = collect(tmp_path / "truth", episodes=2, image_size=32, num_frames=9)
    cli.rollout(
        truth.path,
        tmp_path / "out",
        str(tmp_path),
        subfolder="released",
        steps=2,
        prompt=PROMPT,
        guidance=2.0,
        conditions=("image_size=[32,32]", "num_frames=9"),
        device="cpu",
        guardrail="none",
        memory=("slicing",),
        seed=5,
    )
    rolled = EpisodeStore.open(tmp_path / "out").read_rollout(truth.keys())
    assert rolled.provenance["prompt"] == PROMPT and rolled.provenance["guidance_scale"] == 3.0
    assert rolled.provenance["running"]["memory"] == ["slicing"]
    model = worldmodel.load(folder, "cpu", guardrail="none")
    model = model.conditioned(prompt=PROMPT, guidance=2.0, image_size=(32, 32), num_frames=9)
    first = np.stack([truth.array(key, "video").data[0] for key in truth.keys()])  # noqa: SIM118  no dict
    expected = model.rollout(first, seeds=rolled.seeds, steps=2, progress=False)
    assert np.array_equal(rolled.seeds, [5, 6])
    assert np.abs(expected.video.astype(int) - rolled.video).max() <= 1


def test_a_revision_of_a_folder_is_refused(tmp_path):
    truth = collect(tmp_path / "truth", episodes=1, image_size=32, num_frames=9)
    with pytest.raises(ValueError, match="revision: got 'main' with a folder, expected it with owner/name only"):
        cli.rollout(truth.path, tmp_path / "out", "tiny", revision="main", device="cpu")
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_becomes_a_pipeline(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    base = tiny_predict.save(tiny_predict.pipeline(**tiny_predict.text_parts()), tmp_path / "base")
    network = tiny_predict.action_transformer()
    names = tiny_predict.nvidia_names(network)
    torch.save({names[name]: weight for name, weight in network.state_dict().items()}, tmp_path / "ema.pt")
    arguments = ["worldmodel", "convert", str(tmp_path / "ema.pt"), "--base", str(base), "--out", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", arguments)
    cli.main()
    said = capsys.readouterr().out
    assert f"weights: {len(names)} renamed, 0 left out, actions by chunk" in said
    assert f"pipeline: {tmp_path / 'out'}" in said
    assert json.loads((tmp_path / "out" / "conversion.json").read_text())["checkpoint"] == "ema.pt"
    assert worldmodel.load(tmp_path / "out", "cpu", guardrail="none").backend.action_spec is not None
    with pytest.raises(SystemExit, match=r"worldmodel: out: got .*, which exists, expected a new folder"):
        cli.main()


def test_a_checkpoint_that_is_not_there_is_refused_before_the_base_is_fetched(tmp_path):
    with pytest.raises(ValueError, match=r"checkpoint: got no file .*none.pt, expected NVIDIA's .pt"):
        cli.convert(tmp_path / "none.pt", "nobody/nothing", tmp_path / "out")
