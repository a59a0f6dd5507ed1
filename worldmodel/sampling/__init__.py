"""Solvers and test-time refinement of flow models. Tensors in, tensors out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from worldmodel.sampling.budget import budget, planned_nfe
from worldmodel.sampling.presets import PRESETS, preset
from worldmodel.sampling.record import Record, overlay
from worldmodel.sampling.refine import PredictPerturb
from worldmodel.sampling.sample import sample
from worldmodel.sampling.schedules import flow_sigmas, karras_sigmas
from worldmodel.sampling.solvers import SDE, SOLVERS, DPMSolver2M, Euler, Heun, Solver, UniPC, as_solver
from worldmodel.sampling.sparse import SparsePredictPerturb
from worldmodel.sampling.uncertainty import Quantile

if TYPE_CHECKING:
    from worldmodel.sampling.pipelines import refine_pipeline as refine_pipeline
    from worldmodel.sampling.scheduler import RefiningScheduler as RefiningScheduler

__all__ = [
    "PRESETS",
    "SDE",
    "SOLVERS",
    "DPMSolver2M",
    "Euler",
    "Heun",
    "PredictPerturb",
    "Quantile",
    "Record",
    "RefiningScheduler",
    "Solver",
    "SparsePredictPerturb",
    "UniPC",
    "as_solver",
    "budget",
    "flow_sigmas",
    "karras_sigmas",
    "overlay",
    "planned_nfe",
    "preset",
    "refine_pipeline",
    "sample",
]


def __getattr__(name: str) -> Any:
    # diffusers takes seconds to import, and only these need it.
    homes = {"RefiningScheduler": "worldmodel.sampling.scheduler", "refine_pipeline": "worldmodel.sampling.pipelines"}
    if name not in homes:
        raise AttributeError(f"module 'worldmodel.sampling' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(homes[name]), name)
