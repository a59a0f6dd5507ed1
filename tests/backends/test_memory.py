"""Estimates of memory against what PyTorch's profiler counts, and refusals that say what fits."""

import pytest
import tiny_cosmos3
import tiny_predict
import tiny_wan
import torch
from safetensors.torch import save_file
from torch.profiler import ProfilerActivity, profile

import worldmodel
from worldmodel.backends import memory
from worldmodel.backends.cosmos3_network import Cosmos3Network
from worldmodel.backends.cosmos25_network import CosmosNetwork
from worldmodel.backends.cosmos25_video import Conditions, VideoDenoiser
from worldmodel.backends.memory import Clip, Weights
from worldmodel.backends.recipe import Recipe
from worldmodel.sampling import PredictPerturb, SparsePredictPerturb

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def peak(run):
    """Most bytes that a function has allocated at once on the CPU."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found, torch.no_grad():
        run()
    events, allocated = list(found.profiler.kineto_results.experimental_event_tree()), []
    while events:
        event = events.pop()
        events.extend(event.children)
        if event.tag.name == "Allocation":
            allocated.append((event.start_time_ns, event.extra_fields.alloc_size))
    total = most = 0
    for _, size in sorted(allocated):
        total += size
        most = max(most, total)
    return most


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_evaluation_takes_what_is_estimated(dtype):
    transformer = tiny_predict.transformer(
        num_attention_heads=4, attention_head_dim=64, mlp_ratio=4.0, max_size=(8, 64, 64)
    ).to(dtype)
    network, batch = CosmosNetwork(transformer), 2
    texts = [network.read(torch.randn(1, 5, tiny_predict.TEXT)) for _ in range(2)]
    denoise = VideoDenoiser(network, torch.randn(batch, 16, 1, 16, 20), 2, Conditions(*texts, guidance=3.0))
    x = torch.randn(batch, 16, 2, 16, 20)
    denoise(x, 0.5)  # tables are made
    expected = memory.clip(
        transformer.config, tiny_predict.vae().config, dtype, Recipe("", (128, 160), 5, 4.0, 1), branches=2
    )
    assert 0.7 < batch * expected.evaluation / peak(lambda: denoise(x, 0.5)) < 1.4


@torch.no_grad()
def test_evaluations_in_part_keep_as_many_bytes_as_are_estimated():
    transformer, batch = tiny_predict.transformer(), 2
    texts = [CosmosNetwork(transformer).read(torch.randn(1, 5, tiny_predict.TEXT)) for _ in range(2)]
    conditions = Conditions(*texts, guidance=3.0)
    denoise = VideoDenoiser(CosmosNetwork(transformer), torch.randn(batch, 16, 1, 4, 6), 2, conditions)
    _, kept = denoise.remember(torch.randn(batch, 16, 2, 4, 6), 0.5)
    recipe, codec = Recipe("", (32, 48), 5, 4.0, 1), tiny_predict.vae().config
    plain, sparse = (
        memory.clip(transformer.config, codec, torch.float32, recipe, branches=2, sparse=each) for each in (False, True)
    )
    assert batch * sparse.kept == sum(each.nbytes for each in (*kept.keys, *kept.values)) and plain.kept == 0


@torch.no_grad()
def test_an_evaluation_of_cosmos_3_takes_what_is_estimated():
    transformer = tiny_cosmos3.transformer(
        hidden_size=256, intermediate_size=768, num_attention_heads=4, head_dim=64, rope_axes_dim=[12, 10, 10]
    )
    network, latents = Cosmos3Network(transformer), torch.randn(1, 16, 2, 16, 20)
    texts = [network.read([1, 2, 3]), network.read([4])]
    network(latents, 1, 500.0, texts, 4.0)
    expected = memory.clip(
        transformer.config, tiny_cosmos3.vae().config, torch.float32, Recipe("", (128, 160), 5, 4.0, 1), branches=2
    )
    assert 0.7 < expected.evaluation / peak(lambda: network(latents, 1, 500.0, texts, 4.0)) < 1.4


@torch.no_grad()
def test_decoding_takes_what_is_estimated():
    from diffusers import AutoencoderKLWan

    vae = AutoencoderKLWan(base_dim=16, z_dim=16, num_res_blocks=1).eval()
    expected = memory.clip(
        tiny_predict.transformer().config, vae.config, torch.float32, Recipe("", (32, 48), 9, 4.0, 1), branches=1
    )
    assert 0.7 < expected.decoding / peak(lambda: vae.decode(torch.randn(1, 16, 3, 4, 6))) < 1.4


def test_weights_are_weighed_from_the_heads_of_their_files(tmp_path):
    pipe = tiny_predict.pipeline()
    tiny_predict.save(pipe, tmp_path / "one")
    weights = memory.weigh(tmp_path / "one", torch.bfloat16)
    sizes = [each.numel() * 2 for each in pipe.transformer.parameters()]
    assert weights.transformers == sum(sizes)
    assert weights.layer == max(sizes)
    assert weights.others == sum(each.numel() * 2 for each in pipe.vae.parameters())


def test_savings_are_taken_exact_ones_first():
    weights, room = Weights(transformers=28_000, layer=1_000, others=500), 20_000
    assert memory.settle_weights(weights, CUDA, None, 40_000) == ()
    assert memory.settle_weights(weights, CUDA, None, room) == ("offload",)
    assert memory.settle_weights(weights, CPU, None, room) == ("fp8",), "offload does nothing on a CPU"
    taken = Clip(evaluation=1_000, decoding=4_000, tile=500)
    assert memory.settle_clip(taken, CUDA, None, 4, 20_000) == ()
    assert memory.settle_clip(taken, CUDA, None, 4, 10_000) == ("slicing",)
    assert memory.settle_clip(taken, CUDA, None, 4, 4_400) == ("slicing",)
    assert memory.settle_clip(Clip(1_000, 6_000, 500), CUDA, None, 4, 4_400) == ("tiling",)


def test_a_refusal_says_what_fits():
    weights = Weights(transformers=28_000_000_000, layer=1_000_000_000, others=500_000_000)
    with pytest.raises(ValueError) as raised:
        memory.settle_weights(weights, CUDA, (), 20_000_000_000)
    assert str(raised.value) == (
        "memory: got 20.0 GB free on cuda, expected 31.4 GB for the weights; use memory=('offload',) (2.8 GB) or "
        "memory=('fp8',) (15.9 GB) or memory=('offload', 'fp8') (1.6 GB)"
    )
    with pytest.raises(ValueError, match="use a smaller model or another device"):
        memory.settle_weights(weights, CUDA, (), 1_000_000_000)
    taken = Clip(evaluation=1_000_000_000, decoding=4_000_000_000, tile=500_000_000)
    with pytest.raises(
        ValueError, match=r"for 4 at once \(evaluation 4.0 GB, decoding 16.0 GB\); use .* or batch_size=2"
    ):
        memory.settle_clip(taken, CPU, (), 4, 10_000_000_000)
    with pytest.raises(ValueError, match="use a smaller image_size or num_frames"):
        memory.settle_clip(taken, CPU, (), 4, 100_000_000)


def test_a_refusal_keeps_the_savings_that_were_chosen():
    weights = Weights(transformers=28_000_000_000, layer=1_000_000_000, others=500_000_000)
    with pytest.raises(ValueError) as raised:
        memory.settle_weights(weights, CUDA, ("tiling", "fp8"), 10_000_000_000)
    assert str(raised.value).endswith("; use memory=('tiling', 'fp8', 'offload') (1.6 GB)"), "and says each once"
    taken = Clip(evaluation=1_000_000_000, decoding=4_000_000_000, tile=500_000_000)
    with pytest.raises(ValueError, match=r"use memory=\('fp8', 'slicing'\) \(4.4 GB\) or memory=\('fp8', 'tiling'\)"):
        memory.settle_clip(taken, CPU, ("fp8",), 4, 10_000_000_000)


def test_savings_of_weights_leave_room_for_a_clip_if_any_do(caplog):
    weights, usual = Weights(transformers=28_000, layer=1_000, others=500), Clip(1_000, 10_000, 500)
    assert memory.settle_weights(weights, CUDA, None, 45_000, usual) == ()
    assert memory.settle_weights(weights, CUDA, None, 40_000, usual) == ("offload",), "exact, as tiles are not"
    assert memory.settle_weights(weights, CPU, None, 40_000, usual) == (), "and tiles"
    assert memory.settle_weights(weights, CPU, None, 32_000, usual) == ("fp8",)
    assert not caplog.text
    assert memory.settle_weights(weights, CPU, None, 32_000, Clip(50_000, 50_000, 50_000)) == ()
    assert memory.settle_weights(weights, CUDA, (), 40_000, usual) == (), "smaller clips may be asked for"
    assert caplog.text.count("and a clip of the usual size takes 0.0 GB; ask for smaller ones") == 2


def test_recorded_evaluations_are_not_offloaded():
    weights = Weights(transformers=28_000, layer=1_000, others=500)
    assert memory.settle_weights(weights, CUDA, None, 20_000, recorded=True) == ("fp8",)
    with pytest.raises(ValueError, match="use a smaller model or another device, or leave cuda_graphs out"):
        memory.settle_weights(weights, CUDA, None, 10_000, recorded=True)


def test_an_autoencoder_in_full_precision_is_weighed_so(tmp_path, monkeypatch):
    """Wan's, which runs in float32 whatever the precision of the others."""
    tiny_wan.text_to_video().save_pretrained(tmp_path)
    half, told = memory.weigh(tmp_path, torch.bfloat16), memory.weigh(tmp_path, torch.bfloat16, ("vae",))
    assert (told.transformers, told.layer, told.others) == (half.transformers, half.layer, 2 * half.others)
    monkeypatch.setattr(memory, "free", lambda _: told.on_device(()) - 1)
    with pytest.raises(ValueError, match=r"expected 0\.0 GB for the weights"):
        worldmodel.load(tmp_path, device="cpu", dtype=torch.bfloat16)
    network, codec, recipe = tiny_wan.transformer(16, 1).config, tiny_wan.vae().config, Recipe("", (32, 48), 9, 4.0, 1)
    low, mixed = (memory.clip(network, codec, torch.bfloat16, recipe, 2, each) for each in (None, torch.float32))
    assert mixed.evaluation == low.evaluation
    assert mixed.decoding == pytest.approx(2 * low.decoding, abs=2)


def test_models_and_rollouts_that_do_not_fit_are_refused(tmp_path, monkeypatch):
    tiny_predict.save(tiny_predict.pipeline(), tmp_path / "one")
    monkeypatch.setattr(memory, "free", lambda _: 1000)
    with pytest.raises(ValueError, match=r"memory: got 0.0 GB free on cpu, expected 0.0 GB for the weights"):
        worldmodel.load(tmp_path / "one", device="cpu", guardrail="none")
    monkeypatch.setattr(memory, "free", lambda _: 1_000_000)
    told = worldmodel.load(tmp_path / "one", device="cpu", guardrail="none").conditioned(
        prompt=tiny_predict.embeddings(1), guidance=0.0
    )
    with pytest.raises(ValueError, match=r"memory: got 0.0 GB free on cpu, expected .* GB for 2 at once"):
        told.rollout(None, seeds=[0, 1], steps=1)


def test_a_chunk_that_does_not_fit_is_refused(tmp_path, monkeypatch):
    tiny_predict.save(tiny_predict.pipeline(), tmp_path / "one")
    told = worldmodel.load(tmp_path / "one", device="cpu", guardrail="none").conditioned(
        prompt=tiny_predict.embeddings(1), guidance=0.0
    )
    monkeypatch.setattr(memory, "free", lambda _: 1_000_000)
    with pytest.raises(ValueError, match=r"memory: got 0.0 GB free on cpu, expected .* GB for 2 at once"):
        told.step(told.start(None, seeds=[0, 1]), steps=1)


def test_refinement_in_part_is_refused_where_only_whole_evaluations_fit(tmp_path, monkeypatch):
    tiny_predict.save(tiny_predict.pipeline(), tmp_path / "one")
    told = worldmodel.load(tmp_path / "one", device="cpu", guardrail="none").conditioned(
        prompt=tiny_predict.embeddings(1), guidance=0.0, image_size=(32, 48), num_frames=9
    )
    plan, seen = [(0.2, 0.6, 2)], []
    monkeypatch.setattr(memory, "settle_clip", lambda taken, *_: seen.append(taken) or ())
    for refine in (PredictPerturb(plan=plan), SparsePredictPerturb(plan=plan)):
        told.step(told.start(None, seeds=[0]), steps=4, refine=refine)
    assert [each.kept > 0 for each in seen] == [False, True]


def test_a_text_encoder_goes_where_it_fits(tmp_path, monkeypatch, caplog):
    (tmp_path / "text_encoder").mkdir()
    save_file({"one": torch.zeros(500, 1000)}, tmp_path / "text_encoder" / "model.safetensors")
    room = {"cuda": 2_000_000, "cpu": 2_000_000}  # 1.1 MB are needed in bfloat16, 2.2 MB in float32
    monkeypatch.setattr(memory, "free", lambda device: room[device.type])
    assert memory.settle_encoder(tmp_path, CUDA, torch.bfloat16) == CUDA
    with pytest.raises(ValueError, match=r"got 0.0 GB free on cuda and 0.0 GB free on cpu, expected 0.0 GB for the te"):
        memory.settle_encoder(tmp_path, CUDA, torch.float32)
    room["cuda"] = 1_000_000
    assert memory.settle_encoder(tmp_path, CUDA, torch.bfloat16) == CPU
    assert "the text encoder takes 0.0 GB and runs on the CPU" in caplog.text


def test_this_machine_has_memory():
    assert 1e8 < memory.free(CPU) < 1e14


def test_an_estimate_that_was_too_low_is_a_refusal_too(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise torch.OutOfMemoryError

    tiny_predict.save(tiny_predict.pipeline(), tmp_path / "one")
    model = worldmodel.load(tmp_path / "one", device="cpu", guardrail="none").conditioned(
        prompt=tiny_predict.embeddings(1), guidance=0.0, image_size=(32, 48), num_frames=9
    )
    monkeypatch.setattr(model.backend, "denoiser", fail)
    with pytest.raises(ValueError, match=r"memory: got too little on cpu for 4 at once, .* use batch_size=2 or load"):
        model.rollout(None, seeds=range(4), steps=1, progress=False)
