"""An embedded model for larger pictures, from one for smaller ones: nothing that was learnt is lost.

The autoencoder's first layer is made to read patches twice as wide and its last one to write them, both so that it
begins as the old one on pictures of half the size: what it encodes is the old latents of the averaged picture, what it
decodes the old picture, every pixel twice. As many latents describe a clip as before, the transformer begins where it
was, and training adds what the smaller pictures did not show. Evaluations of the network cost what they did.
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor, nn

from worldmodel.counts import check_count


def enlarged(vae: AutoencoderKLWan, times: int) -> AutoencoderKLWan:
    """An autoencoder for pictures ``times`` as high and wide, as many of them a latent.

    ``enlarged(vae, n)`` of a video is ``vae`` of its averages over n x n pixels, with every pixel n x n times. The
    statistics of the latents are those of ``vae``.

    Raises:
        ValueError: ``times`` is no whole number above 0.
    """
    check_count("enlarge", times)
    config, patch = dict(vae.config), vae.config.patch_size or 1
    config |= {
        "patch_size": times * patch,
        "in_channels": times**2 * config["in_channels"],
        "out_channels": times**2 * config["out_channels"],
        "scale_factor_spatial": times * config["scale_factor_spatial"],
    }
    config = {name: value for name, value in config.items() if not name.startswith("_")}
    larger = AutoencoderKLWan(**config)
    nn.Module.to(larger, vae.device, vae.dtype)  # diffusers' own warns of parts that it has none of
    weights = dict(vae.state_dict())
    old = _sources(patch, times).to(vae.device)
    weights["encoder.conv_in.weight"] = weights["encoder.conv_in.weight"][:, old] / times**2
    for name in ("decoder.conv_out.weight", "decoder.conv_out.bias"):
        weights[name] = weights[name][old]
    larger.load_state_dict(weights)
    return larger.train(vae.training)


def _sources(patch: int, times: int) -> Tensor:
    """For each channel of a large patch the channel of the small one that it is a part of; columns before rows."""
    channels = torch.arange(3 * patch * patch).view(3, patch, patch)
    return channels.repeat_interleave(times, dim=1).repeat_interleave(times, dim=2).flatten()
