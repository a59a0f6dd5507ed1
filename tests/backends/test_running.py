"""Ways to run a model: what they leave unchanged, what they change, and that none is silently without effect."""

import functools

import numpy as np
import pytest
import tiny_cosmos3
import tiny_predict
import tiny_wan
import torch
from diffusers import FirstBlockCacheConfig
from diffusers.hooks import HookRegistry, ModelHook

import worldmodel
from worldmodel.backends.attention import attend, check_kernel
from worldmodel.backends.cosmos25_network import CosmosNetwork
from worldmodel.backends.first_block import FirstBlock
from worldmodel.backends.graphs import Recorded
from worldmodel.backends.running import Running, check_tiles

SIZE, FRAMES = (32, 48), 9


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("running")
    tiny_predict.save(tiny_predict.pipeline(), root / "predict")
    tiny_cosmos3.pipeline().save_pretrained(root / "cosmos3")
    tiny_wan.text_to_video().save_pretrained(root / "wan")
    return root


def told(folders, kind, **settings):
    model = worldmodel.load(folders / kind, device="cpu", guardrail="none", running=Running(**settings))
    words = torch.randn(1, 5, tiny_wan.TEXT, generator=torch.Generator().manual_seed(0))
    prompts = {"predict": tiny_predict.embeddings(1), "cosmos3": "a red ball", "wan": words}
    return model.conditioned(
        prompt=prompts[kind], guidance={"predict": 0.0}.get(kind, 1.0), image_size=SIZE, num_frames=FRAMES
    )


def latents(model, seeds=(1,), **options):
    options = {"steps": 3} | options
    return model.rollout(None, seeds=seeds, keep_latents=True, progress=False, **options).latents


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


def test_offloaded_layers_are_hooked_where_evaluations_go_through_them():
    """On the CPU, where it saves nothing: hooks on whole blocks would never be called."""
    network = tiny_predict.transformer()
    expected = CosmosNetwork(tiny_predict.transformer()).read(tiny_predict.embeddings(1)).keys[0]
    placed = Running(memory=("offload",)).place(network, "cpu")
    assert torch.equal(CosmosNetwork(placed).read(tiny_predict.embeddings(1)).keys[0], expected)


def test_slices_decode_the_same(folders):
    plain, sliced = told(folders, "predict"), told(folders, "predict", memory=("slicing",))
    z = torch.randn(3, *plain.backend.latent_shape)
    assert np.abs(plain.backend.decode(z).astype(int) - sliced.backend.decode(z)).max() <= 1
    assert sliced.backend.codec.vae.use_slicing


def test_what_is_needed_to_fit_is_switched_on_and_said(folders, monkeypatch, caplog):
    from worldmodel.backends import memory

    model = told(folders, "predict", memory=None)
    taken = memory.clip(
        model.backend.transformer.config, model.backend.codec.vae.config, torch.float32, model.backend.recipe, 1
    )
    monkeypatch.setattr(memory, "free", lambda _: taken.needed(2, ("slicing",)))
    model.rollout(None, seeds=[0, 1], steps=1, progress=False)
    assert model.backend.codec.vae.use_slicing
    assert "clips are decoded one by one; exact, to fit 2 at once" in caplog.text


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


def test_caches_of_diffusers_which_would_do_nothing_are_refused():
    network = tiny_cosmos3.transformer()
    network.enable_cache(FirstBlockCacheConfig(threshold=0.1))
    from worldmodel.backends.cosmos3_network import Cosmos3Network

    with pytest.raises(ValueError, match=r"got blocks with hooks of diffusers \(fbc_"):
        Cosmos3Network(network)


@pytest.mark.parametrize(
    ("kind", "blocks"), [("predict", "transformer_blocks"), ("cosmos3", "layers"), ("wan", "blocks")]
)
def test_hooks_that_were_put_on_blocks_later_are_refused_too(folders, kind, blocks):
    model = told(folders, kind)
    transformer = model.backend.transformers[0] if kind == "wan" else model.backend.transformer
    HookRegistry.check_if_exists_or_initialize(getattr(transformer, blocks)[1]).register_hook(ModelHook(), "mine")
    with pytest.raises(ValueError, match=r"got blocks with hooks of diffusers \(mine\)"):
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
