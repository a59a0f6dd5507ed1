"""Evaluations: the published presets, plans carried over in time, and budgets met exactly."""

import pytest
import torch
from known_flows import RandomDenoiser, start

from worldmodel.sampling import (
    PRESETS,
    PredictPerturb,
    budget,
    flow_sigmas,
    karras_sigmas,
    planned_nfe,
    preset,
    sample,
)
from worldmodel.sampling.controls import FlowMo, Restart

SMALL = (1, 4, 3, 2, 2)
SCHEDULES = {
    "wan-t2v-60": [flow_sigmas(40, 3.0), flow_sigmas(40, 5.0), flow_sigmas(40, 12.0)],
    "wan-i2v-63": [flow_sigmas(40, 3.0), flow_sigmas(40, 5.0)],
    "cosmos-54": [karras_sigmas(35)],
    "cosmos-57": [karras_sigmas(35)],
}


def evaluations(sigmas, solver="euler", refine=None) -> int:
    """How often the network is called."""
    denoise = RandomDenoiser()
    sample(denoise, start(SMALL), sigmas, solver=solver, refine=refine)
    return denoise.calls


@pytest.mark.parametrize("name", PRESETS)
def test_presets_take_the_published_number_of_evaluations(name):
    for sigmas in SCHEDULES[name]:
        assert len(sigmas) - 1 == PRESETS[name].steps
        refine = preset(name, stop_fraction=None)
        assert evaluations(sigmas, refine=refine) == refine.nfe(sigmas) == PRESETS[name].nfe == int(name[-2:])


def test_presets_carry_the_published_threshold_and_take_changes():
    assert preset("wan-t2v-60") == PredictPerturb.from_steps([(2, 5, 3), (6, 13, 1)], threshold=0.2)
    assert preset("cosmos-54", threshold=0.1).threshold == 0.1
    with pytest.raises(ValueError, match="preset: got 'wan', expected one of wan-t2v-60, wan-i2v-63, cosmos-54"):
        preset("wan")


@pytest.mark.parametrize("name", PRESETS)
def test_a_plan_in_time_compiles_back_to_its_steps(name):
    for sigmas in SCHEDULES[name]:
        carried = preset(name).in_time(sigmas)
        assert not carried.steps
        assert carried.iterations(sigmas) == preset(name).iterations(sigmas)


def test_a_plan_in_time_keeps_its_place_at_twice_the_steps():
    carried = preset("wan-t2v-60").in_time(flow_sigmas(40, 5.0))
    assert carried.ranges(flow_sigmas(80, 5.0)) == [(4, 11, 3), (12, 27, 1)]


PLAN = PredictPerturb(plan=[(0.0, 0.1, 3), (0.1, 0.3, 1)], threshold=0.0)


@pytest.mark.parametrize("solver", ["euler", "heun", "unipc"])
@pytest.mark.parametrize("nfe", [12, 36, 41, 60])
def test_a_budget_with_iterations_is_met_exactly(nfe, solver):
    sigmas, refine = budget(nfe, lambda steps: flow_sigmas(steps, 3.0), PLAN, solver)
    assert evaluations(sigmas, solver, refine) == planned_nfe(sigmas, solver, refine) == nfe
    one_more = flow_sigmas(len(sigmas), 3.0)
    assert planned_nfe(one_more, solver, PLAN) > nfe, "as many steps as there is room for"


@pytest.mark.parametrize("nfe", [41, 45, 60, 97])
def test_a_budget_on_given_noise_levels_scales_the_iterations(nfe):
    sigmas = flow_sigmas(40, 5.0)
    levels, refine = budget(nfe, sigmas, preset("wan-t2v-60", threshold=0.0))
    assert levels.tolist() == sigmas.tolist()
    assert evaluations(levels, refine=refine) == nfe
    if nfe == 60:
        assert refine.iterations(sigmas) == preset("wan-t2v-60").iterations(sigmas)
    before, after = preset("wan-t2v-60").iterations(sigmas), refine.iterations(sigmas)
    assert all(abs(b * (nfe - 40) / 20 - a) < 1 for b, a in zip(before, after, strict=True)), "in proportion"


def test_a_budget_of_the_plain_solver():
    assert len(budget(36, flow_sigmas)[0]) == 36 + 1
    assert planned_nfe(budget(35, flow_sigmas, solver="heun")[0], "heun") == 35
    assert planned_nfe(budget(36, flow_sigmas, solver="heun")[0], "heun") == 35, "Heun takes an odd number"


def test_restart_takes_as_many_evaluations_as_predict_perturb_with_its_plan():
    sigmas = flow_sigmas(20, 3.0)
    refine, restart = PLAN, Restart(plan=PLAN.plan)
    assert evaluations(sigmas, refine=restart) == restart.nfe(sigmas) == refine.nfe(sigmas)
    assert planned_nfe(sigmas, "heun", restart) == evaluations(sigmas, "heun", restart)


def test_flowmo_takes_one_evaluation_more_than_its_iterations():
    sigmas = flow_sigmas(6)
    refine = FlowMo.from_steps([(1, 2, 1), (3, 3, 2)])
    assert evaluations(sigmas, refine=refine) == refine.nfe(sigmas) == 6 + 2 + 2 + 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, flow_sigmas), "nfe: got 0"),
        ((36.0, flow_sigmas), "nfe: got 36.0"),
        ((30, flow_sigmas(40)), "nfe: got 30, expected at least the 40"),
        ((40, flow_sigmas(40), PLAN), "nfe: got 40, expected more than the 40"),
        ((60, flow_sigmas, preset("cosmos-54")), "refine: got step indices"),
        ((3, lambda steps: flow_sigmas(steps), PredictPerturb(plan=[(0.0, 1.0, 5)])), "expected enough for one step"),
        ((36, flow_sigmas, None, "heum"), "solver: got 'heum'"),
        ((45, flow_sigmas(40), PredictPerturb()), "refine: got an empty plan"),
        ((36, flow_sigmas, FlowMo(PLAN.plan)), "refine: got FlowMo.*, expected a PredictPerturb"),
        ((36, flow_sigmas, Restart(PLAN.plan)), "refine: got Restart.*, expected a PredictPerturb"),
    ],
)
def test_budgets_that_cannot_be_met_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        budget(*arguments)


def test_planned_and_spent_are_told_apart():
    spent = torch.zeros(4, dtype=torch.int64)
    refine = PredictPerturb.from_steps([(1, 2, 3)], threshold=float("inf"))
    sample(RandomDenoiser(), start(), flow_sigmas(5), refine=refine, callback=lambda s: spent.add_(s["evaluations"]))
    assert planned_nfe(flow_sigmas(5), refine=refine) == 11
    assert spent.tolist() == [7] * 4
