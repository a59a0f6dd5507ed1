"""Planning against random actions, the scripted expert and MuJoCo itself as the model: success with intervals.

MuJoCo is planned in twice, with what it knows and with what is read off its pictures: the second is the ceiling of a
world model, of which nothing else can be had.

    python benchmarks/planning.py graph --scenes 100                        # random, expert, MuJoCo as the model
    python benchmarks/planning.py grasp --scenes 100 --model tiny           # and a world model, plain and refined
    python benchmarks/planning.py graph --scenes 50 --first 50              # the second half, in another process

Scenes are held out: their seeds begin where no training used any. Every method plays the same ones. What refinement is
worth is read off against the plain search of as many evaluations, which has more candidates instead.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from bf16 import check_bf16
from tqdm.auto import tqdm

import worldmodel.envs  # noqa: F401
from worldmodel.backends.domains import matched
from worldmodel.envs.imagined_readout import readout_for
from worldmodel.evaluators.intervals import wilson
from worldmodel.graded import GradedPolicy
from worldmodel.planning.control import PlanningPolicy, Task
from worldmodel.planning.dynamics import Dynamics
from worldmodel.planning.icem import ICEM
from worldmodel.planning.objectives import Lift, WayToGoal
from worldmodel.planning.scoring import Scoring, evaluations_of
from worldmodel.planning.search import search
from worldmodel.planning.seen import SeenSimulator
from worldmodel.planning.simulator import Simulator
from worldmodel.planning.space import Space
from worldmodel.planning.waypoints import Workspace, space_for
from worldmodel.policies import Policy, latency, run_episode
from worldmodel.training.curriculum import LARGE

FIRST = 3_000_000
HORIZON, EXECUTE = 16, 8  # actions of a plan, and of it taken
BLOCK, HAND_BLOCK = 4, 8  # actions for which each is held, and in which a hand goes from one point to the next
REFINED = 4  # elites of an iteration
ENVS: dict[str, tuple[str, dict[str, Any]]] = {
    "graph": ("worldmodel/GraphTraversal-v0", {"nodes": (4, 6), "num_frames": 97, **LARGE}),
    "maze": ("worldmodel/Maze-v0", {"rows": 4, "columns": 4, "num_frames": 97}),
    "grasp": ("worldmodel/Grasp-v0", {"num_frames": 65}),
}


class Random:
    """Actions even over the bounds, held for a quarter of a second; or points even over a workspace."""

    def __init__(self, env: Any, seed: int, workspace: Workspace | None = None) -> None:
        self._spec, self._workspace, self._rng = env.action_spec, workspace, np.random.default_rng(seed)

    def reset(self) -> None:
        """Nothing to forget."""

    def infer(self, observation: Any) -> dict[str, np.ndarray]:
        """As many actions as a plan's."""
        space = space_for(self._spec, EXECUTE, block_of(self._workspace), self._workspace, observation)
        return {"actions": space.actions(self._rng.uniform(-1.0, 1.0, space.shape))}


def workspace_of(env: Any) -> Workspace | None:
    """Where the hand is to move in the scene of an environment, if it has one."""
    return Workspace(*env.scene.workspace) if "Grasp" in env.family.id else None


def block_of(workspace: Workspace | None) -> int:
    """Actions of a block."""
    return BLOCK if workspace is None else HAND_BLOCK


def task_of(env: Any, dynamics: Dynamics, refined: int = 0) -> Task:
    """What is to be achieved in the scene of an environment."""
    objective = Lift(env.scene.centre[2]) if "Grasp" in env.family.id else WayToGoal()
    return Task(dynamics, Scoring(objective, refined=refined), workspace=workspace_of(env))


def evaluations(planner: ICEM, task: Task) -> int:
    """Model evaluations of one search at most, by its prices; nothing is imagined for it."""
    price, refined_price = evaluations_of(task.dynamics, task.scoring, HORIZON)
    space = Space(task.dynamics.action_spec, HORIZON, block_of(task.workspace))
    tried = search(planner, space, lambda actions: np.zeros(len(actions)), seed=0).candidates
    return tried * price + planner.iterations * min(task.scoring.refined, planner.candidates) * refined_price


def as_costly(planner: ICEM, plain: Task, refined: Task) -> ICEM:
    """The planner with so many candidates that its plain search takes what the refined one does, or the nearest."""
    wanted = evaluations(planner, refined)
    # No search tries fewer than its first iteration does.
    most = max(planner.candidates, wanted // evaluations_of(plain.dynamics, plain.scoring, HORIZON)[0])
    larger = [dataclasses.replace(planner, candidates=count) for count in range(planner.candidates, most + 1)]
    return min(larger, key=lambda each: abs(evaluations(each, plain) - wanted))


def methods(env: Any, arguments: argparse.Namespace) -> dict[str, Callable[[int], Policy]]:
    """Makers of policies by name, from the seed of a scene."""
    planner = ICEM(arguments.candidates, arguments.iterations, elites=max(2, arguments.candidates // 6))

    def planning(task: Callable[[], Task], planner: ICEM = planner) -> Callable[[int], Policy]:
        block = block_of(workspace_of(env))
        return lambda seed: PlanningPolicy(task, planner, seed=seed, horizon=HORIZON, execute=EXECUTE, block=block)

    found: dict[str, Callable[[int], Policy]] = {
        "random": lambda seed: Random(env, seed),
        "expert": lambda seed: GradedPolicy(env.family, env.scene, 8, seed=seed),
        "plan in MuJoCo": planning(lambda: task_of(env, Simulator(env))),
        "plan in MuJoCo, as seen": planning(lambda: task_of(env, SeenSimulator(env))),
    }
    if workspace_of(env) is not None:
        found["random points"] = lambda seed: Random(env, seed, workspace_of(env))
    if arguments.model is not None:
        import worldmodel
        from worldmodel.planning.imagination import Imagination
        from worldmodel.sampling import PredictPerturb

        model = matched(worldmodel.load(arguments.model), env.action_spec)
        refine = PredictPerturb(plan=[(0.0, 1.0, 1)], temperature=arguments.temperature)

        def task(refined: int = 0) -> Task:
            imagination = Imagination(model, readout_for(env), steps=arguments.steps, refine=refine)
            return task_of(env, imagination, refined)

        name, more = f"plan in {arguments.model}", as_costly(planner, task(), task(REFINED))
        found[name] = planning(task)
        found[f"{name}, elites refined"] = planning(lambda: task(REFINED))
        found[f"{name}, as many evaluations"] = planning(task, more)
    return found


def main() -> None:
    """Read the arguments and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("env", choices=sorted(ENVS))
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="index of the first scene, to share them out")
    parser.add_argument("--model", default=None)
    parser.add_argument("--steps", type=int, default=None, help="sampling steps of the model")
    parser.add_argument("--candidates", type=int, default=32)
    parser.add_argument("--iterations", type=int, default=3)
    parser.add_argument("--temperature", type=float, default=0.5, help="of refinement; the paper's is 0.5")
    parser.add_argument("--methods", nargs="*", default=None)
    parser.add_argument("--bf16", action="store_true", help="imagine in bf16, where the CPU multiplies it")
    parser.add_argument("--json", type=Path, default=None, help="file of all episodes, with which a run is resumed")
    arguments = parser.parse_args()
    if arguments.scenes < 1 or arguments.first < 0:
        parser.error(
            f"--scenes, --first: got {arguments.scenes}, {arguments.first}, expected at least 1 and 0; change them"
        )
    check_bf16(arguments.bf16)
    with torch.autocast("cpu", torch.bfloat16, enabled=arguments.bf16):
        compare(arguments)


def compare(arguments: argparse.Namespace) -> None:
    """Print the table; after every scene its rows are in the JSON file, from where the same command goes on."""
    name, options = ENVS[arguments.env]
    env: Any = gym.make(name, image_size=64, disable_env_checker=True, **options).unwrapped
    env.reset(seed=FIRST)
    chosen = {
        k: make
        for k, make in methods(env, arguments).items()
        if arguments.methods in (None, []) or k in arguments.methods
    }
    rows = played_before(arguments) or {method: [] for method in chosen}
    seeds = range(FIRST + arguments.first, FIRST + arguments.first + arguments.scenes)
    done = min(map(len, rows.values()), default=0)
    for seed in tqdm(seeds[done:], initial=done, total=len(seeds), unit="scene"):
        for method, make in chosen.items():
            env.reset(seed=seed)
            began = time.monotonic()
            episode = run_episode(env, make(seed), seed=seed, stages=("lift",) if arguments.env == "grasp" else ())
            row = {"seed": seed, "success": episode.success, "frames": len(episode.actions), "error": episode.error}
            told = {"seconds": time.monotonic() - began, "calls": episode.seconds.tolist(), "stages": episode.stages}
            spent = [answer["evaluations"] for answer in episode.answers if "evaluations" in answer]
            rows[method].append(row | told | {"evaluations": spent})
        if arguments.json is not None:
            arguments.json.parent.mkdir(parents=True, exist_ok=True)
            beginning = arguments.json.with_suffix(".part")
            beginning.write_text(json.dumps({"arguments": asked(arguments), "rows": rows}, indent=1))
            beginning.replace(arguments.json)
    report(rows)


def asked(arguments: argparse.Namespace) -> dict[str, Any]:
    """What decides the rows."""
    return vars(arguments) | {"json": None}


def played_before(arguments: argparse.Namespace) -> dict[str, list[dict[str, Any]]] | None:
    """Rows by method in the JSON file, if there is one; one of other arguments is refused."""
    if arguments.json is None or not arguments.json.exists():
        return None
    document = json.loads(arguments.json.read_text())
    if document["arguments"] != asked(arguments):
        raise SystemExit(
            f"--json: got {arguments.json}, which is of {document['arguments']}, expected one of these arguments; "
            "name another file"
        )
    return document["rows"]


def report(rows: dict[str, list[dict[str, Any]]]) -> None:
    """Print a line for each method."""
    print(f"{'method':40s}{'success [95 %]':>20s}{'frames':>8s}{'evals/plan':>12s}{'s/plan p50':>12s}{'p95':>8s}")
    for method, played in rows.items():
        rate = wilson(sum(row["success"] for row in played), len(played))
        calls = latency([second for row in played for second in row["calls"]])
        frames = np.median([row["frames"] for row in played])
        spent = [count for row in played for count in row["evaluations"]]
        cell = f"{rate.value:.2f} [{rate.low:.2f}, {rate.high:.2f}]"
        mean = f"{np.mean(spent):.1f}" if spent else "-"
        print(f"{method:40s}{cell:>20s}{frames:8.0f}{mean:>12s}{calls['p50']:12.3f}{calls['p95']:8.3f}")


if __name__ == "__main__":
    main()
