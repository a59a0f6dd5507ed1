"""Wan through our own loop against the stock pipelines of diffusers, from the same noise."""

import numpy as np
import pytest
import tiny_wan
import torch

from worldmodel.backends.wan import Expert, Text, WanDenoiser, first_frame_channels
from worldmodel.sampling import PredictPerturb, sample

STEPS, FRAMES, SIZE = 5, 9, 32
HIDDEN = {"output_type": "latent", "height": SIZE, "width": SIZE, "num_frames": FRAMES, "num_inference_steps": STEPS}


def embeddings(batch, seed):
    return torch.randn(batch, 6, tiny_wan.TEXT, generator=torch.Generator().manual_seed(seed))


def start(batch):
    return torch.randn(batch, 16, 3, SIZE // 8, SIZE // 8, generator=torch.Generator().manual_seed(7))


def experts(pipe, scales):
    found = [Expert(pipe.transformer, scales[0], (pipe.config.boundary_ratio or 0.0) * 1000)]
    return found if pipe.transformer_2 is None else [*found, Expert(pipe.transformer_2, scales[1])]


def stock(pipe, x, scales, text, **more):
    pipe.set_progress_bar_config(disable=True)
    scale_2 = {"guidance_scale_2": scales[1]} if pipe.transformer_2 is not None else {}
    return pipe(
        prompt_embeds=text.prompt,
        negative_prompt_embeds=text.negative,
        guidance_scale=scales[0],
        latents=x.clone(),
        **scale_2,
        **more,
        **HIDDEN,
    ).frames


def sigmas(pipe):
    pipe.scheduler.set_timesteps(STEPS)
    return pipe.scheduler.sigmas.double().numpy()


def check(pipe, denoise, x, expected):
    z = sample(denoise, x, sigmas(pipe), solver="unipc")
    assert (z - expected).abs().max() < 1e-4 * expected.abs().max()


@pytest.mark.parametrize("scales", [(1.0, 1.0), (5.0, 3.0)])
@pytest.mark.parametrize("kind", [{}, {"experts": 2}, {"expand_timesteps": True}])
def test_text_to_video_equals_the_stock_pipeline(kind, scales):
    pipe, x = tiny_wan.text_to_video(**kind), start(2)
    text = Text(embeddings(2, 1), embeddings(2, 2))
    denoise = WanDenoiser(experts(pipe, scales), text, timestep_for_each_place=kind.get("expand_timesteps", False))
    check(pipe, denoise, x, stock(pipe, x, scales, text))


def picture(pipe, seed=3):
    image = torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
    return image, pipe.video_processor.preprocess(image, height=SIZE, width=SIZE)


def latents_of(pipe, pixels):
    config = pipe.vae.config
    mean, std = (torch.tensor(each).view(1, -1, 1, 1, 1) for each in (config.latents_mean, config.latents_std))
    with torch.no_grad():
        return (pipe.vae.encode(pixels).latent_dist.mode() - mean) / std


@pytest.mark.parametrize("scales", [(1.0, 1.0), (5.0, 3.0)])
@pytest.mark.parametrize("kind", [{}, {"experts": 2}, {"image_dim": 20}])
def test_image_to_video_by_channels_equals_the_stock_pipeline(kind, scales):
    pipe, x = tiny_wan.image_to_video(**kind), start(2)
    image, pixels = picture(pipe)
    seen = torch.randn(1, 4, 20, generator=torch.Generator().manual_seed(5)) if "image_dim" in kind else None
    text = Text(embeddings(2, 1), embeddings(2, 2), None if seen is None else seen.repeat(2, 1, 1))
    pipe.encode_image = lambda *_: seen  # of CLIP, which the tests have not
    expected = stock(pipe, x, scales, text, image=image)
    padded = torch.cat([pixels[:, :, None], torch.zeros(1, 3, FRAMES - 1, SIZE, SIZE)], dim=2)
    channels = first_frame_channels(latents_of(pipe, padded)).repeat(2, 1, 1, 1, 1)
    denoise = WanDenoiser(experts(pipe, scales), text, channels=channels)
    check(pipe, denoise, x, expected)


@pytest.mark.parametrize("scales", [(1.0, 1.0), (5.0, 5.0)])
def test_a_pinned_first_frame_equals_the_stock_pipeline(scales):
    pipe, x = tiny_wan.image_to_video(expand_timesteps=True), start(2)
    image, pixels = picture(pipe)
    text = Text(embeddings(2, 1), embeddings(2, 2))
    expected = stock(pipe, x, scales, text, image=image)
    given = latents_of(pipe, pixels[:, :, None]).repeat(2, 1, 1, 1, 1)
    denoise = WanDenoiser(experts(pipe, scales), text, given=given, frames=3, timestep_for_each_place=True)
    check(pipe, denoise, x, expected)


def test_a_pinned_first_frame_stays_exact_under_refinement():
    """The released code concatenates the frame in place of blending it, and fails."""
    pipe, x = tiny_wan.image_to_video(expand_timesteps=True), start(2)
    given = latents_of(pipe, picture(pipe)[1][:, :, None]).repeat(2, 1, 1, 1, 1)
    denoise = WanDenoiser(
        experts(pipe, (1.0, 1.0)), Text(embeddings(2, 1)), given=given, frames=3, timestep_for_each_place=True
    )
    found = []
    refine = PredictPerturb(plan=[(0.0, 0.6, 2)], threshold=0.2)
    z = sample(denoise, x, sigmas(pipe), refine=refine, callback=lambda state: found.extend(state["refinement"]))
    torch.testing.assert_close(z[:, :, :1], given, atol=1e-6, rtol=0)
    assert found and all(not each["free"][:, :, 0].any() for each in found), "it takes no part in the uncertainty"


def test_all_frames_of_channel_conditioning_are_refined():
    pipe, x = tiny_wan.image_to_video(), start(1)
    padded = torch.cat([picture(pipe)[1][:, :, None], torch.zeros(1, 3, FRAMES - 1, SIZE, SIZE)], dim=2)
    denoise = WanDenoiser(
        experts(pipe, (1.0, 1.0)), Text(embeddings(1, 1)), channels=first_frame_channels(latents_of(pipe, padded))
    )
    refine = PredictPerturb(plan=[(0.0, 0.6, 2)], threshold=0.0)
    plain, refined = (sample(denoise, x, sigmas(pipe), refine=each) for each in (None, refine))
    assert ((plain - refined).abs().amax(dim=(0, 1, 3, 4)) > 1e-3).all()


def test_iterations_of_a_step_stay_with_its_expert():
    """A window over the boundary of the experts: each noise level keeps one network for all its iterations."""
    pipe, x = tiny_wan.text_to_video(experts=2), start(1)
    denoise = WanDenoiser(experts(pipe, (1.0, 1.0)), Text(embeddings(1, 1)))
    called = []
    for expert in denoise._experts:
        expert.transformer.register_forward_hook(lambda module, *_: called.append(module))
    levels = sigmas(pipe)
    sample(denoise, x, levels, refine=PredictPerturb(plan=[(0.0, 1.0, 2)], threshold=0.0))
    wanted = [denoise.expert(level).transformer for level in levels[:-1] for _ in range(3)]
    assert called == wanted
    assert len(set(map(id, wanted))) == 2


def test_timesteps_are_truncated_as_the_scheduler_does():
    pipe = tiny_wan.text_to_video()
    levels = sigmas(pipe)
    denoise = WanDenoiser(experts(pipe, (1.0, 1.0)), Text(embeddings(1, 1)))
    np.testing.assert_array_equal([denoise._timestep(level) for level in levels[:-1]], pipe.scheduler.timesteps)


def test_a_batch_is_its_samples():
    pipe, x = tiny_wan.text_to_video(), start(3)
    text = Text(embeddings(3, 1), embeddings(3, 2))
    whole = WanDenoiser([Expert(pipe.transformer, 4.0)], text)(x, 0.6)
    alone = WanDenoiser([Expert(pipe.transformer, 4.0)], Text(text.prompt[1:2], text.negative[1:2]))(x[1:2], 0.6)
    torch.testing.assert_close(whole[1:2], alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"experts": []}, "experts: got none for the lowest noise"),
        ({"given": torch.zeros(1, 16, 1, 4, 4)}, "given: got a first frame, expected a model with a timestep"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    pipe = tiny_wan.text_to_video()
    with pytest.raises(ValueError, match=message):
        WanDenoiser(**{"experts": experts(pipe, (1.0, 1.0)), "text": Text(embeddings(1, 1))} | options)
