"""Every solver against diffusers' scheduler of its name, on that scheduler's own noise levels, in float32."""

import pytest
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    UniPCMultistepScheduler,
)
from known_flows import RandomDenoiser, start

from worldmodel.noise import KeyedNoise
from worldmodel.sampling import UniPC, flow_sigmas, karras_sigmas, sample

FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
COSMOS = {**FLOW, "use_karras_sigmas": True, "sigma_max": 200.0, "sigma_min": 0.01}
SHIFTED = {**FLOW, "flow_shift": 5.0}
TOLERANCE = 2e-5  # relative to the largest value; the worst seen is 7e-6


def error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


def trajectory(scheduler, x: torch.Tensor, **options) -> list[torch.Tensor]:
    """The samples a scheduler passes through, from noise to the end."""
    denoise, states = RandomDenoiser(), [x]
    for index, timestep in enumerate(scheduler.timesteps):
        sigma = scheduler.sigmas[index].item()
        velocity = (x - denoise(x, sigma)) / sigma
        extra = {name: value(index, x) for name, value in options.items()}
        x = scheduler.step(velocity, timestep, x, **extra, return_dict=False)[0]
        states.append(x)
    return states


def unipc(settings: dict, steps: int, order: int, variant: str, corrector: bool) -> UniPCMultistepScheduler:
    disabled = [] if corrector else list(range(steps))
    scheduler = UniPCMultistepScheduler(solver_order=order, solver_type=variant, disable_corrector=disabled, **settings)
    scheduler.set_timesteps(steps)
    return scheduler


@pytest.mark.parametrize("settings", [COSMOS, SHIFTED], ids=["cosmos", "shift5"])
@pytest.mark.parametrize("steps", [4, 10, 35])
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("corrector", [True, False])
def test_unipc_bh2(settings, steps, order, corrector):
    scheduler = unipc(settings, steps, order, "bh2", corrector)
    ours = sample(RandomDenoiser(), start(), scheduler.sigmas.numpy(), solver=UniPC(order, "bh2", corrector))
    assert error(ours, trajectory(scheduler, start())[-1]) < TOLERANCE


@pytest.mark.parametrize("settings", [COSMOS, SHIFTED], ids=["cosmos", "shift5"])
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("corrector", [True, False])
def test_unipc_bh1_up_to_the_last_step(settings, order, corrector):
    """diffusers' last step is inf * 0 = NaN under bh1; ours is finite."""
    states: list[dict] = []
    scheduler = unipc(settings, 20, order, "bh1", corrector)
    levels = scheduler.sigmas.numpy()
    z = sample(RandomDenoiser(), start(), levels, solver=UniPC(order, "bh1", corrector), callback=states.append)
    theirs = trajectory(scheduler, start())
    assert max(error(state["x"], x) for state, x in zip(states, theirs[:-1], strict=True)) < TOLERANCE
    assert theirs[-1].isnan().all()
    assert z.isfinite().all()


def test_unipc_on_our_own_cosmos_schedule():
    scheduler = unipc(COSMOS, 35, 2, "bh2", True)
    ours = sample(RandomDenoiser(), start(), karras_sigmas(35), solver="unipc")
    assert error(ours, trajectory(scheduler, start())[-1]) < 1e-4


@pytest.mark.parametrize("shift", [1.0, 5.0])
@pytest.mark.parametrize("steps", [4, 20])
def test_dpm_solver_2m(steps, shift):
    scheduler = DPMSolverMultistepScheduler(**FLOW, flow_shift=shift)
    scheduler.set_timesteps(steps)
    ours = sample(RandomDenoiser(), start(), scheduler.sigmas.numpy(), solver="dpmpp_2m")
    assert error(ours, trajectory(scheduler, start())[-1]) < TOLERANCE


def test_ancestral_sde_is_first_order_sde_dpm_solver():
    noise = KeyedNoise([3, 1, 4, 1])
    scheduler = DPMSolverMultistepScheduler(**FLOW, algorithm_type="sde-dpmsolver++", solver_order=1)
    scheduler.set_timesteps(12)
    theirs = trajectory(scheduler, start(), variance_noise=lambda step, x: noise(step, 0, x))
    ours = sample(RandomDenoiser(), start(), scheduler.sigmas.numpy(), solver="sde", noise=noise)
    assert error(ours, theirs[-1]) < TOLERANCE


@pytest.mark.parametrize("shift", [1.0, 5.0])
def test_euler(shift):
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(20)
    ours = sample(RandomDenoiser(), start(), scheduler.sigmas.numpy())
    assert error(ours, trajectory(scheduler, start())[-1]) < TOLERANCE


@pytest.mark.parametrize("shift", [1.0, 5.0])
def test_heun(shift):
    scheduler = FlowMatchHeunDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(10)
    repeated = scheduler.sigmas
    levels = torch.cat([repeated[:1], repeated[1:-1:2], repeated[-1:]]).numpy()
    denoise, x = RandomDenoiser(), start()
    for timestep in scheduler.timesteps:  # two to a level but at the ends
        sigma = timestep.item() / scheduler.config.num_train_timesteps
        x = scheduler.step((x - denoise(x, sigma)) / sigma, timestep, x, return_dict=False)[0]
    assert error(sample(RandomDenoiser(), start(), levels, solver="heun"), x) < TOLERANCE


@pytest.mark.parametrize(
    ("solver", "tolerance"),
    [
        ("euler", 1e-5),
        ("heun", 1e-5),
        ("unipc:order=1", 1e-5),
        ("unipc", 1e-3),
        ("unipc:order=3", 1e-3),
        ("dpmpp_2m", 1e-3),
    ],
)
def test_a_start_at_one_is_the_limit_of_starts_below_it(solver, tolerance):
    """diffusers moves sigma = 1 to 1 - 1e-6 to keep lambda finite; here the limit is taken.

    Multistep solvers approach it as 1 / lambda, hence slowly.
    """
    below = flow_sigmas(8, 3.0)
    below[0] -= 1e-6
    at_one, near = (sample(RandomDenoiser(), start(), levels, solver=solver) for levels in (flow_sigmas(8, 3.0), below))
    assert error(at_one, near) < tolerance
