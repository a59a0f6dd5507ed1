"""Every family can be fine-tuned through its denoiser: its adapters learn, and the folder loads again."""

import dataclasses

import numpy as np
import pytest
import tiny_cosmos3
import tiny_predict
import tiny_wan

import worldmodel
from worldmodel.backends.families import load_backend
from worldmodel.training.clip_sets import ClipSet
from worldmodel.training.finetune import FinetuneSettings, finetune, finetune_from_folder
from worldmodel.training.run import fingerprint_of

SHORT = FinetuneSettings(steps=2, batch=2, levels=1, warmup_steps=1, stride=9, lora_rank=2, learning_rate=1e-2)
SIZE, FRAMES = (32, 48), 9


def predict(folder):
    return tiny_predict.save(tiny_predict.pipeline(tiny_predict.shifted()), folder), tiny_predict.embeddings(1)


def wan(folder):
    pipe = tiny_wan.text_to_video(expand_timesteps=True)
    parts = {**pipe.components, **tiny_wan.text_parts()}
    type(pipe)(**parts, **tiny_wan.settings(pipe)).save_pretrained(folder)
    return folder, "a red ball falls"


def cosmos3(folder):
    tiny_cosmos3.pipeline().save_pretrained(folder)
    return folder, "a red ball falls"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def clips():
    video = np.random.default_rng(0).integers(0, 255, (2, FRAMES, *SIZE, 3), dtype=np.uint8)
    return ClipSet("noise", "mine", 16.0, video, np.zeros(video.shape[:-1], bool), None, None, (0, 1))


@pytest.mark.parametrize("family", [predict, wan, cosmos3])
def test_a_family_learns_and_loads_again(family, clips, tmp_path):
    folder, prompt = family(tmp_path / "start")
    backend = load_backend(str(folder), "cpu", guardrail="none")
    told = backend.conditioned(image_size=SIZE, num_frames=FRAMES, prompt=prompt)
    clips = dataclasses.replace(clips, fps=told.recipe.fps)
    network = getattr(told, "transformers", None) or [told.transformer]
    before = fingerprint_of(network[0])
    out = finetune(told, folder, [clips], tmp_path / "out", SHORT)
    assert fingerprint_of(network[0]) != before
    again = worldmodel.load(out, device="cpu", guardrail="none")
    again = again.conditioned(image_size=SIZE, num_frames=FRAMES, prompt=prompt, guidance=0.0)
    network = getattr(again.backend, "transformers", None) or [again.backend.transformer]
    assert fingerprint_of(network[0]) != before
    assert again.rollout(clips.video[:1, 0], seeds=[0], steps=1, progress=False).video.shape == (1, FRAMES, *SIZE, 3)


def test_two_experts_are_refused(clips, tmp_path):
    pipe = tiny_wan.text_to_video(experts=2)
    parts = {**pipe.components, **tiny_wan.text_parts()}
    type(pipe)(**parts, **tiny_wan.settings(pipe)).save_pretrained(tmp_path / "start")
    with pytest.raises(ValueError, match=r"start: got .* with two experts"):
        finetune_from_folder(tmp_path, tmp_path / "start", tmp_path / "out", "cpu", SHORT)
