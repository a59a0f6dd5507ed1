"""Latents of a data set, encoded once: the transformer never sees pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKLWan
from tqdm.auto import tqdm

from worldmodel.training.whole_clip import encode_clip

SHARD = 500  # clips in a file; an interrupted run loses at most one


@torch.no_grad()
def encode_data(
    vae: AutoencoderKLWan, video: np.ndarray, out: Path, device: str = "cpu", batch: int = 10
) -> np.ndarray:
    """Raw latents (2 N, z, T, H, W) float16 of clips (N, T, H, W, 3) uint8 and their mirror images.

    Mirroring the picture mirrors the physics, so it doubles the data. Finished shards in
    ``out`` are kept and reused.
    """
    out.mkdir(parents=True, exist_ok=True)
    vae = vae.to(device).eval()
    moments_of = torch.compile(encode_clip, dynamic=False)
    files = []
    with tqdm(total=2 * len(video), desc="encoding", unit="clip") as progress:
        for mirrored in (False, True):
            for first in range(0, len(video), SHARD):
                files.append(out / f"{'mirrored' if mirrored else 'plain'}_{first:06d}.npy")
                clips = video[first : first + SHARD]
                if not files[-1].exists():
                    parts = []
                    for start in range(0, len(clips), batch):
                        part = clips[start : start + batch]
                        x = torch.from_numpy(np.ascontiguousarray(part[..., ::-1, :] if mirrored else part)).to(device)
                        x = (x.permute(0, 4, 1, 2, 3).float() / 127.5 - 1.0).contiguous(
                            memory_format=torch.channels_last_3d
                        )
                        with torch.autocast(device, torch.bfloat16):
                            mean = moments_of(vae, x).chunk(2, dim=1)[0]
                        parts.append(mean.float().cpu().numpy().astype(np.float16))
                        progress.update(len(part))
                    partial = files[-1].with_suffix(".partial")
                    with partial.open("wb") as handle:
                        np.save(handle, np.concatenate(parts))
                    partial.rename(files[-1])
                else:
                    progress.update(len(clips))
    return np.concatenate([np.load(file) for file in files])


def statistics(latents: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel of raw latents (N, z, T, H, W)."""
    sample = latents[:: max(1, len(latents) // 2000)].astype(np.float32)
    return sample.mean(axis=(0, 2, 3, 4)).tolist(), sample.std(axis=(0, 2, 3, 4)).tolist()
