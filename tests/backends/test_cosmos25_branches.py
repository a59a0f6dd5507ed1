"""Partial evaluations of denoisers with text, actions and guidance."""

import numpy as np
import pytest
import tiny_predict
import torch

from worldmodel.backends import attention
from worldmodel.backends.cosmos25_guided import Guidance, GuidedDenoiser
from worldmodel.backends.cosmos25_network import CosmosNetwork
from worldmodel.backends.cosmos25_video import Conditions, VideoDenoiser
from worldmodel.backends.running import Running
from worldmodel.noise import KeyedNoise
from worldmodel.sampling import PredictPerturb, sample
from worldmodel.sampling.sparse import SparsePredictPerturb
from worldmodel.sampling.uncertainty import Quantile

SIGMA, SHAPE = 0.6, (2, 16, 4, 4, 6)  # 4 x 2 x 3 tokens of 1 x 2 x 2 places
CASES = {
    "text": {"given": 0},
    "image": {"given": 1},
    "video, guided": {"given": 2, "guidance": 3.0},
    "actions, guided": {"given": 1, "guidance": 2.0, "actions": True},
    "one noise level for all": {"given": 1, "given_sigma": -1.0, "actions": True},
    "bfloat16": {"given": 1, "guidance": 2.0, "actions": True, "dtype": torch.bfloat16},
}


def noise(seed, *shape):
    return torch.randn(*shape or SHAPE, generator=torch.Generator().manual_seed(seed))


def released(given=1, guidance=0.0, actions=False, given_sigma=1e-4, dtype=torch.float32, running=None):
    transformer = tiny_predict.action_transformer().to(dtype)
    network = CosmosNetwork(transformer, running)
    text, negative = (network.read(noise(seed, 1, 5, tiny_predict.TEXT)) for seed in (1, 2))
    embedded = transformer.embed_actions(noise(3, len(noise(0)), 12, 7), given) if actions else None
    told = Conditions(text, negative if guidance else None, guidance, given_sigma, embedded)
    return VideoDenoiser(network, noise(9)[:, :, :given], SHAPE[2], told)


def guided(actions=1.5, frames=0.5):
    """The kind without text, which steers by actions and given frames."""
    transformer = tiny_predict.action_transformer()
    embedded = transformer.embed_actions(noise(3, len(noise(0)), 12, 7), 1)
    return GuidedDenoiser(CosmosNetwork(transformer), noise(9)[:, :, :1], SHAPE[2], embedded, Guidance(actions, frames))


def some(share, seed=4):
    draw = torch.rand(len(noise(0)), 1, *SHAPE[2:], generator=torch.Generator().manual_seed(seed))
    return draw < share


@pytest.fixture(scope="module", params=[*CASES, "guided by frames and actions"])
def denoise(request):
    with torch.no_grad():
        return released(**CASES[request.param]) if request.param in CASES else guided()


def same(denoise, ours, theirs):
    loose = denoise._network.transformer.dtype == torch.bfloat16
    torch.testing.assert_close(ours, theirs, rtol=0.0, atol=(0.05 if loose else 1e-5) * float(theirs.abs().max()))


@torch.no_grad()
def test_with_every_place_asked_for_it_is_a_full_evaluation(denoise):
    x0, memory = denoise.remember(noise(1), SIGMA)
    same(denoise, x0, denoise(noise(1), SIGMA))
    again, computed = denoise.partial(noise(2), SIGMA, ~denoise.pinned, memory)
    assert computed.all()
    same(denoise, again, denoise(noise(2), SIGMA))


@torch.no_grad()
def test_the_same_places_of_an_unchanged_sample_are_those_of_the_full_evaluation(denoise):
    x0, memory = denoise.remember(noise(1), SIGMA)
    again, computed = denoise.partial(noise(1), SIGMA, some(0.05), memory)
    assert 0 < computed.float().mean() < 0.6
    same(denoise, torch.where(computed, again, 0.0), torch.where(computed, x0, 0.0))


@torch.no_grad()
def test_branches_compute_and_renew_the_same_tokens_and_no_others(denoise):
    _, memory = denoise.remember(noise(1), SIGMA)
    keys = [each.clone() for each in memory.keys]
    _, computed = denoise.partial(noise(2), SIGMA, some(0.05) & ~denoise.pinned, memory)
    chosen = computed[:, 0, :, ::2, ::2].flatten(1).repeat(len(keys[0]) // len(computed), 1)
    for before, after in zip(keys, memory.keys, strict=True):
        assert torch.equal(before[~chosen], after[~chosen])
        assert (before[chosen] != after[chosen]).float().mean() > 0.9


@torch.no_grad()
def test_evaluations_in_part_use_the_chosen_kernel_and_the_rotation_of_the_others(monkeypatch):
    """Whole ones use them too: tables are made once for all, and no attention goes through another kernel."""
    kernels, tables, dispatch = [], [], attention.dispatch_attention_fn

    def dispatched(*args, backend, **options):
        kernels.append(backend.value)
        return dispatch(*args, backend=backend, **options)

    plain, chosen = released(guidance=2.0), released(guidance=2.0, running=Running(attention="_native_math"))
    monkeypatch.setattr(attention, "dispatch_attention_fn", dispatched)
    chosen._network.transformer.rope.register_forward_hook(lambda *_: tables.append(1))
    answers = []
    for denoise in (plain, chosen):
        whole, memory = denoise.remember(noise(1), SIGMA)
        part, computed = denoise.partial(noise(2), SIGMA, some(0.05), memory)
        answers.append((whole, torch.where(computed, part, 0.0)))
    same(plain, answers[1][0], answers[0][0])
    same(plain, answers[1][1], answers[0][1])
    chosen(noise(1), SIGMA)
    blocks = len(chosen._network.transformer.transformer_blocks)
    assert kernels == ["_native_math"] * (3 * 2 * blocks), "to itself and to the prompt, in each of three evaluations"
    assert len(tables) == 1


@torch.no_grad()
@pytest.mark.parametrize("case", ["video, guided", "actions, guided"])
def test_refinement_that_leaves_everything_open_is_the_published_one(case):
    denoise, x = released(**CASES[case]), KeyedNoise([1, 2]).initial(torch.empty(SHAPE))
    plain = PredictPerturb(plan=[(0.2, 0.8, 2)], threshold=0.0)
    sigmas = np.linspace(1.0, 0.0, 6)
    whole, sparse = (sample(denoise, x, sigmas, refine=refine) for refine in (plain, SparsePredictPerturb.of(plain)))
    torch.testing.assert_close(sparse, whole, rtol=0.0, atol=1e-4 * float(whole.abs().max()))


@torch.no_grad()
def test_refinement_costs_what_is_open():
    denoise, x, costs = released(**CASES["actions, guided"]), KeyedNoise([1, 2]).initial(torch.empty(SHAPE)), []
    refine = SparsePredictPerturb(plan=[(0.2, 0.8, 3)], threshold=Quantile(0.5), stop_fraction=None)

    def note(step):
        costs.extend(found["cost"] for found in step["refinement"])

    z = sample(denoise, x, np.linspace(1.0, 0.0, 6), refine=refine, callback=note)
    assert float(torch.stack(costs).min()) < 0.9
    assert torch.equal(z[:, :, :1], noise(9)[:, :, :1])
