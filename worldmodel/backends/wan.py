"""Wan2.1 and Wan2.2: text- and image-conditioned flow models as canonical denoisers.

Three ways of conditioning on a first frame, all dealt with here:

    none           Wan2.1 and Wan2.2 T2V: text alone.
    channels       I2V 14B and A14B: a mask of four channels and the latents of the padded clip are put on top of the
                   noisy channels. Nothing is pinned: latent frame 0 is sampled as all others are.
    pinned frame   TI2V 5B (``expand_timesteps``): latent frame 0 is given, with a timestep of its own, 0.

Wan2.2 A14B has two networks, one for high and one for low noise. The noise level alone chooses, so the
iterations of a refined step stay with the network of that step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diffusers import WanTransformer3DModel
from torch import Tensor

TRAINING_STEPS = 1000  # Wan's timesteps go from 0 to this


@dataclass(frozen=True)
class Expert:
    """A network and its guidance, for noise levels whose timestep is at least ``from_timestep``."""

    transformer: WanTransformer3DModel
    guidance_scale: float = 1.0  # v_n + s (v - v_n); 1 or less is off, as in diffusers
    from_timestep: float = 0.0


@dataclass(frozen=True)
class Text:
    """Embeddings (B, L, D) of the prompts, of what to avoid, and of the first frames where Wan2.1 I2V sees them."""

    prompt: Tensor
    negative: Tensor | None = None
    image: Tensor | None = None  # (B, L', D'), CLIP's next to last layer


class WanDenoiser:
    """x0 = denoise(x, sigma) for a batch.

    Args:
        experts: networks from high to low noise; the last one's ``from_timestep`` is 0.
        text: embeddings for a batch of B.
        channels: (B, 4 + C, T, H, W) mask and latents that are put on top of the noisy ones, or None.
        given: (B, C, 1, H, W) clean latent of the first frame for models with a timestep for each place, or None.
        frames: latent frames of the clip, of which the first is ``given``.
        timestep_for_each_place: whether the network takes such timesteps, with or without ``given``.
        whole_timesteps: truncate timesteps to whole numbers, as diffusers' UniPC does and its Euler does not.
    """

    def __init__(
        self,
        experts: Sequence[Expert],
        text: Text,
        *,
        channels: Tensor | None = None,
        given: Tensor | None = None,
        frames: int = 0,
        timestep_for_each_place: bool = False,
        whole_timesteps: bool = True,
    ) -> None:
        if not experts or experts[-1].from_timestep != 0.0:
            raise ValueError("experts: got none for the lowest noise, expected one from timestep 0; add it")
        if given is not None and not timestep_for_each_place:
            raise ValueError("given: got a first frame, expected a model with a timestep for each place; use channels")
        self._experts, self._text, self._channels = list(experts), text, channels
        self._given, self._each_place, self._whole = given, timestep_for_each_place, whole_timesteps
        self.pinned: Tensor | None = None
        if given is not None:
            self.pinned = torch.zeros(1, 1, frames, 1, 1, dtype=torch.bool, device=given.device)
            self.pinned[:, :, 0] = True

    def expert(self, sigma: float) -> Expert:
        """The network for a noise level."""
        timestep = self._timestep(sigma)
        return next(each for each in self._experts if timestep >= each.from_timestep)

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """Clean latents (B, C, T, H, W) predicted for x at noise level sigma."""
        seen = x if self._given is None else torch.cat([self._given, x[:, :, 1:]], dim=2)
        x0 = x - sigma * self._velocity(seen, self.expert(sigma), self._timestep(sigma))
        return x0 if self._given is None else torch.cat([self._given, x0[:, :, 1:]], dim=2)

    def _timestep(self, sigma: float) -> float:
        timestep = sigma * TRAINING_STEPS
        return float(int(timestep)) if self._whole else timestep

    def _velocity(self, x: Tensor, expert: Expert, timestep: float) -> Tensor:
        """Guided velocity; both branches of the guidance in one forward pass."""
        text, image = self._text.prompt, self._text.image
        negative = self._text.negative if expert.guidance_scale > 1.0 else None
        hidden = x if self._channels is None else torch.cat([x, self._channels], dim=1)
        if negative is not None:
            hidden, text = torch.cat([hidden, hidden]), torch.cat([text, negative])
            image = None if image is None else torch.cat([image, image])
        dtype = expert.transformer.dtype
        velocity = expert.transformer(
            hidden_states=hidden.to(dtype),
            timestep=self._timesteps(hidden, timestep, expert.transformer.config.patch_size),
            encoder_hidden_states=text.to(dtype),
            encoder_hidden_states_image=None if image is None else image.to(dtype),
            return_dict=False,
        )[0].to(x.dtype)
        if negative is None:
            return velocity
        wanted, unwanted = velocity.chunk(2)
        return unwanted + expert.guidance_scale * (wanted - unwanted)

    def _timesteps(self, hidden: Tensor, timestep: float, patch: Sequence[int]) -> Tensor:
        """(B,) for networks with one timestep, (B, tokens) for those with one for each place, 0 where it is given."""
        batch, _, frames, height, width = hidden.shape
        if not self._each_place:
            return hidden.new_full((batch,), timestep, dtype=torch.float32)
        tokens = hidden.new_full((batch, frames // patch[0], height // patch[1] * (width // patch[2])), timestep)
        if self._given is not None:
            tokens[:, 0] = 0.0
        return tokens.flatten(1).float()


def first_frame_channels(latents: Tensor, frames_per_latent: int = 4) -> Tensor:
    """Mask and latents (B, 4 + C, T, H, W) of a clip of which the first frame is given.

    Args:
        latents: (B, C, T, H, W) of the first frame followed by grey frames, which are 0 before encoding.
        frames_per_latent: channels of the mask, one for each frame that a latent stands for.
    """
    batch, _, frames, height, width = latents.shape
    mask = latents.new_zeros(batch, frames_per_latent, frames, height, width)
    mask[:, :, 0] = 1.0
    return torch.cat([mask, latents], dim=1)
