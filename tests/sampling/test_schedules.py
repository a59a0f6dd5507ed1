"""Schedules against closed forms and diffusers' own schedulers."""

import numpy as np
import pytest
from diffusers import FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler

from worldmodel.sampling import flow_sigmas, karras_sigmas


def test_shift_one_is_uniform():
    np.testing.assert_allclose(flow_sigmas(4), [1.0, 0.75, 0.5, 0.25, 0.0])


def test_shift_matches_its_formula():
    sigmas = flow_sigmas(10, shift=3.0)
    assert sigmas[5] == pytest.approx(3 * 0.5 / (1 + 2 * 0.5))


def test_flow_shift_is_that_of_diffusers():
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 0.0, 11)[:-1].tolist())
    np.testing.assert_allclose(flow_sigmas(10, 3.0), scheduler.sigmas.numpy(), atol=1e-6)


@pytest.mark.parametrize("steps", [4, 35, 36])
def test_karras_grid_is_that_of_the_cosmos_scheduler(steps):
    scheduler = UniPCMultistepScheduler(
        use_karras_sigmas=True,
        use_flow_sigmas=True,
        prediction_type="flow_prediction",
        sigma_max=200.0,
        sigma_min=0.01,
    )
    scheduler.set_timesteps(steps)
    np.testing.assert_allclose(karras_sigmas(steps), scheduler.sigmas.numpy(), atol=1e-5)


@pytest.mark.parametrize("make", [flow_sigmas, karras_sigmas])
def test_schedules_descend_to_zero(make):
    sigmas = make(20)
    assert len(sigmas) == 21
    assert (np.diff(sigmas) < 0).all()
    assert sigmas[-1] == 0.0


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="steps: got 0"):
        flow_sigmas(0)
    with pytest.raises(ValueError, match="shift: got 0"):
        flow_sigmas(5, shift=0)
    with pytest.raises(ValueError, match="sigma_min, sigma_max"):
        karras_sigmas(5, sigma_min=2.0, sigma_max=1.0)
