"""Keyed noise: standard normal, and a function of its key alone."""

import pytest
import torch

from worldmodel.noise import KeyedNoise

LIKE = torch.zeros(3, 4, 5)


def test_a_sample_keeps_its_noise_in_any_batch():
    batch = KeyedNoise([5, 9, 2])(3, 1, LIKE)
    alone = KeyedNoise([9])(3, 1, LIKE[:1])
    assert torch.equal(batch[1:2], alone)


def test_every_part_of_the_key_matters():
    reference = KeyedNoise([5])(3, 1, LIKE[:1])
    others = [
        KeyedNoise([6])(3, 1, LIKE[:1]),
        KeyedNoise([5], chunk=1)(3, 1, LIKE[:1]),
        KeyedNoise([5])(4, 1, LIKE[:1]),
        KeyedNoise([5])(3, 2, LIKE[:1]),
        KeyedNoise([5]).initial(LIKE[:1]),
    ]
    assert all(not torch.equal(reference, other) for other in others)


def test_consecutive_seeds_share_no_noise():
    draws = [KeyedNoise([seed])(step, k, LIKE[:1]) for seed in range(4) for step in range(4) for k in range(4)]
    assert len({draw.numpy().tobytes() for draw in draws}) == len(draws)


def test_noise_is_standard_normal():
    draw = KeyedNoise([0]).initial(torch.zeros(1, 100, 1000))
    assert draw.mean().item() == pytest.approx(0.0, abs=0.02)
    assert draw.std().item() == pytest.approx(1.0, abs=0.01)


def test_negative_seeds_and_wrong_batches_are_refused():
    for seeds, message in (
        ([3, -1], "seeds: got -1 to 3"),
        ([0.5], "seeds: got float64"),
        ([True], "seeds: got bool"),
        ([[1, 2]], r"seeds: got int64 of shape \(1, 2\)"),
        (7, "seeds: got 7"),
        ("01", "seeds: got <U1"),
        ([2**63], "expected one integer from 0 to"),
    ):
        with pytest.raises(ValueError, match=message):
            KeyedNoise(seeds)
    with pytest.raises(ValueError, match="got a batch of 3, expected 2"):
        KeyedNoise([3, 1])(0, 0, LIKE)
