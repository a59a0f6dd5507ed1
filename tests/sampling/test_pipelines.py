"""Unmodified diffusers pipelines, refined, against our own loop around the same networks."""

import contextlib
import json

import pytest
import torch
from diffusers import UniPCMultistepScheduler, WanImageToVideoPipeline
from tiny_pipelines import (
    FRAMES,
    KINDS,
    SIZE,
    AsDenoiser,
    call,
    call_cosmos3,
    cosmos3_pipeline,
    counted,
    embeds,
    noise,
    pipeline,
    shim_torchvision,
    vae,
)

from worldmodel.noise import KeyedNoise
from worldmodel.sampling import PredictPerturb, Record, refine_pipeline, sample

STEPS = 4
PLAN = PredictPerturb.from_steps([(1, 2, 2)], threshold=0.8, stop_fraction=None)
PINNED = ("cosmos-image", "wan-ti2v")
UNIPC = ("cosmos", "cosmos-image", "wan-t2v", "wan-ti2v")


@pytest.fixture(autouse=True)
def _torchvision(monkeypatch):
    shim_torchvision(monkeypatch)


def refined(kind, x, scheduler="unipc", guidance=1.0, refine=PLAN, steps=STEPS, run=None, **options):
    """What a refined pipeline makes of the noise x, and the pipeline."""
    pipe = refine_pipeline(pipeline(kind, scheduler), refine, **options)
    return call(kind, pipe, x, steps, guidance, **(run or {})), pipe


def assert_near(ours, theirs):
    assert ((ours - theirs).abs().max() / theirs.abs().max()).item() < 2e-6


@pytest.mark.parametrize(("scheduler", "guidance"), [("euler", 1.0), ("unipc", 3.0)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_refined_pipeline_is_our_own_loop(kind, scheduler, guidance):
    x, seeds, theirs, ours = noise(2), [7, 8], Record(), Record()
    z, pipe = refined(kind, x, scheduler, guidance, seeds=seeds, callback=theirs)
    denoise = AsDenoiser(kind, pipeline(kind, scheduler), 2, STEPS, guidance)
    expected = sample(denoise, x, denoise.sigmas, solver=scheduler, refine=PLAN, seeds=seeds, callback=ours)
    assert_near(z, expected)
    assert theirs.nfe.tolist() == ours.nfe.tolist() == [STEPS + 4] * 2
    assert pipe.scheduler.made == STEPS + 4
    assert any(0 < share < 1 for found in theirs.iterations for share in found.certain)


@pytest.mark.parametrize(
    ("kind", "scheduler"), [(kind, "unipc" if kind in UNIPC else "euler") for kind in KINDS] + [("cosmos", "karras")]
)
def test_with_nothing_to_refine_it_is_the_stock_pipeline_to_the_bit(kind, scheduler):
    z, _ = refined(kind, noise(1), scheduler, refine=PredictPerturb())
    stock = call(kind, pipeline(kind, scheduler), noise(1), STEPS, 1.0)
    first = 1 if kind in PINNED else 0
    assert torch.equal(z[:, :, first:], stock[:, :, first:])


@pytest.mark.parametrize("scheduler", ["euler", "karras"])
@pytest.mark.parametrize("refine", [PLAN, PredictPerturb()])
@pytest.mark.parametrize("kind", PINNED)
def test_given_frames_come_out_as_they_went_in(kind, refine, scheduler):
    given = AsDenoiser(kind, pipeline(kind), 2, STEPS, 1.0).given[:, :, :1]
    z, _ = refined(kind, noise(2), scheduler, 3.0, refine)
    assert torch.equal(z[:, :, :1], given)


def test_the_stock_pipeline_leaves_noise_in_them():
    """The fault that pinning removes, so that it is seen if diffusers does."""
    given = AsDenoiser("cosmos-image", pipeline("cosmos-image"), 1, STEPS, 1.0).given[:, :, :1]
    stock = call("cosmos-image", pipeline("cosmos-image", "karras"), noise(1), STEPS, 1.0)[:, :, :1]
    assert (stock - given).abs().mean() > 1e-3


@pytest.mark.parametrize("kind", PINNED)
def test_a_subclass_of_a_pipeline_has_given_frames_too(kind):
    pipe, x = pipeline(kind), noise(1)
    pipe.__class__ = type("OfSomeone", (type(pipe),), {})
    assert torch.equal(call(kind, refine_pipeline(pipe, PLAN), x, STEPS, 1.0), refined(kind, x)[0])


@pytest.mark.parametrize("kind", PINNED)
def test_given_frames_count_neither_in_uncertainty_nor_in_stops(kind):
    states = []
    refined(kind, noise(1), callback=states.append)
    found = [found for state in states for found in state["refinement"]]
    assert len(found) == 4
    for each in found:
        assert not each["free"][:, :, 0].any()
        assert each["free"][:, :, 1:].all()
        assert (each["uncertainty"][:, :, 0] == 0).all()


def test_every_planned_evaluation_is_made_and_guided():
    pipe = refine_pipeline(pipeline("wan-t2v"), PLAN)
    calls = counted(pipe.transformer)
    call("wan-t2v", pipe, noise(1), STEPS, 3.0)
    assert len(calls) == 2 * (STEPS + 4)


def test_evaluations_are_saved_when_all_samples_have_stopped():
    pipe = refine_pipeline(pipeline("wan-t2v"), PredictPerturb.from_steps([(0, 2, 3)], threshold=float("inf")))
    calls = counted(pipe.transformer)
    z = call("wan-t2v", pipe, noise(2), STEPS, 1.0)
    assert len(calls) == pipe.scheduler.made == STEPS + 3
    denoise = AsDenoiser("wan-t2v", pipeline("wan-t2v"), 2, STEPS, 1.0)
    assert_near(z, sample(denoise, noise(2), denoise.sigmas, solver="unipc", refine=pipe.scheduler.refine))


@pytest.mark.parametrize("kind", ["wan-t2v-two-experts", "wan-i2v-two-experts"])
def test_an_iteration_keeps_the_expert_of_its_step(kind):
    pipe = refine_pipeline(pipeline(kind), PLAN)
    high, low = counted(pipe.transformer), counted(pipe.transformer_2)
    call(kind, pipe, noise(1), STEPS, 1.0)
    t = pipe.scheduler.scheduler.timesteps.tolist()
    assert t[1] >= 875 > t[2]
    assert high == [t[0]] + [t[1]] * 3
    assert low == [t[2]] * 3 + [t[3]]


def test_callbacks_see_every_visit():
    seen = []

    def note(pipe, index, timestep, kwargs):
        seen.append((index, float(timestep), kwargs["latents"].shape))
        return {}

    _, pipe = refined("wan-t2v", noise(1), run={"callback_on_step_end": note})
    t = pipe.scheduler.scheduler.timesteps.tolist()
    visited = [t[0], t[1], t[1], t[1], t[2], t[2], t[2], t[3]]
    assert seen == [(index, each, noise(1).shape) for index, each in enumerate(visited)]
    assert pipe.num_timesteps == len(visited)


@pytest.mark.parametrize("visit", [0, 2])
def test_callbacks_may_change_the_latents(visit):
    """After a step as between two iterations: what came before is forgotten then, if no mask keeps it."""

    def replace(pipe, index, timestep, kwargs):
        return {"latents": noise(1, seed=6)} if index == visit else {}

    refine, run = PredictPerturb.from_steps([(1, 2, 2)], threshold=0.0), {"callback_on_step_end": replace}
    one, other = (refined("wan-t2v", noise(1, seed=seed), refine=refine, run=run)[0] for seed in (1, 2))
    assert torch.equal(one, other)
    assert not torch.equal(one, refined("wan-t2v", noise(1, seed=1), refine=refine)[0])


@pytest.mark.parametrize("kind", ["cosmos", "wan-i2v", "wan-v2v"])
def test_the_progress_bar_moves_on_once_a_step(kind, monkeypatch):
    ticks = []

    class Bar:
        def update(self):
            ticks.append(pipe.scheduler.made)

    def bar(total):
        assert total == STEPS
        return contextlib.nullcontext(Bar())

    pipe = refine_pipeline(pipeline(kind), PLAN)
    monkeypatch.setattr(pipe, "progress_bar", bar)
    call(kind, pipe, noise(1), STEPS, 1.0, **({"strength": 1.0} if kind == "wan-v2v" else {}))
    assert ticks == [1, 4, 7, 8]


def test_a_part_of_the_schedule_is_refined_as_planned():
    """Video to video starts at a later step, which it finds by counting visits."""
    refine, strength = PredictPerturb.from_steps([(1, 1, 3), (3, 4, 2)], threshold=0.0), 0.5
    z, pipe = refined("wan-v2v", noise(2), refine=refine, steps=6, run={"strength": strength})
    assert pipe.scheduler.made == 3 + 4
    denoise = AsDenoiser("wan-t2v", pipeline("wan-t2v"), 2, 6, 1.0)
    keyed = KeyedNoise([0, 1])
    expected = sample(
        denoise,
        noise(2),
        denoise.sigmas[3:],
        solver="unipc",
        refine=PredictPerturb.from_steps([(0, 1, 2)], threshold=0.0),
        noise=lambda step, iteration, like: keyed(step + 3, iteration, like),
    )
    assert_near(z, expected)


@pytest.mark.parametrize("stop_fraction", [None, 0.3])
def test_cosmos3_refines_video_and_actions_around_a_clean_image(stop_fraction):
    """Its model sees the image in x itself, and the actions' scheduler is a copy of the video's."""
    seen = []

    def note(pipe, index, timestep, kwargs):
        seen.append(kwargs["latents"][:, :, 0])
        return {}

    stock = call_cosmos3(cosmos3_pipeline(), STEPS)
    refine = PredictPerturb.from_steps([(1, 2, 3)], threshold=0.8, stop_fraction=stop_fraction)
    pipe = refine_pipeline(cosmos3_pipeline(), refine, seeds=[3])
    video, actions = call_cosmos3(pipe, STEPS, callback_on_step_end=note)
    assert len(seen) == pipe.scheduler.made
    assert (pipe.scheduler.made == STEPS + 6) == (stop_fraction is None)
    assert all(torch.equal(frame, seen[0]) for frame in seen)
    torch.testing.assert_close(video[:, :, 0], stock[0][:, :, 0])
    other = call_cosmos3(refine_pipeline(pipe, refine, seeds=[4]), STEPS)
    for one, another, plain in zip((video, actions), other, stock, strict=True):
        assert (one - another).abs().mean() > 1e-3
        assert (one - plain).abs().mean() > 1e-3


def test_seeds_decide_and_each_sample_has_its_own():
    one, again, other = (refined("cosmos", noise(2), seeds=seeds)[0] for seeds in ([0, 1], [0, 1], [2, 1]))
    assert torch.equal(one, again)
    assert (one[0] - other[0]).abs().mean() > 1e-3
    assert_near(one[1], other[1])


def test_several_videos_of_one_prompt_are_refined_each():
    latents = noise(2)
    pipe = refine_pipeline(pipeline("wan-t2v"), PLAN, seeds=[7, 8])
    options = {"height": SIZE, "width": SIZE, "num_frames": FRAMES, "output_type": "latent", "return_dict": False}
    prompt = embeds("wan-t2v", 1, 3)
    z = pipe(
        prompt_embeds=prompt,
        num_videos_per_prompt=2,
        num_inference_steps=STEPS,
        guidance_scale=1.0,
        latents=latents,
        **options,
    )[0]
    pipe = refine_pipeline(pipe, PLAN, seeds=[8])
    alone = pipe(prompt_embeds=prompt, num_inference_steps=STEPS, guidance_scale=1.0, latents=latents[1:], **options)[0]
    assert_near(alone, z[1:])


def test_euler_on_a_unipc_pipeline_is_the_published_procedure():
    z, _ = refined("wan-t2v", noise(1), solver="euler", seeds=[3])
    denoise = AsDenoiser("wan-t2v", pipeline("wan-t2v"), 1, STEPS, 1.0)
    assert_near(z, sample(denoise, noise(1), denoise.sigmas, solver="euler", refine=PLAN, seeds=[3]))


def test_refining_can_be_set_anew_and_undone():
    kind, x = "cosmos-image", noise(1)
    pipe = pipeline(kind)
    stock = pipe.scheduler
    before = call(kind, pipe, x, STEPS, 1.0)
    refine_pipeline(pipe, PLAN, seeds=[1])
    once = call(kind, pipe, x, STEPS, 1.0)
    refine_pipeline(pipe, PLAN, seeds=[2])
    assert pipe.scheduler.scheduler is stock
    assert not torch.equal(call(kind, pipe, x, STEPS, 1.0), once)
    pipe.scheduler = pipe.scheduler.scheduler
    assert torch.equal(call(kind, pipe, x, STEPS, 1.0), before)


def test_a_saved_pipeline_is_the_stock_one(tmp_path):
    pipe = refine_pipeline(pipeline("wan-ti2v"), PLAN)
    pipe.save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert index["scheduler"] == ["diffusers", "UniPCMultistepScheduler"]
    absent = dict.fromkeys(
        ("text_encoder", "tokenizer", "image_encoder", "image_processor", "transformer_2")
    )  # which a pipeline that was saved without them does not look for
    loaded = WanImageToVideoPipeline.from_pretrained(tmp_path, **absent)
    assert type(loaded.scheduler) is UniPCMultistepScheduler
    assert loaded.scheduler.config.flow_shift == 3.0
    loaded.set_progress_bar_config(disable=True)
    stock = call("wan-ti2v", pipeline("wan-ti2v"), noise(1), STEPS, 1.0)
    assert torch.equal(call("wan-ti2v", loaded, noise(1), STEPS, 1.0), stock)


def test_another_scheduler_can_be_made_from_its_settings():
    pipe = refine_pipeline(pipeline("wan-t2v"), PLAN)
    other = UniPCMultistepScheduler.from_config(pipe.scheduler.config, flow_shift=7.0)
    assert other.config.flow_shift == 7.0
    assert other.config.prediction_type == "flow_prediction"


def test_a_pipeline_made_from_a_refined_one_is_refused():
    """It would not tell which frames are given."""
    pipe = refine_pipeline(pipeline("wan-ti2v"), PLAN)
    other = WanImageToVideoPipeline(**pipe.components, expand_timesteps=True)
    with pytest.raises(ValueError, match="call refine_pipeline on it"):
        call("wan-ti2v", other, noise(1), STEPS, 1.0)
    call("wan-ti2v", refine_pipeline(other, PLAN), noise(1), STEPS, 1.0)


@pytest.mark.parametrize(
    ("refine", "seeds", "message"),
    [
        (PredictPerturb.from_steps([(1, 9, 1)]), None, "expected indices below 4"),
        (PredictPerturb([(0.001, 0.002, 1)]), None, "which holds none of the 4 steps"),
        (PLAN, [1, 2, 3], "seeds: got 3, expected 2"),
    ],
)
@pytest.mark.parametrize("kind", ["cosmos", "wan-t2v", "wan-ti2v"])
def test_what_does_not_fit_is_refused_before_the_transformer_is_called(kind, refine, seeds, message):
    pipe = refine_pipeline(pipeline(kind), refine, seeds=seeds)
    calls = counted(pipe.transformer)
    with pytest.raises(ValueError, match=message):
        call(kind, pipe, noise(2), STEPS, 1.0)
    assert not calls


def test_what_is_no_pipeline_of_a_flow_is_refused():
    with pytest.raises(ValueError, match="pipe: got a AutoencoderKLWan, expected a diffusers pipeline"):
        refine_pipeline(vae(), PLAN)
    pipe = pipeline("wan-t2v")
    pipe.scheduler = UniPCMultistepScheduler()
    with pytest.raises(ValueError, match="expected one of a flow"):
        refine_pipeline(pipe, PLAN)
    assert type(pipe.scheduler) is UniPCMultistepScheduler
