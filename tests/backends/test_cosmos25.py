"""The Cosmos-Predict2.5 backend: its edge towards the samplers, and what it refuses to load."""

import json
import shutil

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLWan, CosmosTransformer3DModel, UniPCMultistepScheduler

from worldmodel.backends import checksum
from worldmodel.backends.cosmos25 import Cosmos25Backend
from worldmodel.noise import KeyedNoise
from worldmodel.sampling import PredictPerturb, flow_sigmas, sample


@pytest.fixture(scope="module")
def backend(pipeline_folder):
    return Cosmos25Backend.from_folder(pipeline_folder)


@pytest.fixture(scope="module")
def given(backend):
    frames = np.random.default_rng(0).integers(0, 255, (3, 1, 32, 32, 3), dtype=np.uint8)
    return backend.encode(frames)


def start(given, frames=3):
    return KeyedNoise(range(len(given))).initial(given.new_empty(len(given), 16, frames, 4, 4))


def test_given_frames_are_predicted_exactly_whatever_x_is(backend, given):
    denoise = backend.denoiser(given)
    for sigma in (1.0, 0.4):
        x0 = denoise(torch.randn(3, 16, 3, 4, 4), sigma)
        assert torch.equal(x0[:, :, :1], given)
    assert denoise.pinned[:, :, 0].all()
    assert not denoise.pinned[:, :, 1:].any()


def test_what_x_holds_on_given_frames_does_not_matter(backend, given):
    denoise, x = backend.denoiser(given), start(given)
    other = x.clone()
    other[:, :, 0] = 99.0
    assert torch.equal(denoise(x, 0.7), denoise(other, 0.7))


@torch.no_grad()
def test_the_prediction_is_x_minus_sigma_v_of_diffusers_own_network(pipeline_folder, backend, given):
    """With its attention to the (zero) prompt left in place."""
    network = CosmosTransformer3DModel.from_pretrained(pipeline_folder / "transformer")
    x, sigma = start(given), 0.6
    pinned = torch.cat([given, x[:, :, 1:]], dim=2)
    mask = torch.zeros(3, 1, 3, 4, 4)
    mask[:, :, 0] = 1.0
    velocity = network(
        pinned,
        timestep=torch.full((3,), sigma),
        encoder_hidden_states=torch.zeros(3, 1, 8),
        condition_mask=mask,
        return_dict=False,
    )[0]
    expected = (x - sigma * velocity)[:, :, 1:]
    torch.testing.assert_close(backend.denoiser(given)(x, sigma)[:, :, 1:], expected, rtol=1e-4, atol=1e-5)


def test_refined_samples_keep_the_given_frame_to_the_bit(backend, given):
    refine = PredictPerturb.from_steps([(0, 2, 3)], threshold=0.1)
    z = sample(backend.denoiser(given), start(given), flow_sigmas(4), refine=refine)
    assert torch.equal(z[:, :, :1], given)


def test_encoding_and_decoding_are_those_of_diffusers(pipeline_folder, backend):
    vae = AutoencoderKLWan.from_pretrained(pipeline_folder / "vae")
    video = np.random.default_rng(1).integers(0, 255, (2, 9, 32, 32, 3), dtype=np.uint8)
    pixels = torch.from_numpy(video).permute(0, 4, 1, 2, 3) / 127.5 - 1.0
    with torch.no_grad():
        raw = vae.encode(pixels).latent_dist.mode()
        restored = vae.decode(raw).sample
    mean, std = (torch.tensor(v).view(1, -1, 1, 1, 1) for v in (vae.config.latents_mean, vae.config.latents_std))
    latents = backend.encode(video)
    torch.testing.assert_close(latents, (raw - mean) / std)
    expected = ((restored.clamp(-1, 1) + 1) * 127.5).permute(0, 2, 3, 4, 1).numpy()
    assert np.abs(backend.decode(latents).astype(float) - expected).max() <= 0.51


def test_the_schedule_is_that_of_the_folders_scheduler(pipeline_folder, backend):
    scheduler = UniPCMultistepScheduler.from_pretrained(pipeline_folder / "scheduler")
    scheduler.set_timesteps(10)
    ours = backend.sigmas(10)
    assert ours[0] == 1.0
    shift = scheduler.config.flow_shift
    np.testing.assert_allclose(ours, flow_sigmas(10, shift))


@pytest.fixture
def copy(pipeline_folder, tmp_path):
    return shutil.copytree(pipeline_folder, tmp_path / "copy")


def test_a_truncated_weight_file_is_named(copy):
    file = copy / "transformer" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"transformer/diffusion_pytorch_model.safetensors: got a truncated"):
        Cosmos25Backend.from_folder(copy)


def test_a_missing_weight_file_is_named(copy):
    (copy / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"vae: got no \*.safetensors file"):
        Cosmos25Backend.from_folder(copy)


def test_a_folder_that_is_no_pipeline_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"model_index.json: got no such file"):
        Cosmos25Backend.from_folder(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_class_name": "WanPipeline"}, "got a WanPipeline, expected a Cosmos2_5_PredictBasePipeline"),
        ({"text_encoder": ["transformers", "Qwen2_5_VLForConditionalGeneration"]}, "text-conditioned pipeline"),
    ],
)
def test_another_pipeline_is_refused(copy, change, message):
    index = json.loads((copy / "model_index.json").read_text())
    (copy / "model_index.json").write_text(json.dumps(index | change))
    with pytest.raises(ValueError, match=message):
        Cosmos25Backend.from_folder(copy)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("vae/config.json", None),
        ("transformer/config.json", "{"),
        ("worldmodel.json", '{"name": "x"}'),
        ("worldmodel.json", '{"image_size": 3, "colour": "red"}'),
        ("scheduler/scheduler_config.json", None),
    ],
)
def test_damaged_settings_are_one_line_that_names_them(copy, file, text):
    if text is None:
        (copy / file).unlink()
    else:
        (copy / file).write_text(text)
    with pytest.raises(ValueError, match=file.split("/")[0]) as raised:
        Cosmos25Backend.from_folder(copy)
    assert len(str(raised.value).splitlines()) == 1


def test_weights_of_another_component_are_refused(copy):
    name = "diffusion_pytorch_model.safetensors"
    shutil.copy(copy / "vae" / name, copy / "transformer" / name)
    with pytest.raises(ValueError, match=r"transformer: got .* expected"):
        Cosmos25Backend.from_folder(copy)


def test_malformed_settings_are_named(copy):
    (copy / "worldmodel.json").write_text("{")
    with pytest.raises(ValueError, match=r"worldmodel.json: got malformed JSON"):
        Cosmos25Backend.from_folder(copy)


def test_weights_that_the_card_does_not_describe_are_refused(copy, backend):
    card = copy / "README.md"
    card.write_text(f"# mine\n\n- weights: SHA-256 `{backend.weights_hash}`\n")
    assert Cosmos25Backend.from_folder(copy).weights_hash == backend.weights_hash
    card.write_text(f"# mine\n\n- weights: SHA-256 `{'0' * 64}`\n")
    with pytest.raises(ValueError, match=r"got weights of SHA-256 .* expected 000000000000\.\.\., which README.md"):
        Cosmos25Backend.from_folder(copy)


def test_the_shipped_model_without_its_card_is_refused(copy, monkeypatch):
    monkeypatch.setattr(checksum, "SHIPPED", {"copy": copy})
    with pytest.raises(ValueError, match=r"got no hash of the weights in README\.md"):
        Cosmos25Backend.from_folder(copy)


def test_other_weights_have_another_hash(copy, pipeline_folder, backend):
    assert Cosmos25Backend.from_folder(copy).weights_hash == backend.weights_hash
    shutil.copy(copy / "vae" / "diffusion_pytorch_model.safetensors", copy / "vae" / "extra.safetensors")
    assert Cosmos25Backend.from_folder(copy).weights_hash != backend.weights_hash
