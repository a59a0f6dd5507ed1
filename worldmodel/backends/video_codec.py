"""Pixels to normalised latents and back, through Wan's autoencoder, which Cosmos-Predict2.5 shares."""

from __future__ import annotations

import numpy as np
import torch
from diffusers import AutoencoderKLWan
from torch import Tensor


class VideoCodec:
    """Latents of mean 0 and deviation 1, as samplers see them, in float32.

    Args:
        vae: on the device and in the precision in which it is to run; kept as an attribute.
    """

    def __init__(self, vae: AutoencoderKLWan) -> None:
        self.vae = vae.eval().requires_grad_(False)
        self.device = next(vae.parameters()).device
        shape = (1, vae.config.z_dim, 1, 1, 1)
        self._mean = torch.tensor(vae.config.latents_mean, device=self.device).view(shape)
        self._std = torch.tensor(vae.config.latents_std, device=self.device).view(shape)

    @property
    def frames_per_latent(self) -> int:
        """Frames that every latent frame after the first stands for."""
        return self.vae.config.scale_factor_temporal

    @property
    def pixels_per_latent(self) -> int:
        """Pixels along each side of what a latent place stands for."""
        return self.vae.config.scale_factor_spatial

    def shape(self, image_size: tuple[int, int], num_frames: int) -> tuple[int, int, int, int]:
        """(C, T, H, W) of the latents of a clip."""
        height, width = (side // self.pixels_per_latent for side in image_size)
        return self.vae.config.z_dim, 1 + (num_frames - 1) // self.frames_per_latent, height, width

    def pixels(self, video: np.ndarray) -> Tensor:
        """(B, 3, T, H, W) in [-1, 1] of a video (B, T, H, W, 3) uint8."""
        values = torch.from_numpy(np.ascontiguousarray(video)).to(self.device)
        return values.permute(0, 4, 1, 2, 3).float() / 127.5 - 1.0

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """Latents (B, C, T', H', W') of :meth:`pixels`; T' = 0 of no frames."""
        if pixels.shape[2] == 0:
            channels, _, height, width = self.shape((pixels.shape[3], pixels.shape[4]), 1)
            return pixels.new_zeros(len(pixels), channels, 0, height, width)
        return (self.vae.encode(pixels.to(self.vae.dtype)).latent_dist.mode().float() - self._mean) / self._std

    @torch.no_grad()
    def decode(self, latents: Tensor) -> np.ndarray:
        """Video (B, T, H, W, 3) uint8 of latents (B, C, T', H', W')."""
        scaled = (latents * self._std + self._mean).to(self.vae.dtype)
        pixels = self.vae.decode(scaled).sample.float().clamp(-1.0, 1.0)
        return ((pixels + 1.0) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 4, 1).cpu().numpy()
