"""Wan's pipelines from folders in the hub's layout: loaded, told a prompt, rolled out, equal to the stock pipelines."""

from types import SimpleNamespace

import numpy as np
import pytest
import tiny_wan
import torch
from PIL import Image

import worldmodel
from worldmodel.backends.wan_text import clean, encode_prompt
from worldmodel.noise import KeyedNoise
from worldmodel.sampling import PredictPerturb

SIZE, FRAMES, STEPS = (32, 32), 9, 4
KINDS = {
    "T2V": tiny_wan.text_to_video,
    "T2V-A14B": lambda: tiny_wan.text_to_video(experts=2),
    "I2V": lambda: tiny_wan.image_to_video(image_dim=20),
    "I2V-A14B": lambda: tiny_wan.image_to_video(experts=2),
    "TI2V-5B": lambda: tiny_wan.text_to_video(expand_timesteps=True),
}


def with_encoders(pipe):
    """The pipeline with a UMT5, and where it sees first frames a CLIP, of its own."""
    parts = tiny_wan.text_parts()
    if isinstance(pipe.transformer.config.image_dim, int):
        parts |= tiny_wan.image_parts(pipe.transformer.config.image_dim)
    return type(pipe)(**{**pipe.components, **parts}, **tiny_wan.settings(pipe))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Pipelines of every kind, and their folders."""
    found = {}
    for kind, make in KINDS.items():
        pipe = with_encoders(make())
        folder = tmp_path_factory.mktemp("wan") / kind
        pipe.save_pretrained(folder)
        found[kind] = pipe, folder
    return found


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def told(folder, **options):
    model = worldmodel.load(folder, device="cpu")
    return model.conditioned(image_size=SIZE, num_frames=FRAMES, prompt="a red ball falls", **options)


def frame(seed=0):
    return np.random.default_rng(seed).integers(0, 255, (1, *SIZE, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", KINDS)
def test_rollouts_equal_the_stock_pipeline(saved, kind, monkeypatch):
    """Latents from the same noise, text and first frame, with guidance."""
    # The image pipeline of diffusers 0.42 fails without this optional package, which these prompts do not need.
    package = SimpleNamespace(fix_text=lambda text: text)
    monkeypatch.setattr("diffusers.pipelines.wan.pipeline_wan_i2v.ftfy", package, raising=False)
    pipe, folder = saved[kind]
    two = {"guidance_2": 2.0} if pipe.transformer_2 is not None else {}
    model = told(folder, guidance=4.0, negative_prompt="blurred", **two)
    images = frame() if kind.startswith("I2V") else None
    ours = model.rollout(images, seeds=[3], steps=STEPS, solver="unipc", keep_latents=True, progress=False)
    start = KeyedNoise([3]).initial(torch.empty(1, *model.backend.latent_shape))
    pipe.set_progress_bar_config(disable=True)
    more = {"guidance_scale_2": 2.0} if two else {}
    if images is not None:
        more["image"] = Image.fromarray(images[0])
    theirs = pipe(
        prompt="a red ball falls", negative_prompt="blurred", guidance_scale=4.0, latents=start, output_type="latent",
        height=SIZE[0], width=SIZE[1], num_frames=FRAMES, num_inference_steps=STEPS, **more,
    ).frames.numpy()  # fmt: skip
    assert np.abs(ours.latents - theirs).max() < 1e-4 * np.abs(theirs).max()
    assert ours.video.shape == (1, FRAMES, *SIZE, 3)
    assert ours.provenance["licence"].startswith("Apache-2.0")
    assert ours.provenance["guidance_scale"] == ([4.0, 2.0] if two else [4.0])


def test_5b_goes_on_from_a_first_frame_chunk_after_chunk_and_refines(saved):
    model = told(saved["TI2V-5B"][1], guidance=1.0)
    refine = PredictPerturb(plan=[(0.0, 0.5, 1)], threshold=0.2)
    rollout = model.rollout(
        frame(), seeds=[3], steps=STEPS, horizon=16, refine=refine, keep_latents=True, progress=False
    )
    assert rollout.video.shape[1] == 17
    np.testing.assert_allclose(rollout.latents[:, :, :1], model.backend.encode(frame()[:, None]), atol=1e-5)


def test_the_prompt_matters_and_its_encoder_is_asked_once(saved, monkeypatch):
    model = told(saved["T2V"][1], guidance=1.0)
    one = model.rollout(None, seeds=[1], steps=2, keep_latents=True, progress=False)
    other = model.conditioned(prompt="nothing").rollout(None, seeds=[1], steps=2, keep_latents=True, progress=False)
    assert np.abs(one.latents - other.latents).max() > 1e-5
    from worldmodel.backends.wan_text import WanPrompts

    monkeypatch.setattr(WanPrompts, "_encode", lambda *_: pytest.fail("the encoder was loaded for a known prompt"))
    again = told(saved["T2V"][1], guidance=1.0).rollout(None, seeds=[1], steps=2, keep_latents=True, progress=False)
    np.testing.assert_array_equal(again.latents, one.latents)


def test_embeddings_are_those_of_the_stock_pipeline(saved):
    pipe, _ = saved["T2V"]
    prompt = "  a red &amp; round ball\n falls "
    expected = pipe.encode_prompt(prompt, do_classifier_free_guidance=False, max_sequence_length=512)[0]
    torch.testing.assert_close(encode_prompt(pipe.text_encoder, pipe.tokenizer, prompt), expected)
    assert clean(prompt) == "a red & round ball falls"


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("T2V", {"guidance_2": 2.0}, "guidance_2: got it for one network"),
        ("T2V", {"guidance": -1.0}, "guidance: got -1.0"),
        ("T2V", {"given_sigma": 0.1}, "given_sigma: got it for T2V, expected prompt"),
        ("T2V", {"image_size": (33, 32)}, r"image_size: got \(33, 32\), expected multiples of 16"),
        ("T2V", {"num_frames": 8}, "num_frames: got 8, expected 4n"),
    ],
)
def test_options_that_do_not_fit_are_refused(saved, kind, options, message):
    with pytest.raises(ValueError, match=message):
        told(saved[kind][1]).conditioned(**options)


def test_frames_that_a_network_cannot_take_are_refused(saved):
    with pytest.raises(ValueError, match="frames: got 1 given latent frames, expected 0"):
        told(saved["T2V"][1]).rollout(frame(), seeds=[0], steps=2, progress=False)
    with pytest.raises(ValueError, match="frames: got None, expected first frames"):
        told(saved["I2V"][1]).rollout(None, seeds=[0], steps=2)
    with pytest.raises(ValueError, match="actions: got some for"):
        told(saved["I2V"][1]).rollout(frame(), seeds=[0], steps=2, actions=np.zeros((1, 8, 7)))


def test_a_missing_second_network_is_named(saved, tmp_path):
    pipe, _ = saved["T2V-A14B"]
    pipe.save_pretrained(tmp_path / "half")
    for file in (tmp_path / "half" / "transformer_2").glob("*.safetensors"):
        file.unlink()
    with pytest.raises(ValueError, match="transformer_2"):
        worldmodel.load(tmp_path / "half", device="cpu")


@pytest.mark.parametrize(
    ("sizes", "billions"),
    [
        ({"num_attention_heads": 12, "ffn_dim": 8960, "num_layers": 30}, 1.42),  # Wan2.1 T2V 1.3B
        ({"num_attention_heads": 40, "ffn_dim": 13824, "num_layers": 40}, 14.3),  # 14B, and each expert of A14B
        (
            {"num_attention_heads": 24, "ffn_dim": 14336, "num_layers": 30, "in_channels": 48, "out_channels": 48},
            5.0,
        ),  # TI2V 5B
    ],
)
@torch.no_grad()
def test_full_size_on_the_meta_device(sizes, billions):
    from diffusers import WanTransformer3DModel

    from worldmodel.backends.wan import Expert, Text, WanDenoiser

    with torch.device("meta"):
        network = WanTransformer3DModel(attention_head_dim=128, **sizes)
    assert sum(each.numel() for each in network.parameters()) / 1e9 == pytest.approx(billions, rel=0.02)
    channels = sizes.get("in_channels", 16)
    told = Text(torch.zeros(2, 512, 4096, device="meta"))
    denoise = WanDenoiser([Expert(network)], told)
    x = torch.zeros(2, channels, 2, 8, 12, device="meta")
    assert denoise(x, 0.5).shape == x.shape
