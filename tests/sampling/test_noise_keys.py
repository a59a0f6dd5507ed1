"""A sample is the same to the bit whatever its batch, order, shard or resume point."""

import hashlib

import numpy as np
import pytest
import torch

from worldmodel.noise import INITIAL, KeyedNoise
from worldmodel.sampling import SOLVERS, PredictPerturb, Quantile, flow_sigmas, sample
from worldmodel.sampling.controls import Restart

SEEDS = [3, 1, 2**40, 15, 92]
LIKE = torch.zeros(5, 4, 3, 5, 6)


def elementwise(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """A denoiser that treats every value by itself, so that only the sampler could mix samples."""
    return torch.tanh(2.0 * x) * (1.0 - 0.5 * sigma)


def drawn(seeds: list[int], solver: str = "euler", refine=None) -> torch.Tensor:
    noise = KeyedNoise(seeds)
    return sample(
        elementwise, noise.initial(LIKE[: len(seeds)]), flow_sigmas(8), solver=solver, refine=refine, noise=noise
    )


@pytest.mark.parametrize("solver", [*SOLVERS, "unipc:order=3"])
@pytest.mark.parametrize(
    "refine",
    [
        PredictPerturb.from_steps([(1, 4, 3)], threshold=0.2, stop_fraction=0.6),
        PredictPerturb.from_steps([(1, 4, 3)], threshold=Quantile(0.4), accumulate="uncertain"),
        Restart.from_steps([(1, 4, 1)]),
    ],
    ids=["masked", "quantile", "restart"],
)
def test_permuting_splitting_and_merging_batches_changes_no_bit(solver, refine):
    together = drawn(SEEDS, solver, refine)
    order = [4, 2, 0, 3, 1]
    assert torch.equal(drawn([SEEDS[row] for row in order], solver, refine), together[order])
    parts = [drawn(SEEDS[:2], solver, refine), drawn(SEEDS[2:], solver, refine)]
    assert torch.equal(torch.cat(parts), together)
    assert torch.equal(drawn([SEEDS[2], SEEDS[2]], solver, refine), together[[2, 2]])


def test_noise_is_pinned_to_the_bit():
    """Stored rollouts can be made again only while these values stay."""
    draw = KeyedNoise([3, 2**40 + 5], chunk=2)(7, 1, torch.zeros(2, 3, 4)).numpy()
    assert hashlib.sha256(draw.tobytes()).hexdigest()[:16] == "ac7c7cd390f8e354"


def test_no_two_keys_share_noise():
    """Every key within reach of one another, of small and two-word seeds, with and without forks."""
    keys = [
        (seed, chunk, step, iteration, fork)
        for seed in (0, 1, 2, 2**32, 2**32 + 1, 2**33)
        for chunk in (0, 1, 2)
        for step in (INITIAL, 0, 1)
        for iteration in (0, 1, 2)
        for fork in (0, 1, 2)
    ]
    draws = {
        KeyedNoise([seed], chunk, fork)(step, iteration, torch.zeros(1, 4)).numpy().tobytes()
        for seed, chunk, step, iteration, fork in keys
    }
    assert len(draws) == len(keys) == 6 * 3**4


def test_neighbouring_streams_are_uncorrelated():
    like = torch.zeros(1, 50_000)
    streams = [
        KeyedNoise([7])(3, 1, like),
        KeyedNoise([8])(3, 1, like),
        KeyedNoise([7])(3, 2, like),
        KeyedNoise([7])(4, 1, like),
        KeyedNoise([7], chunk=1)(3, 1, like),
        KeyedNoise([7], fork=1)(3, 1, like),
    ]
    correlation = torch.corrcoef(torch.cat(streams)) - torch.eye(len(streams))
    assert correlation.abs().max() < 5 / 50_000**0.5, "five standard errors"


def test_noise_follows_the_dtype_and_not_the_layout():
    for dtype in (torch.float64, torch.bfloat16):
        reference = KeyedNoise([4])(0, 1, torch.zeros(1, 2, 3))
        assert torch.equal(KeyedNoise([4])(0, 1, torch.zeros(1, 2, 3, dtype=dtype)), reference.to(dtype))
    turned = torch.zeros(1, 3, 2).transpose(1, 2)
    assert torch.equal(KeyedNoise([4])(0, 1, turned), KeyedNoise([4])(0, 1, torch.zeros(1, 2, 3)))


@pytest.mark.gpu
def test_noise_and_samples_are_the_same_on_a_gpu():
    cpu, gpu = KeyedNoise(SEEDS)(2, 1, LIKE), KeyedNoise(SEEDS)(2, 1, LIKE.cuda())
    assert torch.equal(cpu, gpu.cpu())
    noise, refine = KeyedNoise(SEEDS), PredictPerturb.from_steps([(1, 4, 3)], threshold=0.0)
    z, other = (
        sample(elementwise, noise.initial(like), flow_sigmas(8), solver="unipc", refine=refine, noise=noise)
        for like in (LIKE, LIKE.cuda())
    )
    torch.testing.assert_close(other.cpu(), z, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [{"chunk": -1}, {"chunk": 1.0}, {"fork": 2**32}, {"fork": True}])
def test_malformed_indices_are_refused(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))}: got"):
        KeyedNoise([1], **options)


def test_numpy_indices_are_indices():
    like = torch.zeros(1, 3)
    assert torch.equal(KeyedNoise([1], chunk=np.int64(2))(0, 1, like), KeyedNoise([1], chunk=2)(0, 1, like))
