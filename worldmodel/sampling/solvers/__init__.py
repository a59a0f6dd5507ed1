"""One file a solver: a free function that can be held against its paper, and its settings."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from worldmodel.sampling.solvers.dpm_solver import DPMSolver2M, dpm_solver_2m_step
from worldmodel.sampling.solvers.euler import Euler, euler_step
from worldmodel.sampling.solvers.heun import Heun, heun_step
from worldmodel.sampling.solvers.sde import SDE, sde_step
from worldmodel.sampling.solvers.step import Solver, StepContext
from worldmodel.sampling.solvers.unipc import UniPC, unipc_step

SOLVERS: dict[str, type[Solver]] = {solver.name: solver for solver in (Euler, Heun, UniPC, DPMSolver2M, SDE)}

__all__ = [
    "SDE",
    "SOLVERS",
    "DPMSolver2M",
    "Euler",
    "Heun",
    "Solver",
    "StepContext",
    "UniPC",
    "as_solver",
    "dpm_solver_2m_step",
    "euler_step",
    "heun_step",
    "sde_step",
    "unipc_step",
]


def as_solver(solver: str | Solver) -> Solver:
    """A solver from its name, perhaps with settings: "euler", "unipc:order=3,corrector=false", "sde:eta=0.5".

    Raises:
        ValueError: no solver of that name, or settings that it does not have.
    """
    if isinstance(solver, Solver):
        return solver
    name, _, settings = solver.partition(":") if isinstance(solver, str) else ("", "", "")
    if name not in SOLVERS:
        raise ValueError(f"solver: got {solver!r}, expected one of {', '.join(SOLVERS)}; choose one")
    options = [field.name for field in fields(SOLVERS[name])]  # type: ignore[arg-type]  # all are dataclasses
    chosen = [setting.partition("=") for setting in settings.split(",") if setting]
    unknown = [option for option, _, _ in chosen if option not in options]
    if unknown:
        known = ", ".join(options) or "no settings"
        raise ValueError(f"solver: got {solver!r} with {unknown[0]}, expected {known}, as in unipc:order=3; drop it")
    repeated = [option for index, (option, _, _) in enumerate(chosen) if option in [each[0] for each in chosen[:index]]]
    if repeated:
        raise ValueError(f"solver: got {solver!r} with {repeated[0]} twice, expected every setting once; drop one")
    return SOLVERS[name](**{option: _parsed(value) for option, _, value in chosen})


def _parsed(text: str) -> Any:
    """A setting's value: a truth value, a number, or else the text itself."""
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
