"""Over-refinement: what the guard measures by hand, and the exact guided flow on which plain refinement saturates."""

import numpy as np
import pytest
import torch
from known_flows import start
from torch import Tensor

import worldmodel
from worldmodel.envs.free_fall import FreeFallEnv
from worldmodel.noise import KeyedNoise
from worldmodel.over_refinement import GROWTH_LIMIT, SHIFT_LIMIT
from worldmodel.sampling import PredictPerturb, Quantile, Record, flow_sigmas, sample
from worldmodel.sampling.controls import Guided
from worldmodel.sampling.guard import change, settled

SIDE, FRAMES = 16, 4
SEEDS = range(8)


class WallAndBall:
    """The exact denoiser of a wall of one unknown tone N(0, std^2) a channel, left, beside places of their own."""

    def __init__(self, std: float) -> None:
        self.std = std

    def gain(self, sigma: float) -> float:
        """What the mean of the wall is multiplied by; its noise is that of one place over the root of their number."""
        t = 1.0 - sigma
        return t * self.std**2 / ((t * self.std) ** 2 + sigma**2 / (FRAMES * SIDE**2))

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        t = 1.0 - sigma
        wall, ball = x[..., :SIDE], x[..., SIDE:]
        tone = self.gain(sigma) * wall.mean(dim=(2, 3, 4), keepdim=True)
        return torch.cat([tone.expand_as(wall), t * 2.25 / (2.25 * t**2 + sigma**2) * ball], dim=-1)


CONDITIONAL, UNCONDITIONAL = WallAndBall(1.0), WallAndBall(0.8)
SCALE = 7.5  # classifier-free guidance of the size that video models are used with


def run(denoise, refine: PredictPerturb | None, noise=None) -> tuple[Tensor, Record]:
    """The wall's tone (B, C) in the finished samples, and what was recorded."""
    record, keyed = Record(), KeyedNoise(SEEDS)
    x = keyed.initial(torch.zeros(len(SEEDS), 4, FRAMES, SIDE, 2 * SIDE))
    z = sample(denoise, x, flow_sigmas(12, 3.0), refine=refine, noise=noise or keyed, callback=record)
    return z[..., :SIDE].mean(dim=(2, 3, 4)), record


def plan(iterations: int, **options) -> PredictPerturb:
    return PredictPerturb([(0.15, 0.35, iterations)], **options)


def size(tone: Tensor) -> Tensor:
    return tone.norm(dim=1)


def test_change_by_hand():
    before = torch.tensor([[[1.0, 3.0, 9.0]], [[2.0, 2.0, 0.0]]]).view(2, 1, 3)
    after = torch.tensor([[[2.0, 6.0, -9.0]], [[2.0, 1.0, 5.0]]]).view(2, 1, 3)
    places = torch.tensor([[[True, True, False]], [[True, True, False]]])
    shift, log_growth = change(before, after, places)
    assert shift.tolist() == [[2.0], [-0.5]]
    assert log_growth.exp().tolist() == pytest.approx([2.0, (5 / 8) ** 0.5])


def test_settled_places_are_the_free_half_that_differs_least():
    uncertainty, free = torch.tensor([[[4.0, 0.1, 0.2, 9.0, 3.0]]]), torch.tensor([[[True, False, True, True, True]]])
    assert settled(uncertainty, free).tolist() == [[[False, False, True, False, True]]]


def test_a_sample_with_nothing_settled_has_no_change():
    shift, log_growth = change(start(), start(seed=3), torch.zeros(4, 1, 3, 5, 6, dtype=torch.bool))
    assert not shift.any()
    assert not log_growth.any()


def test_without_noise_growth_is_the_guided_gain_to_the_power_of_the_iterations():
    guided = Guided(CONDITIONAL, UNCONDITIONAL, SCALE)
    refine = PredictPerturb.from_steps([(5, 5, 4)], threshold=0.0)
    _, record = run(guided, refine, noise=lambda step, iteration, like: torch.zeros_like(like))
    sigma = float(flow_sigmas(12, 3.0)[5])
    gain = torch.lerp(*(torch.tensor(each.gain(sigma)) for each in (UNCONDITIONAL, CONDITIONAL)), SCALE).item()
    assert (1.0 - sigma) * gain > 1.02, "a guided prediction grows with each iteration"
    np.testing.assert_allclose(record.drift[:, 1], ((1.0 - sigma) * gain) ** 4 - 1.0, rtol=1e-3)


def test_plain_refinement_of_a_guided_flow_saturates_and_the_mask_prevents_it():
    guided = Guided(CONDITIONAL, UNCONDITIONAL, SCALE)
    unrefined, _ = run(guided, None)
    plain, tripped = run(guided, plan(16, threshold=0.0))
    masked, quiet = run(guided, plan(16))
    assert size(plain).mean() > 2.5 * size(unrefined).mean(), "the failure is there"
    assert tripped.over_refined.mean() >= 7 / 8
    torch.testing.assert_close(masked, unrefined, rtol=0.0, atol=0.05)
    assert not quiet.over_refined.any()


def test_growth_tells_the_saturation_of_the_finished_sample():
    guided = Guided(CONDITIONAL, UNCONDITIONAL, SCALE)
    unrefined, _ = run(guided, None)
    plain, record = run(guided, plan(16, threshold=0.0))
    np.testing.assert_allclose(1.0 + record.drift[:, 1], (size(plain) / size(unrefined)).numpy(), rtol=0.15)


def test_few_iterations_and_no_guidance_leave_the_size_alone():
    plain, few = run(CONDITIONAL, plan(1, threshold=0.0))
    assert size(plain).mean() == pytest.approx(size(run(CONDITIONAL, None)[0]).mean().item(), rel=0.15)
    assert few.drift[:, 1].mean() == pytest.approx(0.0, abs=0.1)


def test_a_quantile_masks_what_is_settled_too():
    _, record = run(Guided(CONDITIONAL, UNCONDITIONAL, SCALE), plan(16, threshold=Quantile(0.5)))
    assert not record.over_refined.any()
    assert record.drift[:, 1].max() < 0.01


def test_there_is_nothing_to_report_without_refinement():
    _, record = run(CONDITIONAL, None)
    assert record.drift is None
    assert record.over_refined is None


def test_the_embedded_model_does_not_saturate():
    """Its given first frame settles the tone, and it has no guidance: many plain iterations shift hardly anything."""
    backend = worldmodel.load("tiny", "cpu").backend
    given = backend.encode(
        np.stack([FreeFallEnv(image_size=64).record(seed=1_400_000 + i).video[:1] for i in range(3)])
    )
    noise, record = KeyedNoise([0, 1, 2]), Record()
    x = noise.initial(given.new_empty(3, *backend.latent_shape))
    refine = PredictPerturb.from_steps([(2, 3, 8)], threshold=0.0)
    sample(backend.denoiser(given), x, backend.sigmas(8), refine=refine, noise=noise, callback=record)
    assert record.drift[:, 0].max() < 0.1 * SHIFT_LIMIT
    assert np.abs(record.drift[:, 1]).max() < 0.1 * GROWTH_LIMIT
