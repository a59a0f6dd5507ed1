"""Partial evaluations of a Cosmos transformer against diffusers' own forward pass."""

import pytest
import torch
from diffusers import CosmosTransformer3DModel
from torch.utils.flop_counter import FlopCounterMode

from worldmodel.backends import sparse_cosmos
from worldmodel.backends.cosmos25 import CosmosDenoiser, skip_empty_prompt
from worldmodel.backends.cosmos25_network import CosmosNetwork
from worldmodel.backends.cosmos_tokens import patches, unpatched
from worldmodel.backends.sparse_cosmos import Inputs

SIGMA = 0.6
SHAPE = (3, 16, 5, 8, 8)  # 5 x 4 x 4 tokens of 1 x 2 x 2 places
TOKENS = 80


def random_transformer(**settings):
    torch.manual_seed(0)
    defaults = {
        "in_channels": 17,
        "out_channels": 16,
        "num_attention_heads": 2,
        "attention_head_dim": 24,
        "num_layers": 3,
        "text_embed_dim": 8,
        "adaln_lora_dim": 16,
        "max_size": (8, 16, 16),
        "concat_padding_mask": False,
        "extra_pos_embed_type": None,
    }
    network = CosmosTransformer3DModel(**{**defaults, **settings})
    for weight in network.parameters():  # as initialised, gates and outputs are near nothing
        torch.nn.init.normal_(weight, std=0.15)
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def network():
    network = random_transformer()
    skip_empty_prompt(network)
    return network


@pytest.fixture(scope="module")
def denoise(network):
    return CosmosDenoiser(network, noise(9)[:, :, :1], SHAPE[2])


def noise(seed, shape=SHAPE):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def scattered(shares):
    """Places (B, 1, T, H, W): of each sample about that share."""
    draw = torch.rand(len(shares), 1, *SHAPE[2:], generator=torch.Generator().manual_seed(3))
    return draw < torch.tensor(shares).view(-1, 1, 1, 1, 1)


def same(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5 * float(theirs.abs().max()))


@pytest.mark.parametrize(
    ("settings", "per_frame", "prompt_width"),
    [
        ({}, False, 8),
        ({}, True, 8),
        (
            {"use_crossattn_projection": True, "crossattn_proj_in_channels": 12, "encoder_hidden_states_channels": 8},
            True,
            12,
        ),
        ({"patch_size": (1, 4, 2)}, False, 8),
    ],
)
def test_with_every_token_it_is_diffusers_own_forward_pass(settings, per_frame, prompt_width):
    network = random_transformer(**settings)
    hidden, prompt = noise(1, (3, 17, *SHAPE[2:])), noise(2, (3, 4, prompt_width))
    sigmas = torch.tensor([[0.2], [0.6], [0.9]])
    if per_frame:
        sigmas = sigmas * torch.linspace(0.0, 1.0, SHAPE[2])
    theirs = network(
        hidden,
        timestep=sigmas[:, None, :, None, None] if per_frame else sigmas.flatten(),
        encoder_hidden_states=prompt,
        return_dict=False,
    )[0]
    inputs = Inputs(hidden, sigmas, CosmosNetwork(network).read(prompt))
    ours, memory = sparse_cosmos.remember(network, inputs, SIGMA)
    same(ours, theirs)
    ragged = scattered([0.03, 0.0, 0.3])
    again, computed = sparse_cosmos.partial(network, inputs, SIGMA, ragged, torch.ones_like(ragged), memory)
    assert (computed | ~ragged).all()
    assert not computed[1].any()
    where = computed.expand_as(again)
    same(again[where], theirs[where])
    assert (again[~where] == 0).all()


def test_rows_of_patches_are_taken_apart_and_put_together():
    places = torch.arange(2 * 3 * 4 * 6, dtype=torch.float32).view(1, 2, 3, 4, 6)
    rows = patches(places, (1, 2, 3))
    assert rows.shape == (1, 3 * 2 * 2, 2 * 6)
    assert rows[0, 1].tolist() == places[0, :, 0, :2, 3:].flatten().tolist()
    token = torch.zeros(1, 12, 6).index_fill_(1, torch.tensor([1]), 1.0)
    assert unpatched(token, places.shape[2:], (1, 2, 3))[0, 0, 0].nonzero().tolist() == [
        [row, column] for row in (0, 1) for column in (3, 4, 5)
    ]


def test_a_new_sample_with_every_place_asked_for_is_a_full_evaluation(denoise):
    _, memory = denoise.remember(noise(1), SIGMA)
    x0, computed = denoise.partial(noise(2), SIGMA, ~denoise.pinned, memory)
    assert computed.all(), "given frames included"
    same(x0, denoise(noise(2), SIGMA))


def test_rotation_tables_are_made_once_for_all_evaluations_in_part(network):
    denoise, calls = CosmosDenoiser(network, noise(9)[:, :, :1], SHAPE[2]), []
    hook = network.rope.register_forward_hook(lambda *_: calls.append(1))
    _, memory = denoise.remember(noise(1), SIGMA)
    for seed in (2, 3):
        denoise.partial(noise(seed), SIGMA, scattered([0.1, 0.1, 0.1]), memory)
    hook.remove()
    assert len(calls) == 1


def test_a_partial_evaluation_is_an_approximation_that_depends_on_what_it_remembers(denoise):
    """And so the equalities above and below are not trivially true."""
    places, answers = scattered([0.1, 0.1, 0.1]), []
    for seed in (1, 5):
        _, memory = denoise.remember(noise(seed), SIGMA)
        x0, computed = denoise.partial(noise(2), SIGMA, places, memory)
        answers.append(x0[computed.expand_as(x0)])
    exact = denoise(noise(2), SIGMA)[computed.expand_as(x0)]
    assert (answers[0] - answers[1]).abs().mean() > 1e-3
    assert (answers[0] - exact).abs().mean() > 1e-3


def test_tokens_that_are_not_asked_for_are_neither_computed_nor_read(network, denoise):
    rows = []

    def count(_, inputs, __):
        rows.append(len(inputs[0]))

    hooks = [block.ff.register_forward_hook(count) for block in network.transformer_blocks]
    _, memory = denoise.remember(noise(1), SIGMA)
    keys = [block.clone() for block in memory.keys]
    places = scattered([0.1, 0.0, 0.02]) & ~denoise.pinned
    x0, computed = denoise.partial(noise(2), SIGMA, places, memory)
    chosen = patches(places, (1, 2, 2)).any(dim=-1)
    assert rows == [3 * TOKENS] * 3 + [int(chosen.sum())] * 3
    for hook in hooks:
        hook.remove()
    for before, after in zip(keys, memory.keys, strict=True):
        assert torch.equal(before[~chosen], after[~chosen])
        assert (before[chosen] != after[chosen]).float().mean() > 0.99
    _, same_memory = denoise.remember(noise(1), SIGMA)
    elsewhere = torch.where(computed, noise(2), 1e6)
    again, _ = denoise.partial(elsewhere, SIGMA, places, same_memory)
    assert torch.equal(torch.where(computed, again, 0.0), torch.where(computed, x0, 0.0))


def test_the_cost_counted_in_flops_is_the_share_of_tokens():
    """Without the modulation, which is made once a sample."""
    network = random_transformer(adaln_lora_dim=1)
    skip_empty_prompt(network)
    denoise = CosmosDenoiser(network, noise(9)[:, :, :1], SHAPE[2])
    with FlopCounterMode(display=False) as full:
        _, memory = denoise.remember(noise(1), SIGMA)
    places = scattered([0.1, 0.1, 0.1])
    places[:] = places[:1]  # as many in each sample, so that attention need not pad
    with FlopCounterMode(display=False) as part:
        _, computed = denoise.partial(noise(2), SIGMA, places, memory)
    share = computed.double().mean().item()
    assert 0.1 < share < 0.5
    assert part.get_total_flops() / full.get_total_flops() == pytest.approx(share, rel=0.01)


def test_a_sample_does_not_depend_on_its_batch(network, denoise):
    places = scattered([0.02, 0.5, 0.0])
    _, memory = denoise.remember(noise(1), SIGMA)
    together, _ = denoise.partial(noise(2), SIGMA, places, memory)
    for row in range(3):
        one = slice(row, row + 1)
        alone = CosmosDenoiser(network, noise(9)[one, :, :1], SHAPE[2])
        _, memory = alone.remember(noise(1)[one], SIGMA)
        x0, computed = alone.partial(noise(2)[one], SIGMA, places[one], memory)
        same(torch.where(computed, x0, 0.0), torch.where(computed, together[one], 0.0))


def test_given_frames_are_exact_and_evaluated_with_the_last_free_token_only(denoise):
    _, memory = denoise.remember(noise(1), SIGMA)
    places = (~denoise.pinned).clone()
    places[1, :, -1, -2:, -2:] = False
    x0, computed = denoise.partial(noise(2), SIGMA, places, memory)
    assert computed[0].all() and computed[2].all()
    assert not computed[1, :, 0].any()
    assert torch.equal(x0[:, :, :1], denoise.remember(noise(1), SIGMA)[0][:, :, :1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sigma": 0.5}, r"memory: got 3 samples at sigma 0.6, expected 3 at 0.5"),
        ({"places": torch.ones(3, 1, 5, 8, 8)}, r"places: got torch.float32 of shape \(3, 1, 5, 8, 8\), expected"),
        ({"places": torch.ones(3, 5, 8, 8, dtype=torch.bool)}, r"places: got .* expected torch.bool of shape"),
    ],
)
def test_what_does_not_fit_is_refused(denoise, change, message):
    _, memory = denoise.remember(noise(1), SIGMA)
    given = {"x": noise(2), "sigma": SIGMA, "places": scattered([0.1] * 3), "memory": memory} | change
    with pytest.raises(ValueError, match=message):
        denoise.partial(**given)


@pytest.mark.gpu
def test_a_gpu_gives_what_the_cpu_gives(denoise):
    network = random_transformer().to("cuda")
    on_gpu = CosmosDenoiser(network, noise(9)[:, :, :1].cuda(), SHAPE[2])
    places = scattered([0.02, 0.5, 0.0])
    answers = []
    for each, device in ((denoise, "cpu"), (on_gpu, "cuda")):
        _, memory = each.remember(noise(1).to(device), SIGMA)
        x0, computed = each.partial(noise(2).to(device), SIGMA, places.to(device), memory)
        answers.append(torch.where(computed, x0, 0.0).cpu())
    torch.testing.assert_close(*answers, rtol=1e-2, atol=1e-3)
