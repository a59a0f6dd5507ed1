"""Orders of convergence on flows that are known exactly: a Gaussian, and a mixture of two by its quantiles."""

from collections.abc import Callable
from math import exp, log, log2

import numpy as np
import pytest
import torch
from known_flows import GAUSSIAN, TWO_MODES, Mixture

from worldmodel.noise import KeyedNoise
from worldmodel.sampling import as_solver, flow_sigmas, sample
from worldmodel.sampling.solvers import euler_step, heun_step, sde_step
from worldmodel.sampling.solvers.unipc import History, unipc_step

HIGH, LOW = 0.9, 0.1
POINTS = torch.linspace(-1.8, 1.8, 9, dtype=torch.float64).view(1, 1, -1)
FLOWS = pytest.mark.parametrize("flow", [GAUSSIAN, TWO_MODES], ids=["gaussian", "mixture"])


def log_snr(sigma: float) -> float:
    return log((1 - sigma) / sigma)


def even_levels(steps: int) -> np.ndarray:
    """Noise levels from HIGH to LOW that are even in lambda."""
    return 1 / (1 + np.exp(np.linspace(log_snr(HIGH), log_snr(LOW), steps + 1)))


def order_of(error: Callable[[int], float], steps: int) -> float:
    """How often halving the step halves the error."""
    return log2(error(steps) / error(2 * steps))


@FLOWS
@pytest.mark.parametrize(
    ("solver", "order"),
    [
        ("euler", 1),
        ("sde:eta=0", 1),
        ("heun", 2),
        ("dpmpp_2m", 2),
        ("unipc:order=1,corrector=false", 1),
        ("unipc:order=1", 2),
        ("unipc:order=2,corrector=false", 2),
        ("unipc:order=2", 3),
        ("unipc:order=2,variant=bh1", 3),
        ("unipc:order=3", 3),  # its first step is of order 1 + 1
    ],
)
def test_order_through_the_sampling_loop(flow: Mixture, solver: str, order: int):
    exact = flow.flow(POINTS, HIGH, LOW)

    def error(steps: int) -> float:
        states: list[dict] = []
        sample(flow, POINTS, [*even_levels(steps), 0.0], solver=solver, callback=states.append)
        return (states[-1]["x"] - exact).abs().max().item()

    assert order_of(error, 40) == pytest.approx(order, abs=0.3)


@FLOWS
@pytest.mark.parametrize("variant", ["bh1", "bh2"])
@pytest.mark.parametrize("corrector", [True, False])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_order_of_unipc_from_an_exact_history(flow: Mixture, order: int, variant: str, corrector: bool):
    """UniP-p is of order p, UniPC-p of order p + 1, once the history is there."""
    exact = flow.flow(POINTS, HIGH, LOW)

    def error(steps: int) -> float:
        h = (log_snr(LOW) - log_snr(HIGH)) / steps
        before = tuple(1 / (1 + exp(log_snr(HIGH) - k * h)) for k in (1, 2, 3))
        states = [flow.flow(POINTS, HIGH, sigma) for sigma in before]
        history = History(states[0], before, tuple(map(flow, states, before)), order)
        levels, x = even_levels(steps).tolist(), POINTS
        for sigma, sigma_next in zip(levels[:-1], levels[1:], strict=True):
            x, history = unipc_step(
                x, flow(x, sigma), sigma, sigma_next, history, order=order, variant=variant, corrector=corrector
            )
        return (x - exact).abs().max().item()

    assert order_of(error, 40) == pytest.approx(order + corrector, abs=0.55)


@FLOWS
@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2)])
def test_order_from_noise_to_data(flow: Mixture, solver: str, order: int):
    exact = flow.flow(POINTS, 1.0, 0.0)
    errors = {n: (sample(flow, POINTS, flow_sigmas(n), solver=solver) - exact).abs().max().item() for n in (40, 80)}
    assert order_of(errors.__getitem__, 40) == pytest.approx(order, abs=0.1)


def test_second_order_unipc_without_corrector_is_dpm_solver_2m():
    levels = [*even_levels(12), 0.0]
    one, other = (sample(TWO_MODES, POINTS, levels, solver=s) for s in ("unipc:corrector=false", "dpmpp_2m"))
    torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("solver", ["euler", "heun", "dpmpp_2m", "unipc", "unipc:order=3,variant=bh1"])
def test_a_constant_prediction_is_solved_exactly(solver: str):
    target, states = torch.full_like(POINTS, 0.7), []
    z = sample(lambda x, sigma: target, POINTS, flow_sigmas(7, 3.0), solver=solver, callback=states.append)
    assert torch.equal(z, target)
    for state in states:
        sigma = state["sigma"]
        torch.testing.assert_close(state["x"], sigma * POINTS + (1 - sigma) * target, rtol=1e-12, atol=1e-12)


def ancestral_variance(steps: int, eta: float, data_std: float = 0.5) -> float:
    """Variance of what ``sde`` samples of N(., data_std^2): all is linear, so it is a recursion without randomness."""
    levels, variance = flow_sigmas(steps).tolist(), 1.0
    one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    for sigma, sigma_next in zip(levels[:-1], levels[1:], strict=True):
        gain = (1 - sigma) * data_std**2 / ((1 - sigma) ** 2 * data_std**2 + sigma**2)
        of_x, of_noise = (
            sde_step(x, gain * x, sigma, sigma_next, eps, eta).item() for x, eps in ((one, zero), (zero, one))
        )
        variance = of_x**2 * variance + of_noise**2
    return variance


@pytest.mark.parametrize("eta", [0.25, 1.0])
def test_sde_keeps_the_gaussian_at_first_order_for_every_eta(eta: float):
    def error(steps: int) -> float:
        return abs(ancestral_variance(steps, eta) - 0.25)

    assert error(400) < 0.01
    assert order_of(error, 200) == pytest.approx(1.0, abs=0.15)


def test_sde_samples_the_gaussian():
    x = torch.randn(1, 1, 50_000, generator=torch.Generator().manual_seed(0))
    z = sample(GAUSSIAN, x, flow_sigmas(40), solver="sde", noise=KeyedNoise([0]))
    assert z.mean().item() == pytest.approx(0.3, abs=0.01)
    assert z.var().item() == pytest.approx(ancestral_variance(40, 1.0), rel=0.02)
    assert abs(torch.corrcoef(torch.stack([x.flatten(), z.flatten()]))[0, 1].item()) < 0.05, "the start is forgotten"


@pytest.mark.parametrize(
    ("solver", "evaluations"), [("euler", [1, 1, 1]), ("heun", [2, 2, 1]), ("unipc", [1, 1, 1]), ("sde", [1, 1, 1])]
)
def test_evaluations_are_counted(solver: str, evaluations: list[int]):
    spent, calls = [], []

    def denoise(x: torch.Tensor, sigma: float) -> torch.Tensor:
        calls.append(sigma)
        return 0.5 * x

    sample(denoise, POINTS, flow_sigmas(3), solver=solver, callback=lambda s: spent.append(s["evaluations"].tolist()))
    assert spent == [[count] for count in evaluations]
    assert len(calls) == sum(evaluations)


def test_the_free_functions_are_the_solvers():
    x0 = GAUSSIAN(POINTS, 0.8)
    states: list[dict] = []
    for solver, expected in (
        ("euler", euler_step(POINTS, x0, 0.8, 0.3)),
        ("heun", heun_step(POINTS, x0, 0.8, 0.3, GAUSSIAN)),
    ):
        sample(GAUSSIAN, POINTS, [0.8, 0.3, 0.0], solver=solver, callback=states.append)
        assert torch.equal(states[-1]["x"], expected)


@pytest.mark.parametrize("text", ["euler", "heun", "dpmpp_2m", "unipc:order=3,corrector=false", "sde:eta=0.5"])
def test_a_solver_is_what_its_text_says(text: str):
    assert str(as_solver(text)) == text
    assert as_solver(as_solver(text)) == as_solver(text)


@pytest.mark.parametrize(
    ("solver", "message"),
    [
        ("heum", "solver: got 'heum', expected one of euler, heun, unipc, dpmpp_2m, sde"),
        ("sde:eto=1", "with eto, expected eta"),
        ("euler:order=2", "with order, expected no settings"),
        ("sde:eta=1.5", "eta: got 1.5"),
        ("sde:eta=nan", "eta: got nan"),
        ("unipc:order=4", "order: got 4"),
        ("unipc:order=2.0", "order: got 2.0"),
        ("unipc:variant=bh3", "variant: got 'bh3', expected bh1 or bh2"),
        ("unipc:corrector=1", "corrector: got 1"),
    ],
)
def test_malformed_solvers_are_refused(solver: str, message: str):
    with pytest.raises(ValueError, match=message):
        as_solver(solver)
