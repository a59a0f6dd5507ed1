"""Cosmos 3 from folders in the hub's layout, equal to the stock pipeline from noise to latents."""

import json

import numpy as np
import pytest
import tiny_cosmos3
import tiny_wan
import torch
from diffusers import Cosmos3OmniTransformer
from diffusers.pipelines.cosmos.pipeline_cosmos3_omni import (
    _EMBODIMENT_TO_RAW_ACTION_DIM,
    CosmosActionCondition,
)

import worldmodel
from worldmodel.backends.cosmos3_actions import DOMAINS, action_spec
from worldmodel.backends.cosmos3_network import Cosmos3Network
from worldmodel.noise import KeyedNoise
from worldmodel.sampling import PredictPerturb

SIZE, FRAMES, STEPS, FPS = (32, 48), 9, 4, 10.0
DOMAIN = "bridge_orig_lerobot"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cosmos3") / "Cosmos3-Tiny"
    tiny_cosmos3.pipeline().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def stock():
    return tiny_cosmos3.pipeline()


@pytest.fixture(scope="module")
def model(folder):
    loaded = worldmodel.load(folder, device="cpu", guardrail="none")
    return loaded.conditioned(image_size=SIZE, num_frames=FRAMES, fps=FPS, prompt="a red ball falls")


def images(batch=1, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (batch, *SIZE, 3), dtype=np.uint8)


def motions(batch=1, count=FRAMES - 1, width=10, seed=0):
    return np.random.default_rng(seed).normal(size=(batch, count, width))


def start(model, seed, clean=None):
    """The noise of a seed as the stock pipeline takes it, clean where frames are given."""
    noise = KeyedNoise([seed]).initial(torch.empty(1, *model.backend.latent_shape))
    if clean is not None:
        noise[:, :, : clean.shape[2]] = clean
    return noise


def rolled(model, frames, seed=3, **options):
    return model.rollout(
        frames, seeds=[seed], steps=STEPS, solver="unipc", keep_latents=True, progress=False, **options
    ).latents


def assert_same(ours, theirs):
    theirs = theirs.numpy()
    assert np.abs(ours - theirs).max() < 1e-4 * np.abs(theirs).max()


@pytest.mark.parametrize("guidance", [1.0, 4.0])
@pytest.mark.parametrize("given", [0, 1, 5])
def test_worlds_from_text_an_image_and_a_video_equal_the_stock_pipeline(model, stock, given, guidance):
    told = model.conditioned(guidance=guidance, negative_prompt="blurred")
    frames = images(given)[None] if given else None
    clean = told.backend.encode(frames) if given else None
    more = {}
    if given == 1:
        more["image"] = frames[0, 0]
    if given == 5:
        more["video"] = torch.from_numpy(frames[0]).permute(0, 3, 1, 2)[None] / 255.0
    theirs = stock(
        "a red ball falls", negative_prompt="blurred", num_frames=FRAMES, height=SIZE[0], width=SIZE[1], fps=FPS,
        num_inference_steps=STEPS, guidance_scale=guidance, latents=start(told, 3, clean), output_type="latent", **more,
    ).video  # fmt: skip
    assert_same(rolled(told, frames), theirs)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("size", [SIZE, (136, 168)])  # canvases filled by repeating the edge, and by mirroring
def test_forward_dynamics_equal_the_stock_pipeline(model, stock, guidance, size):
    told = model.conditioned(
        domain=DOMAIN, guidance=guidance, negative_prompt="blurred", tier=256, view="wrist_view", image_size=size
    )
    frames, actions = np.random.default_rng(0).integers(0, 255, (1, *size, 3), dtype=np.uint8), motions()
    condition = CosmosActionCondition(
        mode="forward_dynamics", chunk_size=FRAMES - 1, domain_name=DOMAIN, resolution_tier=256,
        raw_actions=torch.from_numpy(actions[0]).float(), image=frames[0], view_point="wrist_view",
    )  # fmt: skip
    theirs = stock(
        "a red ball falls", negative_prompt="blurred", action=condition, fps=FPS, num_inference_steps=STEPS,
        guidance_scale=guidance, latents=start(told, 3, told.backend.encode(frames[:, None])), output_type="latent",
        use_system_prompt=False,
    ).video  # fmt: skip
    assert_same(rolled(told, frames, actions=actions), theirs)


@pytest.mark.parametrize(
    "changes",
    [
        {"latent_patch_size": 1, "patch_latent_dim": 16},
        {"hidden_act": "relu2", "qk_norm_for_text": False, "use_und_k_norm_for_gen": True},
        {"enable_fps_modulation": False, "unified_3d_mrope_reset_spatial_ids": False, "attention_bias": True},
    ],
)
@pytest.mark.parametrize("scheduler", [tiny_cosmos3.karras, tiny_cosmos3.shifted])
def test_other_networks_and_schedules_equal_the_stock_pipeline(tmp_path, changes, scheduler):
    pipe = tiny_cosmos3.pipeline(tiny_cosmos3.transformer(**changes), scheduler())
    pipe.save_pretrained(tmp_path / "other")
    told = worldmodel.load(tmp_path / "other", device="cpu", guardrail="none").conditioned(
        image_size=(24, 40), num_frames=FRAMES, fps=FPS, prompt="a ball", guidance=2.0
    )  # sides of 3 x 5 latents, which patches of 2 do not divide
    theirs = pipe(
        "a ball", num_frames=FRAMES, height=24, width=40, fps=FPS, num_inference_steps=STEPS, guidance_scale=2.0,
        latents=start(told, 3), output_type="latent",
    ).video  # fmt: skip
    assert_same(rolled(told, None), theirs)


def test_the_autoencoder_of_the_released_models_equals_the_stock_pipeline(tmp_path):
    """Wan2.2's: 48 channels, 16 x 16 pixels a place, in patches; on from an image, with guidance."""
    network = tiny_cosmos3.transformer(latent_channel=48, patch_latent_dim=192)
    pipe = tiny_cosmos3.pipeline(network, codec=tiny_wan.vae("2.2"))
    pipe.save_pretrained(tmp_path / "wide")
    told = worldmodel.load(tmp_path / "wide", device="cpu", guardrail="none").conditioned(
        image_size=SIZE, num_frames=FRAMES, fps=FPS, prompt="a red ball falls", guidance=2.0
    )
    assert told.backend.latent_shape == (48, 3, 2, 3)
    frames = images()[None]
    theirs = pipe(
        "a red ball falls", num_frames=FRAMES, height=SIZE[0], width=SIZE[1], fps=FPS, num_inference_steps=STEPS,
        guidance_scale=2.0, latents=start(told, 3, told.backend.encode(frames)), output_type="latent",
        image=frames[0, 0],
    ).video  # fmt: skip
    assert_same(rolled(told, frames), theirs)


def test_the_native_schedule_is_the_stock_pipelines(tmp_path):
    pipe = tiny_cosmos3.pipeline(scheduler=tiny_cosmos3.shifted(), use_native_flow_schedule=True)
    pipe.save_pretrained(tmp_path / "native")
    told = worldmodel.load(tmp_path / "native", device="cpu", guardrail="none")
    pipe("a", num_frames=5, height=16, width=16, num_inference_steps=3, guidance_scale=1.0, output_type="latent")
    np.testing.assert_allclose(told.backend.sigmas(3), pipe.scheduler.sigmas.numpy(), atol=1e-6)


def test_a_sample_of_a_batch_is_what_it_is_alone(model):
    """The stock call takes one sample and one generator."""
    told = model.conditioned(domain=DOMAIN, guidance=2.0)
    frames, actions = images(3), motions(3)
    options = {"steps": 2, "keep_latents": True, "progress": False}
    together = told.rollout(frames, seeds=[5, 6, 7], actions=actions, **options)
    alone = told.rollout(frames[1:2], seeds=[6], actions=actions[1:2], **options)
    np.testing.assert_allclose(together.latents[1:2], alone.latents, atol=1e-4 * np.abs(alone.latents).max())
    assert together.video.shape == (3, FRAMES, *SIZE, 3)
    assert together.actions.shape == (3, FRAMES - 1, 10)


def test_refinement_keeps_the_given_frame_and_chunks_go_on(model):
    told = model.conditioned(domain=DOMAIN)
    refine = PredictPerturb(plan=[(0.0, 0.5, 2)], threshold=0.05)
    rollout = told.rollout(
        images(), seeds=[1], actions=motions(count=16), steps=STEPS, refine=refine, keep_latents=True, progress=False
    )
    assert rollout.video.shape[1] == 17
    assert (rollout.nfe > 2 * STEPS).all()
    np.testing.assert_allclose(rollout.latents[:, :, :1], told.backend.encode(images()[:, None]), atol=1e-6)


def test_the_text_is_read_once_for_all_steps_and_rollouts(model, monkeypatch):
    told = model.conditioned(guidance=2.0, prompt="a ball falls")
    counted = []
    projections = [layer.self_attn.to_k for layer in told.backend.transformer.layers]
    hooks = [each.register_forward_hook(lambda *_: counted.append(1)) for each in projections]
    rolled(told, None)
    rolled(told, None, seed=4)
    for hook in hooks:
        hook.remove()
    assert len(counted) == 2 * len(projections), "once for the prompt and once for the negative one"


def test_actions_the_prompt_the_speed_and_the_domain_matter(model):
    told, frames = model.conditioned(domain=DOMAIN), images()
    base = rolled(told, frames, actions=motions())
    for other, actions in (
        (told, motions(seed=1)),
        (told.conditioned(prompt="nothing"), motions()),
        (told.conditioned(fps=5.0), motions()),
        (told.conditioned(domain="fractal"), motions()),
    ):
        assert np.abs(rolled(other, frames, actions=actions) - base).max() > 1e-4


def test_every_domain_has_a_spec_as_wide_as_its_actions():
    for domain, width in _EMBODIMENT_TO_RAW_ACTION_DIM.items():
        spec = action_spec(domain, 5.0)
        assert len(spec.names) == len(set(spec.names)) == width
        assert spec.control_hz == 5.0
    assert len(DOMAINS) == len(_EMBODIMENT_TO_RAW_ACTION_DIM)


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (motions(width=7), r"action: got shape \(1, 8, 7\), expected 10 numbers \(x in normalised"),
        (motions(count=7), "horizon: got 7 frames, expected 8"),
        (motions(count=11), "horizon: got 11 frames, expected 8 or 16"),
        (None, r"actions: got none after 1 given latent frames, expected \(1, 8, 10\)"),
        (np.full((1, 8, 10), 11.0), "action x: got 11 normalised"),
    ],
)
def test_actions_that_do_not_fit_are_refused(model, actions, message):
    with pytest.raises(ValueError, match=message):
        model.conditioned(domain=DOMAIN).rollout(images(), seeds=[0], steps=1, actions=actions, progress=False)


def test_missing_actions_repeat_the_last(model):
    told, given = model.conditioned(domain=DOMAIN), motions(count=11)
    cut = told.rollout(images(), seeds=[0], steps=1, actions=given, tail="cut", progress=False)
    filled = np.concatenate([given, np.repeat(given[:, -1:], 5, axis=1)], axis=1)
    whole = told.rollout(images(), seeds=[0], steps=1, actions=filled, progress=False)
    assert cut.video.shape[1] == 12
    np.testing.assert_array_equal(cut.video, whole.video[:, :12])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"domain": "libero"}, "domain: got 'libero', expected one of agibot_gear_gripper"),
        ({"domain": DOMAIN, "view": "below"}, "view: got 'below', expected one of ego_view"),
        ({"domain": DOMAIN, "tier": 300}, "tier: got 300, expected one of 256"),
        ({"domain": DOMAIN, "image_size": (512, 512), "tier": 256}, r"image_size: got \(512, 512\) with a domain"),
        ({"tier": 256}, "tier: got it without a domain"),
        ({"guidance": -1.0}, "guidance: got -1.0"),
        ({"fps": 0}, "fps: got 0"),
        ({"num_frames": 1}, "num_frames: got 1, expected at least 5"),
        ({"num_frames": 12}, r"num_frames: got 12, expected 4n \+ 1; the nearest is 13"),
        ({"image_size": (30, 48)}, r"image_size: got \(30, 48\), expected multiples of 8; the nearest is \(32, 48\)"),
        ({"prompt": 3}, "prompt: got int, expected text"),
        ({"colour": "red"}, "colour: got it for Cosmos3-Tiny, expected prompt"),
    ],
)
def test_options_that_do_not_fit_are_refused(model, options, message):
    with pytest.raises(ValueError, match=message):
        model.conditioned(**options)


def test_actions_without_a_domain_and_domains_without_action_weights_are_refused(model, tmp_path):
    with pytest.raises(ValueError, match="actions: got some for Cosmos3-Tiny"):
        model.rollout(images(), seeds=[0], steps=1, actions=motions(), progress=False)
    plain = tiny_cosmos3.pipeline(tiny_cosmos3.transformer(action_gen=False, action_dim=None))
    plain.save_pretrained(tmp_path / "plain")
    loaded = worldmodel.load(tmp_path / "plain", device="cpu", guardrail="none")
    with pytest.raises(ValueError, match="domain: got 'umi' for plain, expected none, because it takes no actions"):
        loaded.conditioned(domain="umi")
    narrow = tiny_cosmos3.pipeline(tiny_cosmos3.transformer(action_dim=16))
    narrow.save_pretrained(tmp_path / "narrow")
    loaded = worldmodel.load(tmp_path / "narrow", device="cpu", guardrail="none")
    with pytest.raises(ValueError, match="domain: got 'hand_pose' with 57 numbers, expected at most 16"):
        loaded.conditioned(domain="hand_pose")


@pytest.mark.parametrize("part", ["text_tokenizer", "transformer", "vae", "scheduler"])
def test_a_missing_part_is_named(tmp_path, part):
    tiny_cosmos3.pipeline().save_pretrained(tmp_path / "half")
    for file in (tmp_path / "half" / part).iterdir():
        file.unlink()
    (tmp_path / "half" / part).rmdir()
    with pytest.raises(ValueError, match=part):
        worldmodel.load(tmp_path / "half", device="cpu", guardrail="none")


def test_another_scheduler_is_refused(tmp_path):
    tiny_cosmos3.pipeline().save_pretrained(tmp_path / "other")
    file = tmp_path / "other" / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps({"_class_name": "DDIMScheduler"}))
    with pytest.raises(ValueError, match="got 'DDIMScheduler', expected UniPCMultistepScheduler"):
        worldmodel.load(tmp_path / "other", device="cpu", guardrail="none")


def test_without_a_guardrail_nothing_is_loaded_silently(folder, model):
    with pytest.raises(ValueError, match="guardrail"):
        worldmodel.load(folder, device="cpu")
    provenance = model.rollout(None, seeds=[0], steps=1, progress=False).provenance
    assert provenance["guardrail"] == "none"
    assert provenance["licence"].startswith("OpenMDW")


def no_tables(_, positions, device, dtype):
    return (torch.empty(1, positions.shape[2], 128, device=device),) * 2


@torch.no_grad()
def test_the_full_size_class_has_the_shapes_of_the_released_ones(monkeypatch):
    """Nano on the meta device, which knows no autocast: 17 frames of 256 x 320, with actions and guidance."""
    with torch.device("meta"):
        network = Cosmos3OmniTransformer(action_gen=True, action_dim=64)
    shapes = {name: tuple(weight.shape) for name, weight in network.state_dict().items()}
    assert shapes["action_proj_in.fc.weight"] == (32, 64 * 4096)
    assert shapes["layers.35.self_attn.add_k_proj.weight"] == (8 * 128, 4096)
    assert shapes["proj_in.weight"] == (4096, 192)
    assert 15e9 < sum(each.numel() for each in network.parameters()) < 17e9
    monkeypatch.setattr(type(network.rotary_emb), "forward", no_tables)
    evaluate = Cosmos3Network(network)
    texts, latents = [evaluate.read([1] * count) for count in (90, 7)], torch.zeros(2, 48, 5, 16, 20, device="meta")
    actions = evaluate.embed_actions(torch.zeros(2, 16, 10, device="meta"), DOMAINS[DOMAIN])
    assert evaluate(latents, 1, 500.0, texts, 5.0, actions).shape == (4, *latents.shape[1:])
