"""The sampling loop: exact flows, convergence, and what it refuses."""

import pytest
import torch

from worldmodel.noise import KeyedNoise
from worldmodel.sampling import PredictPerturb, flow_sigmas, sample
from worldmodel.sampling.controls import Restart

DATA_STD = 0.5


def gaussian(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """The exact denoiser of data N(0, DATA_STD^2)."""
    signal = (1 - sigma) ** 2 * DATA_STD**2
    return x * (1 - sigma) * DATA_STD**2 / (signal + sigma**2)


def never(x: torch.Tensor, sigma: float) -> torch.Tensor:
    raise AssertionError("evaluated")


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
    with pytest.raises(ValueError, match=message):
        sample(never, torch.zeros(1, 2, 3), sigmas)


def test_an_unknown_solver_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="expected one of euler"):
        sample(gaussian, torch.zeros(1, 2, 3), flow_sigmas(3), solver="heum")
    with pytest.raises(ValueError, match="with order twice, expected every setting once"):
        sample(gaussian, torch.zeros(1, 2, 3), flow_sigmas(3), solver="unipc:order=2,order=3")


def test_shapes_that_would_broadcast_are_refused():
    with pytest.raises(ValueError, match=r"denoise: got x0 of shape \(1, 2, 3\)"):
        sample(lambda x, sigma: x[:1], torch.zeros(4, 2, 3), flow_sigmas(3))
    refine = PredictPerturb.from_steps([(0, 1, 1)])
    with pytest.raises(ValueError, match=r"noise: got shape \(2, 3\)"):
        sample(never, torch.zeros(4, 2, 3), flow_sigmas(3), refine=refine, noise=lambda step, k, like: like[0])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (lambda step, k, like: like.double(), "noise: got shape .*, torch.float64, expected .*, torch.float32"),
        (lambda step, k, like: like.numpy(), "noise: got ndarray"),
        (lambda step, k, like: like * float("nan"), "noise: got NaN or infinity at step"),
        (KeyedNoise([1, 2]), "seeds: got 2, expected 4, one for each sample"),
    ],
)
@pytest.mark.parametrize(
    "options",
    [
        {"solver": "sde"},
        {"refine": PredictPerturb.from_steps([(1, 1, 1)])},
        {"refine": Restart.from_steps([(1, 1, 1)])},
    ],
    ids=["sde", "refine", "restart"],
)
def test_a_malformed_noise_source_is_refused_before_any_evaluation(source, message, options):
    with pytest.raises(ValueError, match=message):
        sample(never, torch.zeros(4, 2, 3), flow_sigmas(3), noise=source, **options)


def test_a_noise_source_is_asked_once_for_each_draw():
    keys = []

    def noise(step: int, iteration: int, like: torch.Tensor) -> torch.Tensor:
        keys.append((step, iteration))
        return torch.ones_like(like)

    refine = PredictPerturb.from_steps([(1, 2, 2)], threshold=0.0)
    sample(gaussian, torch.zeros(1, 2, 3), flow_sigmas(4), solver="sde", refine=refine, noise=noise)
    assert sorted(keys) == [(0, 0), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)]


@pytest.mark.parametrize("solver", ["euler", "heun", "unipc"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_names_its_step_and_its_samples(bad, solver):
    def denoise(x: torch.Tensor, sigma: float) -> torch.Tensor:
        x0 = 0.5 * x
        if sigma < 0.6:
            x0[[1, 3], 0, 1] = bad
        return x0

    step = 1 if solver == "heun" else 2  # Heun's second evaluation of step 1 is at 0.5
    with pytest.raises(ValueError, match=rf"NaN or infinity at step {step} \(sigma 0.5\) in sample 1, 3, expected"):
        sample(denoise, torch.ones(4, 2, 3), flow_sigmas(4), solver=solver)


def test_nan_within_refinement_is_caught():
    calls = []

    def denoise(x: torch.Tensor, sigma: float) -> torch.Tensor:
        calls.append(sigma)
        return torch.full_like(x, float("nan")) if len(calls) == 3 else 0.5 * x

    with pytest.raises(ValueError, match=r"at step 1 .* in sample 0, 1, "):
        sample(denoise, torch.ones(2, 2, 3), flow_sigmas(4), refine=PredictPerturb.from_steps([(1, 1, 2)]))
    assert len(calls) == 3


def test_predictions_whose_sum_overflows_are_no_error():
    x = torch.full((2, 2, 40_000), 3.0, dtype=torch.float16)
    assert sample(lambda x, sigma: x, x, flow_sigmas(2)).isfinite().all()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x: x.double(), r"got x0 of torch.float64 at step 1 \(sigma 0.66.*\), expected torch.float32"),
        (lambda x: x[:1], r"got x0 of shape \(1, 2, 3\) at step 1 \(sigma 0.66.*\), expected \(2, 2, 3\)"),
        (lambda x: (x, x), "denoise: got x0 of type tuple at step 1"),
        (lambda x: x.numpy(), "denoise: got x0 of type ndarray at step 1"),
    ],
)
def test_other_answers_of_the_denoiser_are_refused_with_their_step(answer, message):
    with pytest.raises(ValueError, match=message):
        sample(lambda x, sigma: answer(x) if sigma < 1 else x, torch.ones(2, 2, 3), flow_sigmas(3))


@pytest.mark.parametrize("pinned", [torch.zeros(2, 1, 4), torch.zeros(2, 2, 3, dtype=torch.bool), [True]])
def test_malformed_pinned_places_are_refused_before_any_evaluation(pinned):
    class Given:
        def __call__(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
            raise AssertionError("evaluated")

    denoise = Given()
    denoise.pinned = pinned
    with pytest.raises(ValueError, match=r"denoise.pinned: got .*, expected torch.bool that expands to \(2, 1, 3\)"):
        sample(denoise, torch.zeros(2, 2, 3), flow_sigmas(3))


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
        ({"sigmas": "10"}, "sigmas: got '10'"),
        ({"sigmas": None}, "sigmas: got None"),
        ({"refine": "yes"}, "refine: got 'yes'"),
        ({"solver": None}, "solver: got None"),
        ({"seeds": [1, 2]}, "seeds: got 2, expected 1, one for each sample"),
        ({"seeds": [1], "noise": KeyedNoise([1])}, "seeds: got seeds beside noise"),
        ({"noise": torch.Generator()}, r"noise: got <torch._C.Generator .*, expected noise\(step, iteration, like\)"),
        ({"denoise": None}, r"denoise: got None, expected denoise\(x, sigma\)"),
    ],
)
def test_wrong_types_are_refused(change, message):
    arguments = {"denoise": never, "x": torch.zeros(1, 2, 3), "sigmas": flow_sigmas(3), **change}
    with pytest.raises(ValueError, match=message):
        sample(**arguments)


def test_a_start_with_nan_is_refused():
    with pytest.raises(ValueError, match="x: got NaN"):
        sample(gaussian, torch.full((1, 2, 3), float("nan")), flow_sigmas(3))
