"""Differentiable whole-clip passes through diffusers' causal Wan autoencoder.

``AutoencoderKLWan.encode`` and ``decode`` walk through a clip four frames at a time with a
feature cache, which is right for long videos and slow in training. These passes give the
same numbers in one go: every convolution is causal, so a zero-padded pass over the clip sees
what the cached pass sees. Only the temporal resampling needs care, because the first frame
is neither merged with later frames nor doubled. Both kinds of blocks are known, those of Wan2.1 and
those of Wan2.2, which have shortcuts around their resampling.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import (
    WanCausalConv3d,
    WanResample,
    WanResidualDownBlock,
    WanResidualUpBlock,
    patchify,
    unpatchify,
)
from torch import Tensor, nn


def encode_clip(vae: AutoencoderKLWan, video: Tensor) -> Tensor:
    """Posterior moments (B, 2z, 1 + (T-1)/4, H', W') of a video (B, 3, T, H, W) in [-1, 1]."""
    encoder = vae.encoder
    x = _conv(encoder.conv_in, patchify(video, vae.config.patch_size or 1))
    for layer in encoder.down_blocks:
        if isinstance(layer, WanResidualDownBlock):
            x = _down_block(layer, x)
        else:
            x = _down(layer, x) if isinstance(layer, WanResample) else _residual(layer, x)
    x = _middle(encoder.mid_block, x)
    x = _conv(encoder.conv_out, encoder.nonlinearity(encoder.norm_out(x)))
    return _conv(vae.quant_conv, x)


def decode_clip(vae: AutoencoderKLWan, latents: Tensor) -> Tensor:
    """Video (B, 3, 1 + 4(T-1), H', W'), not clipped, of raw latents (B, z, T, H, W)."""
    decoder = vae.decoder
    x = _conv(decoder.conv_in, _conv(vae.post_quant_conv, latents))
    x = _middle(decoder.mid_block, x)
    for block in decoder.up_blocks:
        x = _up_block(block, x)
    x = _conv(decoder.conv_out, decoder.nonlinearity(decoder.norm_out(x)))
    return unpatchify(x, vae.config.patch_size or 1)


def _down_block(block: WanResidualDownBlock, x: Tensor) -> Tensor:
    h = x
    for resnet in block.resnets:
        h = _residual(resnet, h)
    if block.downsampler is not None:
        h = _down(block.downsampler, h)
    return h + block.avg_shortcut(x)


def _up_block(block: Any, x: Tensor) -> Tensor:
    h = x
    for resnet in block.resnets:
        h = _residual(resnet, h)
    if isinstance(block, WanResidualUpBlock):
        upsampler, shortcut = block.upsampler, block.avg_shortcut
        h = h if upsampler is None else _up(upsampler, h)
        return h if shortcut is None else h + shortcut(x, first_chunk=True)
    return h if block.upsamplers is None else _up(block.upsamplers[0], h)


def _conv(conv: WanCausalConv3d, x: Tensor) -> Tensor:
    if x.shape[2] > 1:
        return conv(x)
    # A single frame meets zeros on all but the last temporal tap: a plain image convolution.
    pad = conv._padding[0]
    return F.conv2d(x[:, :, 0], conv.weight[:, :, -1], conv.bias, padding=pad)[:, :, None]


def _residual(block: Any, x: Tensor) -> Tensor:
    h = _conv(block.conv1, block.nonlinearity(block.norm1(x)))
    h = _conv(block.conv2, block.nonlinearity(block.norm2(h)))
    shortcut = x if isinstance(block.conv_shortcut, nn.Identity) else _conv(block.conv_shortcut, x)
    return h + shortcut


def _middle(block: Any, x: Tensor) -> Tensor:
    x = _residual(block.resnets[0], x)
    for attention, resnet in zip(block.attentions, block.resnets[1:], strict=True):
        x = _residual(resnet, attention(x))
    return x


def _per_frame(layer: nn.Module, x: Tensor) -> Tensor:
    batch, frames = x.shape[0], x.shape[2]
    x = layer(x.transpose(1, 2).flatten(0, 1))
    return x.unflatten(0, (batch, frames)).transpose(1, 2)


def _down(layer: WanResample, x: Tensor) -> Tensor:
    x = _per_frame(layer.resample, x)
    if layer.mode == "downsample2d" or x.shape[2] == 1:
        return x
    return torch.cat([x[:, :, :1], layer.time_conv(x)], dim=2)


def _up(layer: WanResample, x: Tensor) -> Tensor:
    if layer.mode == "upsample3d" and x.shape[2] > 1:
        first, rest = x[:, :, :1], layer.time_conv(x[:, :, 1:])
        even, odd = rest.chunk(2, dim=1)
        rest = torch.stack([even, odd], dim=3).flatten(2, 3)
        x = torch.cat([first, rest], dim=2)
    return _per_frame(layer.resample, x)
