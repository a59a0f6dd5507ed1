"""Video pipelines that refine_pipeline knows nothing of: each is refined in one line, and is our own loop."""

import pytest
import torch
from diffusers import (
    AutoencoderKLHunyuanVideo,
    AutoencoderKLLTXVideo,
    AutoencoderKLMochi,
    FlowMatchEulerDiscreteScheduler,
    HunyuanVideoPipeline,
    HunyuanVideoTransformer3DModel,
    Kandinsky5T2VPipeline,
    Kandinsky5Transformer3DModel,
    LTXImageToVideoPipeline,
    LTXVideoTransformer3DModel,
    MochiPipeline,
    MochiTransformer3DModel,
)
from tiny_pipelines import image

from worldmodel.sampling import PredictPerturb, refine_pipeline, sample

STEPS = 4
PLAN = PredictPerturb.from_steps([(1, 2, 2)], threshold=0.8, stop_fraction=None)


def normal(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def prompts(width: int, mask: torch.dtype) -> dict:
    told = {"prompt_embeds": normal(1, 6, width), "prompt_attention_mask": torch.ones(1, 6, dtype=mask)}
    return told | {f"negative_{name}": value.clone() for name, value in told.items()}


def ltx():
    """Tokens; its scheduler never sees the given frame."""
    heads = {"num_attention_heads": 4, "attention_head_dim": 8, "cross_attention_dim": 32, "caption_channels": 32}
    off = {"patch_size": 1, "patch_size_t": 1}
    transformer = LTXVideoTransformer3DModel(in_channels=8, out_channels=8, num_layers=1, **heads, **off)
    vae = AutoencoderKLLTXVideo(
        latent_channels=8,
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1, 1),
        spatio_temporal_scaling=(True, True, False, False),
        decoder_spatio_temporal_scaling=(True, True, False, False),
        decoder_inject_noise=(False, False, False, False, False),
        **off,
    )
    told = {**prompts(32, torch.float32), "image": image(), "num_frames": 9}
    return LTXImageToVideoPipeline, transformer, vae, FlowMatchEulerDiscreteScheduler(), told


def hunyuan():
    blocks = {"num_layers": 1, "num_single_layers": 1, "num_refiner_layers": 1, "patch_size": 1, "patch_size_t": 1}
    transformer = HunyuanVideoTransformer3DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=10,
        text_embed_dim=16,
        pooled_projection_dim=8,
        rope_axes_dim=(2, 4, 4),
        **blocks,
    )
    vae = AutoencoderKLHunyuanVideo(
        latent_channels=4, block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4
    )
    told = {"prompt_embeds": normal(1, 6, 16), "prompt_attention_mask": torch.ones(1, 6), "num_frames": 9}
    told |= {"pooled_prompt_embeds": normal(1, 8)}
    return HunyuanVideoPipeline, transformer, vae, FlowMatchEulerDiscreteScheduler(shift=7.0), told


def mochi():
    """Its noise levels go from 0 to 1."""
    transformer = MochiTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=2,
        pooled_projection_dim=16,
        in_channels=12,
        text_embed_dim=32,
        time_embed_dim=4,
        max_sequence_length=16,
    )
    channels = {"encoder_block_out_channels": (32,) * 4, "decoder_block_out_channels": (32,) * 4}
    vae = AutoencoderKLMochi(latent_channels=12, layers_per_block=(1, 1, 1, 1, 1), **channels)
    told = {**prompts(32, torch.bool), "num_frames": 7}
    return MochiPipeline, transformer, vae, FlowMatchEulerDiscreteScheduler(invert_sigmas=True), told


def kandinsky():
    """Channels last; it writes every sample over the one before."""
    transformer = Kandinsky5Transformer3DModel(
        in_visual_dim=16,
        out_visual_dim=16,
        in_text_dim=16,
        in_text_dim2=16,
        time_dim=16,
        model_dim=16,
        ff_dim=32,
        num_text_blocks=1,
        num_visual_blocks=2,
        axes_dims=(1, 1, 2),
    )
    vae = AutoencoderKLHunyuanVideo(
        block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4, mid_block_add_attention=False
    )
    told = {"prompt_embeds_qwen": normal(1, 6, 16), "prompt_embeds_clip": normal(1, 16)}
    told |= {"prompt_cu_seqlens": torch.tensor([0, 6], dtype=torch.int32)}
    told |= {f"negative_{name}": value for name, value in told.items()} | {"num_frames": 5}
    return Kandinsky5T2VPipeline, transformer, vae, FlowMatchEulerDiscreteScheduler(shift=7.0), told


def made(kind):
    """A pipeline of tiny random networks, and what to call it with."""
    torch.manual_seed(0)
    of, transformer, vae, scheduler, told = kind()
    unused = set(of.__init__.__annotations__) & {"text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"}
    parts = {"transformer": transformer.eval(), "vae": vae.eval(), "scheduler": scheduler}
    pipe = of(**parts, **dict.fromkeys(unused))
    pipe.set_progress_bar_config(disable=True)
    return pipe, {**told, "height": 32, "width": 32, "guidance_scale": 3.0, "num_inference_steps": STEPS}


def call(pipe, told, **options):
    generator = torch.Generator().manual_seed(5)
    return pipe(**told, generator=generator, output_type="latent", return_dict=False, **options)[0]


def recorded(scheduler, monkeypatch):
    """A list that grows by the sample and the velocity of each visit."""
    visits, step = [], scheduler.step

    def note(velocity, t, x, **options):
        visits.append((x.clone(), velocity.clone()))
        return step(velocity, t, x, **options)

    monkeypatch.setattr(scheduler, "step", note)
    return visits


@pytest.mark.parametrize("kind", [ltx, hunyuan, mochi, kandinsky])
def test_it_is_our_own_loop_with_guidance_and_callbacks_intact(kind, monkeypatch):
    pipe, told = made(kind)
    axis = -1 if kind is kandinsky else None
    stock = call(pipe, told)
    assert torch.equal(call(refine_pipeline(pipe, PredictPerturb(), channel_axis=axis), told), stock)

    states, seen = [], []
    refine_pipeline(pipe, PLAN, seeds=[3], channel_axis=axis, callback=states.append)
    visits = recorded(pipe.scheduler, monkeypatch)
    call(pipe, told, callback_on_step_end=lambda pipe, index, t, kwargs: seen.append(index) or {})
    assert len(visits) == len(seen) == pipe.scheduler.made == STEPS + 4

    channels_first = [[each.movedim(-1 if axis or each.ndim == 3 else 1, 1) for each in visit] for visit in visits]
    answers, sign = iter(channels_first), -1 if kind is mochi else 1

    def denoise(x, sigma):
        expected, velocity = next(answers)
        torch.testing.assert_close(x, expected, rtol=1e-5, atol=1e-5)
        return expected - sign * sigma * velocity

    start, levels = channels_first[0][0], [state["sigma"] for state in states]
    sample(denoise, start, [*levels, 0.0], refine=PLAN, seeds=[3])
