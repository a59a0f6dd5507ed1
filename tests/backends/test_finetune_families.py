"""Every family can be fine-tuned through its denoiser: its adapters learn, and the folder loads again."""

import dataclasses

import numpy as np
import pytest
import tiny_cosmos3
import tiny_predict
import tiny_wan
import torch
from lerobot_data import write_dataset

import worldmodel
from worldmodel.backends.families import load_backend
from worldmodel.backends.text import ship_prompt
from worldmodel.training.clip_sets import ClipSet
from worldmodel.training.finetune import FinetuneSettings, finetune, finetune_from_folder, fitted
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


@pytest.mark.parametrize("family", [predict, wan, cosmos3])
def test_weights_that_the_card_of_a_family_does_not_describe_are_refused(family, tmp_path):
    folder, _ = family(tmp_path / "start")
    weights = load_backend(str(folder), "cpu", guardrail="none").weights_hash
    for stated, ours in ((weights, True), ("0" * 64, False)):
        (folder / "README.md").write_text(f"- weights: SHA-256 `{stated}`\n")
        if ours:
            assert load_backend(str(folder), "cpu", guardrail="none").weights_hash == weights
            continue
        with pytest.raises(ValueError, match=r"got weights of SHA-256 .*, expected 000000000000\.\.\."):
            load_backend(str(folder), "cpu", guardrail="none")


@pytest.mark.parametrize("family", [predict, wan, cosmos3])
def test_what_is_trained_is_the_prediction_under_the_prompt_without_guidance(family, clips, tmp_path):
    folder, prompt = family(tmp_path / "start")
    backend = load_backend(str(folder), "cpu", guardrail="none")
    negative = tiny_predict.embeddings(2) if family is predict else "blurred"
    told = backend.conditioned(image_size=SIZE, num_frames=FRAMES, prompt=prompt, negative_prompt=negative)
    clips = dataclasses.replace(clips, fps=told.recipe.fps)
    z = torch.randn(1, *told.latent_shape, generator=torch.Generator().manual_seed(0))
    guided, trained = (
        each.denoiser(z[:, :, :1], None, clips.video[:1, :1])(z, 0.5) for each in (told, fitted(told, [clips]))
    )
    off = 1.0 if family is cosmos3 else 0.0
    unguided = told.conditioned(guidance=off).denoiser(z[:, :, :1], None, clips.video[:1, :1])(z, 0.5)
    torch.testing.assert_close(trained, unguided)
    assert not torch.allclose(trained, guided, atol=1e-5)


def test_a_released_model_learns_a_dataset_at_the_size_and_length_that_it_is_told(tmp_path):
    data = write_dataset(tmp_path / "pushing", fps=10, lengths=(9, 12))
    folder, _ = predict(tmp_path / "start")
    ship_prompt(folder, "a grey wall", tiny_predict.embeddings(1))
    told = {"image_size": [16, 32], "num_frames": 5}
    with pytest.raises(ValueError, match=r"conditions: got guidance for .*, expected none of them"):
        finetune_from_folder(data, folder, tmp_path / "out", "cpu", SHORT, conditions={"guidance": 2.0})
    with pytest.raises(ValueError, match=r"no episode of 93 frames .* conditions num_frames"):
        finetune_from_folder(data, folder, tmp_path / "out", "cpu", SHORT, resize=True)
    assert not (tmp_path / "out").exists()
    out = finetune_from_folder(
        data, folder, tmp_path / "out", "cpu", SHORT, prompt="a grey wall", resize=True, conditions=told
    )
    model = worldmodel.load(out, device="cpu", guardrail="none")
    assert (model.recipe.image_size, model.recipe.num_frames, model.recipe.fps) == ((16, 32), 5, 10.0)
    assert '- prompt: "a grey wall"' in (out / "README.md").read_text()
    model = model.conditioned(prompt="a grey wall", guidance=0.0)
    frames = np.zeros((1, 16, 32, 3), np.uint8)
    assert model.rollout(frames, seeds=[0], steps=1, progress=False).video.shape == (1, 5, 16, 32, 3)


def test_two_experts_are_refused(clips, tmp_path):
    pipe = tiny_wan.text_to_video(experts=2)
    parts = {**pipe.components, **tiny_wan.text_parts()}
    type(pipe)(**parts, **tiny_wan.settings(pipe)).save_pretrained(tmp_path / "start")
    with pytest.raises(ValueError, match=r"start: got .* with two experts"):
        finetune_from_folder(tmp_path, tmp_path / "start", tmp_path / "out", "cpu", SHORT)
