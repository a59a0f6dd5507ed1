"""The action-conditioned network against a plain one written from its description, in float32."""

import math

import numpy as np
import pytest
import tiny_predict
import torch
from torch.nn.functional import gelu, layer_norm, linear, silu

from worldmodel.backends.cosmos25_action_network import ActionCosmosTransformer3DModel, action_kind
from worldmodel.backends.cosmos25_network import CosmosNetwork
from worldmodel.backends.cosmos25_video import Conditions, VideoDenoiser

B, T, H, W = 2, 4, 4, 6  # latents of 13 frames of 32 x 48: 2 x 3 tokens a frame
HEADS, DIM = 2, 16
D = HEADS * DIM


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rms(x, weight):
    return x / (x.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt() * weight


def sinusoid(sigma):
    """(D,) cosines then sines of sigma at geometric frequencies."""
    frequencies = [math.exp(-math.log(10000) * i / (D // 2)) for i in range(D // 2)]
    return torch.tensor([f(sigma * w) for f in (math.cos, math.sin) for w in frequencies])


def angles(frame, row, column):
    """(DIM,) rotation angles of a token: a share of the pairs for time, row and column each, spatial ones stretched."""
    space = DIM // 6 * 2
    time = DIM - 2 * space
    stretched = 10000.0 * 3.0 ** (space / (space - 2))
    parts = [(frame, time, 10000.0), (row, space, stretched), (column, space, stretched)]
    half = [place / theta ** (2 * i / width) for place, width, theta in parts for i in range(width // 2)]
    return torch.tensor(half * 2)


def rotate(x, turn):
    first, second = x[: DIM // 2], x[DIM // 2 :]
    return x * turn.cos() + torch.cat([-second, first]) * turn.sin()


def mlp(w, name, x):
    hidden = linear(x, w[f"{name}.fc1.weight"], w[f"{name}.fc1.bias"])
    return linear(gelu(hidden, approximate="tanh"), w[f"{name}.fc2.weight"], w[f"{name}.fc2.bias"])


def attention(w, name, queries, context, turns=None):
    """Token by token and head by head."""
    q, k, v = (linear(x, w[f"{name}.to_{n}.weight"]) for n, x in (("q", queries), ("k", context), ("v", context)))
    out = torch.zeros_like(q)
    for head in range(HEADS):
        part = slice(head * DIM, (head + 1) * DIM)
        qs, ks = rms(q[:, part], w[f"{name}.norm_q.weight"]), rms(k[:, part], w[f"{name}.norm_k.weight"])
        if turns is not None:
            qs, ks = (torch.stack([rotate(x, t) for x, t in zip(xs, turns, strict=True)]) for xs in (qs, ks))
        out[:, part] = torch.softmax(qs @ ks.T / math.sqrt(DIM), dim=-1) @ v[:, part]
    return linear(out, w[f"{name}.to_out.0.weight"])


def plain_velocity(w, latents, mask, sigmas, prompt, actions, kind):
    """(C, T, H, W) of one sample: latents (C, T, H, W), mask (T,), sigmas (T,), prompt (S, W), actions (12, 7)."""
    tokens, turns, frame_of = [], [], []
    for t in range(T):
        for h in range(H // 2):
            for c in range(W // 2):
                patch = latents[:, t, 2 * h : 2 * h + 2, 2 * c : 2 * c + 2].reshape(16, 4)
                extra = torch.stack([torch.full((4,), float(mask[t])), torch.zeros(4)])  # given, padded
                tokens.append(linear(torch.cat([patch, extra]).flatten(), w["patch_embed.proj.weight"]))
                turns.append(angles(t, h, c))
                frame_of.append(t)
    x = torch.stack(tokens)
    text = gelu(linear(prompt, w["crossattn_proj.0.weight"], w["crossattn_proj.0.bias"]))
    embedded, lora = [], []
    for t in range(T):
        s = sinusoid(float(sigmas[t]))
        low = linear(
            silu(linear(s, w["time_embed.t_embedder.linear_1.weight"])), w["time_embed.t_embedder.linear_2.weight"]
        )
        if actions is not None and kind == "global":
            s, low = (
                s + mlp(w, "action_embedder_B_D", actions.flatten()),
                low + mlp(w, "action_embedder_B_3D", actions.flatten()),
            )
        if actions is not None and kind == "chunk" and t > 0 and not mask[t]:
            own = actions[4 * (t - 1) : 4 * t].flatten()
            s, low = s + mlp(w, "action_embedder_B_D", own), low + mlp(w, "action_embedder_B_3D", own)
        embedded.append(rms(s, w["time_embed.norm.weight"]))
        lora.append(low)

    def modulated(name, x, parts=3):
        rows = []
        for e, low in zip(embedded, lora, strict=True):
            own = linear(linear(silu(e), w[f"{name}.linear_1.weight"]), w[f"{name}.linear_2.weight"])
            rows.append(own + low[: parts * D])
        shift, scale, *gate = torch.stack([rows[t] for t in frame_of]).split(D, dim=-1)
        return layer_norm(x, (D,), eps=1e-6) * (1 + scale) + shift, *gate

    for block in range(2):
        b = f"transformer_blocks.{block}"
        y, gate = modulated(f"{b}.norm1", x)
        x = x + gate * attention(w, f"{b}.attn1", y, y, turns)
        y, gate = modulated(f"{b}.norm2", x)
        x = x + gate * attention(w, f"{b}.attn2", y, text)
        y, gate = modulated(f"{b}.norm3", x)
        x = x + gate * linear(gelu(linear(y, w[f"{b}.ff.net.0.proj.weight"])), w[f"{b}.ff.net.2.weight"])
    (y,) = modulated("norm_out", x, parts=2)
    out, velocity = linear(y, w["proj_out.weight"]), torch.zeros(16, T, H, W)
    for token, (row, t) in enumerate(zip(out, frame_of, strict=True)):
        h, c = divmod(token % (H // 2 * (W // 2)), W // 2)
        velocity[:, t, 2 * h : 2 * h + 2, 2 * c : 2 * c + 2] = row.view(2, 2, 16).permute(2, 0, 1)
    return velocity


@pytest.fixture(scope="module", params=["chunk", "global"])
def network(request):
    return tiny_predict.action_transformer({"chunk": 28, "global": 84}[request.param])


@torch.no_grad()
@pytest.mark.parametrize("given", [0, 1, 2])
@pytest.mark.parametrize("told", [True, False])
def test_it_is_the_network_of_the_description(network, given, told):
    kind = action_kind(network.config.action_width)
    latents, prompt, actions = noise(B, 16, T, H, W), noise(1, 5, tiny_predict.TEXT, seed=1), noise(B, 12, 7, seed=2)
    mask = torch.zeros(B, 1, T, H, W)
    mask[:, :, :given] = 1.0
    sigmas = torch.full((B, T), 0.6)
    sigmas[:, :given] = 1e-4
    evaluate = CosmosNetwork(network)
    embedded = network.embed_actions(actions, given) if told else None
    ours = evaluate(torch.cat([latents, mask], dim=1), sigmas, evaluate.read(prompt), embedded)
    for row in range(B):
        expected = plain_velocity(
            network.state_dict(), latents[row], mask[row, 0, :, 0, 0], sigmas[row], prompt[0],
            actions[row] if told else None, kind,
        )  # fmt: skip
        torch.testing.assert_close(ours[row], expected, atol=1e-4 * float(expected.abs().max()), rtol=1e-4)


@torch.no_grad()
def test_actions_of_one_latent_frame_reach_it_and_through_attention_the_others():
    network = tiny_predict.action_transformer()
    embedded = network.embed_actions(noise(1, 12, 7), 1)
    assert (embedded.sinusoid[:, 0] == 0).all() and (embedded.modulation[:, 0] == 0).all()
    changed = noise(1, 12, 7)
    changed[:, 4:8] += 1.0
    other = network.embed_actions(changed, 1)
    moved = (other.sinusoid - embedded.sinusoid).abs().amax(dim=(0, 2)) > 1e-3
    assert moved.tolist() == [False, False, True, False]


@torch.no_grad()
def test_no_actions_add_nothing_and_are_not_actions_of_zero():
    """Zeros are an embedding too: that of standing still with an open gripper."""
    network = tiny_predict.action_transformer()
    evaluate = CosmosNetwork(network)
    text = evaluate.read(noise(1, 5, tiny_predict.TEXT))
    x, given = noise(1, 16, T, H, W), noise(1, 16, 1, H, W, seed=4)

    def answer(embedded):
        return VideoDenoiser(evaluate, given, T, Conditions(text, given_sigma=-1.0, actions=embedded))(x, 0.5)

    still = answer(network.embed_actions(torch.zeros(1, 12, 7), 1))
    assert (answer(None) - still).abs().max() > 1e-3


@torch.no_grad()
def test_both_branches_of_the_guidance_are_told_the_actions():
    network = tiny_predict.action_transformer()
    evaluate = CosmosNetwork(network)
    text, negative = (evaluate.read(noise(1, 5, tiny_predict.TEXT, seed=seed)) for seed in (1, 2))
    x, given, embedded = noise(B, 16, T, H, W), noise(B, 16, 1, H, W, seed=4), network.embed_actions(noise(B, 12, 7), 1)

    def answer(text, *more):
        return VideoDenoiser(evaluate, given, T, Conditions(text, *more, actions=embedded))(x, 0.5)

    guided, a, b = answer(text, negative, 1.5), answer(text), answer(negative)
    torch.testing.assert_close(guided, a + 1.5 * (a - b), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("width", "count", "dim", "message"),
    [
        (28, 10, 7, "actions: got 10 of 7 numbers, expected a multiple of 4 of 7"),
        (28, 12, 8, "actions: got 12 of 8 numbers, expected a multiple of 4 of 7"),
        (84, 24, 7, "actions: got 24 of 7 numbers, expected 12 of 7"),
    ],
)
def test_actions_that_do_not_fit_are_refused(width, count, dim, message):
    with pytest.raises(ValueError, match=message):
        tiny_predict.action_transformer(width).embed_actions(torch.zeros(1, count, dim), 1)


def test_a_width_of_neither_network_is_refused():
    with pytest.raises(ValueError, match="action_width: got 32, expected 4 actions"):
        action_kind(32)
    assert action_kind(32, action_dim=8) == "chunk"


@pytest.mark.parametrize(
    ("size", "base", "action"),
    [
        ({}, 2_059_174_912, 67_592_192),
        ({"num_attention_heads": 40, "num_layers": 36}, 14_368_047_104, 420_638_720),
    ],
)
def test_full_size_on_the_meta_device(size, base, action):
    with torch.device("meta"):
        network = ActionCosmosTransformer3DModel(**size)
    counts = {name: weight.numel() for name, weight in network.named_parameters()}
    of_actions = sum(count for name, count in counts.items() if name.startswith("action_embedder"))
    assert (sum(counts.values()) - of_actions, of_actions) == (base, action)
    width = network.config.num_attention_heads * 128
    shapes = {name: tuple(weight.shape) for name, weight in network.named_parameters()}
    assert shapes["action_embedder_B_D.fc1.weight"] == (4 * width, 28)
    assert shapes["action_embedder_B_D.fc2.weight"] == (width, 4 * width)
    assert shapes["action_embedder_B_3D.fc2.weight"] == (3 * width, 4 * width)


def test_it_is_saved_and_loaded_with_its_settings(tmp_path):
    network = tiny_predict.action_transformer(84)
    network.save_pretrained(tmp_path)
    again = ActionCosmosTransformer3DModel.from_pretrained(tmp_path)
    assert again.config.action_width == 84 and again.config.num_layers == 2
    for name, weight in network.state_dict().items():
        np.testing.assert_array_equal(weight, again.state_dict()[name], err_msg=name)
