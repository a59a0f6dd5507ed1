"""Random Cosmos 3 pipelines in the hub's layout, small enough for any test."""

import torch
from diffusers import AutoencoderKLWan, Cosmos3OmniPipeline, Cosmos3OmniTransformer, UniPCMultistepScheduler

NETWORK = {
    "head_dim": 12,
    "hidden_size": 24,
    "intermediate_size": 32,
    "latent_channel": 16,
    "latent_patch_size": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "num_hidden_layers": 3,
    "patch_latent_dim": 64,
    "rope_axes_dim": [2, 2, 2],
    "vocab_size": 64,
    "action_dim": 64,
    "action_gen": True,
    "num_embodiment_domains": 32,
}


def transformer(**changes):
    network = Cosmos3OmniTransformer(**NETWORK | changes)
    generator = torch.Generator().manual_seed(0)
    for name, weight in network.named_parameters():
        torch.nn.init.normal_(weight, std=0.2, generator=generator)
        if "norm" in name:
            weight.data += 1.0
    return network.eval().requires_grad_(False)


def vae():
    torch.manual_seed(0)
    return AutoencoderKLWan(
        base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True]
    ).eval()


def tokenizer():
    """A few words, with a chat template."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<unk>", "<|im_end|>", "<|vision_start|>", "a", "red", "ball", "falls", "blurred", "nothing", "wrist"]
    words += [str(digit) for digit in range(10)]
    model = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    model.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=True)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=model,
        unk_token="<unk>",
        eos_token="<|im_end|>",
        additional_special_tokens=["<|vision_start|>"],
    )
    fast.chat_template = "{% for m in messages %}{{ m['role'] }} {{ m['content'] }} {% endfor %}"
    return fast


def karras():
    return UniPCMultistepScheduler(
        use_karras_sigmas=True,
        use_flow_sigmas=True,
        prediction_type="flow_prediction",
        sigma_max=200.0,
        sigma_min=0.147,
    )


def shifted():
    return UniPCMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=10.0)


def pipeline(network=None, scheduler=None, codec=None, **settings):
    """The stock pipeline."""
    pipe = Cosmos3OmniPipeline(
        transformer=network or transformer(),
        text_tokenizer=tokenizer(),
        vae=codec or vae(),
        scheduler=scheduler or karras(),
        enable_safety_checker=False,
        **settings,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe
