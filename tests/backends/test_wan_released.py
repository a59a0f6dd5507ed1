"""Wan's pipelines from folders in the hub's layout: loaded, told a prompt, rolled out, equal to the stock pipelines."""

from types import SimpleNamespace

import numpy as np
import pytest
import tiny_wan
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from PIL import Image

import worldmodel
from worldmodel.backends.wan import Expert, Text, WanDenoiser
from worldmodel.backends.wan_text import clean, encode_prompt
from worldmodel.noise import KeyedNoise
from worldmodel.sampling import PredictPerturb

FRAMES, STEPS = 9, 4
KINDS = {
    "T2V": tiny_wan.text_to_video,
    "T2V-A14B": lambda: tiny_wan.text_to_video(experts=2),
    "I2V": lambda: tiny_wan.image_to_video(image_dim=20),
    "I2V-A14B": lambda: tiny_wan.image_to_video(experts=2),
    "TI2V-5B": lambda: tiny_wan.text_to_video(expand_timesteps=True, layout="2.2"),
    "TI2V-5B-image": lambda: tiny_wan.image_to_video(expand_timesteps=True, layout="2.2"),
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


def size_of(kind):
    """2 x 2 tokens in a latent frame."""
    return (64, 64) if "5B" in kind else (32, 32)


def told(folder, **options):
    model = worldmodel.load(folder, device="cpu")
    return model.conditioned(image_size=size_of(folder.name), num_frames=FRAMES, prompt="a red ball falls", **options)


def frame(kind):
    return np.random.default_rng(0).integers(0, 255, (1, *size_of(kind), 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", KINDS)
def test_rollouts_equal_the_stock_pipeline(saved, kind, monkeypatch):
    """Latents from the same noise, text and first frame, with guidance."""
    # The image pipeline of diffusers 0.42 fails without this optional package, which these prompts do not need.
    package = SimpleNamespace(fix_text=lambda text: text)
    monkeypatch.setattr("diffusers.pipelines.wan.pipeline_wan_i2v.ftfy", package, raising=False)
    pipe, folder = saved[kind]
    two = {"guidance_2": 2.0} if pipe.transformer_2 is not None else {}
    model = told(folder, guidance=4.0, negative_prompt="blurred", **two)
    images = frame(kind) if kind.startswith("I2V") or kind.endswith("image") else None
    ours = model.rollout(images, seeds=[3], steps=STEPS, solver="unipc", keep_latents=True, progress=False)
    start = KeyedNoise([3]).initial(torch.empty(1, *model.backend.latent_shape))
    pipe.set_progress_bar_config(disable=True)
    more = {"guidance_scale_2": 2.0} if two else {}
    if images is not None:
        more["image"] = Image.fromarray(images[0])
    latents, video = (
        np.asarray(pipe(
            prompt="a red ball falls", negative_prompt="blurred", guidance_scale=4.0, latents=start.clone(),
            output_type=output, height=size_of(kind)[0], width=size_of(kind)[1], num_frames=FRAMES,
            num_inference_steps=STEPS, **more,
        ).frames)
        for output in ("latent", "np")
    )  # fmt: skip
    assert np.abs(ours.latents - latents).max() < 1e-4 * np.abs(latents).max()
    assert ours.video.shape == (1, FRAMES, *size_of(kind), 3)
    assert np.abs(ours.video / 255 - video).max() < 1 / 255
    assert ours.provenance["licence"].startswith("Apache-2.0")
    assert ours.provenance["guidance_scale"] == ([4.0, 2.0] if two else [4.0])


def test_5b_goes_on_from_a_first_frame_chunk_after_chunk_and_refines(saved):
    model = told(saved["TI2V-5B"][1], guidance=1.0)
    refine = PredictPerturb(plan=[(0.0, 0.5, 1)], threshold=0.2)
    first = frame("TI2V-5B")
    rollout = model.rollout(first, seeds=[3], steps=STEPS, horizon=16, refine=refine, keep_latents=True, progress=False)
    assert rollout.video.shape[1] == 17
    np.testing.assert_allclose(rollout.latents[:, :, :1], model.backend.encode(first[:, None]), atol=1e-5)


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
        ("T2V", {"num_frames": 0}, "num_frames: got 0, expected 4n"),
        ("T2V", {"num_frames": 4097}, "num_frames: got 4097, expected at most 4093"),
        ("T2V", {"image_size": (16400, 32)}, r"image_size: got \(16400, 32\), expected sides of at most 16384"),
        ("TI2V-5B", {"image_size": (48, 64)}, r"image_size: got \(48, 64\), expected multiples of 32"),
    ],
)
def test_options_that_do_not_fit_are_refused(saved, kind, options, message):
    with pytest.raises(ValueError, match=message):
        told(saved[kind][1]).conditioned(**options)


def test_frames_that_a_network_cannot_take_are_refused(saved):
    with pytest.raises(ValueError, match="frames: got 1 given latent frames, expected 0"):
        told(saved["T2V"][1]).rollout(frame("T2V"), seeds=[0], steps=2, progress=False)
    with pytest.raises(ValueError, match="frames: got None, expected first frames"):
        told(saved["I2V"][1]).rollout(None, seeds=[0], steps=2)
    with pytest.raises(ValueError, match="actions: got some for"):
        told(saved["I2V"][1]).rollout(frame("I2V"), seeds=[0], steps=2, actions=np.zeros((1, 8, 7)))


def test_a_missing_second_network_is_named(saved, tmp_path):
    pipe, _ = saved["T2V-A14B"]
    pipe.save_pretrained(tmp_path / "half")
    for file in (tmp_path / "half" / "transformer_2").glob("*.safetensors"):
        file.unlink()
    with pytest.raises(ValueError, match="transformer_2"):
        worldmodel.load(tmp_path / "half", device="cpu")


BASE = {"num_attention_heads": 40, "ffn_dim": 13824, "num_layers": 40}  # 14B, and each expert of A14B


@pytest.mark.parametrize(
    ("sizes", "count"),
    [
        ({"num_attention_heads": 12, "ffn_dim": 8960, "num_layers": 30}, 1_418_996_800),  # Wan2.1 T2V 1.3B
        (BASE, 14_288_491_584),  # T2V
        ({**BASE, "in_channels": 36, "image_dim": 1280, "added_kv_proj_dim": 5120}, 16_394_878_784),  # Wan2.1 I2V
        ({**BASE, "in_channels": 36}, 14_288_901_184),  # I2V-A14B
        (
            {"num_attention_heads": 24, "ffn_dim": 14336, "num_layers": 30, "in_channels": 48, "out_channels": 48},
            4_999_787_712,
        ),  # TI2V 5B
    ],
)
@torch.no_grad()
def test_full_size_on_the_meta_device(sizes, count):
    with torch.device("meta"):
        network = WanTransformer3DModel(attention_head_dim=128, **sizes)
    shapes = {name: tuple(weight.shape) for name, weight in network.named_parameters()}
    assert sum(np.prod(shape) for shape in shapes.values()) == count
    width, read, made = 128 * sizes["num_attention_heads"], network.config.in_channels, network.config.out_channels
    assert shapes["patch_embedding.weight"] == (width, read, 1, 2, 2)
    assert shapes["proj_out.weight"] == (4 * made, width)
    last = f"blocks.{sizes['num_layers'] - 1}"
    assert shapes[f"{last}.ffn.net.2.weight"] == (width, sizes["ffn_dim"])
    image, x = None, torch.zeros(2, made, 2, 8, 12, device="meta")
    if "image_dim" in sizes:
        assert shapes[f"{last}.attn2.add_k_proj.weight"] == (5120, 5120)
        image = torch.zeros(2, 257, 1280, device="meta")
    told = Text(torch.zeros(2, 512, 4096, device="meta"), image=image)
    above = torch.zeros(2, read - made, 2, 8, 12, device="meta") if read != made else None
    pinned = {"given": x[:, :, :1], "frames": 2, "timestep_for_each_place": True} if made == 48 else {}
    assert WanDenoiser([Expert(network)], told, channels=above, **pinned)(x, 0.5).shape == x.shape


@pytest.mark.parametrize(
    ("sizes", "count", "shapes"),
    [
        (
            {},
            126_892_531,
            {
                "encoder.conv_in.weight": (96, 3, 3, 3, 3),
                "decoder.conv_in.weight": (384, 16, 3, 3, 3),
                "quant_conv.weight": (32, 32, 1, 1, 1),
            },
        ),
        (
            {"base_dim": 160, "decoder_base_dim": 256, "z_dim": 48, "is_residual": True, "in_channels": 12,
             "out_channels": 12, "patch_size": 2, "scale_factor_spatial": 16},
            704_688_668,
            {
                "encoder.conv_in.weight": (160, 12, 3, 3, 3),
                "decoder.conv_in.weight": (1024, 48, 3, 3, 3),
                "quant_conv.weight": (96, 96, 1, 1, 1),
            },
        ),
    ],
)  # fmt: skip
@torch.no_grad()
def test_full_size_autoencoders_on_the_meta_device(sizes, count, shapes):
    """Of Wan2.1 (and Predict2.5), and of TI2V-5B (and Cosmos 3)."""
    with torch.device("meta"):
        vae = AutoencoderKLWan(**sizes)
    weights = dict(vae.named_parameters())
    assert sum(weight.numel() for weight in weights.values()) == count
    assert {name: tuple(weights[name].shape) for name in shapes} == shapes
    side = vae.config.scale_factor_spatial
    latents = vae.encode(torch.zeros(1, 3, 5, 4 * side, 2 * side, device="meta")).latent_dist.mean
    assert latents.shape == (1, vae.config.z_dim, 2, 4, 2)
    assert vae.decode(latents).sample.shape == (1, 3, 5, 4 * side, 2 * side)
