"""The choice of bf16 or float32 from what the CPU says of itself."""

import pytest
import torch

from worldmodel.training.precision import autocast, has_fast_bf16


@pytest.mark.parametrize(
    ("cpuinfo", "fast"),
    [
        ("processor : 0\nflags : fpu avx2 vaes\n", False),
        ("processor : 0\nflags : fpu avx2 avx512_bf16 vaes\nprocessor : 1\n", True),
        ("flags : avx512f amx_bf16 amx_tile\n", True),
        ("Features : fp asimd bf16 i8mm\n", True),
        ("Features : fp asimd\n", False),
        ("", False),
    ],
)
def test_cpus_are_told_apart_by_their_flags(tmp_path, cpuinfo, fast):
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    assert has_fast_bf16("cpu", tmp_path / "cpuinfo") is fast


def test_a_cpu_that_says_nothing_computes_in_float32(tmp_path):
    assert not has_fast_bf16("cpu", tmp_path / "missing")


def test_products_have_the_chosen_precision():
    with autocast("cpu"):
        product = torch.ones(4, 4) @ torch.ones(4, 4)
    assert product.dtype == (torch.bfloat16 if has_fast_bf16("cpu") else torch.float32)
