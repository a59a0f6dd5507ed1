"""The refining scheduler in bare loops: what it leaves alone, what it counts, and what it refuses."""

import copy

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    UniPCMultistepScheduler,
)
from known_flows import RandomDenoiser, start

from worldmodel.noise import KeyedNoise
from worldmodel.sampling import PRESETS, PredictPerturb, Record, preset, sample
from worldmodel.sampling.controls import Restart
from worldmodel.sampling.scheduler import RefiningScheduler
from worldmodel.sampling.sparse import SparsePredictPerturb

FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": 3.0}
PLAN = PredictPerturb.from_steps([(1, 3, 3), (5, 6, 1)], threshold=0.1, stop_fraction=0.25)
SEEDS = [7, 8, 900, 3]
STOCK = {
    "euler": lambda: FlowMatchEulerDiscreteScheduler(shift=3.0),
    "unipc": lambda: UniPCMultistepScheduler(**FLOW),
    "unipc:order=3": lambda: UniPCMultistepScheduler(**FLOW, solver_order=3),
    "dpmpp_2m": lambda: DPMSolverMultistepScheduler(**FLOW),
}


def loop(scheduler, x, steps=8, denoise=None, through=lambda timesteps: timesteps):
    """The loop that every diffusers pipeline has."""
    denoise = RandomDenoiser() if denoise is None else denoise
    scheduler.set_timesteps(steps)
    for i, t in enumerate(through(scheduler.timesteps)):
        sigma = scheduler.sigmas[i].item()
        x = scheduler.step((x - denoise(x, sigma)) / sigma, t, x, return_dict=False)[0]
    return x


def levels(stock, steps=8):
    stock.set_timesteps(steps)
    return stock.sigmas.numpy()


@pytest.mark.parametrize("name", STOCK)
def test_a_stock_scheduler_refines_as_our_solver_of_its_name(name):
    """Masks, stops, history and corrector included: the samples stop at different iterations."""
    theirs, ours = Record(), Record()
    z = loop(RefiningScheduler(STOCK[name](), PLAN, seeds=SEEDS, callback=theirs), start())
    expected = sample(
        RandomDenoiser(), start(), levels(STOCK[name]()), solver=name, refine=PLAN, seeds=SEEDS, callback=ours
    )
    torch.testing.assert_close(z, expected, rtol=1e-4, atol=1e-5)
    assert theirs.nfe.tolist() == ours.nfe.tolist()
    assert 0 < ours.iterations[0].certain.mean() < 1
    assert len(set(ours.nfe.tolist())) > 1


@pytest.mark.parametrize("name", STOCK)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_empty_plan_is_the_stock_scheduler_to_the_bit(name, dtype):
    def denoise(x, sigma):
        return RandomDenoiser()(x.float(), sigma).to(dtype)

    z = loop(RefiningScheduler(STOCK[name](), PredictPerturb()), start(), denoise=denoise)
    expected = loop(STOCK[name](), start(), denoise=denoise)
    assert z.dtype == expected.dtype
    assert torch.equal(z, expected)


def test_our_solver_can_take_the_steps():
    scheduler = RefiningScheduler(STOCK["unipc"](), PLAN, seeds=SEEDS, solver="sde:eta=0.5")
    expected = sample(
        RandomDenoiser(), start(), levels(STOCK["unipc"]()), solver="sde:eta=0.5", refine=PLAN, seeds=SEEDS
    )
    torch.testing.assert_close(loop(scheduler, start()), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_costs_what_was_published(name):
    denoise, scheduler = RandomDenoiser(), RefiningScheduler(STOCK["unipc"](), preset(name, stop_fraction=None))
    loop(scheduler, start(), PRESETS[name].steps, denoise)
    assert denoise.calls == scheduler.made == PRESETS[name].nfe


def test_evaluations_that_stops_make_needless_are_not_made():
    refine = PredictPerturb.from_steps([(2, 4, 5)], threshold=float("inf"))
    denoise, scheduler = RandomDenoiser(), RefiningScheduler(STOCK["unipc"](), refine)
    z = loop(scheduler, start(), denoise=denoise)
    assert denoise.calls == scheduler.made == 8 + 3
    assert len(scheduler.timesteps) == len(scheduler.sigmas) - 1 == 8 + 3
    expected = sample(RandomDenoiser(), start(), levels(STOCK["unipc"]()), solver="unipc", refine=refine)
    torch.testing.assert_close(z, expected, rtol=1e-4, atol=1e-5)


def test_a_copied_list_costs_more_but_gives_the_same():
    refine = PredictPerturb.from_steps([(2, 4, 5)], threshold=float("inf"))
    results, made = [], []
    for through in (lambda timesteps: timesteps, torch.Tensor.clone, torch.Tensor.tolist, list):
        scheduler = RefiningScheduler(STOCK["euler"](), refine)
        results.append(loop(scheduler, start(), through=through))
        made.append(scheduler.made)
    assert made == [8 + 3, 8 + 15, 8 + 15, 8 + 15]
    assert all(torch.equal(results[0], result) for result in results[1:])


def test_a_list_of_its_own_is_refused():
    scheduler = RefiningScheduler(STOCK["euler"](), PLAN)
    with pytest.raises(ValueError, match=r"timestep: got .*, expected .*; go through scheduler.timesteps"):
        loop(scheduler, start(), through=lambda timesteps: timesteps.unique(sorted=True).flip(0).tolist())


def test_what_pipelines_ask_of_a_schedule():
    refine, stock = PredictPerturb.from_steps([(1, 2, 2), (4, 4, 1)], threshold=0.0), STOCK["unipc"]()
    scheduler = RefiningScheduler(stock, refine)
    scheduler.set_timesteps(6)
    stock.set_timesteps(6)
    visited = [0, 1, 1, 1, 2, 2, 2, 3, 4, 4, 5]
    assert torch.equal(torch.stack(list(scheduler.timesteps)), stock.timesteps[visited])
    assert torch.equal(scheduler.sigmas, stock.sigmas[[*visited, 6]])
    assert len(scheduler.timesteps) - 6 * scheduler.order == 0, "warm-up"
    assert scheduler.timesteps[3 * scheduler.order :].tolist() == stock.timesteps[[3, 4, 4, 5]].tolist()
    assert [made % scheduler.order for made in range(1, 12)] == [0, 1, 1, 0, 1, 1, 0, 0, 1, 0, 0]
    assert scheduler.config.flow_shift == 3.0
    assert scheduler.init_noise_sigma == stock.init_noise_sigma
    x = start()
    assert scheduler.scale_model_input(x, scheduler.timesteps[0]) is x


def test_custom_noise_levels_pass_through():
    sigmas = [0.9, 0.6, 0.3]
    scheduler = RefiningScheduler(
        FlowMatchEulerDiscreteScheduler(), PredictPerturb.from_steps([(1, 1, 2)], threshold=0.0)
    )
    scheduler.set_timesteps(sigmas=sigmas)
    torch.testing.assert_close(scheduler.sigmas, torch.tensor([0.9, 0.6, 0.6, 0.6, 0.3, 0.0]))
    with pytest.raises(TypeError, match="timesteps"):
        RefiningScheduler(STOCK["unipc"](), PLAN).set_timesteps(timesteps=[900.0, 500.0])


def test_a_generator_reaches_a_scheduler_that_draws():
    def draw(scheduler):
        scheduler.set_timesteps(8)
        x = start()
        for t in scheduler.timesteps:
            generator = torch.Generator().manual_seed(int(t))
            x = scheduler.step(0.1 * x, t, x, generator=generator, return_dict=False)[0]
        return x

    stock = FlowMatchEulerDiscreteScheduler(stochastic_sampling=True)
    assert torch.equal(draw(RefiningScheduler(stock, PredictPerturb())), draw(stock))
    draw(RefiningScheduler(STOCK["unipc"](), PredictPerturb()))


def test_a_flow_that_goes_the_other_way_is_refined_as_any_other():
    """Mochi's goes from 0 to 1, by the opposite velocity."""
    stock = FlowMatchEulerDiscreteScheduler(invert_sigmas=True)
    scheduler, denoise, x = RefiningScheduler(stock, PLAN, seeds=SEEDS), RandomDenoiser(), start()
    scheduler.set_timesteps(8)
    for i, t in enumerate(scheduler.timesteps):
        sigma = 1.0 - scheduler.sigmas[i].item()
        x = scheduler.step((denoise(x, sigma) - x) / sigma, t, x, return_dict=False)[0]
    expected = sample(RandomDenoiser(), start(), 1.0 - levels(stock), refine=PLAN, seeds=SEEDS)
    torch.testing.assert_close(x, expected, rtol=1e-4, atol=1e-5)


def test_a_pipeline_may_write_the_next_sample_into_the_last():
    """Kandinsky 5 does. What is certain keeps the sample of before."""
    x, scheduler = start(), RefiningScheduler(STOCK["euler"](), PLAN, seeds=SEEDS)
    scheduler.set_timesteps(8)
    for i, t in enumerate(scheduler.timesteps):
        sigma = scheduler.sigmas[i].item()
        x[:] = scheduler.step((x - RandomDenoiser()(x, sigma)) / sigma, t, x, return_dict=False)[0]
    assert torch.equal(x, loop(RefiningScheduler(STOCK["euler"](), PLAN, seeds=SEEDS), start()))


def test_an_answer_that_is_not_finite_is_named():
    def denoise(x, sigma):
        return torch.where(torch.arange(4).view(4, 1, 1, 1, 1) == 2, torch.nan, x) if sigma < 0.9 else 0.5 * x

    scheduler = RefiningScheduler(STOCK["unipc"](), PLAN)
    with pytest.raises(ValueError, match=r"got NaN or infinity at step 3 \(sigma 0.83.*\) in sample 2"):
        loop(scheduler, start(), denoise=denoise)


def test_another_noise_gives_another_sample_and_the_same_noise_the_same():
    one, again, other = (
        loop(RefiningScheduler(STOCK["unipc"](), PLAN, seeds=range(first, first + 4)), start()) for first in (0, 0, 4)
    )
    assert torch.equal(one, again)
    assert (one - other).abs().mean() > 1e-3


def test_a_sample_does_not_depend_on_its_batch():
    together = loop(RefiningScheduler(STOCK["unipc"](), PLAN, seeds=SEEDS), start())
    for row, seed in enumerate(SEEDS):
        alone = loop(RefiningScheduler(STOCK["unipc"](), PLAN, noise=KeyedNoise([seed])), start()[row : row + 1])
        torch.testing.assert_close(alone, together[row : row + 1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("axis", [None, 2])
def test_tokens_have_their_channels_last(axis):
    x = start((4, 4, 30))

    def of_tokens(tokens, sigma):
        return RandomDenoiser()(tokens.movedim(-1, 1), sigma).movedim(1, -1)

    scheduler = RefiningScheduler(STOCK["unipc"](), PLAN, seeds=SEEDS, channel_axis=axis)
    tokens = loop(scheduler, x.movedim(1, -1), denoise=of_tokens)
    expected = loop(RefiningScheduler(STOCK["unipc"](), PLAN, seeds=SEEDS, channel_axis=1), x)
    torch.testing.assert_close(tokens.movedim(-1, 1), expected)


def test_places_that_a_pipeline_holds_still_stay_and_do_not_count():
    """As Cosmos 3 has them, whose model sees the clean frames in x, and 0 in the channels that a robot has not."""
    x = start()
    clean, x[:, 3] = x[:, :, :1].clone(), 0.0
    clean[:, 3] = 0.0

    def denoise(x, sigma):
        assert torch.equal(x[:, :, :1], clean)
        assert not x[:, 3].any()
        x0 = RandomDenoiser()(x, sigma)
        x0[:, :, :1], x0[:, 3] = x[:, :, :1], x[:, 3]
        return x0

    states = []
    refine = PredictPerturb.from_steps([(1, 3, 2)], threshold=0.1, stop_fraction=None)
    z = loop(RefiningScheduler(STOCK["unipc"](), refine, seeds=SEEDS, callback=states.append), x, denoise=denoise)
    assert torch.equal(z[:, :, :1], clean)
    assert not z[:, 3].any()
    free = torch.stack([found["free"] for state in states for found in state["refinement"]])
    assert not free[:, :, :, 0].any()
    assert free[:, :, :, 1:].all()


def test_copies_for_sound_and_actions_go_along():
    """Cosmos 3 copies its scheduler after set_timesteps and steps each copy once a visit."""
    refine = PredictPerturb.from_steps([(1, 3, 3)], threshold=0.05, stop_fraction=0.5)
    scheduler = RefiningScheduler(STOCK["unipc"](), refine, seeds=SEEDS)
    scheduler.set_timesteps(8)
    of_actions = copy.deepcopy(scheduler)
    x, y, denoise = start(), start((4, 12, 4), seed=2), RandomDenoiser()
    for i, t in enumerate(scheduler.timesteps):
        sigma = scheduler.sigmas[i].item()
        velocity = (y - 0.3 * y.tanh()) / sigma
        x = scheduler.step((x - denoise(x, sigma)) / sigma, t, x, return_dict=False)[0]
        y = of_actions.step(velocity, t, y, return_dict=False)[0]
    alone = loop(RefiningScheduler(STOCK["unipc"](), refine, seeds=SEEDS), start())
    assert torch.equal(x, alone)
    assert of_actions.made == scheduler.made
    assert y.abs().max() < 1


def test_a_run_that_broke_off_leaves_nothing_behind():
    scheduler = RefiningScheduler(STOCK["unipc"](), PLAN, seeds=SEEDS)
    scheduler.set_timesteps(8)
    for t in list(scheduler.timesteps)[:3]:
        scheduler.step(start(seed=3), t, start())
    fresh = loop(RefiningScheduler(STOCK["unipc"](), PLAN, seeds=SEEDS), start())
    assert torch.equal(loop(scheduler, start()), fresh)


@pytest.mark.parametrize(
    ("scheduler", "refine", "options", "message"),
    [
        (DDIMScheduler(), PLAN, {}, "scheduler: got DDIMScheduler, expected one of a flow"),
        (UniPCMultistepScheduler(), PLAN, {}, "scheduler: got UniPCMultistepScheduler, expected one of a flow"),
        (FlowMatchHeunDiscreteScheduler(), PLAN, {}, "expected one that visits each step once"),
        (None, PLAN, {}, "scheduler: got NoneType"),
        (STOCK["euler"](), None, {}, "refine: got None, expected a PredictPerturb"),
        (STOCK["euler"](), Restart([(0.0, 0.5, 1)]), {}, "refine: got Restart"),
        (STOCK["euler"](), SparsePredictPerturb([(0.0, 0.5, 1)]), {}, "refine: got SparsePredictPerturb"),
        (STOCK["euler"](), PLAN, {"solver": "heun"}, "solver: got heun, expected one with one evaluation a step"),
        (STOCK["euler"](), PLAN, {"solver": "rk4"}, "solver: got 'rk4', expected one of euler"),
        (STOCK["euler"](), PLAN, {"seeds": [1.5]}, "seeds: got float64"),
        (STOCK["euler"](), PLAN, {"seeds": 3}, "seeds: got 3"),
        (STOCK["euler"](), PLAN, {"seeds": [1], "noise": KeyedNoise([1])}, "seeds: got seeds beside noise"),
    ],
)
def test_malformed_set_ups_are_refused(scheduler, refine, options, message):
    with pytest.raises(ValueError, match=message):
        RefiningScheduler(scheduler, refine, **options)


def test_a_refining_scheduler_is_not_wrapped_again():
    with pytest.raises(ValueError, match="scheduler: got RefiningScheduler"):
        RefiningScheduler(RefiningScheduler(STOCK["euler"](), PLAN), PLAN)


@pytest.mark.parametrize(
    ("scheduler", "steps", "message"),
    [
        (STOCK["unipc"](), 5, "expected indices below 5"),
        (UniPCMultistepScheduler(**FLOW, final_sigmas_type="sigma_min"), 8, "expected at most 1 to exactly 0"),
    ],
)
def test_a_schedule_that_does_not_fit_is_refused_when_it_is_laid_out(scheduler, steps, message):
    with pytest.raises(ValueError, match=message):
        RefiningScheduler(scheduler, PLAN).set_timesteps(steps)


def test_steps_that_are_no_visits_are_refused():
    scheduler = RefiningScheduler(STOCK["euler"](), PLAN, seeds=[1, 2])
    with pytest.raises(ValueError, match="call set_timesteps"):
        scheduler.step(start(), 999.0, start())
    scheduler.set_timesteps(8)
    with pytest.raises(ValueError, match="per_token_timesteps: got some"):
        scheduler.step(start(), scheduler.timesteps[0], start(), per_token_timesteps=torch.ones(4, 3))
    with pytest.raises(ValueError, match="seeds: got 2, expected 4"):
        scheduler.step(start(), scheduler.timesteps[0], start())
