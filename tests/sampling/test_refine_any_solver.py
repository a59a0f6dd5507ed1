"""Refinement under every solver: the perturbation reaches the state, and the chain keeps the law it should."""

import pytest
import torch
from known_flows import RandomDenoiser, start

from worldmodel.noise import KeyedNoise
from worldmodel.sampling import SOLVERS, PredictPerturb, flow_sigmas, sample
from worldmodel.sampling.controls import Guided
from worldmodel.sampling.langevin import keeping_temperature, stationary_variance

DETERMINISTIC = ["euler", "heun", "dpmpp_2m", "unipc", "unipc:order=3", "unipc:order=2,variant=bh1"]


class Gaussian:
    """The exact denoiser of data N(mean, covariance) over the channels, the same in every place."""

    def __init__(self) -> None:
        rotation, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(4)))
        self.std = torch.tensor([0.3, 0.8, 1.5])
        self.axes = rotation
        self.mean = torch.tensor([0.5, -1.0, 0.2])

    def along_axes(self, values: torch.Tensor) -> torch.Tensor:
        """The matrix (3, 3) with these values along the axes of the data."""
        return self.axes @ torch.diag(values) @ self.axes.T

    def variance(self, sigma: float) -> torch.Tensor:
        """Variance of x along each axis."""
        return ((1 - sigma) * self.std) ** 2 + sigma**2

    def __call__(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
        gain = self.along_axes((1 - sigma) * self.std**2 / self.variance(sigma))
        mean = self.mean.view(1, 3, 1)
        return mean + torch.einsum("cd,bdn->bcn", gain, x - (1 - sigma) * mean)


def moments(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean (3,) and covariance (3, 3) of points (1, 3, N)."""
    return x[0].mean(dim=1), torch.cov(x[0])


@pytest.mark.parametrize("solver", DETERMINISTIC)
def test_the_perturbation_reaches_the_state(solver):
    """A constant prediction solves the flow exactly, so a perturbation decays as sigma and in no other way.

    UniPC's corrector would rebuild the sample from the step before, without the perturbation.
    """
    target, step = torch.full((1, 2, 8), 0.4), 3
    levels = flow_sigmas(8, 2.0)
    noises = [KeyedNoise([seed]) for seed in (0, 1)]
    runs: list[list[torch.Tensor]] = [[], []]
    for noise, run in zip(noises, runs, strict=True):
        refine = PredictPerturb.from_steps([(step, step, 1)], threshold=0.0)
        sample(
            lambda x, sigma: target,
            start((1, 2, 8)),
            levels,
            solver=solver,
            refine=refine,
            noise=noise,
            callback=lambda state, run=run: run.append(state["x"]),
        )
    between = noises[0](step, 1, target) - noises[1](step, 1, target)
    for later in range(step, 8):
        expected = levels[later].item() * between
        torch.testing.assert_close(runs[0][later] - runs[1][later], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("solver", [*SOLVERS, "unipc:order=3", "sde:eta=0.3"])
def test_two_noises_give_two_samples(solver):
    refine = PredictPerturb.from_steps([(2, 4, 2)], threshold=0.0)

    def noise(first: int):
        keyed = [KeyedNoise(range(first, first + 4)), KeyedNoise(range(4))]
        return lambda step, iteration, like: keyed[iteration == 0](step, iteration, like)  # the solver's own is shared

    one, other = (
        sample(RandomDenoiser(), start(), flow_sigmas(8), solver=solver, refine=refine, noise=noise(first))
        for first in (0, 4)
    )
    assert (one - other).abs().mean() > 1e-3


@pytest.mark.parametrize("solver", [*SOLVERS, "unipc:order=3"])
def test_an_empty_plan_is_the_plain_solver_bit_for_bit(solver):
    refined, plain = (
        sample(RandomDenoiser(), start(), flow_sigmas(9), solver=solver, refine=refine)
        for refine in (PredictPerturb(), None)
    )
    assert torch.equal(refined, plain)


@pytest.mark.parametrize("solver", ["euler", "heun", "sde"])
def test_an_infinite_threshold_is_the_plain_one_step_solver(solver):
    refine = PredictPerturb.from_steps([(2, 4, 5)], threshold=float("inf"))
    refined, plain = (
        sample(RandomDenoiser(), start(), flow_sigmas(9), solver=solver, refine=change) for change in (refine, None)
    )
    assert torch.equal(refined, plain)


@pytest.mark.parametrize("solver", ["unipc", "unipc:order=3", "dpmpp_2m"])
def test_a_refined_step_starts_a_multistep_solver_afresh(solver):
    """With everything certain, refinement changes nothing, so the run splits there into two plain ones."""
    levels, step, states = flow_sigmas(9).tolist(), 4, []
    refine = PredictPerturb.from_steps([(step, step, 1)], threshold=float("inf"))
    z = sample(RandomDenoiser(), start(), levels, solver=solver, refine=refine, callback=states.append)
    again = sample(RandomDenoiser(), states[step]["x"], levels[step:], solver=solver)
    torch.testing.assert_close(z, again, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("solver", ["heun", "dpmpp_2m", "unipc"])
def test_the_chain_keeps_the_law_derived_for_it(solver):
    """Along an axis of variance s^2 the iteration is x' - t m = (A / V) (x - t m) + sigma eps, with A = t^2 s^2 and
    V = A + sigma^2. Its mean stays t m and its variance settles at V^2 / (2A + sigma^2); the flow then carries both to
    the data, scaling each axis by s / sqrt(V).
    """
    denoise, step, states = Gaussian(), 12, []
    levels = flow_sigmas(40)
    sigma = levels[step].item()
    refine = PredictPerturb.from_steps([(step, step, 25)], threshold=0.0)
    z = sample(denoise, start((1, 3, 150_000)), levels, solver=solver, refine=refine, seeds=[3], callback=states.append)
    t, right = 1 - sigma, denoise.variance(sigma)
    settled = right**2 / (2 * (t * denoise.std) ** 2 + sigma**2)
    mean, covariance = moments(states[step]["x"])
    torch.testing.assert_close(mean, t * denoise.mean, rtol=0.01, atol=0.01)
    torch.testing.assert_close(covariance, denoise.along_axes(settled), rtol=0.02, atol=0.01)
    mean, covariance = moments(z)
    torch.testing.assert_close(mean, denoise.mean, rtol=0.01, atol=0.01)
    torch.testing.assert_close(covariance, denoise.along_axes(settled / right * denoise.std**2), rtol=0.02, atol=0.01)


def measured_variance(refine: PredictPerturb, data_std: float, sigma: float) -> float:
    """Variance of x after a plan's iterations at one noise level, from the right one before them."""
    states: list[dict] = []

    def denoise(x: torch.Tensor, level: float) -> torch.Tensor:
        return x * (1 - level) * data_std**2 / ((1 - level) ** 2 * data_std**2 + level**2)

    right = sigma**2 + ((1 - sigma) * data_std) ** 2
    x = start((1, 1, 100_000)) * right**0.5
    sample(denoise, x, [sigma, 0.0], refine=refine, seeds=[5], callback=states.append)
    return states[0]["x"].var().item()


@pytest.mark.parametrize("sigma", [0.3, 0.8])
@pytest.mark.parametrize("step_size", [0.3, 1.0, 1.5])
@pytest.mark.parametrize("temperature", [0.5, 1.0, "keep_variance"])
def test_temperature_and_step_size_follow_the_closed_form(step_size, temperature, sigma):
    """From variance V the chain x' = c x + noise, c = 1 - h B / V, has c^2K of the way to its settled variance left."""
    data_std, iterations = 1.3, 30
    a, b = ((1 - sigma) * data_std) ** 2, sigma**2
    used = keeping_temperature(sigma, data_std, step_size) if temperature == "keep_variance" else temperature
    settled = stationary_variance(sigma, data_std, step_size, used)
    if (step_size, temperature) == (1.0, 0.5):
        assert settled == pytest.approx((a + b) ** 2 / (2 * a + b))
    if temperature == "keep_variance":
        assert settled == pytest.approx(a + b)
    left = (1 - step_size * b / (a + b)) ** (2 * iterations)
    refine = PredictPerturb.from_steps(
        [(0, 0, iterations)], threshold=0.0, step_size=step_size, temperature=temperature, data_std=data_std
    )
    expected = settled + left * (a + b - settled)
    assert measured_variance(refine, data_std, sigma) == pytest.approx(expected, rel=0.015)


def test_the_variance_keeping_noise_at_the_papers_step():
    sigma, data_std = 0.4, 1.7
    a, b = ((1 - sigma) * data_std) ** 2, sigma**2
    noise = (2 * keeping_temperature(sigma, data_std)) ** 0.5 * sigma
    assert noise == pytest.approx(sigma * (1 + a / (a + b)) ** 0.5)


def test_at_temperature_one_small_steps_are_unbiased():
    """The bias of unadjusted Langevin is of the order of its step."""
    biases = [stationary_variance(0.5, 1.0, h, 1.0) / 0.5 - 1 for h in (0.4, 0.2, 0.1)]
    assert biases[0] / biases[1] == pytest.approx(2, rel=0.1)
    assert biases[1] / biases[2] == pytest.approx(2, rel=0.1)


def test_guidance_lowers_the_variance_that_the_chain_settles_at():
    """D = D_u + w (D_c - D_u) for Gaussians of std 0.8 and 1.2: the chain's coefficient is t times its gain."""
    sigma, states = 0.6, []
    t = 1 - sigma

    def gain(data_std: float) -> float:
        return t * data_std**2 / (t**2 * data_std**2 + sigma**2)

    for scale in (1.0, 2.0):
        denoise = Guided(lambda x, level: gain(0.8) * x, lambda x, level: gain(1.2) * x, scale)
        refine = PredictPerturb.from_steps([(0, 0, 40)], threshold=0.0)
        x = start((1, 1, 100_000)) * sigma
        sample(denoise, x, [sigma, 0.0], refine=refine, seeds=[1], callback=states.append)
    expected = [sigma**2 / (1 - (t * (gain(1.2) + scale * (gain(0.8) - gain(1.2)))) ** 2) for scale in (1.0, 2.0)]
    measured = [state["x"].var().item() for state in states]
    assert measured == pytest.approx(expected, rel=0.015)
    assert measured[1] < measured[0]
