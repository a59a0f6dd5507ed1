"""Prompt embeddings: diffusers' own numbers, the cache, and when the encoder is loaded."""

import pytest
import tiny_predict
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from worldmodel.backends import text
from worldmodel.backends.text import Prompts, encoder_hash, ship_prompt

WORDS = ["[PAD]", "[UNK]", "system", "user", "a", "red", "arm", "grasps", "the", "cup"]
TEMPLATE = "{% for m in messages %}{{ m['role'] }} {% for c in m['content'] %}{{ c['text'] }} {% endfor %}{% endfor %}"


@pytest.fixture(scope="module")
def stock():
    """The stock pipeline with a random encoder of the hub's class, of 2 layers of width 24."""
    words = Tokenizer(WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]")
    tokenizer.chat_template = TEMPLATE
    torch.manual_seed(0)
    config = Qwen2_5_VLConfig(
        text_config={
            "hidden_size": 24,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "vocab_size": len(WORDS),
            "rope_parameters": {"rope_type": "default", "mrope_section": [2, 2, 2], "rope_theta": 10000.0},
        },
        vision_config={"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 24},
    )
    return tiny_predict.pipeline(text_encoder=Qwen2_5_VLForConditionalGeneration(config).eval(), tokenizer=tokenizer)


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
    import shutil

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
