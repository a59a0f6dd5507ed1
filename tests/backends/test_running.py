"""Ways to run a model: what they leave unchanged, what they change, and that none is silently without effect."""

import functools

import numpy as np
import pytest
import tiny_cosmos3
import tiny_predict
import tiny_wan
import torch
from diffusers import (
    FirstBlockCacheConfig,
    PyramidAttentionBroadcastConfig,
    TaylorSeerCacheConfig,
    TextKVCacheConfig,
    apply_pyramid_attention_broadcast,
    apply_taylorseer_cache,
    apply_text_kv_cache,
)
from diffusers.hooks import HookRegistry, ModelHook

import worldmodel
from worldmodel.backends import memory
from worldmodel.backends.attention import attend, check_kernel
from worldmodel.backends.cosmos3_network import Cosmos3Network
from worldmodel.backends.cosmos25_network import CosmosNetwork
from worldmodel.backends.first_block import FirstBlock
from worldmodel.backends.graphs import Recorded
from worldmodel.backends.running import Running, check_hooks, check_tiles
from worldmodel.collect import collect
from worldmodel.imagine import imagine

SIZE, FRAMES = (32, 48), 9


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("running")
    tiny_predict.save(tiny_predict.pipeline(), root / "predict")
    tiny_cosmos3.pipeline().save_pretrained(root / "cosmos3")
    tiny_wan.text_to_video().save_pretrained(root / "wan")
    return root


def told(folders, kind, device="cpu", **settings):
    model = worldmodel.load(folders / kind, device=device, guardrail="none", running=Running(**settings))
    words = torch.randn(1, 5, tiny_wan.TEXT, generator=torch.Generator().manual_seed(0))
    prompts = {"predict": tiny_predict.embeddings(1), "cosmos3": "a red ball", "wan": words}
    return model.conditioned(
        prompt=prompts[kind], guidance={"predict": 0.0}.get(kind, 1.0), image_size=SIZE, num_frames=FRAMES
    )


def latents(model, seeds=(1,), **options):
    options = {"steps": 3} | options
    return model.rollout(None, seeds=seeds, keep_latents=True, progress=False, **options).latents


def moved(model):
    """Latents of a rollout of Cosmos 3 that actions lead."""
    told = model.conditioned(domain="bridge_orig_lerobot")
    actions, frames = np.random.default_rng(0).normal(size=(1, FRAMES - 1, 10)), np.full((1, *SIZE, 3), 99, np.uint8)
    return told.rollout(frames, seeds=[1], actions=actions, steps=3, keep_latents=True, progress=False).latents


def network_of(model):
    backend = model.backend
    return backend.transformers[0] if hasattr(backend, "transformers") else backend.transformer


def off(ours, theirs):
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


@pytest.mark.parametrize("kind", ["predict", "cosmos3"])
def test_compiled_blocks_and_a_named_kernel_change_nothing(folders, kind, monkeypatch):
    """Traced as for a GPU, but not translated to C++, which takes minutes."""
    plain = latents(told(folders, kind))
    assert off(latents(told(folders, kind, attention="native")), plain) < 1e-5
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    assert off(latents(told(folders, kind, compile=True)), plain) < 1e-4
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1, "one for all blocks"
    assert not torch._dynamo.utils.counters["graph_break"]


def test_wan_is_compiled_and_takes_a_kernel_and_eight_bits(folders, monkeypatch):
    plain = latents(told(folders, "wan"))
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    assert off(latents(told(folders, "wan", attention="native", compile=True)), plain) < 1e-4
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 1
    assert 1e-5 < off(latents(told(folders, "wan", memory=("fp8",))), plain) < 0.5


def test_eight_bit_weights_of_cosmos_3_change_little(folders):
    small = told(folders, "cosmos3", memory=("fp8",))
    assert 1e-5 < off(latents(small), latents(told(folders, "cosmos3"))) < 0.5


def test_eight_bit_weights_are_kept_in_eight_bits_and_change_little(folders):
    plain, small = told(folders, "predict"), told(folders, "predict", memory=("fp8", "slicing"))
    kept = {each.dtype for each in small.backend.transformer.parameters()}
    assert torch.float8_e4m3fn in kept
    assert 1e-4 < off(latents(small), latents(plain)) < 0.5
    running = small.rollout(None, seeds=[0], steps=1, progress=False).provenance["running"]
    assert running["lossy"] == ["fp8"]
    assert running["memory"] == ["fp8", "slicing"]


def hooked(network):
    """Names of modules with diffusers' hooks, and whether they have parts."""
    found = {name: each for name, each in network.named_modules() if getattr(each, "_diffusers_hook", None)}
    return {name: bool(list(each.children())) for name, each in found.items() if each._diffusers_hook.hooks}


@pytest.mark.parametrize("kind", ["predict", "cosmos3", "wan"])
def test_offloaded_layers_give_what_others_give(folders, kind, monkeypatch):
    """On the CPU, where it saves nothing, and is refused otherwise."""
    monkeypatch.setattr(Running, "checked", lambda self, device: self)
    plain, offloaded = told(folders, kind), told(folders, kind, memory=("offload",))
    assert np.array_equal(latents(offloaded), latents(plain))
    assert offloaded.rollout(None, seeds=[0], steps=1, progress=False).provenance["running"]["memory"] == ["offload"]
    names = hooked(network_of(offloaded))
    assert len(names) > 20
    if kind == "cosmos3":
        assert np.array_equal(moved(offloaded), moved(plain))


@pytest.mark.parametrize(("make", "network"), [(tiny_predict, CosmosNetwork), (tiny_cosmos3, Cosmos3Network)])
def test_what_is_held_beside_layers_is_not_offloaded_where_no_call_would_fetch_it(make, network):
    """Such as Cosmos 3's embedding of the actions' modality: hooks are on the layers that are called alone."""
    placed = Running(memory=("offload", "fp8")).place(make.transformer(), "cpu")
    assert not any(hooked(placed).values())
    network(placed)
    with pytest.raises(ValueError, match=r"got hooks or a cache of diffusers \(group_offloading\)"):
        other = make.transformer()
        other.enable_group_offload(torch.device("cpu"), offload_type="block_level", num_blocks_per_group=1)
        network(other)


def test_the_own_weights_of_wans_blocks_are_fetched_as_they_are_called():
    placed = Running(memory=("offload",)).place(tiny_wan.transformer(16, 1), "cpu", whole=True)
    assert hooked(placed)["blocks.0"] and hooked(placed)[""]
    check_hooks(placed, whole=True)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["predict", "cosmos3", "wan"])
def test_offloaded_layers_are_fetched_to_the_gpu(folders, kind):
    plain, offloaded = told(folders, kind, "cuda"), told(folders, kind, "cuda", memory=("offload",))
    assert {each.device.type for each in network_of(offloaded).parameters()} >= {"cpu"}
    assert off(latents(offloaded), latents(plain)) < 1e-2
    assert off(latents(offloaded), latents(plain)) < 1e-2, "the second time, when the order of calls is known"
    if kind == "cosmos3":
        assert off(moved(offloaded), moved(plain)) < 1e-2


def test_slices_decode_the_same(folders):
    plain, sliced = told(folders, "predict"), told(folders, "predict", memory=("slicing",))
    z = torch.randn(3, *plain.backend.latent_shape)
    assert np.abs(plain.backend.decode(z).astype(int) - sliced.backend.decode(z)).max() <= 1
    assert sliced.backend.codec.vae.use_slicing


def clip_of(model):
    backend = model.backend
    return memory.clip(backend.transformer.config, backend.codec.vae.config, torch.float32, backend.recipe, 1)


def used(model, count):
    rollout = model.rollout(None, seeds=range(count), steps=1, progress=False)
    return {name: rollout.provenance["running"][name] for name in ("memory", "lossy")}


def test_what_is_needed_to_fit_is_switched_on_and_said(folders, monkeypatch, caplog):
    model = told(folders, "predict", memory=None)
    monkeypatch.setattr(memory, "free", lambda _: clip_of(model).needed(2, ("slicing",)))
    assert used(model, 2) == {"memory": ["slicing"], "lossy": []}
    assert model.backend.codec.vae.use_slicing
    assert "clips are decoded one by one; exact, to fit 2 at once" in caplog.text


def test_what_one_batch_needed_is_off_for_the_next(folders, monkeypatch):
    """And told of the rollouts that it has changed alone."""
    model = told(folders, "predict", memory=None).conditioned(image_size=(272, 32), num_frames=5)
    with monkeypatch.context() as patched:
        patched.setattr(memory, "free", lambda _: clip_of(model).needed(1, ("tiling",)))
        assert used(model, 1) == {"memory": ["tiling"], "lossy": ["tiling"]}
        assert model.backend.codec.vae.use_tiling
    other = model.conditioned(num_frames=9)
    assert used(other, 1) == {"memory": [], "lossy": []}
    assert not model.backend.codec.vae.use_tiling


def test_savings_of_weights_that_were_settled_leave_those_of_clips_open(folders, monkeypatch):
    weights = memory.weigh(folders / "predict", torch.float32)
    monkeypatch.setattr(memory, "free", lambda _: weights.on_device(("fp8",)))
    model = told(folders, "predict", memory=None)
    assert torch.float8_e4m3fn in {each.dtype for each in model.backend.transformer.parameters()}
    monkeypatch.setattr(memory, "free", lambda _: clip_of(model).needed(2, ("slicing",)))
    assert used(model, 2) == {"memory": ["fp8", "slicing"], "lossy": ["fp8"]}
    assert used(model, 1) == {"memory": ["fp8"], "lossy": ["fp8"]}


def test_rollouts_of_a_store_say_what_they_needed(folders, tmp_path, monkeypatch):
    truth = collect(tmp_path / "truth", episodes=2, image_size=32, num_frames=FRAMES)
    model = told(folders, "predict", memory=None).conditioned(image_size=(32, 32))
    monkeypatch.setattr(memory, "free", lambda _: clip_of(model).needed(2, ("slicing",)))
    store = imagine(model, truth, tmp_path / "out", steps=1)
    assert store.read_rollout(truth.keys()).provenance["running"]["memory"] == ["slicing"]
    monkeypatch.setattr(memory, "free", lambda _: 1000)
    with pytest.raises(ValueError, match=r"memory: got 0\.0 GB free"):
        imagine(model, truth, tmp_path / "none", steps=1)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("predict", {"memory": ("offload",)}, "offload: got it on cpu, expected a CUDA device"),
        ("predict", {"cuda_graphs": True}, "cuda_graphs: got it on cpu"),
        ("predict", {"attention": "sage"}, "attention: got 'sage' on cpu, where it does not run"),
        ("predict", {"attention": "quick"}, "attention: got 'quick', expected one of flash"),
        ("cosmos3", {"first_block_cache": 0.1}, "first_block_cache: got it for .*cosmos3, expected none"),
        ("wan", {"first_block_cache": 0.1}, "first_block_cache: got it for wan, expected none"),
    ],
)
def test_settings_without_effect_are_refused(folders, kind, settings, message):
    with pytest.raises(ValueError, match=message):
        told(folders, kind, **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"memory": ("zip",)}, r"memory: got \('zip',\), expected a tuple of slicing"),
        ({"memory": "fp8"}, "memory: got 'fp8', expected a tuple"),
        ({"first_block_cache": 1.0}, "first_block_cache: got 1.0, expected a share"),
        ({"cuda_graphs": True, "first_block_cache": 0.1}, "cuda_graphs: got it with offload or first_block_cache"),
        ({"cuda_graphs": True, "memory": ("offload",)}, "cuda_graphs: got it with offload"),
        ({"cuda_graphs": True, "memory": None, "settled": ("offload",)}, "cuda_graphs: got it with offload"),
        ({"settled": ("fp8",)}, r"settled: got \('fp8',\) with memory=\(\), expected it with None alone"),
    ],
)
def test_malformed_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Running(**settings)


def test_the_embedded_model_has_none_of_them():
    with pytest.raises(ValueError, match=r"compile: got it for .*tiny, expected none"):
        worldmodel.load("tiny", device="cpu", running=Running(compile=True))


def test_tiles_as_large_as_the_frame_are_refused():
    check_tiles(Running(memory=("tiling",)), (256, 320))
    with pytest.raises(ValueError, match="memory: got 'tiling' for frames of 256 x 256, expected more than 256 pixels"):
        check_tiles(Running(memory=("tiling",)), (256, 256))


CACHES = {
    "first block": (FirstBlockCacheConfig(threshold=0.1), "fbc_block_hook, fbc_leader_block_hook"),
    "pyramid": (
        PyramidAttentionBroadcastConfig(spatial_attention_block_skip_range=2, current_timestep_callback=lambda: 500),
        "pyramid_attention_broadcast",
    ),
    "taylor": (
        TaylorSeerCacheConfig(cache_identifiers=[r"\w+\.\d+\.(attn1|attn2|ff|ffn|self_attn|mlp_moe_gen)"]),
        "taylorseer_cache",
    ),
    "taylor of nothing": (TaylorSeerCacheConfig(cache_identifiers=["none"]), "TaylorSeerCacheConfig"),
    "text": (TextKVCacheConfig(), "text_kv_cache_transformer"),
}
APPLY = {  # to networks without enable_cache, as Predict2.5's
    "pyramid": apply_pyramid_attention_broadcast,
    "taylor": apply_taylorseer_cache,
    "text": apply_text_kv_cache,
}


@pytest.mark.parametrize(
    ("kind", "cache"),
    [*(("predict", cache) for cache in APPLY), *((kind, cache) for kind in ("cosmos3", "wan") for cache in CACHES)],
)
def test_caches_of_diffusers_are_refused(folders, kind, cache):
    """They would do nothing, or hand on what another branch or rollout left behind."""
    model, (config, name) = told(folders, kind), CACHES[cache]
    network = network_of(model)
    APPLY[cache](network, config) if kind == "predict" else network.enable_cache(config)
    with pytest.raises(ValueError, match=rf"got hooks or a cache of diffusers \(.*{name}.*\), expected none"):
        latents(model)
    if kind != "predict":
        network.disable_cache()
        latents(model)


@pytest.mark.parametrize(
    ("kind", "blocks"), [("predict", "transformer_blocks"), ("cosmos3", "layers"), ("wan", "blocks")]
)
def test_hooks_that_were_put_on_blocks_later_are_refused_too(folders, kind, blocks):
    model = told(folders, kind)
    block = getattr(network_of(model), blocks)[1]
    HookRegistry.check_if_exists_or_initialize(block).register_hook(ModelHook(), "mine")
    with pytest.raises(ValueError, match=r"got hooks or a cache of diffusers \(mine\)"):
        latents(model)


def test_wrong_results_of_a_kernel_are_found(monkeypatch):
    monkeypatch.setattr("worldmodel.backends.attention.attend", lambda *args: attend(*args) * 2)
    with pytest.raises(ValueError, match="with results 100% off PyTorch's"):
        check_kernel("native", torch.device("cpu"))


def test_the_first_block_cache_skips_and_says_how_much_and_a_sample_is_alone_in_it(folders):
    plain, lossy = told(folders, "predict"), told(folders, "predict", first_block_cache=0.9)
    exact, near = latents(plain, (1, 2, 3), steps=8), latents(lossy, (1, 2, 3), steps=8)
    assert off(near, exact) > 1e-4
    assert off(latents(lossy, (2,), steps=8), near[1:2]) < 1e-4
    denoise = lossy.backend.denoiser(torch.zeros(1, 16, 0, 4, 6))
    for sigma in (0.9, 0.89, 0.88):
        denoise(torch.ones(1, *lossy.backend.latent_shape), sigma)
    assert denoise.cache.skipped == pytest.approx(2 / 3)
    assert lossy.rollout(None, seeds=[0], steps=1, progress=False).provenance["running"]["lossy"] == [
        "first_block_cache"
    ]


def test_the_first_block_cache_evaluates_the_rest_of_changed_samples_only():
    cache, asked = FirstBlock(0.1, samples=2), []

    def later(rows):
        asked.append(None if rows is None else rows.tolist())
        return first + 10.0 if rows is None else first[rows] + 20.0

    tokens, first = torch.zeros(4, 3), torch.ones(4, 3)  # two samples in two branches
    assert torch.equal(cache(tokens, first, later), first + 10.0)
    first = torch.tensor([1.0, 1.0, 1.0, 2.0])[:, None].expand(4, 3)
    assert cache(tokens, first, later)[:, 0].tolist() == [11.0, 21.0, 11.0, 22.0], "sample 1 in both branches"
    assert asked == [None, [1, 3]]
    assert cache.skipped == pytest.approx(1 / 4)


def test_recorded_evaluations_read_new_inputs_and_are_recorded_anew_for_new_shapes():
    records = []

    def record(run):
        records.append(1)
        out = run().clone()
        return lambda: out.copy_(run()), out

    double = Recorded(lambda parts: parts[0] * 2 + parts[1], record)
    one = torch.ones(2)
    first = double([one, one])
    second = double([torch.full((2,), 3.0), one])
    assert first.tolist() == [3.0, 3.0] and second.tolist() == [7.0, 7.0]
    assert double([torch.ones(3), torch.ones(3)]).tolist() == [3.0] * 3
    assert len(records) == 2


@torch.no_grad()
def test_a_network_takes_its_inputs_apart_and_together_for_recording():
    transformer = tiny_predict.action_transformer()
    network = CosmosNetwork(transformer)
    text, hidden = network.read(tiny_predict.embeddings(1)), torch.randn(1, 17, 4, 4, 6)
    sigma, actions = torch.full((1, 1), 0.5), transformer.embed_actions(torch.randn(1, 12, 7), 1)
    for told_text in (text, None):
        for told_actions in (actions, None):
            expected = network(hidden, sigma, told_text, told_actions)
            network._recorded = Recorded(network._evaluated, lambda run: (lambda: None, run()))
            assert torch.equal(network(hidden, sigma, told_text, told_actions), expected)
            network._recorded = None


@pytest.mark.gpu
@torch.no_grad()
def test_cuda_graphs_give_what_is_evaluated_without(folders):
    answers = []
    for settings in ({}, {"cuda_graphs": True}, {"memory": ("offload",)}):
        model = worldmodel.load(folders / "predict", "cuda", guardrail="none", running=Running(**settings))
        answers.append(latents(model.conditioned(prompt=tiny_predict.embeddings(1), guidance=2.0,
                                                 negative_prompt=tiny_predict.embeddings(2), image_size=SIZE,
                                                 num_frames=FRAMES)))  # fmt: skip
    assert off(answers[1], answers[0]) < 1e-2 and off(answers[2], answers[0]) < 1e-2
