"""What guidance does to the prediction, and that actions reach it."""

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLWan

from worldmodel.actions import ActionSpec
from worldmodel.backends.cosmos25 import Cosmos25Backend
from worldmodel.backends.cosmos25_guided import Guidance, GuidedDenoiser
from worldmodel.backends.cosmos25_network import CosmosNetwork
from worldmodel.backends.domains import Domain
from worldmodel.backends.recipe import Recipe
from worldmodel.model import WorldModel
from worldmodel.training import transformer as training

SPEC = ActionSpec(("x", "y"), ("m/s", "m/s"), (-1.0, -1.0), (1.0, 1.0), "world", 16.0)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    small = {**training.TINY_TRANSFORMER, "num_layers": 2, "num_attention_heads": 1}
    model = training.ActionCosmosTransformer3DModel(**small)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def model(network):
    vae = AutoencoderKLWan(
        base_dim=4, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True]
    )
    domains = (Domain("ball", SPEC, (0, 1), ((-1, 1),) * 2), Domain("cart", SPEC, (2, 3), ((-1, 1),) * 2))
    recipe = Recipe("robots", (32, 32), 9, 16.0, steps=2, domains=domains)
    return WorldModel(Cosmos25Backend(network, vae, {"flow_shift": 2.0}, recipe))


@pytest.fixture
def case(network):
    given, x = torch.randn(2, 16, 1, 4, 4), torch.randn(2, 16, 3, 4, 4)
    return given, x, network.embed_actions(torch.rand(2, 8, 7), 1)


def predicted(network, case, guidance=None, actions=True):
    given, x, embedded = case
    return GuidedDenoiser(CosmosNetwork(network), given, 3, embedded if actions else None, guidance)(x, 0.6)


def test_given_frames_are_exact_under_any_guidance(network, case):
    for guidance in (Guidance(), Guidance(actions=2.0), Guidance(frames=1.0), Guidance(1.0, 1.0)):
        assert torch.equal(predicted(network, case, guidance)[:, :, :1], case[0])


def test_guidance_is_linear_in_its_strength_and_without_it_costs_nothing(network, case):
    plain, deaf = predicted(network, case), predicted(network, case, actions=False)
    for strength in (0.5, 2.0):
        steered = predicted(network, case, Guidance(actions=strength))
        torch.testing.assert_close(steered, plain + strength * (plain - deaf), rtol=1e-4, atol=1e-4)
    blind = predicted(network, case, Guidance(frames=1.0)) - plain
    both = predicted(network, case, Guidance(1.0, 1.0))
    torch.testing.assert_close(both, plain + (plain - deaf) + blind, rtol=1e-4, atol=1e-4)


def test_guidance_over_actions_needs_actions(network, case):
    deaf = predicted(network, case, actions=False)
    assert torch.equal(predicted(network, case, Guidance(actions=3.0), actions=False), deaf)


def test_without_actions_it_is_the_network_that_is_told_frames_alone(model, network, case):
    given, x, _ = case
    expected = model.backend.denoiser(given)(x, 0.6)
    torch.testing.assert_close(predicted(network, case, actions=False), expected, rtol=1e-4, atol=1e-5)


def test_actions_change_the_rollout_and_whose_they_are_does_too(model):
    frames = np.random.default_rng(0).integers(0, 255, (1, 32, 32, 3), dtype=np.uint8)
    actions = np.full((1, 8, 2), 0.7)
    options = {"seeds": [3], "progress": False}
    ball, cart = (model.conditioned(domain=name) for name in ("ball", "cart"))
    one, again = (ball.rollout(frames, actions=actions, **options) for _ in range(2))
    assert np.array_equal(one.video, again.video)
    assert one.provenance["domain"] == "ball"
    assert not np.array_equal(one.video, ball.rollout(frames, actions=-actions, **options).video)
    assert not np.array_equal(one.video, cart.rollout(frames, actions=actions, **options).video)
    assert model.conditioned(domain=SPEC).backend.action_spec == SPEC


def test_a_chunk_that_begins_with_more_frames_takes_fewer_actions(model):
    frames = np.random.default_rng(0).integers(0, 255, (1, 5, 32, 32, 3), dtype=np.uint8)
    ball = model.conditioned(domain="ball")
    rolled = ball.rollout(frames, actions=np.zeros((1, 4, 2)), seeds=[0], progress=False)
    assert rolled.video.shape[1] == 9
    with pytest.raises(ValueError, match="horizon"):
        ball.rollout(frames, actions=np.zeros((1, 5, 2)), seeds=[0], progress=False)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model, frames: model.conditioned(domain="leg"), "domain: got 'leg', expected one of ball, cart"),
        (lambda model, frames: model.conditioned(prompt="run"), "prompt: got it for robots, expected domain"),
        (lambda model, frames: model.conditioned(action_guidance=-1.0), "actions guidance: got -1.0"),
        (
            lambda model, frames: model.rollout(frames, actions=np.zeros((1, 8, 2)), seeds=[0]),
            r"actions: got some for robots without a robot.*one of ball, cart",
        ),
        (
            lambda model, frames: model.conditioned(domain="ball").rollout(
                frames, actions=np.full((1, 8, 2), 1.5), seeds=[0]
            ),
            "action x: got 1.5 m/s, expected -1 to 1",
        ),
    ],
)
def test_what_a_model_of_several_robots_refuses(model, call, message):
    with pytest.raises(ValueError, match=message):
        call(model, np.zeros((1, 32, 32, 3), np.uint8))
