"""The benchmark compares searches of as many evaluations as it says."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from known_models import random_robots

from worldmodel.planning.control import PlanningPolicy, Task
from worldmodel.planning.icem import ICEM
from worldmodel.planning.imagination import Imagination
from worldmodel.planning.objectives import GoalImage
from worldmodel.planning.scoring import Scoring
from worldmodel.sampling import PredictPerturb


@pytest.fixture(scope="module")
def benchmark():
    path = Path(__file__).parents[2] / "benchmarks" / "planning.py"
    spec = importlib.util.spec_from_file_location("benchmark_of_planning", path)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(path.parent)  # as when it is run: benchmarks import one another
        spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("candidates", "iterations"), [(12, 2), (7, 3)])
def test_plain_search_of_as_many_evaluations_spends_what_the_refined_one_does(benchmark, candidates, iterations):
    # Without a mask no sample settles, so that all that is planned is spent.
    refine = PredictPerturb(plan=[(0.0, 1.0, 1)], threshold=0.0)
    model = Imagination(random_robots().conditioned(domain="ball"), refine=refine)
    objective = GoalImage(np.zeros((32, 32, 3), np.uint8))
    plain, refined = (Task(model, Scoring(objective, refined=count)) for count in (0, 4))
    planner = ICEM(candidates, iterations, elites=3)
    more = benchmark.as_costly(planner, plain, refined)
    spent = []
    for task, each in ((plain, planner), (refined, planner), (plain, more)):
        policy = PlanningPolicy(lambda task=task: task, each, horizon=16, execute=8, block=4)
        policy.reset()
        spent.append(policy.infer({"pixels": np.full((32, 32, 3), 90, np.uint8)})["evaluations"])
        assert spent[-1] == benchmark.evaluations(each, task)
    # The nearest: less than a candidate of each iteration away.
    assert spent[1] > 1.5 * spent[0] and abs(spent[2] - spent[1]) < iterations * model.price(16)
