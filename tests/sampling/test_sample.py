"""The sampling loop: exact flows, convergence, and what it refuses."""

import pytest
import torch

from worldmodel.noise import KeyedNoise
from worldmodel.sampling import PredictPerturb, flow_sigmas, sample

DATA_STD = 0.5


def gaussian(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """The exact denoiser of data N(0, DATA_STD^2)."""
    signal = (1 - sigma) ** 2 * DATA_STD**2
    return x * (1 - sigma) * DATA_STD**2 / (signal + sigma**2)


def test_euler_converges_to_the_exact_gaussian_flow_at_first_order():
    x = torch.randn(3, 2, 4, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact = DATA_STD * x  # the flow of a Gaussian is linear: std 1 at sigma 1, DATA_STD at 0
    errors = [(sample(gaussian, x, flow_sigmas(n)) - exact).abs().max().item() for n in (50, 100, 200)]
    assert errors[0] / errors[1] == pytest.approx(2.0, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(2.0, rel=0.1)


def test_a_constant_prediction_is_reached_exactly():
    target = torch.randn(2, 3, 4, 4)
    z = sample(lambda x, sigma: target, torch.randn(2, 3, 4, 4), flow_sigmas(5))
    assert torch.equal(z, target)


def test_the_callback_sees_every_step():
    states = []
    sample(gaussian, torch.randn(2, 3, 4), flow_sigmas(4), callback=states.append)
    assert [state["step"] for state in states] == [0, 1, 2, 3]
    assert states[0]["sigma"] == 1.0
    assert states[-1]["sigma_next"] == 0.0
    assert all(state["evaluations"].tolist() == [1, 1] for state in states)


@pytest.mark.parametrize(
    ("sigmas", "message"),
    [
        ([1.0, 0.5, 0.6, 0.0], "got 0.6 after 0.5 at index 2"),
        ([1.0, 0.5, 0.5, 0.0], "got 0.5 after 0.5"),
        ([1.2, 0.5, 0.0], "got 1.2 to 0"),
        ([1.0, 0.5], "got 1 to 0.5"),
        ([1.0, float("nan"), 0.0], "NaN"),
        ([0.0], "got 1 values"),
    ],
)
def test_malformed_sigmas_are_refused_before_any_evaluation(sigmas, message):
    def never(x, sigma):
        raise AssertionError("evaluated")

    with pytest.raises(ValueError, match=message):
        sample(never, torch.zeros(1, 2, 3), sigmas)


def test_an_unknown_solver_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="expected one of euler"):
        sample(gaussian, torch.zeros(1, 2, 3), flow_sigmas(3), solver="heum")


def test_shapes_that_would_broadcast_are_refused():
    with pytest.raises(ValueError, match=r"denoise: got x0 of shape \(1, 2, 3\)"):
        sample(lambda x, sigma: x[:1], torch.zeros(4, 2, 3), flow_sigmas(3))
    refine = PredictPerturb.from_steps([(0, 1, 1)])
    with pytest.raises(ValueError, match=r"noise: got shape \(2, 3\)"):
        sample(gaussian, torch.zeros(4, 2, 3), flow_sigmas(3), refine=refine, noise=lambda step, k, like: like[0])


def test_default_noise_is_keyed_by_seed():
    refine, x = PredictPerturb.from_steps([(0, 1, 2)], threshold=0.0), torch.zeros(2, 2, 3)
    seeded = sample(gaussian, x, flow_sigmas(3), refine=refine, seeds=[5, 6])
    assert torch.equal(seeded, sample(gaussian, x, flow_sigmas(3), refine=refine, noise=KeyedNoise([5, 6])))
    assert torch.equal(seeded[1:], sample(gaussian, x[1:], flow_sigmas(3), refine=refine, seeds=[6]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": [1.0]}, "x: got list"),
        ({"x": torch.zeros(1, 2, dtype=torch.int64)}, "x: got torch.int64"),
        ({"sigmas": "abc"}, "sigmas: got 'abc'"),
        ({"sigmas": None}, "sigmas: got None"),
        ({"refine": "yes"}, "refine: got 'yes'"),
        ({"solver": None}, "solver: got None"),
    ],
)
def test_wrong_types_are_refused(change, message):
    arguments = {"x": torch.zeros(1, 2, 3), "sigmas": flow_sigmas(3), **change}
    with pytest.raises(ValueError, match=message):
        sample(gaussian, **arguments)


def test_a_start_with_nan_is_refused():
    with pytest.raises(ValueError, match="x: got NaN"):
        sample(gaussian, torch.full((1, 2, 3), float("nan")), flow_sigmas(3))
