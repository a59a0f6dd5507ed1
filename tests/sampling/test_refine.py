"""Predict-and-Perturb against the released procedure, closed forms and its invariances."""

import numpy as np
import pytest
import torch
from known_flows import RandomDenoiser, start

from worldmodel.noise import KeyedNoise
from worldmodel.sampling import PredictPerturb, flow_sigmas, karras_sigmas, sample


def released_euler(denoise, x, sigmas, iterations, tau, stop, accumulate, noise):
    """The released loop for ONE sample: it merges the next Euler latents, as the authors' code does."""
    for i in range(len(sigmas) - 1):
        sigma, sigma_next = float(sigmas[i]), float(sigmas[i + 1])
        before_x0 = before_next = mask = None
        finished = False
        for ii in range(iterations[i] + 1):
            if finished:
                break
            if ii > 0:
                x = (1 - sigma) * before_x0 + sigma * noise(i, ii, x)
            x0 = denoise(x, sigma)
            velocity = (x - x0) / sigma
            following = x + (sigma_next - sigma) * velocity
            if ii > 0:
                certain = ((x0 - before_x0).abs().sum(dim=1) / x0.shape[1] < tau).unsqueeze(1)
                if mask is not None and accumulate == "certain":
                    certain = certain | mask
                if mask is not None and accumulate == "uncertain":
                    certain = ~(~certain | ~mask)
                mask = certain
                following = torch.where(certain, before_next, following)
                x0 = torch.where(certain, before_x0, x0)
                finished = bool(certain.float().mean() > stop)
            before_x0, before_next = x0, following
        x = before_next
    return x


@pytest.mark.parametrize("accumulate", ["certain", "uncertain", None])
@pytest.mark.parametrize("threshold", [0.0, 0.05, 0.3, float("inf")])
def test_euler_equals_the_released_procedure_for_every_sample(accumulate, threshold):
    sigmas = flow_sigmas(12, shift=5.0)
    refine = PredictPerturb.from_steps(
        [(1, 3, 3), (5, 8, 1)], threshold=threshold, accumulate=accumulate, stop_fraction=0.9
    )
    seeds, x = [7, 8, 900, 3], start()
    ours = sample(RandomDenoiser(), x, sigmas, refine=refine, noise=KeyedNoise(seeds))
    for row, seed in enumerate(seeds):
        theirs = released_euler(
            RandomDenoiser(),
            x[row : row + 1],
            sigmas,
            refine.iterations(sigmas),
            threshold,
            0.9,
            accumulate,
            KeyedNoise([seed]),
        )
        torch.testing.assert_close(ours[row : row + 1], theirs, rtol=1e-4, atol=1e-5)


def test_the_three_accumulation_rules_differ():
    sigmas = flow_sigmas(6)
    results = [
        sample(
            RandomDenoiser(),
            start(),
            sigmas,
            refine=PredictPerturb.from_steps([(1, 3, 4)], threshold=0.3, accumulate=rule),
            noise=KeyedNoise(range(4)),
        )
        for rule in ("certain", "uncertain", None)
    ]
    assert not torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
    assert not torch.equal(results[1], results[2])


def test_infinite_threshold_is_plain_euler_and_stops_after_one_extra_evaluation():
    sigmas, denoise = flow_sigmas(8), RandomDenoiser()
    refine = PredictPerturb.from_steps([(2, 4, 5)], threshold=float("inf"))
    refined = sample(denoise, start(), sigmas, refine=refine)
    assert denoise.calls == 8 + 3
    assert torch.equal(refined, sample(RandomDenoiser(), start(), sigmas))


def test_zero_threshold_freezes_nothing():
    denoise, sigmas = RandomDenoiser(), flow_sigmas(8)
    refine = PredictPerturb.from_steps([(2, 4, 5)], threshold=0.0)
    sample(denoise, start(), sigmas, refine=refine)
    assert denoise.calls == refine.nfe(sigmas) == 8 + 15


def test_an_empty_plan_is_the_plain_solver():
    assert torch.equal(
        sample(RandomDenoiser(), start(), flow_sigmas(9), refine=PredictPerturb()),
        sample(RandomDenoiser(), start(), flow_sigmas(9)),
    )


@pytest.mark.parametrize(
    ("sigmas", "windows", "expected"),
    [
        (flow_sigmas(40, 3.0), [(2, 5, 3), (6, 13, 1)], 60),
        (flow_sigmas(40, 5.0), [(1, 5, 3), (6, 13, 1)], 63),
        (flow_sigmas(40), [(2, 5, 3), (6, 14, 1)], 61),
        (karras_sigmas(35), [(3, 8, 2), (9, 15, 1)], 54),
        (karras_sigmas(35), [(2, 3, 5), (4, 15, 1)], 57),
        (karras_sigmas(36), [(2, 3, 5), (4, 15, 1)], 58),
    ],
)
def test_published_plans_cost_what_was_published(sigmas, windows, expected):
    denoise, refine = RandomDenoiser(), PredictPerturb.from_steps(windows, threshold=0.0)
    sample(denoise, start(), sigmas, refine=refine)
    assert denoise.calls == expected == refine.nfe(sigmas)


def test_a_plan_in_t_moves_with_shift_and_step_count():
    refine = PredictPerturb(plan=[(0.0, 0.05, 2), (0.05, 0.2, 1)])
    for sigmas in (flow_sigmas(20), flow_sigmas(20, 5.0), flow_sigmas(40, 5.0)):
        t = np.round(1.0 - sigmas[:-1], 9)
        expected = np.where(t < 0.05, 2, np.where(t < 0.2, 1, 0))
        assert refine.iterations(sigmas) == expected.tolist()


def test_windows_are_half_open_to_the_last_bit():
    sigmas = flow_sigmas(5)
    assert 1.0 - sigmas[1] < 0.2, "in floating point"
    assert PredictPerturb(plan=[(0.0, 0.2, 1)]).iterations(sigmas) == [1, 0, 0, 0, 0]


def test_a_window_that_holds_no_step_is_refused():
    with pytest.raises(ValueError, match=r"window 0.05 to 0.1, which holds none of the 2 steps"):
        PredictPerturb(plan=[(0.05, 0.1, 1)]).iterations(flow_sigmas(2))


def test_plans_may_be_lists_or_arrays():
    plan = np.array([[0.2, 0.4, 2.0], [0.0, 0.2, 1.0]])
    assert PredictPerturb(plan=plan) == PredictPerturb(plan=[(0, 0.2, 1), (0.2, 0.4, 2)])


def test_gaussian_chain_reaches_its_known_variance():
    """K -> infinity on data N(0, s^2): variance (A + B)^2 / (2A + B), A = (t s)^2, B = (1 - t)^2."""
    t, s, count = 0.4, 1.3, 200_000
    a, b = (t * s) ** 2, (1 - t) ** 2
    states = {}

    def denoise(x, sigma):
        return x * (1 - sigma) * s**2 / ((1 - sigma) ** 2 * s**2 + sigma**2)

    def keep(state):
        states[state["step"]] = state["x"]

    refine = PredictPerturb.from_steps([(0, 0, 60)], threshold=0.0)
    x = torch.randn(1, 1, count, generator=torch.Generator().manual_seed(0)) * (a + b) ** 0.5
    sample(denoise, x, [1 - t, 0.0], refine=refine, noise=KeyedNoise([5]), callback=keep)
    assert states[0].var().item() == pytest.approx((a + b) ** 2 / (2 * a + b), rel=0.01)


def test_a_sample_does_not_depend_on_its_batch():
    sigmas, x, seeds = flow_sigmas(10), start(), [3, 1, 4, 15]
    refine = PredictPerturb.from_steps([(1, 5, 4)], threshold=0.3, stop_fraction=0.5)
    together = sample(RandomDenoiser(), x, sigmas, refine=refine, noise=KeyedNoise(seeds))
    order = [2, 0, 3, 1]
    shuffled = sample(
        RandomDenoiser(), x[order], sigmas, refine=refine, noise=KeyedNoise([seeds[row] for row in order])
    )
    torch.testing.assert_close(shuffled, together[order], rtol=1e-5, atol=1e-6)


def test_each_sample_stops_for_itself():
    spent = []

    def denoise(x, sigma):
        return torch.cat([x[:1] * 0.0, x[1:]])  # sample 0 is certain at once, sample 1 never

    refine = PredictPerturb.from_steps([(0, 0, 6)], threshold=1e-3)
    sample(
        denoise,
        start((2, 4, 3, 5, 6)),
        flow_sigmas(3),
        refine=refine,
        callback=lambda state: spent.append(state["evaluations"].tolist()),
    )
    assert spent == [[2, 7], [1, 1], [1, 1]]


def test_pinned_places_count_neither_as_certain_nor_as_uncertain():
    class Half:
        pinned = torch.zeros(2, 1, 4, 5, 6, dtype=torch.bool)
        calls = 0

        def __call__(self, x, sigma):
            self.calls += 1
            return torch.where(self.pinned, 3.0, x)

    Half.pinned[:, :, :3] = True
    denoise = Half()
    refine = PredictPerturb.from_steps([(0, 0, 4)], threshold=1e-3, stop_fraction=0.7)
    z = sample(denoise, start((2, 4, 4, 5, 6)), flow_sigmas(3), refine=refine)
    assert denoise.calls == 3 + 4, "three of four frames are pinned, the free one is never certain"
    torch.testing.assert_close(z[:, :, :3], torch.full_like(z[:, :, :3], 3.0))


def test_another_noise_gives_another_sample():
    refine = PredictPerturb.from_steps([(1, 4, 2)], threshold=0.0)
    one, other = (
        sample(RandomDenoiser(), start(), flow_sigmas(8), refine=refine, noise=KeyedNoise(range(first, first + 4)))
        for first in (0, 4)
    )
    assert (one - other).abs().mean() > 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"plan": [(0.2, 0.1, 1)]}, "plan: got window 0.2 to 0.1"),
        ({"plan": [(0.0, 1.2, 1)]}, "plan: got window 0 to 1.2"),
        ({"plan": [(0.0, 0.2, 1), (0.1, 0.3, 1)]}, "overlap"),
        ({"plan": [(0.0, 0.2, -1)]}, "whole iterations of at least 1"),
        ({"plan": [(0.0, 0.2, 0)]}, "whole iterations of at least 1"),
        ({"plan": [(0.0, 0.2, 1.5)]}, "whole iterations of at least 1"),
        ({"plan": [(0.0, float("nan"), 1)]}, "expected numbers"),
        ({"plan": (0.0, 0.2, 1)}, "add brackets"),
        ({"plan": None}, "plan: got None"),
        ({"steps": [(0.5, 2, 1)]}, "expected step indices"),
        ({"steps": [(3, 1, 1)]}, "expected step indices"),
        ({"threshold": "0.25"}, "threshold: got '0.25'"),
        ({"plan": [(0.0, 0.2)]}, "plan: got"),
        ({"steps": [(0, 3, 1), (3, 5, 1)]}, "overlap"),
        ({"steps": [(0, 3, 1)], "plan": [(0.0, 0.2, 1)]}, "one of the two"),
        ({"threshold": -0.1}, "threshold: got -0.1"),
        ({"threshold": float("nan")}, "threshold: got nan"),
        ({"accumulate": "all"}, "accumulate: got 'all'"),
        ({"stop_fraction": 1.5}, "stop_fraction: got 1.5"),
        ({"step_size": 2.0}, "step_size: got 2.0"),
        ({"step_size": 0}, "step_size: got 0"),
        ({"temperature": -0.5}, "temperature: got -0.5"),
        ({"temperature": "keep"}, "expected at least 0, or 'keep_variance'"),
        ({"data_std": 0.0}, "data_std: got 0.0"),
    ],
)
def test_malformed_plans_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        PredictPerturb(**options)


def test_a_plan_beyond_the_schedule_is_refused_before_any_evaluation():
    denoise = RandomDenoiser()
    with pytest.raises(ValueError, match="expected indices below 8"):
        sample(denoise, start(), flow_sigmas(8), refine=PredictPerturb.from_steps([(6, 9, 1)]))
    assert denoise.calls == 0
