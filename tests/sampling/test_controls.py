"""The methods Predict-and-Perturb is compared with: closed forms, costs, and all of them on the embedded model."""

import numpy as np
import pytest
import torch
from known_flows import GAUSSIAN, RandomDenoiser, start

import worldmodel
from worldmodel.noise import KeyedNoise
from worldmodel.sampling import PredictPerturb, flow_sigmas, sample
from worldmodel.sampling.controls import CFGZeroStar, FlowMo, Guided, Restart, best_of_n, motion_variance
from worldmodel.sampling.forward import noise_up


@pytest.mark.parametrize(("sigma", "sigma_up"), [(0.0, 0.6), (0.3, 0.8), (0.5, 1.0)])
def test_going_up_in_noise_keeps_the_marginal(sigma, sigma_up):
    z = 0.5 * start((1, 1, 200_000), seed=2) + 1.0
    x = (1 - sigma) * z + sigma * start((1, 1, 200_000), seed=3)
    up = noise_up(x, sigma, sigma_up, start((1, 1, 200_000), seed=4))
    assert up.mean().item() == pytest.approx(1 - sigma_up, abs=0.01)
    assert up.var().item() == pytest.approx(((1 - sigma_up) * 0.5) ** 2 + sigma_up**2, rel=0.015)
    correlation = torch.corrcoef(torch.stack([up.flatten(), z.flatten()]))[0, 1].item()
    assert correlation == pytest.approx((1 - sigma_up) * 0.5 / up.std().item(), abs=0.01), "it is about the same z"


def test_restart_takes_the_steps_of_a_window_again():
    steps = []
    refine = Restart.from_steps([(1, 2, 2), (4, 4, 1)])
    sample(RandomDenoiser(), start(), flow_sigmas(6), refine=refine, callback=lambda s: steps.append(s["step"]))
    assert steps == [0, 1, 2, 1, 2, 1, 2, 3, 4, 4, 5]


@pytest.mark.parametrize("solver", ["heun", "unipc"])
def test_restart_keeps_the_distribution_of_an_exact_flow(solver):
    z = sample(
        GAUSSIAN,
        start((1, 1, 100_000)),
        flow_sigmas(40),
        solver=solver,
        refine=Restart(plan=[(0.2, 0.6, 2)]),
        seeds=[1],
    )
    assert z.mean().item() == pytest.approx(0.3, abs=0.01)
    assert z.std().item() == pytest.approx(0.5, rel=0.01)


def test_every_restart_and_every_stochastic_step_has_noise_of_its_own():
    keys = []

    def noise(step: int, iteration: int, like: torch.Tensor) -> torch.Tensor:
        keys.append((step, iteration))
        return KeyedNoise([0, 1, 2, 3])(step, iteration, like)

    sample(RandomDenoiser(), start(), flow_sigmas(6), solver="sde", refine=Restart.from_steps([(1, 3, 2)]), noise=noise)
    assert len(keys) == len(set(keys)) == 5 + 2 + 2 * 3, "steps but the last, jumps, steps taken again"


def test_flowmo_loss_by_hand():
    v = torch.zeros(1, 2, 4, 1, 2)
    v[0, 0, :, 0, 0] = torch.tensor([0.0, 1.0, 2.0, 3.0])  # even motion: no variance
    v[0, 1, :, 0, 1] = torch.tensor([0.0, 3.0, 3.0, 3.0])  # |changes| 3, 0, 0: mean 1, variance 2
    assert motion_variance(v).tolist() == [1.0], "the mean over two channels of the worst place"
    pinned = torch.tensor([True, False, False, False]).view(1, 1, 4, 1, 1)
    assert motion_variance(v, pinned).tolist() == [0.0], "the jump is from the pinned frame"


def test_flowmo_lowers_its_loss_sample_by_sample():
    losses = []
    refine = FlowMo.from_steps([(2, 2, 12)], learning_rate=0.01)

    def watch(state: dict) -> None:
        losses.extend(found["loss"] for found in state["refinement"])

    sample(RandomDenoiser(), start(), flow_sigmas(5), refine=refine, callback=watch)
    assert (losses[-1] < losses[0]).all()
    alone = sample(RandomDenoiser(), start()[2:3], flow_sigmas(5), refine=refine)
    together = sample(RandomDenoiser(), start(), flow_sigmas(5), refine=refine)
    torch.testing.assert_close(alone, together[2:3], rtol=1e-5, atol=1e-6)


def test_flowmo_needs_frames_and_is_refused_before_any_evaluation_without():
    denoise = RandomDenoiser()
    with pytest.raises(ValueError, match=r"expected \(B, C, T, H, W\) with T of at least 3"):
        sample(denoise, start((1, 2, 8)), flow_sigmas(4), refine=FlowMo.from_steps([(1, 1, 1)]))
    assert denoise.calls == 0
    with pytest.raises(ValueError, match="learning_rate: got 0"):
        FlowMo(learning_rate=0)


def test_flowmo_refuses_a_denoiser_that_keeps_its_gradient_to_itself():
    """The loss holds x as well, so that its gradient would be there, and wrong."""
    with pytest.raises(ValueError, match="denoise: got x0 without a gradient"):
        sample(torch.no_grad()(RandomDenoiser()), start(), flow_sigmas(4), refine=FlowMo.from_steps([(1, 1, 1)]))


def test_guidance_refuses_branches_of_different_shapes():
    with pytest.raises(ValueError, match=r"unconditional: got shape \(1, 4, 3, 5, 6\), expected \(4, "):
        sample(Guided(RandomDenoiser(), lambda x, sigma: x[:1], 2.0), start(), flow_sigmas(4))


def test_guidance_extrapolates_between_the_predictions():
    guided = Guided(lambda x, sigma: 3.0 * x, lambda x, sigma: x, 2.5)
    x = start()
    torch.testing.assert_close(guided(x, 0.5), x + 2.5 * 2.0 * x)


def test_cfg_zero_star_rescales_a_branch_that_points_the_same_way():
    """If v_u = a v_c then s v_u = v_c, and no scale changes anything, where plain guidance would."""
    x, sigma = start(), 0.7
    v_c = start(seed=2) * torch.tensor([0.5, 1.0, 2.0, 3.0]).view(4, 1, 1, 1, 1)
    branches = (lambda x, sigma: x - sigma * v_c), (lambda x, sigma: x - sigma * 0.3 * v_c)
    for scale in (1.0, 4.0):
        torch.testing.assert_close(CFGZeroStar(*branches, scale)(x, sigma), x - sigma * v_c, rtol=1e-4, atol=1e-5)
    assert (Guided(*branches, 4.0)(x, sigma) - (x - sigma * v_c)).abs().mean() > 0.1


def test_cfg_zero_star_scale_by_hand():
    """v_c = (1, 1), v_u = (1, 0): s = 1, so v = v_u + w (v_c - v_u) = (1, w)."""
    x, sigma = torch.zeros(1, 2), 0.5
    guided = CFGZeroStar(
        lambda x, sigma: x - sigma * torch.tensor([[1.0, 1.0]]),
        lambda x, sigma: x - sigma * torch.tensor([[1.0, 0.0]]),
        3.0,
    )
    assert guided(x, sigma).tolist() == [[-0.5, -1.5]]


def test_cfg_zero_star_stands_still_in_the_first_steps():
    levels, states = flow_sigmas(6), []
    inner = RandomDenoiser()
    denoise = CFGZeroStar(inner, RandomDenoiser(seed=1), 2.0, zero_from=levels[1])
    sample(denoise, start(), levels, callback=states.append)
    torch.testing.assert_close(states[2]["x"], start(), msg="two steps without motion")
    assert (states[3]["x"] - start()).abs().mean() > 0.01
    assert inner.calls == 4


class Pinned(RandomDenoiser):
    pinned = torch.zeros(4, 1, 3, 5, 6, dtype=torch.bool)
    pinned[:, :, 0] = True

    def __init__(self, given: float, seed: int) -> None:
        super().__init__(seed=seed)
        self.given = given

    def __call__(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
        return torch.where(self.pinned, self.given, super().__call__(x, sigma))


@pytest.mark.parametrize("method", [Guided, CFGZeroStar])
def test_guidance_leaves_pinned_places_alone(method):
    z = sample(method(Pinned(2.0, 0), Pinned(-1.0, 1), 5.0), start(), flow_sigmas(5))
    assert (z[:, :, 0] == 2.0).all()
    one, other = (method(Pinned(given, 0), Pinned(given, 1), 5.0)(start(), 0.5)[:, :, 1:] for given in (0.0, 9.0))
    torch.testing.assert_close(one, other, msg="what is pinned does not enter the scale")


def test_best_of_n_keeps_the_best_of_each_sample():
    def score(z: torch.Tensor) -> torch.Tensor:
        return z.flatten(1).mean(dim=1)

    denoise, seeds = RandomDenoiser(), [5, 6, 9, 2]
    best = best_of_n(denoise, start(), flow_sigmas(4), 5, score, seeds=seeds, solver="heun")
    assert denoise.calls == 5 * 7
    candidates = [
        sample(RandomDenoiser(), noise.initial(start()), flow_sigmas(4), solver="heun", noise=noise)
        for noise in (KeyedNoise(seeds, fork=fork) for fork in range(5))
    ]
    table = torch.stack([score(z) for z in candidates], dim=1)
    assert torch.equal(best.scores, table)
    assert torch.equal(best.chosen, table.argmax(dim=1))
    assert len(set(best.chosen.tolist())) > 1
    for row, chosen in enumerate(best.chosen):
        assert torch.equal(best.z[row], candidates[chosen][row])


def test_malformed_controls_are_refused():
    with pytest.raises(ValueError, match="n: got 0"):
        best_of_n(RandomDenoiser(), start(), flow_sigmas(4), 0, lambda z: z)
    with pytest.raises(
        ValueError, match=r"score: got shape \(4, 4, 3, 5, 6\), expected a finite tensor of shape \(4,\)"
    ):
        best_of_n(RandomDenoiser(), start(), flow_sigmas(4), 2, lambda z: z)
    with pytest.raises(ValueError, match="scale: got nan"):
        Guided(RandomDenoiser(), RandomDenoiser(), float("nan"))
    with pytest.raises(ValueError, match="zero_from: got 0"):
        CFGZeroStar(RandomDenoiser(), RandomDenoiser(), 2.0, zero_from=0)


@pytest.fixture(scope="module")
def tiny():
    """The embedded model's denoisers of a scene: of its first frame, and of a grey one; and a start."""
    backend = worldmodel.load("tiny", "cpu").backend
    frames = np.random.default_rng(0).integers(0, 255, (1, 1, 64, 64, 3), dtype=np.uint8)
    denoisers = [backend.denoiser(backend.encode(first)) for first in (frames, np.full_like(frames, 128))]
    return (*denoisers, KeyedNoise([0]).initial(torch.zeros(1, *backend.latent_shape)))


@pytest.fixture(scope="module")
def plain(tiny):
    denoise, _, x = tiny
    return sample(denoise, x, flow_sigmas(3))


@pytest.mark.parametrize(
    "options",
    [
        {"solver": "sde"},
        {"solver": "unipc"},
        {"refine": PredictPerturb(plan=[(0.0, 0.5, 1)], threshold=0.0)},
        {"refine": Restart(plan=[(0.0, 0.5, 1)])},
        {"refine": FlowMo(plan=[(0.0, 0.5, 1)])},
    ],
    ids=["sde", "unipc", "unmasked", "restart", "flowmo"],
)
def test_controls_run_on_the_embedded_model(tiny, plain, options):
    denoise, _, x = tiny
    z = sample(denoise, x, flow_sigmas(3), **options)
    assert (z - plain)[:, :, 1:].abs().mean() > 1e-4
    assert torch.equal(z[:, :, 0], plain[:, :, 0]), "the given frame is exact"


@pytest.mark.parametrize("method", [Guided, CFGZeroStar])
def test_guidance_runs_on_the_embedded_model(tiny, plain, method):
    denoise, other, x = tiny
    z = sample(method(denoise, other, 1.5), x, flow_sigmas(3))
    assert (z - plain)[:, :, 1:].abs().mean() > 1e-4
    assert torch.equal(z[:, :, 0], plain[:, :, 0])


def test_best_of_n_runs_on_the_embedded_model(tiny):
    denoise, _, x = tiny
    best = best_of_n(denoise, x, flow_sigmas(2), 2, lambda z: -motion_variance(z), seeds=[0])
    assert -motion_variance(best.z).item() == best.scores.max().item() > best.scores.min().item()
