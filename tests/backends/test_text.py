"""Prompt embeddings: diffusers' own numbers, the cache, and when the encoder is loaded."""

import json
import shutil

import numpy as np
import pytest
import tiny_predict
import tiny_wan
import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen2_5_VLForConditionalGeneration

from worldmodel.backends import text, wan_text
from worldmodel.backends.text import Prompts, encoder_hash, ship_prompt
from worldmodel.backends.wan_text import FirstFrames, WanPrompts


@pytest.fixture(scope="module")
def stock():
    """The stock pipeline with a random encoder of the hub's class."""
    return tiny_predict.pipeline(**tiny_predict.text_parts())


@pytest.fixture(scope="module")
def folder(stock, tmp_path_factory):
    return tiny_predict.save(stock, tmp_path_factory.mktemp("text") / "pipeline")


@pytest.fixture
def prompts(folder, tmp_path):
    return Prompts(folder, "cpu", torch.float32, cache=tmp_path / "cache")


@torch.no_grad()
def test_embeddings_are_those_of_the_stock_pipeline(stock, prompts):
    for prompt in ("a red arm grasps the cup", ""):
        expected = stock._get_prompt_embeds(prompt)
        torch.testing.assert_close(prompts.embed(prompt), expected, atol=1e-5, rtol=1e-5)
        assert expected.shape == (1, 512, 2 * 24)


def test_the_encoder_is_loaded_for_a_new_prompt_only(folder, tmp_path, monkeypatch):
    loads, real = [], text.encode_prompt
    monkeypatch.setattr(text, "encode_prompt", lambda *given: loads.append(given[2]) or real(*given))
    first = Prompts(folder, "cpu", torch.float32, cache=tmp_path)
    one = first.embed("a cup")
    assert torch.equal(first.embed("a cup"), one)
    assert torch.equal(Prompts(folder, "cpu", torch.float32, cache=tmp_path).embed("a cup"), one), "another process"
    assert loads == ["a cup"]
    first.embed("a red cup")
    Prompts(folder, "cpu", torch.bfloat16, cache=tmp_path).embed("a cup")
    assert loads == ["a cup", "a red cup", "a cup"], "another precision is another embedding"
    assert all(path.suffix == ".safetensors" for path in tmp_path.iterdir())


def test_the_encoder_is_freed_after(prompts):
    import gc

    def living():
        gc.collect()
        return sum(isinstance(each, Qwen2_5_VLForConditionalGeneration) for each in gc.get_objects())

    before = living()
    prompts.embed("the arm")
    assert living() == before


def test_another_encoder_has_another_hash(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert encoder_hash(copy) == encoder_hash(folder)
    file = next((copy / "text_encoder").glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:-1] + b"\1")
    assert encoder_hash(copy) != encoder_hash(folder)
    snapshot = tmp_path / "models--a--b" / "snapshots" / "0123abc"
    snapshot.mkdir(parents=True)
    assert encoder_hash(snapshot) == "0123abc", "the hub's commit says it without reading 16 GB"


def test_a_shipped_embedding_needs_no_encoder(tmp_path):
    ship_prompt(tmp_path, "", tiny_predict.embeddings(1))
    ship_prompt(tmp_path, "a cup", tiny_predict.embeddings(2))
    prompts = Prompts(tmp_path, "cpu", torch.float32, cache=tmp_path / "cache")
    assert torch.equal(prompts.embed(""), tiny_predict.embeddings(1))
    assert torch.equal(prompts.embed("a cup"), tiny_predict.embeddings(2))
    with pytest.raises(ValueError, match="got no text_encoder, expected one for a new prompt"):
        prompts.embed("another")


FAMILIES = {"Cosmos-Predict2.5": (tiny_predict.text_parts, Prompts), "Wan": (tiny_wan.text_parts, WanPrompts)}


def put(folder, parts):
    for name, part in parts.items():
        part.save_pretrained(folder / name)
    return folder


def rewrite(part, change):
    """Another set of weights in a part's only file."""
    (file,) = part.glob("*.safetensors")
    save_file(change(load_file(file)), file, metadata={"format": "pt"})


def shorten(part):
    (file,) = part.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-100])


def claim(part, **changes):
    settings = part / "config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | changes))


WEIGHTS = {
    "no weights": (lambda part: next(part.glob("*.safetensors")).unlink(), "got no "),
    "truncated": (shorten, "got a truncated or damaged file"),
    "none of its names": (
        lambda p: rewrite(p, lambda s: {f"x.{k}": v for k, v in s.items()}),
        "got weights of another",
    ),
    "one name too few": (lambda p: rewrite(p, lambda s: dict(list(s.items())[1:])), r"another .* \(1 names or sizes"),
    "another size": (
        lambda p: rewrite(p, lambda s: {**s, min(s): torch.zeros(3, 2)}),
        r"another .* \(1 names or sizes",
    ),
    "another model": (lambda part: claim(part, model_type="bert"), "got a model of type 'bert', expected"),
    "no settings": (lambda part: (part / "config.json").unlink(), "config.json: got no such file"),
}


@pytest.mark.parametrize("damage", WEIGHTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_damaged_encoder_is_refused_and_nothing_of_it_kept(tmp_path, family, damage):
    (parts, kind), (break_it, message) = FAMILIES[family], WEIGHTS[damage]
    folder = put(tmp_path / "pipeline", parts())
    break_it(folder / "text_encoder")
    with pytest.raises(ValueError, match=message) as raised:
        kind(folder, "cpu", torch.float32, cache=tmp_path / "cache").embed("a cup")
    assert len(str(raised.value).splitlines()) == 1
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (shutil.rmtree, "got no tokenizer, expected one"),
        (lambda part: [file.unlink() for file in part.iterdir()], r"tokenizer: got files that do not load \(.+\)"),
    ],
)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_missing_tokenizer_is_named_before_the_encoder_is_read(tmp_path, family, break_it, message):
    parts, kind = FAMILIES[family]
    folder = put(tmp_path / "pipeline", parts())
    shorten(folder / "text_encoder")
    break_it(folder / "tokenizer")
    with pytest.raises(ValueError, match=message) as raised:
        kind(folder, "cpu", torch.float32, cache=tmp_path / "cache").embed("a cup")
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(("family", "other"), [("Cosmos-Predict2.5", "Wan"), ("Wan", "Cosmos-Predict2.5")])
def test_an_encoder_of_the_other_family_is_refused(tmp_path, family, other):
    folder = put(tmp_path / "pipeline", FAMILIES[other][0]())
    with pytest.raises(ValueError, match=r"text_encoder: got a model of type .*, expected"):
        FAMILIES[family][1](folder, "cpu", torch.float32, cache=tmp_path / "cache").embed("a cup")


def test_embeddings_that_the_hubs_file_has_once_are_used_twice(tmp_path):
    """Wan's settings say that they are apart, and its files hold shared.weight alone."""
    parts = tiny_wan.text_parts()
    folder = put(tmp_path / "pipeline", parts)
    claim(folder / "text_encoder", tie_word_embeddings=False)
    (file,) = (folder / "text_encoder").glob("*.safetensors")
    assert "shared.weight" in load_file(file) and "encoder.embed_tokens.weight" not in load_file(file)
    expected = wan_text.encode_prompt(parts["text_encoder"], parts["tokenizer"], "a red ball")
    told = WanPrompts(folder, "cpu", torch.float32, cache=tmp_path / "cache").embed("a red ball")
    torch.testing.assert_close(told, expected)


@pytest.mark.parametrize("damage", WEIGHTS)
def test_a_damaged_image_encoder_is_refused(tmp_path, damage):
    break_it, message = WEIGHTS[damage]
    folder = put(tmp_path / "pipeline", tiny_wan.image_parts(20))
    break_it(folder / "image_encoder")
    with pytest.raises(ValueError, match=message):
        FirstFrames(folder, "cpu", torch.float32)


def test_a_missing_image_processor_is_named(tmp_path):
    folder = put(tmp_path / "pipeline", tiny_wan.image_parts(20))
    shutil.rmtree(folder / "image_processor")
    with pytest.raises(ValueError, match="got no image_processor, expected one"):
        FirstFrames(folder, "cpu", torch.float32)


def test_an_image_encoder_may_have_the_projection_that_is_not_read(tmp_path):
    folder, frames = put(tmp_path / "pipeline", tiny_wan.image_parts(20)), np.zeros((1, 16, 16, 3), np.uint8)
    expected = FirstFrames(folder, "cpu", torch.float32).embed(frames)
    rewrite(folder / "image_encoder", lambda state: {**state, "visual_projection.weight": torch.zeros(8, 20)})
    assert torch.equal(FirstFrames(folder, "cpu", torch.float32).embed(frames), expected)
