"""bf16 where the hardware multiplies it: elsewhere it is emulated, thirty times slower than float32."""

from __future__ import annotations

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


def autocast(device: str) -> torch.autocast:
    """Context in which the forward pass runs in bf16, or in float32 where that is faster."""
    return torch.autocast(device, torch.bfloat16, enabled=has_fast_bf16(device))
