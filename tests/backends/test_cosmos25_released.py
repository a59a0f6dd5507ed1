"""Predict2.5 against the stock pipeline on the same noise, in every mode, and what the stock one cannot."""

import numpy as np
import pytest
import tiny_predict
import torch
from tiny_predict import FRAMES, SIZE, embeddings

import worldmodel
from worldmodel.backends.families import load_backend
from worldmodel.noise import KeyedNoise
from worldmodel.sampling import PredictPerturb, sample

STEPS = 4


@pytest.fixture(autouse=True)
def torchvision_where_it_is_missing(monkeypatch):
    """The stock network resizes a mask of zeros with it; ours needs none."""
    from diffusers.models.transformers import transformer_cosmos
    from diffusers.pipelines.cosmos import pipeline_cosmos2_5_predict as stock

    class Functional:
        @staticmethod
        def resize(x, size, interpolation):
            return torch.nn.functional.interpolate(x, size=size, mode="nearest")

        @staticmethod
        def to_tensor(image):
            return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255.0

    class Transforms:
        functional = Functional

        class InterpolationMode:
            NEAREST = "nearest"

    if not hasattr(transformer_cosmos, "transforms"):
        monkeypatch.setattr(transformer_cosmos, "transforms", Transforms, raising=False)
        monkeypatch.setattr(stock, "torchvision", type("T", (), {"transforms": Transforms}), raising=False)


@pytest.fixture(scope="module", params=["karras", "shifted"])
def folder(request, tmp_path_factory):
    pipe = tiny_predict.pipeline(getattr(tiny_predict, request.param)())
    return tiny_predict.save(pipe, tmp_path_factory.mktemp("predict") / request.param)


@pytest.fixture(scope="module")
def stock(folder):
    return tiny_predict.pipeline(getattr(tiny_predict, folder.name)())


@pytest.fixture(scope="module")
def backend(folder):
    loaded = load_backend(str(folder), "cpu", guardrail="none")
    return loaded.conditioned(image_size=SIZE, num_frames=FRAMES, prompt=embeddings(1), negative_prompt=embeddings(2))


def video(batch=1, frames=5, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (batch, frames, *SIZE, 3), dtype=np.uint8)


def start(batch=1):
    return KeyedNoise(range(batch)).initial(torch.empty(batch, 16, 1 + (FRAMES - 1) // 4, SIZE[0] // 8, SIZE[1] // 8))


def ours(backend, frames, x, guidance, steps=STEPS):
    told = backend.conditioned(guidance=guidance)
    return sample(told.denoiser(told.encode(frames)), x, told.sigmas(steps), solver="unipc")


def theirs(stock, x, guidance, told, **given):
    return stock(
        prompt_embeds=embeddings(1),
        negative_prompt_embeds=embeddings(2),
        height=SIZE[0],
        width=SIZE[1],
        num_frames=FRAMES,
        num_inference_steps=STEPS,
        guidance_scale=guidance,
        latents=x.clone(),
        conditional_frame_timestep=told,
        output_type="latent",
        **given,
    ).frames


MODES = {
    "text": (0, {}),
    "image": (1, {}),
    "video 1": (1, {"num_latent_conditional_frames": 1}),
    "video 2": (5, {"num_latent_conditional_frames": 2}),
}


@pytest.mark.parametrize("guidance", [0.0, 3.0])
@pytest.mark.parametrize("mode", MODES)
def test_it_equals_the_stock_pipeline(stock, backend, mode, guidance):
    """On all frames that are not given: those are exact here, and keep a share of the noise there."""
    from PIL import Image

    count, more = MODES[mode]
    frames, x = video(frames=count), start()
    given = dict(more)
    if mode == "image":
        given["image"] = Image.fromarray(frames[0, 0])
    elif count:
        pixels = torch.from_numpy(frames).permute(0, 4, 1, 2, 3).float() / 127.5 - 1.0
        given["video"] = pixels
    expected = theirs(stock, x, guidance, backend._given_sigma, **given)
    z = ours(backend, frames, x, guidance)
    known = 0 if count == 0 else 1 + (count - 1) // 4
    free = slice(known, None)
    assert (z - expected)[:, :, free].abs().max() < 1e-4 * expected[:, :, free].abs().max()
    if count:
        torch.testing.assert_close(z[:, :, :known], backend.encode(frames), atol=1e-6, rtol=0)
        sigma = float(backend.sigmas(STEPS)[0])
        left = sigma * backend.encode(frames) + (1 - sigma) * x[:, :, :known]
        torch.testing.assert_close(expected[:, :, :known], left, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_guidance_up_to_1_is_nvidias_formula_which_the_stock_pipeline_drops(stock, backend):
    x, frames, sigma = start(), video(frames=1), 0.7
    given = backend.encode(frames)
    told, negative = (
        backend.conditioned(prompt=embeddings(seed), guidance=0.0).denoiser(given)(x, sigma) for seed in (1, 2)
    )
    guided = backend.conditioned(guidance=0.5).denoiser(given)(x, sigma)
    torch.testing.assert_close(guided, told + 0.5 * (told - negative), atol=1e-5, rtol=1e-4)
    assert (guided - told).abs().max() > 1e-3
    dropped, none = (theirs(stock, x, guidance, backend._given_sigma) for guidance in (0.5, 0.0))
    assert torch.equal(dropped, none)


def test_guidance_is_one_forward_pass_and_none_is_one_of_half_the_size(backend, monkeypatch):
    sizes = []
    backend.transformer.patch_embed.register_forward_hook(lambda _, inputs, __: sizes.append(len(inputs[0])))
    given = backend.encode(video(2, 1))
    for guidance in (0.0, 2.0):
        backend.conditioned(guidance=guidance).denoiser(given)(start(2), 0.5)
    assert sizes == [2, 4]


@pytest.mark.parametrize("frames", [0, 1, 5])
def test_a_batch_is_its_samples(backend, frames):
    """Batches of images and videos, a seed a sample: neither is possible in the stock pipeline."""
    given = video(3, frames)
    together = ours(backend, given, start(3), 2.0)
    alone = ours(backend, given[1:2], start(3)[1:2], 2.0)
    torch.testing.assert_close(together[1:2], alone, atol=1e-4, rtol=1e-4)
    assert (together[0] - together[1]).abs().mean() > 0.1


@pytest.mark.parametrize(("frames", "encoded"), [(1, 1), (5, 5)])
def test_only_the_given_frames_are_encoded_and_that_changes_nothing(backend, frames, encoded):
    seen = []
    hook = backend.codec.vae.encoder.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape[2]))
    given, padded = video(1, frames), video(1, FRAMES)
    padded[:, :frames] = given
    latents = backend.encode(given)
    assert sum(seen) == encoded
    hook.remove()
    assert torch.equal(backend.encode(padded)[:, :, : latents.shape[2]], latents)


def test_the_prompt_is_projected_and_its_keys_made_once_for_all_steps(backend):
    told, calls = backend.conditioned(prompt=embeddings(5), guidance=2.0), []
    network = backend.transformer
    hooks = [
        module.register_forward_hook(lambda *_: calls.append(1))
        for module in (network.crossattn_proj, network.transformer_blocks[1].attn2.to_k)
    ]
    ours(told, video(2, 1), start(2), 2.0)
    assert len(calls) == 4, "projection and keys, for the prompt and the negative one"
    for hook in hooks:
        hook.remove()


def test_rotation_tables_are_made_once_a_shape(backend):
    calls = []
    hook = backend.transformer.rope.register_forward_hook(lambda *_: calls.append(1))
    backend._network._rotations.clear()
    for _ in range(3):
        backend.denoiser(backend.encode(video(1, 1)))(start(), 0.5)
    hook.remove()
    assert len(calls) == 1


def test_a_refined_rollout_of_the_toolkit(folder):
    model = worldmodel.load(folder, "cpu", guardrail="none").conditioned(
        image_size=SIZE, num_frames=FRAMES, prompt=embeddings(1), guidance=0.0
    )
    refine = PredictPerturb.from_steps([(0, 1, 2)], threshold=0.1)
    rollout = model.rollout(video(2, 5), seeds=[3, 4], steps=3, refine=refine, keep_latents=True, progress=False)
    assert rollout.video.shape == (2, FRAMES, *SIZE, 3)
    alone = model.rollout(video(2, 5)[1:], seeds=[4], steps=3, refine=refine, keep_latents=True, progress=False)
    np.testing.assert_allclose(alone.latents[0], rollout.latents[1], atol=1e-3)
    text = model.rollout(None, seeds=[0], steps=2, horizon=FRAMES + 8, progress=False)
    assert text.video.shape == (1, FRAMES + 8, *SIZE, 3), "from text, then on from its last frame"
    told = rollout.provenance
    assert (told["guardrail"], told["guidance_scale"], told["prompt"]) == ("none", 1.0, "an embedding")
    assert told["licence"].startswith("NVIDIA Open Model License")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_frames": 16}, "num_frames: got 16, expected 4n \\+ 1; the nearest is 17"),
        (
            {"image_size": (480, 854)},
            r"image_size: got \(480, 854\), expected multiples of 16; the nearest is \(480, 848\)",
        ),
        ({"num_frames": 0}, "num_frames: got 0, expected 4n"),
        ({"num_frames": 513}, "num_frames: got 513, expected at most 509"),
        ({"image_size": (2064, 32)}, r"image_size: got \(2064, 32\), expected sides of at most 2048"),
        ({"colour": "red"}, "colour: got it for .*, expected prompt, negative_prompt"),
        ({"guidance": -1.0}, "guidance: got -1.0, expected a finite number of at least 0"),
    ],
)
def test_what_the_model_cannot_take_is_refused_with_the_nearest_it_can(backend, options, message):
    with pytest.raises(ValueError, match=message):
        backend.conditioned(**options)


@pytest.mark.parametrize(("size", "frames"), [((2048, 16), 1), ((16, 2048), 1), ((16, 16), 509)])
def test_the_largest_clips_are_evaluated(backend, size, frames):
    largest = backend.conditioned(image_size=size, num_frames=frames, guidance=0.0)
    x = torch.zeros(1, *largest.latent_shape)
    assert largest.denoiser(x[:, :, :0])(x, 0.5).shape == x.shape


def test_a_recipe_beyond_the_network_is_refused(tmp_path):
    recipe = {"name": "wide", "image_size": [704, 4096], "num_frames": 93, "fps": 16.0, "steps": 36}
    folder = tiny_predict.save(tiny_predict.pipeline(), tmp_path / "wide", recipe)
    with pytest.raises(ValueError, match=r"image_size: got \(704, 4096\), expected sides of at most 2048"):
        worldmodel.load(folder, "cpu", guardrail="none")


def test_actions_for_a_model_without_are_refused(backend, folder):
    with pytest.raises(ValueError, match=r"actions: got some for .*, expected none"):
        backend.denoiser(backend.encode(video(1, 1)), np.zeros((1, 8, 7)))
    model = worldmodel.load(folder, "cpu", guardrail="none").conditioned(image_size=SIZE, num_frames=FRAMES)
    with pytest.raises(ValueError, match="actions: got some for"):
        model.rollout(video(1, 1), seeds=[0], actions=np.zeros((1, 8, 7)))


def test_more_given_frames_than_the_model_knows_are_refused(backend):
    with pytest.raises(ValueError, match="given: got 3 latent frames, expected 0"):
        backend.denoiser(backend.encode(video(1, 9)))


def test_an_embedding_of_another_encoder_is_refused(backend):
    with pytest.raises(ValueError, match=r"prompt: got an embedding \(1, 6, 12\), expected \(1, S, 48\)"):
        backend.conditioned(prompt=torch.zeros(1, 6, 12)).denoiser(backend.encode(video(1, 1)))
