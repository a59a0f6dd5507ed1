"""Random Wan pipelines, small enough for any test, of every kind of conditioning."""

import torch
from diffusers import (
    AutoencoderKLWan,
    UniPCMultistepScheduler,
    WanImageToVideoPipeline,
    WanPipeline,
    WanTransformer3DModel,
)

TEXT = 32
CHANNELS = {"2.1": 16, "2.2": 48}  # of the latents of both layouts of the autoencoder


def transformer(in_channels: int, seed: int, z_dim: int = 16, image_dim: int | None = None) -> WanTransformer3DModel:
    torch.manual_seed(seed)
    return WanTransformer3DModel(
        in_channels=in_channels,
        out_channels=z_dim,
        num_attention_heads=2,
        attention_head_dim=12,
        text_dim=TEXT,
        freq_dim=256,
        ffn_dim=32,
        num_layers=2,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        image_dim=image_dim,
        added_kv_proj_dim=None if image_dim is None else 24,
    ).eval()


def vae(layout: str = "2.1") -> AutoencoderKLWan:
    """Of Wan2.1, 8 x 8 pixels a place, or of TI2V-5B and Cosmos 3, 16 x 16 in patches of 2."""
    torch.manual_seed(0)
    small = {"dim_mult": [1, 1, 1, 1], "num_res_blocks": 1, "temperal_downsample": [False, True, True]}
    if layout == "2.1":
        return AutoencoderKLWan(base_dim=3, z_dim=16, **small).eval()
    return AutoencoderKLWan(
        base_dim=4,
        decoder_base_dim=6,
        z_dim=48,
        is_residual=True,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_spatial=16,
        latents_mean=torch.linspace(-0.5, 0.5, 48).tolist(),
        latents_std=torch.linspace(0.3, 1.2, 48).tolist(),
        **small,
    ).eval()


def scheduler(shift: float = 3.0) -> UniPCMultistepScheduler:
    return UniPCMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=shift)


def text_to_video(experts: int = 1, expand_timesteps: bool = False, layout: str = "2.1") -> WanPipeline:
    """Wan2.1 T2V, or with two experts Wan2.2 T2V-A14B, or with expand_timesteps and layout 2.2 TI2V-5B."""
    channels = CHANNELS[layout]
    return WanPipeline(
        tokenizer=None,
        text_encoder=None,
        vae=vae(layout),
        scheduler=scheduler(),
        transformer=transformer(channels, 1, channels),
        transformer_2=transformer(16, 2) if experts == 2 else None,
        boundary_ratio=0.875 if experts == 2 else None,
        expand_timesteps=expand_timesteps,
    )


def image_to_video(
    experts: int = 1, expand_timesteps: bool = False, image_dim: int | None = None, layout: str = "2.1"
) -> WanImageToVideoPipeline:
    """Wan2.1 I2V (with image_dim), or Wan2.2 I2V-A14B (two experts), or TI2V-5B (expand_timesteps, layout 2.2)."""
    channels = CHANNELS[layout] if expand_timesteps else 36
    return WanImageToVideoPipeline(
        tokenizer=None,
        text_encoder=None,
        vae=vae(layout),
        scheduler=scheduler(),
        transformer=transformer(channels, 1, CHANNELS[layout], image_dim),
        transformer_2=transformer(channels, 2) if experts == 2 else None,
        boundary_ratio=0.9 if experts == 2 else None,
        expand_timesteps=expand_timesteps,
    )


def settings(pipe: WanPipeline | WanImageToVideoPipeline) -> dict:
    """What a pipeline's index says beside its parts."""
    return {name: pipe.config[name] for name in ("boundary_ratio", "expand_timesteps")}


def text_parts() -> dict:
    """A random UMT5 with a tokenizer of a few words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

    words = ["<pad>", "</s>", "<unk>", "a", "red", "ball", "falls", "blurred", "nothing"]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    torch.manual_seed(3)
    encoder = UMT5EncoderModel(
        UMT5Config(vocab_size=len(words), d_model=TEXT, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    ).eval()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    return {"text_encoder": encoder, "tokenizer": fast}


def image_parts(width: int) -> dict:
    """A random CLIP for first frames."""
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

    torch.manual_seed(4)
    config = CLIPVisionConfig(
        hidden_size=width, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=16, patch_size=8
    )
    processor = CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    return {"image_encoder": CLIPVisionModel(config).eval(), "image_processor": processor}
