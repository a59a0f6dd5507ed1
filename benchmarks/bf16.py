"""The refusal of ``--bf16`` where it would be slower, for all benchmarks."""

from __future__ import annotations

from worldmodel.training.precision import has_fast_bf16


def check_bf16(asked: bool) -> None:
    """End the program if bf16 is asked of a CPU that emulates it."""
    if asked and not has_fast_bf16("cpu"):
        raise SystemExit("bf16: got it on a CPU that emulates bf16, expected one that multiplies it; leave it out")
