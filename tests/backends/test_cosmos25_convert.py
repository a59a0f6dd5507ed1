"""NVIDIA's checkpoint, key for key, to a pipeline folder."""

import json
import pickle

import numpy as np
import pytest
import tiny_predict
import torch

import worldmodel
from worldmodel.backends import cosmos25_convert
from worldmodel.backends.cosmos25_action_network import ActionCosmosTransformer3DModel
from worldmodel.backends.cosmos25_convert import build, convert, converted, load_checkpoint
from worldmodel.backends.families import load_backend
from worldmodel.backends.text import Prompts, ship_prompt, shipped_prompt

NO_WEIGHTS = {
    "net.accum_video_sample_counter": torch.zeros(()),
    "net.accum_iteration": torch.zeros(()),
    "net.pos_embedder.seq": torch.arange(8.0),
    "net.pos_embedder.dim_spatial_range": torch.zeros(4),
    "net.pos_embedder.dim_temporal_range": torch.zeros(4),
    "net.blocks.0.self_attn.attn_op._extra_state": torch.zeros(0),
    "net.t_embedding_norm._extra_state": torch.zeros(0),
}


def checkpoint(network):
    names = tiny_predict.nvidia_names(network)
    return {names[name]: weight.clone() for name, weight in network.state_dict().items()} | NO_WEIGHTS


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tiny_predict.save(tiny_predict.pipeline(), tmp_path_factory.mktemp("base") / "pipeline")
    ship_prompt(folder, "", tiny_predict.embeddings(0))
    return folder


@pytest.mark.parametrize(("width", "kind"), [(28, "chunk"), (84, "global")])
def test_every_weight_comes_back_and_every_key_is_reported(base, tmp_path, width, kind):
    network = tiny_predict.action_transformer(width)
    state = checkpoint(network)
    torch.save(state, tmp_path / "ema.pt")
    report = convert(tmp_path / "ema.pt", base, tmp_path / "out")
    assert {*report.renamed} | {*report.dropped} == {*state}
    assert {*report.dropped} == {*NO_WEIGHTS}
    assert report.kind == kind
    backend = load_backend(str(tmp_path / "out"), "cpu", guardrail="none")
    for name, weight in network.state_dict().items():
        assert torch.equal(backend.transformer.state_dict()[name], weight), name
    assert json.loads((tmp_path / "out" / "conversion.json").read_text())["renamed"] == report.renamed
    assert backend.recipe == cosmos25_convert.ACTION_RECIPE
    assert not list((tmp_path / "out").rglob("*.pt")) and not list((tmp_path / "out").rglob("*.bin"))


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_the_base_of_the_hub_has_an_encoder_and_the_model_made_of_it_needs_none(own_cache, tmp_path):
    base = tiny_predict.save(tiny_predict.pipeline(**tiny_predict.text_parts()), tmp_path / "base")
    torch.save(checkpoint(tiny_predict.action_transformer()), tmp_path / "ema.pt")
    convert(tmp_path / "ema.pt", base, tmp_path / "out", device="cpu")
    assert not (tmp_path / "out" / "text_encoder").exists() and not (base / "prompts").exists()
    encoded = Prompts(base, "cpu", torch.bfloat16, cache=tmp_path / "other").embed("")
    assert torch.equal(shipped_prompt(tmp_path / "out", ""), encoded)
    model = worldmodel.load(tmp_path / "out", "cpu", guardrail="none").conditioned(image_size=(32, 48))
    frames = np.zeros((1, 32, 48, 3), np.uint8)
    rollout = model.rollout(frames, seeds=[0], actions=np.zeros((1, 12, 7)), steps=1, progress=False)
    assert rollout.video.shape == (1, 13, 32, 48, 3)


def test_a_base_with_neither_the_empty_prompt_nor_an_encoder_is_refused_before_anything_is_written(tmp_path):
    base = tiny_predict.save(tiny_predict.pipeline(), tmp_path / "base")
    torch.save(checkpoint(tiny_predict.action_transformer()), tmp_path / "ema.pt")
    with pytest.raises(ValueError, match=r"base: got no text_encoder, expected one .*fetch it, or keep .*ship_prompt"):
        convert(tmp_path / "ema.pt", base, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_actions_of_another_robot_are_refused_before_anything_is_written(base, tmp_path):
    torch.save(checkpoint(tiny_predict.action_transformer(32, action_dim=8)), tmp_path / "ema.pt")
    with pytest.raises(ValueError, match=r"action_width: got 32, expected 4 actions .* of 7 numbers; choose another"):
        convert(tmp_path / "ema.pt", base, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["ema.pt", "checkpoints/ema.pt"])
def test_loading_the_checkpoint_itself_says_how_to_convert_it(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    torch.save(checkpoint(tiny_predict.action_transformer()), name)
    with pytest.raises(ValueError, match=rf"model: got the file '{name}', expected a pipeline folder; .*convert"):
        worldmodel.load(name, "cpu")


def test_names_of_the_official_checkpoint():
    """Spelled out, so that the inverse in these tests cannot err as the map does."""
    pairs = {
        "net.x_embedder.proj.1.weight": "patch_embed.proj.weight",
        "net.t_embedder.1.linear_1.weight": "time_embed.t_embedder.linear_1.weight",
        "net.t_embedding_norm.weight": "time_embed.norm.weight",
        "net.blocks.27.adaln_modulation_self_attn.1.weight": "transformer_blocks.27.norm1.linear_1.weight",
        "net.blocks.3.adaln_modulation_cross_attn.2.weight": "transformer_blocks.3.norm2.linear_2.weight",
        "net.blocks.3.adaln_modulation_mlp.1.weight": "transformer_blocks.3.norm3.linear_1.weight",
        "net.blocks.3.self_attn.q_proj.weight": "transformer_blocks.3.attn1.to_q.weight",
        "net.blocks.3.self_attn.k_norm.weight": "transformer_blocks.3.attn1.norm_k.weight",
        "net.blocks.3.cross_attn.v_proj.weight": "transformer_blocks.3.attn2.to_v.weight",
        "net.blocks.3.cross_attn.output_proj.weight": "transformer_blocks.3.attn2.to_out.0.weight",
        "net.blocks.3.mlp.layer1.weight": "transformer_blocks.3.ff.net.0.proj.weight",
        "net.blocks.3.mlp.layer2.weight": "transformer_blocks.3.ff.net.2.weight",
        "net.final_layer.adaln_modulation.2.weight": "norm_out.linear_2.weight",
        "net.final_layer.linear.weight": "proj_out.weight",
        "net.crossattn_proj.0.bias": "crossattn_proj.0.bias",
        "net.action_embedder_B_3D.fc1.bias": "action_embedder_B_3D.fc1.bias",
    }
    assert {name: cosmos25_convert.diffusers_name(name) for name in pairs} == pairs


@pytest.mark.parametrize("size", [{}, {"num_attention_heads": 40, "num_layers": 36}])
def test_every_key_at_full_size_on_the_meta_device(size):
    with torch.device("meta"):
        network = ActionCosmosTransformer3DModel(**size)
    names = tiny_predict.nvidia_names(network)
    state = {names[name]: weight for name, weight in network.state_dict().items()}
    assert len(state) == len(names) == (577 if not size else 737)
    weights, report = converted(state)
    assert {name: weight.shape for name, weight in weights.items()} == {
        name: weight.shape for name, weight in network.state_dict().items()
    }
    assert {report.renamed[nvidia]: nvidia for nvidia in report.renamed} == names
    assert build(weights, dict(network.config)).config.action_width == 28


def changed(change):
    state = checkpoint(tiny_predict.action_transformer())
    change(state)
    return state


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: s.pop("net.blocks.1.mlp.layer1.weight"),
            r"got 1 names missing \(transformer_blocks.1.ff.net.0.proj",
        ),
        (lambda s: s.update({"net.new.weight": torch.zeros(1)}), r"1 unexpected \(new.weight\)"),
        (lambda s: s.update({"net.proj_out.weight": torch.zeros(1)}), "got two weights that become proj_out.weight"),
        (
            lambda s: s.update({"net.final_layer.linear.weight": torch.zeros(2, 2)}),
            r"got proj_out.weight of shape \(2, 2\), expected \(64, 32\)",
        ),
        (lambda s: s.pop("net.action_embedder_B_D.fc1.weight"), "got no action_embedder_B_D.fc1"),
        (
            lambda s: s.update({"net.action_embedder_B_D.fc1.weight": torch.zeros(128, 29)}),
            "action_width: got 29, expected 4 actions",
        ),
    ],
)
def test_anything_else_than_the_expected_keys_is_refused(base, change, message):
    settings = json.loads((base / "transformer" / "config.json").read_text())
    with pytest.raises(ValueError, match=message):
        build(converted(changed(change))[0], settings)


class Harmful:
    ran = False

    def __reduce__(self):
        return exec, ("raise SystemExit('ran')",)


def test_pickled_code_is_refused_and_not_run(tmp_path):
    path = tmp_path / "harmful.pt"
    torch.save({"net.weight": Harmful()}, path)
    with pytest.raises(ValueError, match="does not load as weights alone") as raised:
        load_checkpoint(path)
    assert len(str(raised.value).splitlines()) == 1
    path.write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(ValueError, match="does not load as weights alone"):
        load_checkpoint(path)


def test_weights_inside_a_wrapper_are_found(tmp_path):
    torch.save({"model": {"net.a": torch.ones(1)}, "iteration": 3}, tmp_path / "wrapped.pt")
    assert load_checkpoint(tmp_path / "wrapped.pt").keys() == {"net.a"}


@pytest.mark.parametrize("path", ["nothing.pt", "text.pt"])
def test_a_file_that_is_none_is_refused(tmp_path, path):
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(ValueError, match="checkpoint: got"):
        load_checkpoint(tmp_path / path)


def test_an_existing_folder_is_not_written_over(base, tmp_path):
    with pytest.raises(ValueError, match=r"out: got .*, which exists"):
        convert(tmp_path / "ema.pt", base, base)
