"""Random Predict2.5 pipelines in the hub's exact layout, small enough for any test."""

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan, Cosmos2_5_PredictBasePipeline, CosmosTransformer3DModel, UniPCMultistepScheduler

from worldmodel.backends.cosmos25_action_network import ActionCosmosTransformer3DModel

TEXT = 48  # width of the prompt embeddings
SIZE, FRAMES = (32, 48), 9
NETWORK = {
    "in_channels": 17,
    "out_channels": 16,
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "num_layers": 2,
    "mlp_ratio": 2.0,
    "text_embed_dim": 32,
    "adaln_lora_dim": 4,
    "max_size": (128, 240, 240),
    "rope_scale": (1.0, 3.0, 3.0),
    "concat_padding_mask": True,
    "extra_pos_embed_type": None,
    "use_crossattn_projection": True,
    "crossattn_proj_in_channels": TEXT,
    "encoder_hidden_states_channels": 32,
}

WORDS = ["[PAD]", "[UNK]", "system", "user", "a", "red", "arm", "grasps", "the", "cup"]
TEMPLATE = "{% for m in messages %}{{ m['role'] }} {% for c in m['content'] %}{{ c['text'] }} {% endfor %}{% endfor %}"


class StubChecker(torch.nn.Module):
    """What the stock pipeline asks of a checker, and no check."""

    device, dtype = torch.device("cpu"), torch.float32

    def check_text_safety(self, prompt):
        return "unsafe" not in prompt


def randomised(network, seed=0, std=0.15):
    """As initialised, gates and outputs are near nothing."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in network.named_parameters():
        torch.nn.init.normal_(weight, std=std, generator=generator)
        if name.endswith(("norm_q.weight", "norm_k.weight", "time_embed.norm.weight")):
            weight.data += 1.0
    return network.eval().requires_grad_(False)


def transformer(**changes):
    return randomised(CosmosTransformer3DModel(**NETWORK | changes))


def action_transformer(width=28, **changes):
    return randomised(ActionCosmosTransformer3DModel(**NETWORK | changes, action_width=width))


def vae():
    torch.manual_seed(0)
    return AutoencoderKLWan(
        base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True]
    ).eval()


def karras():
    return UniPCMultistepScheduler(
        use_karras_sigmas=True,
        use_flow_sigmas=True,
        prediction_type="flow_prediction",
        sigma_max=200.0,
        sigma_min=0.01,
    )


def shifted():
    return UniPCMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=5.0)


def pipeline(scheduler=None, network=None, **parts):
    """The stock pipeline."""
    pipe = Cosmos2_5_PredictBasePipeline(
        text_encoder=parts.get("text_encoder"),
        tokenizer=parts.get("tokenizer"),
        transformer=network or transformer(),
        vae=vae(),
        scheduler=scheduler or karras(),
        safety_checker=StubChecker(),
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def text_parts():
    """A random encoder of the hub's class, of 2 layers of width 24, and its tokenizer."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

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
    return {"text_encoder": Qwen2_5_VLForConditionalGeneration(config).eval(), "tokenizer": tokenizer}


def save(pipe, folder: Path, recipe: dict | None = None) -> Path:
    """As the hub has it; the checker is no part of that."""
    pipe.register_modules(safety_checker=None)
    pipe.save_pretrained(folder)
    if recipe is not None:
        (folder / "worldmodel.json").write_text(json.dumps(recipe))
    return folder


def embeddings(seed, tokens=6):
    return torch.randn(1, tokens, TEXT, generator=torch.Generator().manual_seed(seed))


def nvidia_names(network):
    """NVIDIA's name of every weight, as its checkpoints have it."""
    pairs = (
        ("time_embed.t_embedder.", "t_embedder.1."),
        ("time_embed.norm.", "t_embedding_norm."),
        ("patch_embed.proj.", "x_embedder.proj.1."),
        ("norm_out.linear_", "final_layer.adaln_modulation."),
        ("proj_out.", "final_layer.linear."),
        ("transformer_blocks.", "blocks."),
        (".norm1.linear_", ".adaln_modulation_self_attn."),
        (".norm2.linear_", ".adaln_modulation_cross_attn."),
        (".norm3.linear_", ".adaln_modulation_mlp."),
        (".attn1.", ".self_attn."),
        (".attn2.", ".cross_attn."),
        (".to_out.0.", ".output_proj."),
        (".to_q.", ".q_proj."),
        (".to_k.", ".k_proj."),
        (".to_v.", ".v_proj."),
        (".norm_q.", ".q_norm."),
        (".norm_k.", ".k_norm."),
        (".ff.net.0.proj.", ".mlp.layer1."),
        (".ff.net.2.", ".mlp.layer2."),
    )
    names = {}
    for name in network.state_dict():
        old = name
        for new, nvidia in pairs:
            old = old.replace(new, nvidia)
        names[name] = f"net.{old}"
    return names
