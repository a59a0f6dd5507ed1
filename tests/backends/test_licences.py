"""Licences are said, and going without NVIDIA's guardrail is a choice that is recorded."""

import logging
import sys
import types

import numpy as np
import pytest
import tiny_cosmos3
import tiny_predict
import tiny_wan
import torch

import worldmodel
from worldmodel.backends.families import load_backend
from worldmodel.backends.licences import Guardrail, find_guardrail


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_predict.save(tiny_predict.pipeline(), tmp_path_factory.mktemp("licence") / "pipeline")


class Checker:
    """Blurs by halving, and finds a dark video unsafe."""

    def to(self, _):
        return self

    def check_text_safety(self, prompt):
        return "unsafe" not in prompt

    def check_video_safety(self, video):
        return None if video.max() == 0 else video // 2


@pytest.fixture(scope="module")
def folders(folder, tmp_path_factory):
    """A pipeline of every family."""
    root = tmp_path_factory.mktemp("families")
    tiny_wan.text_to_video().save_pretrained(root / "wan")
    tiny_cosmos3.pipeline().save_pretrained(root / "cosmos3")
    return {"Cosmos-Predict2.5": folder, "Wan": root / "wan", "Cosmos 3": root / "cosmos3", "embedded": "tiny"}


@pytest.mark.parametrize(
    ("family", "licence"),
    [("Cosmos-Predict2.5", "NVIDIA Open Model License"), ("Wan", "Apache-2.0"), ("Cosmos 3", "OpenMDW-1.1")],
)
def test_the_licence_is_said_at_load(folders, caplog, family, licence):
    with caplog.at_level(logging.WARNING, "worldmodel"):
        backend = load_backend(str(folders[family]), "cpu", guardrail="none")
    assert f"weights of the {family} family come under {licence}" in caplog.text
    assert ("guardrail: none" in caplog.text) == (family != "Wan"), "there is none to go without"
    assert backend.provenance()["licence"].startswith(licence)


@pytest.mark.parametrize("family", ["Cosmos-Predict2.5", "Wan", "Cosmos 3", "embedded"])
def test_what_is_no_choice_of_a_guardrail_is_refused_by_every_family(folders, family):
    with pytest.raises(ValueError, match="guardrail: got 'off', expected 'nvidia' or 'none'"):
        worldmodel.load(folders[family], "cpu", guardrail="off")


def test_without_the_guardrail_there_must_be_a_word_for_it(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "cosmos_guardrail", None)
    with pytest.raises(ValueError, match=r"guardrail: got no package cosmos_guardrail.* pass guardrail='none'"):
        load_backend(str(folder), "cpu")


def test_an_installed_guardrail_is_used_and_recorded(folder, monkeypatch):
    package = types.ModuleType("cosmos_guardrail")
    package.CosmosSafetyChecker = Checker
    monkeypatch.setitem(sys.modules, "cosmos_guardrail", package)
    told = load_backend(str(folder), "cpu").conditioned(image_size=(32, 48), num_frames=5)
    assert told.provenance()["guardrail"] == "nvidia"
    bare = load_backend(str(folder), "cpu", guardrail="none").conditioned(image_size=(32, 48), num_frames=5)
    latents = torch.randn(2, 16, 2, 4, 6, generator=torch.Generator().manual_seed(0))
    np.testing.assert_array_equal(told.decode(latents), bare.decode(latents) // 2)
    with pytest.raises(ValueError, match="prompt: got 'unsafe', expected one that NVIDIA's guardrail finds safe"):
        told.conditioned(prompt="unsafe")
    unread = told.conditioned(prompt=tiny_predict.embeddings(1))
    assert unread.provenance()["guardrail"] == "nvidia, of videos alone", "an embedding cannot be checked"
    assert unread.conditioned(prompt="a cup").provenance()["guardrail"] == "nvidia"


def test_unsafe_videos_are_named():
    videos = np.stack([np.ones((2, 4, 4, 3), np.uint8), np.zeros((2, 4, 4, 3), np.uint8)])
    with pytest.raises(ValueError, match=r"video: got unsafe samples \[1\]"):
        Guardrail(Checker()).checked(videos)
    assert find_guardrail("none", "cpu") is None


def test_a_text_model_is_no_longer_taken_for_the_embedded_kind():
    model = worldmodel.load("tiny", "cpu")
    assert model.backend.provenance() == {"domain": None, "action_guidance": 0.0, "frame_guidance": 0.0}
    with pytest.raises(ValueError, match="prompt: got it for tiny, expected domain"):
        model.conditioned(prompt="a cup")
    with pytest.raises(ValueError, match="frames: got None, expected first frames"):
        model.rollout(None, seeds=[0])
