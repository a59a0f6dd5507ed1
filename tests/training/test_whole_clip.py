"""Whole-clip passes against diffusers' own cached passes."""

import pytest
import torch
from diffusers import AutoencoderKLWan

from worldmodel.training.whole_clip import decode_clip, encode_clip

KINDS = {
    "as in Wan2.1": {"dim_mult": [1, 2, 2, 2], "temperal_downsample": [False, True, True]},
    "as in Wan2.2": {
        "dim_mult": [1, 2, 2],
        "temperal_downsample": [True, True],
        "is_residual": True,
        "in_channels": 12,
        "out_channels": 12,
        "patch_size": 2,
    },
}


@pytest.fixture(scope="module", params=KINDS)
def vae(request):
    torch.manual_seed(0)
    return AutoencoderKLWan(base_dim=4, z_dim=4, num_res_blocks=1, **KINDS[request.param]).eval()


@pytest.mark.parametrize("frames", [1, 5, 9, 17])
@torch.no_grad()
def test_encoding_equals_the_cached_pass(vae, frames):
    video = torch.randn(2, 3, frames, 32, 16)
    expected = vae.encode(video).latent_dist.parameters
    torch.testing.assert_close(encode_clip(vae, video), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("frames", [1, 2, 3, 5])
@torch.no_grad()
def test_decoding_equals_the_cached_pass(vae, frames):
    latents = torch.randn(2, 4, frames, 4, 2)
    expected = vae.decode(latents).sample
    torch.testing.assert_close(decode_clip(vae, latents).clamp(-1, 1), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_first_latent_sees_the_first_frame_alone(vae):
    video = torch.randn(1, 3, 9, 32, 16)
    alone = encode_clip(vae, video[:, :, :1])
    torch.testing.assert_close(encode_clip(vae, video)[:, :, :1], alone, rtol=1e-4, atol=1e-5)
