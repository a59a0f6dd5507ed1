"""bf16 where the hardware multiplies it: elsewhere it is emulated, thirty times slower than float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

CPU_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # the last on ARM


def has_fast_bf16(device: str, cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether matrices of bf16 are multiplied natively; a CPU that does not tell is taken not to."""
    if device != "cpu":
        return True
    try:
        text = cpuinfo.read_text()
    except OSError:
        return False
    flags = (line.partition(":")[2].split() for line in text.splitlines() if line.startswith(("flags", "Features")))
    return not CPU_FLAGS.isdisjoint(next(flags, []))


def on_gpu(device: str | None) -> bool:
    """Whether a torch device is a CUDA device."""
    return torch.device(device or "cpu").type == "cuda"


@contextmanager
def fast_on_gpus(device: str) -> Iterator[None]:
    """A CUDA device is the current one, multiplies float32 as TF32 and tries which convolutions are fastest."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.benchmark
    matmul.allow_tf32 = cudnn.benchmark = True
    try:
        # Graphs are recorded on the streams of the current device.
        with torch.cuda.device(device if on_gpu(device) else -1):
            yield
    finally:
        matmul.allow_tf32, cudnn.benchmark = before


def autocast(device: str) -> torch.autocast:
    """Context in which the forward pass runs in bf16, or in float32 where that is faster."""
    return torch.autocast(device, torch.bfloat16, enabled=has_fast_bf16(device))
